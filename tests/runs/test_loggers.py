"""What a run logs to CSV files and TensorBoard, read back by their own readers."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snowmap.checkpoints.provenance import git_revision
from snowmap.data.cube import window_names
from snowmap.data.splits import make_split
from snowmap.errors import SnowmapError
from snowmap.evaluation.figures import maps_figure
from snowmap.runs.loggers import log_figure, make_logger
from snowmap.sources.trentino import open_archive
from tests.config.test_checking import checked
from tests.cubes import make_cube
from train import main

SMALL = ("model.channels=[8,16]", "trainer.max_epochs=3", "trainer.enable_progress_bar=false", "evaluate=none")
DRAWN = 2


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(30, (16, 24))


@pytest.fixture(scope="module")
def runs(archive, tmp_path_factory) -> dict[str, Path]:
    """The same training with each logger."""
    folders = {}
    for words in (("logger=csv",), ("logger=tensorboard", f"logger.maps={DRAWN}", "logger.maps_every=2")):
        name = words[0].partition("=")[2]
        folders[name] = tmp_path_factory.mktemp("runs") / name
        main(checked(f"data.root={archive}", *SMALL, "model.dropout=0.3", "callbacks.ema=0.9", *words), folders[name])
    return folders


@pytest.fixture(scope="module")
def board(runs) -> EventAccumulator:
    board = EventAccumulator(str(runs["tensorboard"] / "curves" / "version_0"))
    return board.Reload()


def curves(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "curves" / "version_0" / "metrics.csv")


def test_csv_and_tensorboard_hold_the_same_curves(runs, board):
    table = curves(runs["csv"])
    for name in ("train/loss", "validation/swe_rmse_cm", "validation/nrmse", "lr-AdamW"):
        assert [event.value for event in board.Scalars(name)] == pytest.approx(table[name].dropna().tolist())


def test_windows_per_second_times_seconds_are_the_training_windows(runs, archive):
    table = curves(runs["csv"]).filter(like="throughput/").dropna()
    cube = open_archive(archive)
    split = make_split("rolling", start=cube["start"].values, end=cube["end"].values, shape=cube["mask"].shape)
    assert len(table) == 3
    seen = table["throughput/seconds_per_epoch"] * table["throughput/windows_per_second"]
    np.testing.assert_allclose(seen, len(split.train), rtol=1e-5)


def test_fixed_windows_spread_over_the_validation_part_are_drawn(board, archive):
    cube = open_archive(archive)
    split = make_split("rolling", start=cube["start"].values, end=cube["end"].values, shape=cube["mask"].shape)
    names = window_names(cube)
    assert board.Tags()["images"] == [f"maps/{names[split.validation[i]]}" for i in (0, -1)]
    for tag in board.Tags()["images"]:
        assert len({event.step for event in board.Images(tag)}) == 2  # after the second epoch and at the end


def test_drawing_changes_no_weight(runs):
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in runs.values()
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0] if key.startswith("net."))


def test_configuration_and_environment_are_logged(runs):
    for folder in runs.values():
        logged = OmegaConf.load(folder / "curves" / "version_0" / "hparams.yaml")
        assert logged.model.dropout == 0.3
        assert logged.environment.torch == torch.__version__
        described = logged.environment.git_revision + "-dirty" * logged.environment.git_dirty
        assert described == git_revision()


def test_tensorboard_gets_the_scores_of_the_best_checkpoint(board):
    best = min(event.value for event in board.Scalars("validation/swe_rmse_cm"))
    assert board.Scalars("best_validation/swe_rmse_cm")[0].value == pytest.approx(best, rel=1e-4)


def test_a_figure_of_one_window_tells_its_dates_its_unit_and_that_it_is_synthetic():
    cube = make_cube()
    maps = cube[["swe"]].isel(window=[3, 5]).where(cube["mask"])
    figure = maps_figure(maps, cube, [3, 5], ["swe"], [1])
    assert figure.get_suptitle() == "SYNTHETIC data: proves the pipeline, not skill · 2021-03-10 to 2021-03-22"
    assert [axis.get_title().rpartition(", ")[2] for axis in figure.axes[:3]] == [
        "observed",
        "predicted",
        "predicted − observed",
    ]
    assert {axis.get_ylabel() for axis in figure.axes[3:]} == {"SWE cm", "ΔSWE cm"}


def test_csv_takes_no_figure(tmp_path):
    logger = make_logger(checked("data.root=x"), tmp_path)
    log_figure(logger, "maps/x", Figure(), 0)
    logger.finalize("success")
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".yaml", ".csv"}


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_told_with_its_extra(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)  # what an import finds where it is not installed
    with pytest.raises(SnowmapError, match=rf'logger={name} needs .* pip install "snowmap\[{name}\]"'):
        make_logger(checked(f"logger={name}"), tmp_path)


def test_no_logger(tmp_path):
    assert make_logger(checked("logger=none"), tmp_path) is None
