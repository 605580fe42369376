"""The programs of benchmarks/ run, at a size where their figures mean nothing."""

import importlib
import sys
from argparse import Namespace
from itertools import product
from types import SimpleNamespace

import geopandas as gpd
import pytest
import rasterio
import torch
from shapely.geometry import box

from benchmarks import dealing, glaciers, other_archives, predicting, pretraining, results, streaming
from benchmarks.common import peak_gibibytes
from benchmarks.results import Run, report
from benchmarks.transfer import WAYS, Job, Scores, share_of, train
from benchmarks.transfer import report as transfer_report
from snowmap.cli import main
from snowmap.data.splits.split import Split
from snowmap.sources.synthetic.scenes import synthesize_glaciers
from tests.archives import write_foreign_archive
from tests.class_cubes import glacier_cube
from tests.commands import begin, run_forked
from tests.cubes import make_cube
from tests.tasks.test_transfer_from_pretraining import checkpoint_of, pretraining_of

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("training --models unet massbalance --rounds 1 --epochs 1 --height 16 --width 24", "| massbalance |"),
        ("usual_stack --rounds 1 --epochs 1 --steps 1 --height 16 --width 24", "| usual stack | computing alone |"),
        ("scaling --models unet --sizes 1", "| unet | pixels × 1 |"),
        ("despeckling --size 24 --rounds 1", "NumPy by shifts ÷ PPB: "),
        (
            "patches --side 64 --crop 32 --dates 2 --patches 2 --channels [4,8] --rounds 1 --epochs 1",
            "training epoch / bare loop",
        ),
        ("building --pairs 2 --size 100 --rounds 1", "build ÷ bare warp: "),
        (
            "predicting --size 100 --tile 64 --overlap 32 --parts time memory series",
            "predicting / bare forward passes: \npeak memory of the command: 1.00\npeak memory with 15 dates: 1.00",
        ),
        (
            "accelerator --device cpu --models unet --forms fp32 bf16 --epochs 1 --windows 20 --height 16 --width 24",
            "| unet | bf16 |",
        ),
        (
            "pretraining --patches 32 --steps 1 --views 2 --timed 1 --rounds 1 --words model.channels=[4,8]"
            " split.degrees=1 data.batch_size=4 data.bands=[co_pol,elevation] pretraining.probe=0"
            " trainer.limit_train_batches=1",
            "training step / bare loop that reads: ",
        ),
        (
            "kills --kills 1 --epochs 2 --windows 16 --words selection=validation split.test=2",
            "1 × SIGKILL in exporting: 16 of 16 GeoTIFFs as if nothing had been",
        ),
    ],
    ids=lambda words: words.split()[0],
)
def test_runs_and_prints_its_table(words, told, monkeypatch, capsys):
    program, *options = words.split()
    monkeypatch.setattr(sys, "argv", [program, *options])
    for module in (predicting, pretraining):
        monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run_forked))
    monkeypatch.setattr(predicting, "peak_gibibytes", lambda *typed: 1.0 + main([*typed[2:]]))
    importlib.import_module(f"benchmarks.{program}").main()
    said = capsys.readouterr().out
    assert all(words in said for words in told.splitlines())


@pytest.mark.usefixtures("forked_workers")
def test_mapping_by_several_processes(monkeypatch, capsys):
    def here(*words: str) -> float:
        assert main([*words]) == 0
        return 1.0

    monkeypatch.setattr(dealing, "largest_process", here)  # that of `building` starts its processes
    monkeypatch.setattr(sys, "argv", ["dealing", "--size", "100", "--windows", "1", "--rounds", "1"])
    dealing.main()
    said = capsys.readouterr().out
    assert "2 workers ÷ 1 worker: " in said
    assert "largest process: 1.00 GiB; at 4 × the windows × 1.00 " in said


def test_the_peak_of_a_process_is_that_of_what_it_holds():
    assert 0.5 < peak_gibibytes("-c", "held = b'0' * 2**29") < 0.6


