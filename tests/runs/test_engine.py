"""The training engine as a user meets it: every model, sequences, compilation, processes, and what goes wrong."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from snowmap.baselines import BASELINES
from snowmap.config.models import MODELS
from snowmap.data.splits import make_split
from snowmap.sources.trentino import open_archive, write_archive
from snowmap.tasks.load import load_model
from snowmap.tasks.pixel import SnowRegression
from tests.commands import ROOT, begin, fail, succeed

pytestmark = pytest.mark.slow

SMALL = {
    "unet": ("model.channels=[8,16]",),
    "convlstm": ("model.channels=[8,16]", "model.hidden=[8,8]"),
    "transformer": ("model.channels=[8,16]", "model.heads=2", "model.layers=1"),
    "unet3d": ("model.channels=[8,16]", "data.time=4"),
    "massbalance": ("model.channels=[8,16]", "model.hidden=8"),
}
QUIET = ("trainer.enable_progress_bar=false", "selection=validation")


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(40, (16, 24))


def words(archive: Path, run: Path, model: str, *more: str) -> list[str]:
    return [f"model={model}", f"data.root={archive}", f"hydra.run.dir={run}", *SMALL[model], *QUIET, *more]


def train(archive: Path, run: Path, model: str, *more: str) -> str:
    return succeed("train.py", *words(archive, run, model, *more))


def best(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"


def rmse_of_swe(run: Path, archive: Path) -> float:
    """Of the best checkpoint over the last seven windows."""
    cube = open_archive(archive)
    maps = load_model(best(run)).predict(cube, range(33, 40))
    return float(np.sqrt(((maps["swe"] - cube["swe"][33:]) ** 2).mean()))


def same_weights(a: Path, b: Path) -> bool:
    states = [SnowRegression.load_from_checkpoint(path).state_dict() for path in (a, b)]
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_every_model_has_a_file_and_is_tried():
    elsewhere = {"smp", "mae"}  # their libraries are no dependencies of the tests
    assert (
        set(MODELS)
        == {*SMALL, *BASELINES, *elsewhere}
        == {file.stem for file in (ROOT / "conf" / "model").glob("*.yaml")}
    )


@pytest.mark.parametrize("model", SMALL)
def test_the_model_is_swapped_by_one_word_and_goes_on_where_it_stopped(archive, tmp_path, model):
    options = ("target=both", "callbacks.ema=0.9", "split=winters", "split.fold=0", "split.test=3", "data.crop=[12,20]")
    options += ("trainer.check_val_every_n_epoch=1",)  # or the first half alone could choose the first epoch
    train(archive, tmp_path / "straight", model, *options, "trainer.max_epochs=2", "evaluate=none")
    train(archive, tmp_path / "halves", model, *options, "trainer.max_epochs=1", "evaluate=none")
    last = Path("checkpoints") / "last.ckpt"
    assert not same_weights(tmp_path / "halves" / last, tmp_path / "straight" / last)
    succeed("train.py", f"ckpt={tmp_path}/halves/{last}", "trainer.max_epochs=2")
    assert same_weights(tmp_path / "halves" / last, tmp_path / "straight" / last)
    assert same_weights(best(tmp_path / "halves"), best(tmp_path / "straight"))
    scores = json.loads((tmp_path / "halves" / "run.json").read_text())["validation"]
    assert scores["hs"]["pixels"] > 0


def test_accumulation_and_melt_are_written_and_close_the_budget(archive, tmp_path):
    train(archive, tmp_path / "run", "massbalance", "trainer.max_epochs=1", "split.test=3")
    with xr.open_dataset(tmp_path / "run" / "evaluation" / "test" / "predictions.nc") as maps:
        assert maps["accumulation"].attrs["units"] == "mm"
        assert maps["melt"].attrs["cell_methods"] == "time: sum"
        change = maps["swe"].diff("time") * 10
        contiguous = np.diff(maps["time_bnds"].values[:, 0]) == np.diff(maps["time_bnds"].values, axis=1)[:-1, 0]
        budget = (maps["accumulation"] - maps["melt"]).isel(time=slice(1, None))
        np.testing.assert_allclose(change.values[contiguous], budget.values[contiguous], atol=1e-2)
        assert float(maps["melt"].min()) >= 0


@pytest.mark.parametrize(
    "options",
    [
        ("model.time=stack", "model.steps=3"),
        ("data.derived=[day_of_year,slope,aspect,cumulative_pdd,cumulative_phase_swe,coherent_phase_swe]",),
        ("trainer.precision=bf16-mixed",),
        ("trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5"),
        ("data.augment=flip", "data.crop=[8,8]"),
        ("data.phase_sign=-1", "data.derived=[phase_swe]"),
    ],
    ids=lambda options: options[0],
)
def test_choices(archive, tmp_path, options):
    train(archive, tmp_path / "run", "unet", "trainer.max_epochs=1", "evaluate=none", *options)
    assert rmse_of_swe(tmp_path / "run", archive) > 0


def test_a_sequence_model_of_fixed_length(archive, tmp_path):
    options = ("trainer.max_epochs=1", "evaluate=none", "data.time=3", "data.supervise=last", "data.batch_size=4")
    train(archive, tmp_path / "run", "convlstm", *options, "data.derived=[day_of_year]")  # no sum reads further back
    task = SnowRegression.load_from_checkpoint(best(tmp_path / "run"))
    assert task.time == 3
    cube = open_archive(archive)
    late = cube.copy(deep=True)
    late["features"].values[31:] = 7
    np.testing.assert_array_equal(task.predict(cube, [30])["swe"], task.predict(late, [30])["swe"])
    early = cube.copy(deep=True)
    early["features"].values[:28] = 7  # before the three windows
    np.testing.assert_array_equal(task.predict(cube, [30])["swe"], task.predict(early, [30])["swe"])


NARROW = ("model.channels=[4]", "trainer.max_epochs=1", "evaluate=none")
"""Few kernels to compile."""


def test_a_compiled_net_gives_checkpoints_like_any_other(archive, tmp_path):
    plain, compiled = tmp_path / "plain", tmp_path / "compiled"
    train(archive, plain, "unet", *NARROW)
    # in a process of its own: types that are checked while it runs cannot be compiled
    process = begin("train.py", *words(archive, compiled, "unet", *NARROW, "compile=true"))
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert rmse_of_swe(compiled, archive) == pytest.approx(rmse_of_swe(plain, archive), rel=1e-2)


def without_compiler() -> None:
    """What the variable CXX says is read at an import, which the process has done already."""
    import torch._inductor.config as inductor

    inductor.cpp.cxx = (None, "no-compiler")


def test_what_cannot_be_compiled_runs_as_it_is_and_says_so(archive, tmp_path):
    typed = words(archive, tmp_path / "run", "unet", *NARROW, "compile=true")
    process = begin("train.py", *typed, before=without_compiler, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "WON'T CONVERT" in said
    assert "No working C++ compiler found" in said
    assert rmse_of_swe(tmp_path / "run", archive) > 0


class TestProcesses:
    DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true")

    def test_one_log_one_checkpoint_one_summary(self, archive, tmp_path):
        run = tmp_path / "run"
        more = (*self.DDP, "trainer.max_epochs=2", "split.test=3")
        process = begin("train.py", *words(archive, run, "transformer", *more))
        said = process.communicate()[0]
        assert process.returncode == 0, said
        assert said.count("│ train ") == 1
        assert said.count("next         python evaluate.py") == 1
        assert len(list(run.glob("curves/*"))) == 1
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
        test = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())["windows"]
        assert len({entry["window"] for entry in test}) == len(test) == 3

    def test_a_process_that_dies_ends_the_run(self, archive, tmp_path):
        more = (*self.DDP, "trainer.max_epochs=5000", "callbacks.patience=null")
        run = begin("train.py", *words(archive, tmp_path / "run", "unet", *more))
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
                assert time.monotonic() < deadline
                assert run.poll() is None, run.communicate()[0]
                time.sleep(0.2)
            children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            (second,) = [pid for pid in children if b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(int(second), signal.SIGKILL)
            run.communicate(timeout=60)
            assert run.returncode != 0
            assert SnowRegression.load_from_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)


class TestBadInput:
    def told(self, archive, tmp_path, model, *more: str) -> str:
        return fail("train.py", *words(archive, tmp_path / "run", model, *more))

    def test_a_sequence_longer_than_the_season(self, archive, tmp_path):
        told = self.told(archive, tmp_path, "convlstm", "data.time=39")
        assert "data.time=39 is longer than the longest season of the archive" in told
        assert not (tmp_path / "run").exists()

    def test_a_sequence_too_short_or_of_another_length_than_the_stack(self, archive, tmp_path):
        assert "needs at least 2 windows" in self.told(archive, tmp_path, "unet3d", "data.time=1")
        told = self.told(archive, tmp_path, "unet", "model.time=stack", "data.time=3")
        assert "data.time=3, but the net reads stacks of 6; give model.steps=3 instead" in told

    def test_every_step_of_a_net_that_maps_the_last_one_alone(self, archive, tmp_path):
        assert "choose data.supervise=last" in self.told(archive, tmp_path, "unet3d", "data.supervise=every")

    def test_a_checkpoint_of_another_length(self, archive, tmp_path):
        train(archive, tmp_path / "run", "convlstm", "data.time=4", "trainer.max_epochs=1", "evaluate=none")
        told = fail("train.py", f"ckpt={tmp_path}/run/checkpoints/last.ckpt", "data.time=6", "trainer.max_epochs=2")
        assert "data.time=6, but the checkpoint was trained with data.time=4" in told

    def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(self, archive, tmp_path):
        run = tmp_path / "run"
        told = self.told(archive, tmp_path, "unet", "optimizer.learning_rate=10", "optimizer.weight_decay=100")
        assert re.search(r"(training loss|validation score .*) became (nan|inf) in epoch", told)
        assert "lower optimizer.learning_rate" in told
        kept = re.search(r"the last good checkpoint is (\S+)|no checkpoint had been written yet", told)
        assert kept
        if kept[1]:
            assert all(value.isfinite().all() for value in SnowRegression.load_from_checkpoint(kept[1]).parameters())
        assert not (run / "evaluation").exists()

    def test_a_score_that_is_no_number_ends_the_run_as_failed(self, archive, tmp_path):
        cube = open_archive(archive)
        dates = {edge: cube[edge].values for edge in ("start", "end")}
        split = make_split("rolling", shape=cube["mask"].shape, **dates)
        cube["swe"].values[split.validation[0], 8, 12] = 1e30  # its square is infinite
        root = write_archive(cube, tmp_path / "archive")
        assert "the validation score (validation/nrmse) became inf in epoch 0" in self.told(root, tmp_path, "unet")
        assert not (tmp_path / "run").exists()  # as no checkpoint came about

    def test_more_devices_or_a_precision_that_is_not_there(self, archive, tmp_path):
        told = self.told(archive, tmp_path, "unet", "trainer=gpu", "trainer.devices=7")
        assert "the trainer cannot be set up as asked" in told
        told = self.told(archive, tmp_path, "unet", "trainer.precision=16-mixed")
        assert re.search(r"trainer\.precision=16-mixed needs a GPU, not cpu; choose 32-true or bf16-mixed", told)
