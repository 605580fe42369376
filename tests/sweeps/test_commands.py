"""What happens when a user types `python train.py -m …`: runs one after the other in one process, then a table."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import xarray as xr
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from snowmap.cli import main
from snowmap.evaluation.metrics import scores
from snowmap.runs.command_line import job_name
from snowmap.tasks.pixel import SnowRegression
from tests.commands import begin, fail, fork_jobs, succeed

pytestmark = pytest.mark.slow

BASELINE = ("model=climatology", "evaluate=none", "split.test=3")
"""Where it does not matter what is trained."""

BANDS = "data.bands=[coherence,elevation,pdd]"
"""Each of them is permuted."""

FAST = ("debug=fast", "trainer.enable_progress_bar=false", "split=winters", "split.test=3", "model.channels=[4]")


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(40, (16, 24))


@pytest.fixture(scope="module")
def sweep(archive, tmp_path_factory) -> tuple[Path, str]:
    """Two ablations of two folds each, by one command, of the better of two models."""
    folder = tmp_path_factory.mktemp("sweep") / "ablation"
    words = ("experiment=sar_ablation", "ablation=all,shuffled_sar", "split.fold=0,1", "evaluate=none", BANDS)
    words = (*words, "model=unet,convlstm", "seed=0")
    return folder, succeed("train.py", *FAST, *words, f"data.root={archive}", f"hydra.sweep.dir={folder}")


def test_the_ablation_is_one_command(sweep):
    folder, said = sweep
    assert "the test windows were not touched" in said
    errors = {name: pooled(folder, "all", name)["rmse"] for name in ("unet", "convlstm")}
    chosen = chosen_of(folder)
    assert chosen == min(errors, key=lambda name: errors[name])
    assert f"of {chosen}, which the validation windows choose (RMSE with all bands: " in " ".join(said.split())
    assert not list(folder.glob("*/evaluation/test"))
    table = pd.read_csv(folder / "ablation.csv").set_index("name")
    assert [*table.index[table["kind"] == "ablation"]] == ["all", "shuffled_sar"]
    for name in ("all", "shuffled_sar"):
        assert table.loc[name, "rmse"] == pytest.approx(pooled(folder, name, chosen)["rmse"], rel=1e-5)
    assert table.loc["shuffled_sar", "low"] <= table.loc["shuffled_sar", "high"]
    assert [*table.index[table["kind"] == "permutation"]] == ["coherence", "elevation", "pdd"]
    assert len(pd.read_csv(folder / "runs.csv")) == 6  # all bands of either model, and the other ablation of one
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        *(f"{name}.{ending}" for name in ("runs", "ablation") for ending in ("csv", "json", "md", "png")),
        "multirun.yaml",
    }


def test_folds_have_one_table_which_can_be_made_from_the_folder(sweep, tmp_path, capsys):
    for path in sweep[0].glob("model-unet*ablation-all_*"):
        shutil.copytree(path, tmp_path / path.name)
    assert main(["summarize", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "2 folds" in said
    assert "optimistic" in said
    table = pd.read_csv(tmp_path / "cross_validation.csv").query("map == 'model'").set_index("over")
    assert [*table.index] == ["fold 0", "fold 1", "pooled", "mean"]
    known = pooled(sweep[0], "all", "unet")
    assert table.loc["pooled", [*known]].astype(float).to_dict() == pytest.approx(known)


def chosen_of(folder: Path) -> str:
    """The model whose ablations were run, of which there is one."""
    (name,) = {path.name.split("_")[0].removeprefix("model-") for path in folder.glob("*ablation-shuffled_sar*")}
    return name


def pooled(folder: Path, ablation: str, model: str) -> dict[str, Any]:
    """Scores of all validation maps of an ablation."""
    maps = []
    for path in sorted(folder.glob(f"model-{model}_*ablation-{ablation}_*")):
        with xr.open_dataset(path / "evaluation" / "validation" / "predictions.nc") as file:
            maps.append(file[["swe", "swe_observed"]].load())
    together = xr.concat(maps, "time")
    return scores(together["swe"].values, together["swe_observed"].values)


def test_a_run_of_a_sweep_is_that_of_a_run_by_itself(sweep, archive, tmp_path):
    """Nothing of the run before it is left in the process: neither seeds nor what Lightning and the logger keep."""
    model = chosen_of(sweep[0])
    last = f"model-{model}_seed-0_ablation-shuffled_sar_split.fold-1"
    words = (
        *FAST,
        f"model={model}",
        BANDS,
        f"data.root={archive}",
        f"hydra.run.dir={tmp_path}/alone",
        "ablation=shuffled_sar",
        "split.fold=1",
    )
    alone = begin("train.py", *words, "evaluate=none")
    said = alone.communicate()[0]
    assert alone.returncode == 0, said
    states = [
        SnowRegression.load_from_checkpoint(folder / "checkpoints" / "last.ckpt").state_dict()
        for folder in (sweep[0] / last, tmp_path / "alone")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert len(list((sweep[0] / last / "curves").glob("*"))) == 1


def test_a_sweep_in_one_process_whose_runs_take_several_is_refused(archive, tmp_path, capsys):
    words = ("split.fold=0,1", "trainer.devices=2", f"hydra.sweep.dir={tmp_path}/sweep", f"data.root={archive}")
    with pytest.raises(SystemExit, match="1"):
        succeed("train.py", "-m", *FAST, *words)
    error = capsys.readouterr().err
    assert "a multirun whose jobs take 2 processes" in error
    assert "give launcher=joblib launcher.jobs=1" in error


class TestLaunchers:
    """Jobs as commands of their own: what befalls one of them does not end the others."""

    WORDS = (*FAST, "split.fold=0", "evaluate=none")

    def starts(self, folder: Path) -> dict[str, int]:
        return {name: json.loads((folder / name / "run.json").read_text())["starts"] for name in self.names(folder)}

    def names(self, folder: Path) -> list[str]:
        return sorted(path.parent.name for path in folder.glob("*/run.json"))

    def test_a_failed_and_a_killed_job_are_named_and_alone_run_again(self, archive, tmp_path):
        folder = tmp_path / "sweep"
        words = (*self.WORDS, f"data.root={archive}", f"hydra.sweep.dir={folder}", "launcher=joblib")
        words = ("train.py", "-m", *words, "seed=0,1,2")
        blocked = folder / "seed-0" / "thesis.txt"
        blocked.parent.mkdir(parents=True)
        blocked.write_text("in the way")
        (folder / "multirun.yaml").touch()
        victim = folder / "seed-1"
        sweep = begin(*words, before=fork_jobs)
        while not (victim / "config.yaml").exists():
            assert sweep.poll() is None, sweep.communicate()[0]
            time.sleep(0.005)
        os.kill(json.loads((victim / "run.json").read_text())["pid"], signal.SIGKILL)
        said = sweep.communicate(timeout=400)[0]
        assert sweep.returncode == 1, said
        assert "2 of 3 jobs did not finish" in said
        assert f"{victim.name}: failed, the process was killed by SIGKILL" in said
        assert f"{blocked.parent.name}: failed, {blocked.parent} holds other files (thesis.txt)" in said
        assert list(blocked.parent.iterdir()) == [blocked]
        blocked.unlink()
        first = self.starts(folder)
        assert first == dict.fromkeys(first, 1)
        assert len(first) == 2
        assert begin(*words, before=fork_jobs).communicate()[0].count(": finished before") == 1
        again = {name for name, starts in self.starts(folder).items() if starts == 2}
        assert again == {victim.name}
        records = [json.loads((folder / name / "run.json").read_text()) for name in self.starts(folder)]
        assert [record["status"] for record in records] == ["finished"] * 3
        assert pd.read_csv(folder / "runs.csv")["runs"].tolist() == [3]

    def test_a_signal_ends_the_jobs_and_the_same_command_goes_on(self, archive, tmp_path):
        folder = tmp_path / "sweep"
        words = (*self.WORDS, f"data.root={archive}", f"hydra.sweep.dir={folder}", "launcher=joblib", "launcher.jobs=1")
        words = ("train.py", "-m", *words, "trainer.max_epochs=4000", "trainer.limit_train_batches=null", "seed=0,1")
        sweep = begin(*words, before=fork_jobs)
        while not (folder / "seed-0" / "checkpoints" / "last.ckpt").exists():
            assert sweep.poll() is None, sweep.communicate()[0]
            time.sleep(0.02)
        sweep.send_signal(signal.SIGTERM)
        said = sweep.communicate(timeout=200)[0]
        assert sweep.returncode == 128 + signal.SIGTERM, said
        assert f"the same command with hydra.sweep.dir={folder} resumes it" in said
        assert json.loads((folder / "seed-0" / "run.json").read_text())["status"] == "interrupted"
        assert not (folder / "seed-1").exists()

    def test_submitit_runs_the_jobs_of_a_sweep(self, archive, tmp_path):
        words = (*BASELINE, f"data.root={archive}", f"hydra.sweep.dir={tmp_path}/sweep", "data.phase_sign=1")
        said = succeed(
            "train.py", "-m", *words, "launcher=slurm", "launcher.cluster=local", "launcher.gpus_per_node=null"
        )
        assert said.count(": finished in") == 1
        assert self.starts(tmp_path / "sweep") == {"0": 1}
        assert "validation RMSE" in (tmp_path / "sweep" / "0" / "run.log").read_text()
        told = fail("train.py", "-m", *words[:-1], "seed=2,3", "launcher=slurm")
        assert 'Could not detect "srun"' in told


def test_a_failing_job_in_one_process_does_not_end_the_others(archive, tmp_path, capsys):
    words = (*BASELINE, f"data.root={archive}", f"hydra.sweep.dir={tmp_path}/sweep", "data.phase_sign=7,1")
    with pytest.raises(SystemExit, match="1"):
        succeed("train.py", "-m", *words)
    error = capsys.readouterr().err
    assert "1 of 2 jobs did not finish" in error
    assert "data.phase_sign-7: failed, data.phase_sign=7: expected 1 | -1" in error
    assert json.loads((tmp_path / "sweep" / "data.phase_sign-1" / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("typed", "task", "name"),
    [
        ("model=unet,convlstm seed=0,1 loss=mae", "model=unet seed=1 loss=mae", "model-unet_seed-1"),
        ("data.root=/a/one,/b/one loss=mae", "data.root=/b/one loss=mae", "data.root-one.c712d7"),
        ("model.channels=[8,16],[4,8]", "model.channels=[4,8]", "model.channels-4-8"),
        ("loss=mae", "loss=mae", "7"),
    ],
)
def test_a_job_is_named_after_what_is_swept(monkeypatch, typed, task, name):
    settings = OmegaConf.create({"sweeper": {"params": None}, "overrides": {"task": task.split()}})
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: settings))
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", *typed.split()])
    assert job_name(7) == name
