"""What befalls runs that take long: signals, `kill -9` at the worst moment, a full disk. The same command goes on."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.archives import write_foreign_archive
from tests.commands import ROOT, SMALL, succeed

pytestmark = pytest.mark.slow

WORDS = (
    *SMALL,
    "split.test=3",
    "data.batch_size=1",
    "callbacks.ema=0.9",
    "data.crop=[12,20]",
    "callbacks.patience=null",
)
EPOCHS = "trainer.max_epochs=12"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("foreign") / "Dataset_icip2026"
    write_foreign_archive(root, windows=20, shape=(16, 24))
    return root


@pytest.fixture(scope="module")
def straight(archive, tmp_path_factory) -> Path:
    """A run that nothing befell."""
    run = tmp_path_factory.mktemp("straight") / "run"
    succeed(*words(archive, run))
    return run


def words(archive: Path, run: Path) -> list[str]:
    return ["train.py", f"data.root={archive}", f"hydra.run.dir={run}", *WORDS, EPOCHS]


def begin(*command: str | Path, limit_bytes: int | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start `python <command>`; files may not grow beyond the limit, as on a full disk."""

    def limited() -> None:
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limited,
    )


def wait(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def epoch(run: Path) -> int:
    """Epochs that the curves tell of, over all starts."""
    return sum(len(file.read_text().splitlines()) for file in run.glob("curves/*/metrics.csv"))


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
        before = epoch(run)
        wait(process, lambda before=before: epoch(run) > before + 1)
        process.send_signal(number)
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 128 + number
        assert f"interrupted by {number.name}; the same command goes on" in said
        assert "Traceback" not in said
        record = json.loads((run / "run.json").read_text())
        assert (record["status"], record["stage"]) == ("interrupted", "training")
        steps.append(torch.load(last, weights_only=True)["global_step"])
    assert steps == sorted(steps)
    succeed(*words(archive, run))
    assert same_weights(run, straight)
    assert result(run) == result(straight)
    assert json.loads((run / "run.json").read_text())["starts"] == 3


def test_kill_9_at_the_worst_moments_costs_no_more_than_an_epoch(archive, straight, tmp_path):
    """While the archive is read into the cache, while a checkpoint is written, in training and while it is scored."""
    run, cache = tmp_path / "run", tmp_path / "cache"
    moments = {
        "cache": lambda: any(cache.rglob("*.partial")),
        "checkpoint": lambda: any(run.glob("checkpoints/.*.part")),
        "training": lambda: epoch(run) > 3,
        "scoring": lambda: any((run / "evaluation").glob("*/*")),
    }
    for moment, reached in moments.items():
        process = begin(*words(archive, run), SNOWMAP_CACHE=str(cache))
        wait(process, reached)
        process.kill()
        process.wait()
        assert (run / "run.log").is_file(), moment
        for checkpoint in run.glob("checkpoints/*.ckpt"):
            assert torch.load(checkpoint, weights_only=True)["state_dict"], moment
    succeed(*words(archive, run), SNOWMAP_CACHE=str(cache))
    assert same_weights(run, straight)
    assert result(run) == result(straight)
    assert not [*run.rglob("*.part"), *cache.rglob("*.partial")]


def test_kill_9_of_an_export_leaves_whole_files_and_the_same_command_makes_the_others(archive, straight, tmp_path):
    out = tmp_path / "maps"
    command = ("-m", "snowmap.cli", "predict", straight / "checkpoints" / "best.ckpt", archive, out)
    process = begin(*command, PYTHONPATH=str(ROOT))
    wait(process, lambda: any(out.rglob("*.part")))
    process.kill()
    process.wait()
    process = begin(*command, PYTHONPATH=str(ROOT))
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert len(list(out.rglob("*.nc"))) == len(list(out.rglob("*.tif"))) == 20


def test_a_full_disk_is_told_and_the_last_good_checkpoint_stays(archive, straight, tmp_path):
    run = tmp_path / "run"
    succeed(*words(archive, run)[:-1], "trainer.max_epochs=1", "evaluate=none")
    last = run / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    process = begin("train.py", f"ckpt={last}", "trainer.max_epochs=3", limit_bytes=len(before) // 2)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 1
    assert f"the last good checkpoint is {last}" in said
    assert "make room and type the same command" in said
    assert "Traceback" not in said
    assert last.read_bytes() == before
    assert not list(run.rglob("*.part"))
