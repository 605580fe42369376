"""`python train.py experiment=na_sar_pretraining` as a user types it, on shards written by other code."""

import json
import os
import random
import signal

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from snowmap.checkpoints.provenance import read_checkpoint
from snowmap.tasks.pretraining import Pretraining
from tests.commands import fail, succeed
from tests.shards import write_shards

EXPERIMENT = "experiment=na_sar_pretraining"
SMALL = (
    *(EXPERIMENT, "model.channels=[4,8]", "pretraining.width=4", "pretraining.probe=8"),
    *("data.batch_size=4", "data.workers=0", "data.shuffle=4", "optimizer.warmup_steps=2", "trainer.max_epochs=2"),
    *("trainer.enable_progress_bar=false", "data.bands=[co_pol,coherence,phase,elevation]"),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards") / "na_sar"
    write_shards(root, 2, 10, faults={3: "text"}, absent={5: ("cross_pol",)})
    return root


def words(root, run, *more):
    return ("train.py", *SMALL, f"data.root={root}", f"hydra.run.dir={run}", *more)


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "straight"
    return folder, succeed(*words(shards, folder, "evaluate=test"))


def read_record(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def weights(folder, name="last"):
    return Pretraining.load_from_checkpoint(folder / "checkpoints" / f"{name}.ckpt").state_dict()


def test_a_run_leaves_scores_of_each_band_pictures_and_probes(run):
    folder, said = run
    record = read_record(folder)
    assert (record["status"], record["stage"], record["epochs"]) == ("finished", "done", 2)
    scores = record["validation"]["masked"]
    assert {*scores} == {"loss", "cosine_distance_phase", "rmse_co_pol", "rmse_coherence", "rmse_elevation"}
    best = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    assert best["optimizer_states"][0]["param_groups"][0]["initial_lr"] == pytest.approx(3e-4 * 4 / 256)  # linear rule
    stored = next(state for name, state in best["callbacks"].items() if "validation/loss" in name)
    assert scores["loss"] == pytest.approx(float(stored["best_model_score"]), rel=1e-5)
    test = json.loads((folder / "evaluation" / "test" / "metrics.json").read_text())["target"]["masked"]["model"]
    assert {*test} == {*scores}
    assert test["loss"] != scores["loss"]
    patches = sorted(folder.glob("reconstructions/*"))
    assert [path.name for path in sorted(patches[0].iterdir())] == ["epoch_0001.png", "epoch_0002.png"]
    first, second = (imread(path) for path in sorted(patches[0].iterdir()))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)
    curves = next(folder.glob("curves/*/metrics.csv")).read_text().splitlines()[0]
    assert "validation/probe_elevation" in curves
    assert "init_from=" in said


def test_a_finished_run_is_left_alone(run, shards):
    folder, _ = run
    before = (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert "nothing is left to do" in succeed(*words(shards, folder, "evaluate=test"))
    assert (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_a_run_that_is_interrupted_at_a_random_step_ends_with_the_same_weights(run, shards, tmp_path, monkeypatch):
    steps = read_checkpoint(run[0] / "checkpoints" / "last.ckpt")["global_step"]
    step = random.Random().randrange(1, steps - 1)
    plain = Pretraining.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, batch, batch_idx)

    monkeypatch.setattr(Pretraining, "training_step", training_step)
    with pytest.raises(SystemExit) as end:
        succeed(*words(shards, tmp_path / "run", "evaluate=none"))
    assert end.value.code == 128 + signal.SIGTERM
    monkeypatch.undo()
    assert read_record(tmp_path / "run")["status"] == "interrupted"
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == step + 1, step
    succeed(*words(shards, tmp_path / "run", "evaluate=none"))
    for name in ("best", "last"):
        one, other = weights(run[0], name), weights(tmp_path / "run", name)
        assert all(torch.equal(value, other[key]) for key, value in one.items()), step
    assert read_record(tmp_path / "run")["validation"] == read_record(run[0])["validation"]


def test_a_longer_run_goes_on_from_its_checkpoint(run, shards, tmp_path):
    """The curve of the learning rate is that of the configuration."""
    succeed(*words(shards, tmp_path / "run", "trainer.max_epochs=1", "optimizer.restarts=[2]"))
    succeed("train.py", f"ckpt={tmp_path}/run/checkpoints/last.ckpt", "trainer.max_epochs=2")
    one, other = weights(run[0]), weights(tmp_path / "run")
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_other_shards_do_not_resume_a_run(run, tmp_path):
    write_shards(tmp_path / "na_sar", 1, 18)
    said = fail(
        "train.py",
        f"ckpt={run[0]}/checkpoints/last.ckpt",
        f"data.root={tmp_path}/na_sar",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert "content of the shards" in said
    assert "cannot be resumed" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("data=na_sar",), "data=na_sar is of patches without a target"),
        (("split=geography",), "split=geography is of patches without a target"),
        ((EXPERIMENT, "data=archive"), "task=pretraining needs data=na_sar"),
        ((EXPERIMENT, "model=degree_day"), "a baseline, which cannot be pre-trained"),
        ((EXPERIMENT, "ensemble=3"), "ensemble=3 is not for task=pretraining"),
        ((EXPERIMENT, "init_from=best.ckpt"), "init_from=best.ckpt is not for task=pretraining"),
        ((EXPERIMENT, "model.time=stack"), "a patch has 2 dates; give model.steps=2"),
        ((EXPERIMENT, "model.channels=[4,4,4,4,4,4]"), "pretraining.patch=16"),
        ((EXPERIMENT, "data.bands=[elevation,snow]"), "snow"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(shards, tmp_path, given, said):
    run = f"hydra.run.dir={tmp_path}/run"
    root = () if "data=archive" in given else (f"data.root={shards}",)
    assert said in fail("train.py", *given, *root, run)
    assert not (tmp_path / "run").exists()