def test_reading_a_stream(monkeypatch, capsys):
    def forked(_, __, *words: str) -> float:
        assert begin("benchmarks/streaming.py", *words).wait(240) == 0
        return 1.0

    monkeypatch.setattr(streaming, "peak_gibibytes", forked)  # that of `predicting` starts its process
    monkeypatch.setattr(sys, "argv", ["streaming", "--rounds", "1", "--patches", "4", "--repeats", "1", "--batch", "4"])
    streaming.main()
    said = capsys.readouterr().out
    assert "| snowmap |" in said
    assert "peak memory: 1.00 GiB" in said


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


def test_on_other_archives_validation_chooses_the_model_beside_the_best_baseline_that_needs_no_known_past():
    baselines = {"climatology": {"rmse": 9.0}, "elevation": {"rmse": 4.0}, "persistence": {"rmse": 1.0}}
    runs = {
        "unet": [Run(4.0, 1.0, 0.0, 1.0, baselines), Run(6.0, 1.0, 0.0, 1.0, baselines)],
        "massbalance": [Run(3.0, 3.0, 0.0, 1.0, baselines), Run(5.0, 5.0, 0.0, 1.0, baselines)],
    }
    asked = Namespace(models=[*runs], seeds=[0, 1], height=40, width=56, words=["split=winters"], precipitation=True)
    page = other_archives.report({10: runs}, asked)
    beside = "| elevation | 4.00 | 1.00 |"
    assert f"| 10 | massbalance | 4.00 ± 1.41 | 4.00 ± 1.41 {beside}" in page
    assert "Mean ratio (archives: 1): 1.00. The aim of 0.65 is missed." in page
    command = "other_archives --archives 10 --models unet massbalance --seeds 0 1 --words split=winters --precipitation"
    assert page.endswith(f"{command}`.\n")


def test_the_table_of_transfer_says_where_it_does_not_help():
    def better(way: str, seed: int) -> float:
        return {"from scratch": 0, "frozen": -1 - seed, "fine-tuned": 1 + seed}[way]

    asked = Namespace(kinds=["snow", "glaciers"], shares=[0.1], seeds=[0, 1], rates=[1e-2, 1e-3], channels="[4]")
    asked.steps, asked.patches, asked.pretraining = 5, 7, []
    runs = {}
    for kind, way, seed, rate in product(asked.kinds, WAYS, asked.seeds, asked.rates):
        worse = 50 * (rate > 0.005)  # the lower rate is better on the validation alone
        score = 20 - better(way, seed) if kind == "snow" else 20 + better(way, seed)
        sign = 1 if kind == "snow" else -1
        runs[Job(kind, 0.1, way, seed, rate)] = Scores(score + sign * worse, score - sign * worse)
    page = transfer_report(runs, asked, " --words")
    assert "no more" in page.split("\n\n")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| 10%")]
    assert [row[-1] for row in rows] == ["–", "no, it harms", "yes"] * 2
    assert rows[2][2:5] == ["18.50 ± 0.71", "18.50 ± 0.71", "1.50 ± 0.71"]
    assert rows[5][2:5] == ["21.500 ± 0.707", "21.500 ± 0.707", "1.500 ± 0.707"]
    assert "Frozen encoders help in 0 of 2 rows; fine-tuned encoders help in 2 of 2 rows" in page
    assert page.endswith("Made by `python -m benchmarks.transfer --words`.\n")


def test_a_share_of_what_trains_is_part_of_a_larger_one():
    cube, area = make_cube(), glacier_cube()
    whole = Split([*range(10)], [10], [11, 12])
    scenes = [Split([3], [], []), Split([], [3], []), Split([3], [], [])]
    smaller, larger = (share_of("snow", [cube], [whole], share, 1)[0] for share in (0.1, 0.5))
    assert (len(smaller.train), len(larger.train)) == (1, 5)
    assert {*smaller.train} < {*larger.train} < {*whole.train}
    assert (larger.validation, larger.test) == (whole.validation, whole.test)
    parts = [share_of("glaciers", [area] * 3, scenes, share, 1) for share in (0.1, 0.5, 1.0)]
    for number in (0, 2):
        few, half, full = (of_share[number].train_area for of_share in parts)
        assert (few.mean(), half.mean(), full.mean()) == (2 / 16, 8 / 16, 1)
        assert (few <= half).all()
    assert all(of_share[1] == scenes[1] for of_share in parts)


