"""What chooses the epoch, and which windows train in the end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from snowmap.sources.trentino import open_archive
from snowmap.tasks.load import load_model
from tests.commands import fail, train

pytestmark = pytest.mark.slow

WORDS = (
    "selection=winter",
    "logger=none",
    "evaluate=none",
    "trainer.max_epochs=4",
    "optimizer.learning_rate=0.02",
    "data.derived=[]",
)


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    """Two winters before the last windows."""
    return foreign_archive(44, (12, 16))


@pytest.fixture(scope="module")
def rolling(archive, tmp_path_factory) -> tuple[Path, str]:
    run = tmp_path_factory.mktemp("run") / "rolling"
    return run, train(archive, run, *WORDS)


def stored(run: Path, name: str) -> dict:
    return torch.load(run / "checkpoints" / name, weights_only=True)


def same_weights(one: dict, other: dict) -> bool:
    return all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


def test_a_whole_winter_chooses_the_epoch_of_a_rolling_split(archive, rolling, tmp_path):
    run, said = rolling
    first = stored(run / "selection", "best.ckpt")
    split = first["hyper_parameters"]["metadata"]["archives"][0]["split"]
    assert {name[:4] + name[5:7] for name in split["validation"]} >= {"202110", "202112", "202203"}
    assert not [name for name in split["train"] if "2021-09" <= name[-10:] < "2022-09"]
    epochs = first["epoch"] + 1
    assert "the epoch is chosen by the winter 2021/22" in said
    assert f"the first fit gives {epochs} epochs" in said
    assert json.loads((run / "run.json").read_text())["epochs"] == epochs
    words = ("selection=validation", f"trainer.max_epochs={epochs}", "callbacks.patience=null")
    train(archive, tmp_path / "plain", *WORDS, *words)
    plain = stored(tmp_path / "plain", "last.ckpt")
    assert (
        plain["hyper_parameters"]["metadata"]["archives"][0]["split"]
        == stored(run, "best.ckpt")["hyper_parameters"]["metadata"]["archives"][0]["split"]
    )
    assert same_weights(plain, stored(run, "best.ckpt"))


def test_a_longer_run_resumes_both_fits(archive, rolling, tmp_path):
    run = tmp_path / "run"
    train(archive, run, *WORDS, "trainer.max_epochs=2")
    train(archive, run, *WORDS, f"ckpt={run / 'checkpoints' / 'last.ckpt'}")
    for folder in ("", "selection"):
        assert same_weights(stored(run / folder, "last.ckpt"), stored(rolling[0] / folder, "last.ckpt"))
    assert same_weights(stored(run, "best.ckpt"), stored(rolling[0], "best.ckpt"))


def test_a_winter_that_validates_chooses_by_itself(archive, tmp_path):
    said = train(archive, tmp_path, *WORDS, "split=winters", "trainer.max_epochs=1")
    assert "the epoch is chosen by the winter 2021/22" in said
    assert not (tmp_path / "selection").exists()


def test_no_epoch_before_the_earliest_is_chosen_nor_takes_patience_also_of_a_run_that_is_resumed(archive, tmp_path):
    same_scores = ("optimizer.learning_rate=1e-12", "callbacks.patience=1", "callbacks.ema=null", "split=winters")
    words = (*WORDS, *same_scores, "callbacks.earliest=3")
    assert "which do not train), epoch 3 at the earliest\n" in train(archive, tmp_path, *words, "trainer.max_epochs=2")
    assert stored(tmp_path, "best.ckpt")["epoch"] == 1  # a shorter run has its last one
    train(archive, tmp_path, *words, "trainer.max_epochs=6", f"ckpt={tmp_path / 'checkpoints' / 'last.ckpt'}")
    assert stored(tmp_path, "best.ckpt")["epoch"] == 2
    assert stored(tmp_path, "last.ckpt")["epoch"] == 3


def test_without_a_choice_the_last_epoch_is_kept_however_long_the_validation_has_not_improved(archive, tmp_path):
    same_scores = ("optimizer.learning_rate=1e-12", "callbacks.patience=1", "callbacks.ema=null", "split=winters")
    said = train(archive, tmp_path / "last", *WORDS, "selection=last", *same_scores)
    assert "the epoch is chosen by trainer.max_epochs, not by a score" in said
    assert stored(tmp_path / "last", "best.ckpt")["epoch"] == 3
    assert not (tmp_path / "last" / "selection").exists()
    train(archive, tmp_path / "chosen", *WORDS, "selection=validation", *same_scores)
    assert stored(tmp_path / "chosen", "best.ckpt")["epoch"] < 3


def test_a_final_fit_trains_on_the_validation_windows_and_its_scores_are_those_of_the_fit_before(archive, tmp_path):
    run = tmp_path / "run"
    words = ("split=winters", "final_fit=true", "head=gaussian", "evaluate=test", "trainer.check_val_every_n_epoch=2")
    said = train(archive, run, *WORDS, *words)
    assert "a final fit trains on the validation windows, too" in said
    final, first = stored(run, "best.ckpt"), stored(run / "selection", "best.ckpt")
    split, before = (each["hyper_parameters"]["metadata"]["archives"][0]["split"] for each in (final, first))
    assert split["train"] == sorted(before["train"] + before["validation"])
    assert split["validation"] == []
    assert split["test"] == before["test"]
    assert final["epoch"] == first["epoch"]
    cube = open_archive(archive)
    names = [
        f"{s:%Y-%m-%d}_to_{e:%Y-%m-%d}" for s, e in zip(*(cube[d].to_series() for d in ("start", "end")), strict=True)
    ]
    chosen = [names.index(name) for name in before["validation"]]
    maps = load_model(run / "selection" / "checkpoints" / "best.ckpt").predict(cube, chosen)["swe"].values
    error = maps - np.where(cube["mask"], cube["swe"].values[chosen], np.nan)
    recorded = json.loads((run / "run.json").read_text())["validation"]["swe"]["rmse"]
    assert recorded == pytest.approx(np.sqrt(np.nanmean(error.astype(np.float64) ** 2)), rel=1e-5)
    assert final["hyper_parameters"]["calibration"]["swe"]["factor_90"] > 0
    with xr.open_dataset(run / "evaluation" / "test" / "predictions.nc") as predictions:
        assert predictions.sizes["time"] == 3
    assert "the winter 2021/22" in (run / "evaluation" / "test" / "report.html").read_text()
    refused = fail("evaluate.py", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "split=validation")
    assert "validation windows trained in its final fit" in refused


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("split=spatial", "split.buffer=1"), "would train in the area in which the test windows are scored"),
        (("evaluate=validation",), "these windows train, too; choose test or none"),
    ],
)
def test_a_final_fit_is_refused_where_it_would_train_on_what_is_scored(archive, tmp_path, words, error):
    typed = (f"data.root={archive}", f"hydra.run.dir={tmp_path}", *WORDS, "final_fit=true", *words)
    assert error in fail("train.py", *typed)
