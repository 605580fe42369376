"""The folder of a run: one process at a time works in it, its state stands in ``run.json``, its words in ``run.log``.

Whatever ends a process, be it `kill -9`, the same command in the same folder goes on with what lies there. Imports
neither torch nor xarray.
"""

import contextlib
import errno
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from snowmap.errors import Interrupted, SnowmapError, Stopped
from snowmap.files import write_whole
from snowmap.interruption import StopSignal, requeue, stoppable
from snowmap.run_log import logged

SWEEP = "SNOWMAP_SWEEP"
"""Environment variable: the folder of the sweep that a process works for, which also keeps what it prints."""

OF_NO_ACCOUNT = ("ckpt", "launcher", "logger", "data.threads", "data.cache", "trainer.enable_progress_bar", "sweep")
"""Keys, or groups of keys, that may differ when a run goes on: they change nothing that is computed."""

NEW_RECORD: dict[str, Any] = {
    "status": "running",  # | finished | failed | interrupted | pruned
    "stage": "training",  # | scoring | done
    "error": None,  # one line
    "started": None,  # the first time, as ISO 8601
    "ended": None,
    "wall_s": 0.0,  # of work, over all starts
    "starts": 0,
    "host": None,
    "pid": None,
    "command": None,
    "epochs": None,
    "parameters": None,  # that are trained
    "wandb_id": None,
    "archive": None,  # {"archive", "origin", "fingerprint"} of what it was trained on
    "validation": None,  # {target: {"unit", "rmse", …}} of the best checkpoint
}

LOCK_PATIENCE_S = 2.0
"""Longer than anybody needs who only looks whether the folder is held."""

_OWN = {"run.json", "run.log", "config.yaml", ".lock", "curves"}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RunFolder:
    """A run folder that this process works in; see `working_in`.

    Attributes:
        path: The folder.
        record: What ``run.json`` holds, with the keys of `NEW_RECORD`.
        leads: Whether this process writes files; of the processes of one run only the first does.
        stop: Whether somebody asked for the end.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], leads: bool, stop: StopSignal) -> None:
        self.path, self.record, self.leads, self.stop = path, dict(record), leads, stop

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.record["status"] == "finished"

    def update(self, **changes: Any) -> None:
        """Change entries of the record and write it whole."""
        unknown = changes.keys() - NEW_RECORD.keys()
        assert not unknown, unknown
        self.record |= changes
        if self.leads:
            write_whole(self.path / "run.json", json.dumps(self.record, indent=2).encode())


def read_record(folder: Path) -> dict[str, Any] | None:
    """What is known of the run in a folder: its ``run.json``; None where there is none.

    The status is ``killed`` where the record says ``running``, but no process works there.
    """
    try:
        content = json.loads((folder / "run.json").read_text())
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, found a {type(content).__name__}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SnowmapError(f"{folder / 'run.json'} cannot be read ({error}); remove it to start anew") from error
    record = NEW_RECORD | content
    if record["status"] == "running" and record["host"] == platform.node() and not is_held(folder):
        record["status"] = "killed"
    return record


def is_held(folder: Path) -> bool:
    """Whether a process works in a run folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", blocking=False):
            return False
    except (Timeout, PermissionError):  # another user's lock cannot be tried: what run.json says stands
        return True


