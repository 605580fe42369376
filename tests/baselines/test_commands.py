"""Baselines by the commands that a user types."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from snowmap.sources.trentino import open_archive
from snowmap.tasks.load import load_model
from tests.commands import SMALL, fail, succeed, train
from tests.cubes import BASELINES_OF_QUANTITIES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(20, (16, 24))


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())["target"]


def fit(archive: Path, run: Path, *words: str) -> str:
    return succeed("train.py", f"data.root={archive}", f"hydra.run.dir={run}", "split.test=3", *words)


def test_a_baseline_is_fitted_saved_and_scored_from_its_file(archive, tmp_path):
    """The one whose file holds most: that each comes back the same is tested in `test_checkpoint`."""
    run, name = tmp_path / "run", "boosted_trees"
    said = fit(archive, run, f"model={name}", "target=both", "evaluate=none")
    said += succeed("evaluate.py", f"ckpt={run}/checkpoints/best.ckpt")
    for words in ("HS, test windows", "SWE, test windows", "needs a known past", "best.ckpt", "next         python"):
        assert words in said
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["name"] == name
    for scores in metrics(run / "evaluation" / "test").values():
        assert scores["model"]["rmse"] == pytest.approx(scores["baselines"][name]["rmse"])
        assert set(scores["baselines"]) == set(BASELINES_OF_QUANTITIES)
    maps = load_model(run / "checkpoints" / "best.ckpt").predict(open_archive(archive))
    assert maps.sizes == {"window": 20, "y": 16, "x": 24}


def test_a_baseline_moves_with_its_file(archive, tmp_path):
    fit(archive, tmp_path / "run", "model=elevation", "evaluate=none")
    assert not (tmp_path / "run" / "evaluation").exists()
    moved = shutil.move(tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "elevation.ckpt")
    assert load_model(moved).predict(open_archive(archive), [19])["swe"].notnull().any()


def test_there_is_nothing_to_go_on_with(archive, tmp_path):
    fit(archive, tmp_path / "run", "model=persistence", "evaluate=none")
    told = "is a baseline, fitted at once: there is nothing to resume; leave ckpt=… out"
    assert f"model=persistence {told}" in fail("train.py", f"ckpt={tmp_path}/run/checkpoints/best.ckpt")
    train(archive, tmp_path / "net", "trainer.max_epochs=1", "evaluate=none")
    checkpoint = tmp_path / "net" / "checkpoints" / "last.ckpt"
    assert f"model=climatology {told}" in fail("train.py", "model=climatology", f"ckpt={checkpoint}")


def test_a_run_folder_is_not_taken_twice(archive, tmp_path):
    fit(archive, tmp_path / "run", "model=persistence", "evaluate=none")
    told = fail("train.py", f"data.root={archive}", f"hydra.run.dir={tmp_path}/run", "model=climatology")
    assert "already holds a run" in told


def test_a_baseline_without_its_bands_leaves_no_folder(archive, tmp_path):
    words = ("model=insar_swe", "data.bands=[elevation,pdd]", f"data.root={archive}", f"hydra.run.dir={tmp_path}/run")
    assert "model=insar_swe needs the band coherence, incidence, unwrapped_phase" in fail("train.py", *words)
    assert not (tmp_path / "run").exists()


def test_a_net_and_a_baseline_stand_beside_the_same_baselines(archive, tmp_path):
    fit(archive, tmp_path / "baseline", "model=climatology", "experiment=no_sar")
    succeed("train.py", f"data.root={archive}", f"hydra.run.dir={tmp_path}/net", *SMALL, "experiment=no_sar",
            "trainer.max_epochs=1")  # fmt: skip
    found = [metrics(tmp_path / kind / "evaluation" / "test")["swe"]["baselines"] for kind in ("baseline", "net")]
    assert found[0] == found[1]
    assert set(BASELINES_OF_QUANTITIES) - set(found[0]) == {"insar_swe"}
