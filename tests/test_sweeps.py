"""What happens when a user types `python train.py -m …`: runs one after the other in one process, then a table."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import xarray as xr

from snowmap.cli import main
from snowmap.metrics import scores
from snowmap.task import SnowRegression
from tests.archives import write_foreign_archive
from tests.commands import command, fail, succeed

pytestmark = pytest.mark.slow

FAST = ("debug=fast", "trainer.enable_progress_bar=false", "split=winters", "split.test=3")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("foreign") / "Dataset_icip2026"
    write_foreign_archive(root, windows=40, shape=(16, 24))
    return root


@pytest.fixture(scope="module")
def sweep(archive, tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("sweep") / "folds"
    words = (*FAST, f"data.root={archive}", f"hydra.sweep.dir={folder}", "split.fold=0,1", "evaluate=none")
    return folder, succeed("train.py", "-m", *words)


def test_every_fold_has_its_folder_and_all_have_one_table(sweep):
    folder, said = sweep
    for fold in ("0", "1"):
        assert (folder / fold / "checkpoints" / "best.ckpt").is_file()
        assert len(list((folder / fold / "curves").glob("*"))) == 1
        assert not (folder / fold / "evaluation" / "test").exists()
    assert "2 folds" in said
    assert "optimistic" in said
    (found,) = json.loads((folder / "cross_validation.json").read_text())["configurations"]
    assert [entry["fold"] for entry in found["folds"]] == [0, 1]
    maps = []
    for fold in ("0", "1"):
        with xr.open_dataset(folder / fold / "evaluation" / "validation" / "predictions.nc") as file:
            maps.append(file[["swe", "swe_observed"]].load())
    together = xr.concat(maps, "time")
    known = scores(together["swe"].values, together["swe_observed"].values)
    assert found["target"]["swe"]["pooled"] == pytest.approx(known)


def test_a_run_of_a_sweep_is_that_of_a_run_by_itself(sweep, archive, tmp_path):
    """Nothing of the run before it is left in the process: neither seeds nor what Lightning and the logger keep."""
    words = (f"data.root={archive}", f"hydra.run.dir={tmp_path}/alone", *FAST, "split.fold=1", "evaluate=none")
    assert command("train.py", *words).returncode == 0
    states = [
        SnowRegression.load_from_checkpoint(folder / "checkpoints" / "last.ckpt").state_dict()
        for folder in (sweep[0] / "1", tmp_path / "alone")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_table_can_be_made_again_from_the_folder(sweep, capsys):
    folder, _ = sweep
    first = (folder / "cross_validation.json").read_text()
    (folder / "cross_validation.json").unlink()
    assert main(["summarize", str(folder)]) == 0
    assert (folder / "cross_validation.json").read_text() == first
    assert "2 folds" in capsys.readouterr().out


def test_other_sweeps_end_without_a_table(archive, tmp_path):
    words = (*FAST, f"data.root={archive}", f"hydra.sweep.dir={tmp_path}/seeds", "seed=0,1", "evaluate=none")
    succeed("train.py", "-m", *words)
    assert {path.name for path in (tmp_path / "seeds").iterdir()} == {"0", "1", "multirun.yaml"}


def test_the_ablation_is_one_command(archive, tmp_path):
    words = ("experiment=sar_ablation", "ablation=all,no_sar,shuffled_sar", f"hydra.sweep.dir={tmp_path}/sweep")
    said = succeed("train.py", f"data.root={archive}", *words, *FAST, "split.fold=0")
    assert "the test windows were not touched" in said
    assert not list((tmp_path / "sweep").glob("*/evaluation/test"))
    (entry,) = json.loads((tmp_path / "sweep" / "ablation.json").read_text())["target"].values()
    assert list(entry["cases"]) == ["all", "no_sar", "shuffled_sar"]
    for number, name in enumerate(entry["cases"]):
        metrics = tmp_path / "sweep" / str(number) / "evaluation" / "validation" / "metrics.json"
        assert entry["cases"][name]["rmse"] == pytest.approx(
            json.loads(metrics.read_text())["target"]["swe"]["model"]["rmse"], rel=1e-5
        )
    assert entry["cases"]["no_sar"]["low"] <= entry["cases"]["no_sar"]["high"]
    assert len(entry["importance"]) == 9
    assert len(pd.read_csv(tmp_path / "sweep" / "ablation.csv")) == 3 + 9
    assert (tmp_path / "sweep" / "ablation.png").stat().st_size > 10_000


def test_a_sweep_whose_runs_take_several_processes_is_refused(archive, tmp_path):
    words = ("split.fold=0,1", "trainer.devices=2", f"hydra.sweep.dir={tmp_path}/sweep", f"data.root={archive}")
    assert "a multirun whose jobs take 2 processes" in fail("train.py", "-m", *FAST, *words)
