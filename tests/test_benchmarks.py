"""The programs of benchmarks/ run, at a size where their figures mean nothing."""

import importlib
import sys
from argparse import Namespace

import pytest

from benchmarks.results import Run, report
from tests.commands import begin

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("training --models unet massbalance --rounds 1 --epochs 1 --height 16 --width 24", "| massbalance |"),
        ("usual_stack --rounds 1 --epochs 1 --steps 1 --height 16 --width 24", "| usual stack | computing alone |"),
        ("scaling --models unet --sizes 1", "| unet | pixels × 1 |"),
        ("despeckling --size 24 --rounds 1", "NumPy by shifts ÷ PPB: "),
        ("building --pairs 2 --size 100 --rounds 1", "build ÷ bare warp: "),
        ("dealing --size 100 --windows 1 --rounds 1", "2 workers ÷ 1 worker: "),
        ("streaming --rounds 1 --patches 4 --repeats 1 --batch 4", "| snowmap |"),
        ("predicting --size 100 --tile 64 --overlap 32", "predicting / bare forward passes: "),
        (
            "accelerator --device cpu --models unet --forms fp32 bf16 --epochs 1 --height 16 --width 24",
            "| unet | bf16 |",
        ),
        (
            "pretraining --patches 32 --steps 1 --views 4 --timed 1 --rounds 1 --words model.channels=[4,8]"
            " split.degrees=1 data.batch_size=4 data.bands=[co_pol,elevation] pretraining.probe=0"
            " trainer.limit_train_batches=1",
            "training step / bare loop that reads: ",
        ),
        ("kills --kills 1 --epochs 3", "1 × SIGKILL in exporting: 40 of 40 GeoTIFFs as if nothing had been"),
    ],
    ids=lambda words: words.split()[0],
)
def test_runs_and_prints_its_table(words, told, monkeypatch, capsys):
    program, *options = words.split()
    monkeypatch.setattr(sys, "argv", [program, *options])
    importlib.import_module(f"benchmarks.{program}").main()
    assert told in capsys.readouterr().out


def test_the_one_that_changes_its_process():
    words = "--jobs 2 --epochs 1 --rounds 1 --windows 20 --height 16 --width 24"
    assert "rasters read: 1 time\n" in begin("benchmarks/sweeping.py", *words.split()).communicate()[0]


def test_the_table_of_results_names_the_model_that_validation_chose():
    baselines = {"climatology": {"rmse": 9.0, "bias": 1.0}}
    runs = {
        "unet": [Run(4.0, 2.0, 0.5, 1.0, baselines), Run(6.0, 2.0, 0.5, 2.0, baselines)],  # better on the test windows
        "massbalance": [Run(3.0, 7.0, 0.0, 1.0, baselines), Run(5.0, 7.0, 0.0, 1.0, baselines)],
    }
    page = report(runs, Namespace(seeds=[0, 1], height=93, width=211, words=["split=winters"]), "synthetic: a test")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")][1:]
    assert ["unet", "5.00 ± 1.41", "2.00 ± 0.00", "0.50 ± 0.00", "1.5"] in rows
    assert ["**massbalance**", "4.00 ± 1.41", "7.00 ± 0.00", "0.00 ± 0.00", "1.0"] in rows
    assert ["climatology", "–", "9.00", "1.00", "–"] in rows


def test_the_table_of_results_is_that_of_real_runs(tmp_path, monkeypatch):
    page = tmp_path / "results.md"
    size = "--models unet --seeds 0 --jobs 1 --height 16 --width 24"
    words = f"{size} --words split=winters split.test=3 trainer.max_epochs=1 --out {page}"
    monkeypatch.setattr(sys, "argv", ["results", *words.split()])
    importlib.import_module("benchmarks.results").main()
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert rows[0][0] == "| **unet**"
    assert all(float(number) for number in rows[0][1:3])
    assert "**Synthetic" in page.read_text()
    assert {row[0].strip("| ") for row in rows[1:]} >= {"climatology", "boosted trees", "summed InSAR ΔSWE"}
