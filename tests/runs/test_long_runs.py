"""Interruptions of long runs: signals, `kill -9` at the worst moment, a full disk. The same command resumes the run."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from snowmap.cli import main
from tests.commands import SMALL, Started, begin, succeed

pytestmark = pytest.mark.slow

WORDS = (
    *SMALL,
    "data.batch_size=1",
    "callbacks.ema=0.9",
    "data.crop=[12,20]",
    "callbacks.patience=null",
)
EPOCHS = "trainer.max_epochs=12"


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(20, (16, 24))


@pytest.fixture(scope="module")
def straight(archive, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("straight") / "run"
    succeed(*words(archive, run))
    return run


def words(archive: Path, run: Path) -> list[str]:
    return ["train.py", f"data.root={archive}", f"hydra.run.dir={run}", *WORDS, EPOCHS]


def wait(process: Started, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def saved(run: Path) -> int:
    """When the last checkpoint was written; 0 without one."""
    file = run / "checkpoints" / "last.ckpt"
    return file.stat().st_mtime_ns if file.exists() else 0


def result(run: Path) -> tuple[dict, dict]:
    metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())["target"]
    return metrics, json.loads((run / "run.json").read_text())["validation"]


def same_weights(a: Path, b: Path) -> bool:
    return all(
        torch.equal(value, other[name])
        for file in ("best.ckpt", "last.ckpt")
        for states in [[torch.load(run / "checkpoints" / file, weights_only=True)["state_dict"] for run in (a, b)]]
        for other in [states[1]]
        for name, value in states[0].items()
    )


def test_signals_save_in_the_midst_of_an_epoch_and_the_run_ends_as_if_there_had_been_none(archive, straight, tmp_path):
    run, last = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.ckpt"
    steps = []
    for number in (signal.SIGTERM, signal.SIGINT):
        process = begin(*words(archive, run))
        before = saved(run)
        wait(process, lambda before=before: saved(run) > before)
        process.send_signal(number)
        said = process.communicate()[0]
        assert process.returncode == 128 + number
        assert f"interrupted by {number.name}; the same command resumes it" in said
        assert "Traceback" not in said
        record = json.loads((run / "run.json").read_text())
        assert (record["status"], record["stage"]) == ("interrupted", "training")
        steps.append(torch.load(last, weights_only=True)["global_step"])
    assert steps == sorted(steps)
    succeed(*words(archive, run))
    assert same_weights(run, straight)
    assert result(run) == result(straight)
    assert json.loads((run / "run.json").read_text())["starts"] == 3


def die_at(name: str, times: int) -> None:
    """End this process when it has written a file of that name so many times, but not yet renamed it."""
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal times
        times -= Path(target).match(name)
        if times == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.replace = replace


def killed(script: str, name: str, times: int, *words: str | Path, **environment: str) -> None:
    """Run a program that dies by `die_at`."""
    process = begin(script, *words, before=partial(die_at, name, times), **environment)
    said = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, said


def test_kill_9_at_the_worst_moments_costs_no_more_than_an_epoch(archive, straight, tmp_path):
    """While the archive is read into the cache, while a checkpoint is written, and while it is scored."""
    run, cache = tmp_path / "run", {"SNOWMAP_CACHE": str(tmp_path / "cache")}
    script, *rest = words(archive, run)
    for name, times in [("archives/*/*", 1), ("best.ckpt", 2), ("last.ckpt", 3), ("run.json", 3), ("metrics.json", 1)]:
        killed(script, name, times, *rest, **cache)
        assert (run / "run.log").read_text()
        for checkpoint in run.glob("checkpoints/*.ckpt"):
            assert torch.load(checkpoint, weights_only=True)["state_dict"], name
    last = begin(*words(archive, run), **cache)
    said = last.communicate()[0]
    assert last.returncode == 0, said
    assert same_weights(run, straight)
    assert result(run) == result(straight)
    assert not list(run.rglob("*.snowmap-part"))


def test_kill_9_of_an_export_leaves_whole_files_and_the_same_command_makes_the_others(archive, straight, tmp_path):
    out = tmp_path / "maps"
    words = ("predict", straight / "checkpoints" / "best.ckpt", archive, out)
    killed("snowmap/cli/__main__.py", "*.tif", 3, *words)
    assert len(list(out.rglob("*.tif"))) == 2
    assert main(list(map(str, words))) == 0
    assert len(list(out.rglob("*.nc"))) == len(list(out.rglob("*.tif"))) == 20


def test_a_full_disk_is_told_and_the_last_good_checkpoint_stays(archive, straight, tmp_path):
    run = tmp_path / "run"
    succeed(*words(archive, run)[:-1], "trainer.max_epochs=1", "evaluate=none")
    last = run / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))
    process = begin("train.py", f"ckpt={last}", "trainer.max_epochs=3", before=limited)
    said = process.communicate()[0]
    assert process.returncode == 1
    assert f"the last good checkpoint is {last}" in said
    assert "make room or name another disk" in said
    assert "the same command resumes the run" in said
    assert "Traceback" not in said
    assert last.read_bytes() == before
    assert not list(run.rglob("*.snowmap-part"))