def is_finished(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a folder holds a finished run of this very configuration.

    Raises:
        SnowmapError: When it holds another run.
    """
    record = read_record(folder)
    if record is None or record["status"] != "finished":
        return False
    _refuse_another(folder, config)
    return True


def record_failure(folder: Path, told: str) -> None:
    """Write down that a run failed which could not do so itself; what it wrote down stays."""
    record = read_record(folder) or NEW_RECORD
    if record["started"] and record["status"] != "killed":
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        changed = {**record, "status": "failed", "error": told, "ended": _now()}
        write_whole(folder / "run.json", json.dumps(changed, indent=2).encode())


@contextlib.contextmanager
def working_in(folder: Path, config: Mapping[str, Any]) -> Iterator[RunFolder]:
    """Work in a run folder: alone, with a record of how it ends and a log of what is said.

    A finished run of the same configuration is given as it is: there is nothing to do. With an unfinished one the
    caller goes on. Where nothing came about before an error, the folder is removed again, unless it is one of a sweep.

    Args:
        folder: The run folder.
        config: The checked configuration.

    Raises:
        SnowmapError: When the folder cannot be written, another process works in it, or it holds another run.
    """
    with stoppable() as stop:
        if not _leads():
            yield RunFolder(folder, read_record(folder) or NEW_RECORD, False, stop)
            return
        fresh = not folder.exists() or not any(folder.iterdir())
        with _held(folder):
            run = RunFolder(folder, read_record(folder) or NEW_RECORD, True, stop)
            _refuse_another(folder, config)
            if run.finished and not config["ckpt"]:
                yield run
                return
            try:
                _begin(run, config)
                with _ending(run), logged(folder / "run.log", f"{_now()} {run.record['command']}"):
                    yield run
            except SnowmapError:
                if fresh and not os.environ.get(SWEEP):
                    _remove_if_empty(folder)
                raise


def _begin(run: RunFolder, config: Mapping[str, Any]) -> None:
    """Write down what begins here, after removing what a killed process had half written."""
    for part in list(run.path.rglob(".*.part")):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    stage = "training" if run.finished else run.record["stage"]
    try:
        write_whole(run.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dict(config))).encode())
        run.update(
            **{"status": "running", "stage": stage, "error": None, "ended": None},
            **{"started": run.record["started"] or _now(), "starts": run.record["starts"] + 1},
            **{"host": platform.node(), "pid": os.getpid(), "command": shlex.join(sys.argv)},
        )
    except OSError as error:
        raise SnowmapError(
            f"the run folder {run.path} cannot be written ({error}); choose another as hydra.run.dir=…"
        ) from error


@contextlib.contextmanager
def _ending(run: RunFolder) -> Iterator[None]:
    """Write down how it ends."""
    began, before = time.monotonic(), run.record["wall_s"]

    def end(status: str, told: str | None = None) -> None:
        stage = "done" if status == "finished" else run.record["stage"]
        wall = round(before + time.monotonic() - began, 2)
        with contextlib.suppress(OSError):  # a full disk: what went wrong before is worth more
            run.update(status=status, stage=stage, error=told, ended=_now(), wall_s=wall)

    try:
        yield
    except Stopped as stopped:
        end(stopped.status, str(stopped))
        if isinstance(stopped, Interrupted):
            requeue(stopped)
        raise
    except OSError as error:
        end("failed", str(error))
        if error.errno not in _NO_ROOM:
            raise
        kept = f"the last good checkpoint is {run.last}" if run.last.is_file() else "no checkpoint had been written yet"
        raise SnowmapError(f"{error}: no room in {run.path}; {kept}; make room and type the same command") from error
    except SnowmapError as error:
        end("failed", str(error))
        raise
    except BaseException as error:
        end("failed", f"{type(error).__name__}: {error}")
        raise
    end("finished")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes out; one of a sweep waits until the other has ended."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=-1 if os.environ.get(SWEEP) else LOCK_PATIENCE_S)
        lock.acquire()
    except Timeout as error:
        record = read_record(folder) or NEW_RECORD
        raise SnowmapError(
            f"process {record['pid']} on {record['host']} works in {folder} since {record['started']}; wait for its "
            "end, or give another folder as hydra.run.dir=…"
        ) from error
    except OSError as error:
        raise SnowmapError(
            f"the run folder {folder} cannot be written ({error}); choose another as hydra.run.dir=…"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _refuse_another(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a folder whose run is of another configuration, unless a checkpoint is given to go on from."""
    file = folder / "config.yaml"
    if config["ckpt"] or not (file.exists() or (folder / "checkpoints").exists()):
        return
    stored = flat(OmegaConf.to_container(OmegaConf.load(file))) if file.exists() else {}  # type: ignore[arg-type]
    asked = flat(config)
    if other := differing(stored, asked):
        shown = ", ".join(f"{key}={stored.get(key)} there and {asked.get(key)} here" for key in other[:3])
        raise SnowmapError(
            f"{folder} already holds a run of another configuration ({shown}{', …' if len(other) > 3 else ''}); go on "
            f"with it by ckpt={folder}/checkpoints/last.ckpt, or give another folder as hydra.run.dir=…"
        )


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys in which two flat configurations differ, but for those of no account."""
    keys = [key for key in {**one, **other} if str(one.get(key)) != str(other.get(key))]
    return [key for key in keys if not within(key, OF_NO_ACCOUNT)]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as one level, with keys in dots."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def within(key: str, groups: Sequence[str]) -> bool:
    """Whether a key in dots is one of `groups`, or lies in one."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _remove_if_empty(folder: Path) -> None:
    if {path.name for path in folder.iterdir()} <= _OWN:
        shutil.rmtree(folder)


def _leads() -> bool:
    """Whether this is the first process of its run, as Lightning tells it."""
    return next((os.environ[key] for key in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if key in os.environ), "0") == "0"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
