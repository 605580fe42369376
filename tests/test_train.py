"""What happens when a user types `python train.py` and `python evaluate.py`, on an archive written by other code."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import xarray as xr

from snowmap.sources import SOURCES
from snowmap.sources.trentino import open_archive
from snowmap.tasks.load import load_model
from snowmap.tasks.pixel import SnowRegression
from tests.archives import write_foreign_archive
from tests.commands import SMALL, command, fail, succeed, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(20, (24, 32))


@pytest.fixture(scope="module")
def run(archive, tmp_path_factory) -> tuple[Path, str]:
    """In a process of its own, as a user has it; the others of this file share theirs with the tests."""
    folder = tmp_path_factory.mktemp("run") / "first"
    words = (f"data.root={archive}", f"hydra.run.dir={folder}", *SMALL, "trainer.max_epochs=4")
    done = command("train.py", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def weights(checkpoint: Path) -> list[torch.Tensor]:
    return list(SnowRegression.load_from_checkpoint(checkpoint).net.parameters())


def same(a: Path, b: Path) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())["target"]


def test_training_says_what_it_does_and_leaves_a_whole_run_folder(run):
    folder, said = run
    for name in ("config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (folder / name).is_file()
    for name in ("metrics.json", "metrics.csv", "predictions.nc", "maps.png"):
        assert (folder / "evaluation" / "test" / name).is_file()
    assert list(folder.glob("curves/*/metrics.csv"))
    for words in ("SWE is in cm", "2021-01-09_to_2021-01-21", "best.ckpt", "metrics.csv", "python evaluate.py ckpt="):
        assert words in said


def test_a_resumed_run_is_that_of_the_same_seed_and_scores_the_same_on_a_copy_of_the_archive(run, archive, tmp_path):
    """Two epochs and two more are four; the scores of training come again from the checkpoint alone."""
    folder, _ = run
    train(archive, tmp_path / "half", "trainer.max_epochs=2", "evaluate=none")
    last = tmp_path / "half" / "checkpoints" / "last.ckpt"
    assert not same(last, folder / "checkpoints" / "last.ckpt")
    succeed("train.py", f"ckpt={last}", "trainer.max_epochs=4")
    for name in ("best.ckpt", "last.ckpt"):
        assert same(last.with_name(name), folder / "checkpoints" / name)
    shutil.copytree(archive, tmp_path / "copy")
    words = (f"ckpt={last.with_name('best.ckpt')}", f"data.root={tmp_path}/copy", f"out={tmp_path}/out")
    said = succeed("evaluate.py", *words)
    assert "persistence" in said or "last-seen" in said
    assert metrics(tmp_path / "out") == metrics(folder / "evaluation" / "test")


def test_predictions_lie_on_the_grid_of_the_archive(run, archive):
    folder, _ = run
    with xr.open_dataset(folder / "evaluation" / "test" / "predictions.nc", decode_coords="all") as maps:
        cube = open_archive(archive)
        assert maps.rio.crs == cube.rio.crs
        assert maps.rio.transform().almost_equals(cube.rio.transform())


def test_both_targets_are_scored_beside_the_baselines_of_the_bands_that_are_read(archive, tmp_path):
    train(archive, tmp_path / "run", "trainer.max_epochs=1", "target=both", "experiment=weather_only")
    for entry in metrics(tmp_path / "run" / "evaluation" / "test").values():
        assert entry["model"]["pixels"] > 0
        assert entry["baselines"]
    assert {*metrics(tmp_path / "run" / "evaluation" / "test")} == {"hs", "swe"}


@pytest.mark.parametrize("choice", ["debug=fast", "loss=huber"])
def test_choices(archive, tmp_path, choice):
    train(archive, tmp_path / "run", "trainer.max_epochs=1", choice, "evaluate=none")
    maps = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt").predict(open_archive(archive), [19])
    assert maps["swe"].notnull().any()


def test_no_logger(archive, tmp_path):
    train(archive, tmp_path / "run", "logger=none", "trainer.max_epochs=1", "evaluate=none")
    assert not list((tmp_path / "run").glob("curves"))


class TestBadInput:
    def test_a_missing_archive(self, tmp_path):
        told = fail("train.py", f"data.root={tmp_path}/none", f"hydra.run.dir={tmp_path}/run")
        assert f"{tmp_path}/none" in told
        assert not (tmp_path / "run").exists()

    def test_too_few_windows(self, tmp_path):
        write_foreign_archive(tmp_path / "a", windows=10, shape=(8, 9))
        told = fail("train.py", f"data.root={tmp_path}/a", f"hydra.run.dir={tmp_path}/run")
        assert "needs at least 13 windows" in told
        assert not (tmp_path / "run").exists()

    def test_a_folder_that_holds_another_run(self, run, archive):
        told = fail("train.py", f"data.root={archive}", f"hydra.run.dir={run[0]}", *SMALL)
        assert "already holds a run" in told

    def test_an_archive_of_another_grid(self, run, tmp_path):
        write_foreign_archive(tmp_path / "a", windows=20, shape=(25, 32))
        told = fail(
            "evaluate.py", f"ckpt={run[0]}/checkpoints/best.ckpt", f"data.root={tmp_path}/a", f"out={tmp_path}/o"
        )
        assert "shape of the grid is [25, 32]; the checkpoint was trained on [24, 32]" in told
        assert not (tmp_path / "o").exists()

    def test_an_archive_in_another_unit(self, run, tmp_path):
        write_foreign_archive(tmp_path / "a", windows=20, shape=(24, 32), swe_unit="mm")
        told = fail(
            "evaluate.py", f"ckpt={run[0]}/checkpoints/best.ckpt", f"data.root={tmp_path}/a", f"out={tmp_path}/o"
        )
        assert "target 'swe' is in mm; the checkpoint was trained on cm" in told

    def test_an_archive_without_some_test_windows(self, run, archive, tmp_path):
        shutil.copytree(archive, tmp_path / "a")
        for raster in (tmp_path / "a").glob("*/SWE/*"):
            if raster.name.startswith("2021-09"):
                raster.unlink()
        told = fail(
            "evaluate.py", f"ckpt={run[0]}/checkpoints/best.ckpt", f"data.root={tmp_path}/a", f"out={tmp_path}/o"
        )
        assert "test windows of the checkpoint" in told

    def test_a_truncated_checkpoint(self, run, tmp_path):
        short = tmp_path / "short.ckpt"
        short.write_bytes((run[0] / "checkpoints" / "best.ckpt").read_bytes()[:3000])
        assert "short.ckpt" in fail("evaluate.py", f"ckpt={short}")
        assert "short.ckpt" in fail("train.py", f"ckpt={short}", f"hydra.run.dir={tmp_path}/run")

    def test_a_truncated_last_checkpoint_and_what_mends_it(self, run, archive, tmp_path):
        again = tmp_path / "run"
        shutil.copytree(run[0], again)
        record, last = again / "run.json", again / "checkpoints" / "last.ckpt"
        record.write_text(record.read_text().replace('"finished"', '"killed"').replace('"done"', '"training"'))
        last.write_bytes(last.read_bytes()[:3000])
        words = (f"data.root={archive}", f"hydra.run.dir={again}", *SMALL, "trainer.max_epochs=4")
        told = fail("train.py", *words)
        assert f"{last} is cut short" in told
        assert "use the other of best.ckpt and last.ckpt, or move it away" in told
        assert "\n" not in told.strip()
        succeed("train.py", f"ckpt={last.with_name('best.ckpt')}", "trainer.max_epochs=5", "evaluate=none")
        assert torch.load(last, weights_only=True)["epoch"] == 4

    @pytest.mark.parametrize(
        "word", ["hydra.run.dir=", "hydra.run.dir=''", "hydra.sweep.dir=", "hydra.run.dir=${oc.env:EMPTY}"]
    )
    def test_an_empty_name_of_a_folder(self, tmp_path, monkeypatch, word):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("EMPTY", "")
        assert f"error: {word}: the name of the folder is empty" in fail("train.py", word)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("word", ["hydra.run={dir:''}", "hydra.run.dir=???"])
    def test_a_name_of_a_folder_that_comes_out_empty(self, archive, tmp_path, monkeypatch, word):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("EMPTY", "")
        assert "error: hydra.run.dir= is empty" in fail("train.py", f"data.root={archive}", *SMALL, word)
        assert list(tmp_path.iterdir()) == []

    def test_weights_alone_are_nothing_to_go_on_from(self, run, archive, tmp_path):
        stripped = torch.load(run[0] / "checkpoints" / "last.ckpt", weights_only=True)
        del stripped["optimizer_states"]
        torch.save(stripped, tmp_path / "weights.ckpt")
        words = (f"ckpt={tmp_path}/weights.ckpt", f"hydra.run.dir={tmp_path}/run", "trainer.max_epochs=7")
        assert "weights.ckpt holds weights alone; begin a new run with them as init_from=" in fail("train.py", *words)

    @pytest.mark.parametrize("words", [("hydra.run.dir={}",), ("-m", "seed=0,1", "hydra.sweep.dir=${{oc.env:PLACE}}")])
    def test_a_folder_with_files_of_others_stays_as_it_is(self, archive, tmp_path, monkeypatch, words):
        monkeypatch.setenv("PLACE", str(tmp_path))
        names = (".data.part/thesis.txt", "mine/Downloads/.film.mkv.part", "runs.csv")
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("mine")
        told = fail("train.py", f"data.root={archive}", *SMALL, *(word.format(tmp_path) for word in words))
        assert f"{tmp_path} holds other files (.data.part, mine, runs.csv) and no " in told
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(
            names
        )

    def test_an_empty_folder_of_the_user_stays(self, archive, tmp_path):
        (tmp_path / "run").mkdir()
        fail("train.py", f"data.root={archive}", f"hydra.run.dir={tmp_path}/run", "split.test=300")
        assert list((tmp_path / "run").iterdir()) == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_an_output_folder_that_cannot_be_written(self, archive, tmp_path):
        tmp_path.chmod(0o500)
        assert "cannot be written" in fail("train.py", f"data.root={archive}", f"hydra.run.dir={tmp_path}/run", *SMALL)

    def test_an_output_folder_below_a_file(self, run, archive, tmp_path):
        (tmp_path / "file").touch()
        assert "file" in fail("train.py", f"data.root={archive}", f"hydra.run.dir={tmp_path}/file/run", *SMALL)
        assert "file" in fail("evaluate.py", f"ckpt={run[0]}/checkpoints/best.ckpt", f"out={tmp_path}/file/o")

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["trainer.accelerator=gpu"], "the trainer cannot be set up as asked"),
            (["trainer.devices=[0]"], "the trainer cannot be set up as asked"),
            (["trainer.devices=500000"], "trainer.devices=500000 on processors starts a process for each; expected at"),
            (["trainer.overfit_batches=0.01"], "cannot do as asked by trainer.overfit_batches=0.01"),
        ],
    )
    def test_what_the_trainer_cannot_do(self, archive, tmp_path, words, told):
        run = tmp_path / "run"
        assert told in fail("train.py", f"data.root={archive}", f"hydra.run.dir={run}", *SMALL, *words)
        assert not run.exists()


def test_the_end_of_a_run_scores_any_subset_reads_its_checkpoint_once_and_the_archive_not_again(
    archive, tmp_path, monkeypatch
):
    read, opened = [], []
    load, open_once = torch.load, SOURCES["archive"]
    monkeypatch.setattr(torch, "load", lambda path, **words: read.append(Path(path).name) or load(path, **words))
    monkeypatch.setitem(SOURCES, "archive", lambda *words: opened.append(1) or open_once(*words))
    train(archive, tmp_path / "run", "trainer.max_epochs=1", "evaluate=validation", "split.test=3")
    assert (read, opened) == (["best.ckpt"], [1])
    assert metrics(tmp_path / "run" / "evaluation" / "validation")["swe"]["model"]["pixels"] > 0
