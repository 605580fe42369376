"""The programs of benchmarks/ run, at a size where their figures mean nothing."""

import subprocess
import sys

import pytest

from tests.commands import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("training --models unet massbalance --rounds 1 --epochs 1 --height 16 --width 24", "| massbalance |"),
        ("usual_stack --rounds 1 --epochs 1 --height 16 --width 24", "| usual stack | computing alone |"),
        ("scaling --models unet --sizes 1", "| unet | pixels × 1 |"),
        ("predicting --size 200 --tile 128 --overlap 32", "predicting / bare forward passes: "),
        (
            "accelerator --device cpu --models unet --forms fp32 bf16 --epochs 1 --height 16 --width 24",
            "| unet | bf16 |",
        ),
    ],
    ids=lambda words: words.split()[0],
)
def test_runs_and_prints_its_table(words, told):
    program, *options = words.split()
    command = [sys.executable, "-m", f"benchmarks.{program}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


def test_the_table_of_results_names_the_model_that_validation_chose(tmp_path):
    page = tmp_path / "results.md"
    words = "--models unet massbalance --seeds 0 1 --jobs 1 --height 32 --width 48"
    more = ["--words", "split=winters", "trainer.max_epochs=4", "--out", str(page)]
    command = [sys.executable, "-m", "benchmarks.results", *words.split(), *more]
    subprocess.run(command, cwd=ROOT, check=True)
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    validation = {row[0].strip("|* "): float(row[1].split()[0]) for row in rows[:2]}
    (chosen,) = [row[0].strip("|* ") for row in rows if "**" in row[0]]
    assert chosen == min(validation, key=validation.get)
    assert "**Synthetic" in page.read_text()
    assert {row[0].strip("| ") for row in rows[2:]} >= {"climatology", "boosted trees", "summed InSAR ΔSWE"}