def test_a_run_of_transfer_is_scored_on_its_validation_and_on_the_test(tmp_path):
    write_foreign_archive(tmp_path / "snow", windows=36, shape=(12, 20))
    (tmp_path / "pretraining_0" / "checkpoints").mkdir(parents=True)
    checkpoint_of(pretraining_of("unet", channels=[4, 8]), tmp_path / "pretraining_0" / "checkpoints" / "best.ckpt")
    asked = Namespace(channels="[4,8]", steps=4, validations=1)
    runs = [train(Job("snow", 0.5, way, 0, 2e-3), asked, tmp_path, tmp_path / way) for way in WAYS]
    frozen, other = (torch.load(tmp_path / way / "checkpoints" / "best.ckpt") for way in ("frozen", "from scratch"))
    assert frozen["global_step"] == other["global_step"] == 4
    assert len({run.test for run in runs}) == len({run.validation for run in runs}) == 3


def test_the_table_of_results_is_that_of_real_runs(tmp_path, monkeypatch):
    page = tmp_path / "results.md"
    size = "--models unet --seeds 0 --jobs 1 --height 16 --width 24"
    words = f"{size} --words split=winters split.test=3 trainer.max_epochs=1 --out {page}"
    monkeypatch.setattr(sys, "argv", ["results", *words.split()])
    monkeypatch.setattr(results, "subprocess", SimpleNamespace(run=run_forked))
    results.main()
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert rows[0][0] == "| **unet**"
    assert all(float(number) for number in rows[0][1:3])
    assert "**Synthetic" in page.read_text()
    assert {row[0].strip("| ") for row in rows[1:]} >= {"climatology", "boosted trees", "summed InSAR ΔSWE"}


def test_the_table_of_glaciers_pairs_nets_and_baselines_of_one_run():
    baselines = [{"otsu": 0.2}, {"otsu": 0.4}]
    runs = {
        "svalbard_glaciers_3d": [glaciers.Run(0.5, baselines[0], 1234, 2.0), glaciers.Run(0.8, baselines[1], 1234, 4.0)]
    }
    inventories = [glaciers.Run(0.6, {}, 0, 0.1), glaciers.Run(0.6, {}, 0, 0.1)]
    page = glaciers.report(runs, inventories, [0, 1])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    assert rows[0] == ["map", "IoU", "− Otsu's threshold", "− last inventory", "weights", "minutes"]
    of_net = ["0.650 ± 0.212", "0.350 ± 0.071", "0.050 ± 0.212", "1,234", "3.0"]
    assert rows[2] == ["svalbard_glaciers_3d", *of_net]
    assert rows[3] == ["Otsu's threshold", "0.300 ± 0.141", "–", "–", "–", "–"]


def test_the_table_of_glaciers_is_that_of_real_runs(tmp_path, monkeypatch, capsys):
    synthesize_glaciers(tmp_path / "a", scenes=1, dates=1, shape=(64, 64))
    dem, outlines = tmp_path / "a" / "scene_01" / "dem.tif", tmp_path / "six.gpkg"
    with rasterio.open(dem) as raster:
        corners = [raster.transform @ (first, row) for first in (0, 40) for row in (0, 20, 40)]
        squares = gpd.GeoSeries([box(x, y - 480, x + 480, y) for x, y in corners], crs=raster.crs)
    squares.to_file(outlines)
    folder, place = tmp_path / "b", f"--dem {dem} --outlines {outlines}"
    size = "model.channels=[4,8] data.crop=[32,32] data.patches=2 trainer.max_epochs=1 split.buffer=0"
    words = f"{place} --small --forms svalbard_glaciers_3d --seeds 3 --folder {folder} --words {size}"
    monkeypatch.setattr(sys, "argv", ["glaciers", *words.split()])
    monkeypatch.setattr(glaciers, "subprocess", SimpleNamespace(run=run_forked))
    glaciers.main()
    page = (folder / "table_small.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == ["svalbard_glaciers_3d", "Otsu's threshold", "random forest", "terrain alone"]
    assert all(0 <= float(row[1]) <= 1 for row in rows)
    assert "**Synthetic.**" in page
