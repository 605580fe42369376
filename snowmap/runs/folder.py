"""The folder of a run: one process at a time works in it, its state stands in ``run.json``, its output in ``run.log``.

Whatever ends a process, be it `kill -9`, the same command in the same folder resumes what lies there. Imports
neither torch nor xarray.
"""

import contextlib
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from snowmap.errors import Interrupted, SnowmapError, Stopped, explaining_exhaustion
from snowmap.files import WriteError, remove_unfinished, write_whole
from snowmap.runs.configuration import differing, flat, refuse_foreign, stored_config
from snowmap.runs.log import logged
from snowmap.runs.record import NEW_RECORD, now, read_record, write_record
from snowmap.runs.signals import StopSignal, requeue, stoppable

SWEEP = "SNOWMAP_SWEEP"
"""Environment variable: the folder of the sweep that a process works for, which also keeps what it prints."""

SELECTION = "selection"
"""Subfolder of the fit that only chooses the epoch."""

LOCK_PATIENCE_S = 2.0
"""Seconds; a process that only checks whether the folder is locked needs less."""

_WRITTEN_AT_ONCE = {"run.json", "run.log", "config.yaml", ".lock", "curves", SELECTION}


class RunFolder:
    """A run folder that this process works in; see `working_in`.

    Attributes:
        path: The folder.
        record: What ``run.json`` holds, with the keys of `NEW_RECORD`.
        leads: Whether this process writes files; of the processes of one run only the first does.
        stop: Whether a signal requested the end.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], leads: bool, stop: StopSignal) -> None:
        self.path, self.record, self.leads, self.stop = path, dict(record), leads, stop

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def first_best(self) -> Path:
        """The checkpoint of the fit that only chose the epoch."""
        return self.path / SELECTION / "checkpoints" / "best.ckpt"

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
            write_record(self.path, self.record)


def is_finished(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a folder holds a finished run of this very configuration.

    Raises:
        SnowmapError: When it holds another run, or files of others.
    """
    _refuse_foreign_run(folder, config)
    record = read_record(folder)
    return record is not None and record["status"] == "finished" and not _begins(folder, config)


@contextlib.contextmanager
def working_in(folder: Path, config: Mapping[str, Any]) -> Iterator[RunFolder]:
    """Work in a run folder: alone, with a record of how it ends and a log of what is printed.

    A finished run of the same configuration is given as it is: there is nothing to do. An unfinished one is the
    caller's to resume. Where nothing came about before an error, the folder is removed again, but not in a sweep.

    Args:
        folder: The run folder.
        config: The checked configuration.

    Raises:
        SnowmapError: When the folder cannot be written, another process works in it, or it holds another run or files
            of others.
    """
    with stoppable() as stop:
        if not _leads():
            yield RunFolder(folder, read_record(folder) or NEW_RECORD, False, stop)
            return
        _refuse_foreign_run(folder, config)
        existed = folder.exists()
        fresh = not existed or not any(folder.iterdir())
        with locked(folder, -1.0 if os.environ.get(SWEEP) else LOCK_PATIENCE_S):
            run = RunFolder(folder, read_record(folder) or NEW_RECORD, True, stop)
            if _begins(folder, config):
                run.record = dict(NEW_RECORD)
            if run.finished and not config["ckpt"]:
                yield run
                return
            try:
                _begin(run, config)
                title = f"{now()} {run.record['command']}"
                with _ending(run), logged(folder / "run.log", title), explaining_exhaustion():
                    yield run
            except SnowmapError:
                if fresh and not os.environ.get(SWEEP):
                    _remove_if_empty(folder, existed)
                raise
            except Interrupted as interrupted:  # after it was written down: SLURM may end the process at once
                requeue(interrupted)
                raise


def _begin(run: RunFolder, config: Mapping[str, Any]) -> None:
    """Write down what begins here, after removing what a killed process had half written."""
    for folder in (run.path, run.best.parent, run.first_best.parent):
        remove_unfinished(folder)
    stage = "training" if run.finished else run.record["stage"]
    # the record comes first: it says whose folder this is
    run.update(
        **{"status": "running", "stage": stage, "error": None, "ended": None},
        **{"started": run.record["started"] or now(), "starts": run.record["starts"] + 1},
        **{"host": platform.node(), "pid": os.getpid(), "command": shlex.join(sys.argv)},
    )
    write_whole(run.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dict(config))))


@contextlib.contextmanager
def _ending(run: RunFolder) -> Iterator[None]:
    """Write down how it ends."""
    began, before = time.monotonic(), run.record["wall_s"]
    status, reason = "failed", None
    try:
        yield
        status = "finished"
    except Stopped as stopped:
        status, reason = stopped.status, str(stopped)
        raise
    except (SnowmapError, OSError) as error:
        full = WriteError(run.path, error) if isinstance(error, OSError) else error
        if not (isinstance(full, WriteError) and full.no_room):
            reason = str(error)
            raise
        reason = str(full)
        kept = f"the last good checkpoint is {run.last}" if run.last.is_file() else "no checkpoint had been written yet"
        raise SnowmapError(f"{full}; {kept}; the same command resumes the run") from error
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        stage = "done" if status == "finished" else run.record["stage"]
        wall = round(before + time.monotonic() - began, 2)
        with contextlib.suppress(WriteError):  # a full disk: what went wrong before is worth more
            run.update(status=status, stage=stage, error=reason, ended=now(), wall_s=wall)


@contextlib.contextmanager
def locked(folder: Path, patience_s: float) -> Iterator[None]:
    """Make a folder and keep other processes out of it.

    Args:
        folder: The folder.
        patience_s: How long to wait for another process to end; -1 for ever.

    Raises:
        SnowmapError: When another process works there, or the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=patience_s)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        record = read_record(folder) or NEW_RECORD
        process = f"process {record['pid']} on {record['host']}" if record["pid"] else "another process"
        since = f" since {record['started']}" if record["started"] else ""
        raise SnowmapError(
            f"{process} works in {folder}{since}; wait for its end, or give another folder as hydra.run.dir=…"
        ) from error
    except OSError as error:
        raise WriteError(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _refuse_foreign_run(folder: Path, config: Mapping[str, Any]) -> None:
    """As `refuse_foreign`, but a run may have lost its record, or be older than records."""
    resumes = config["ckpt"] and Path(config["ckpt"]).resolve().parent.parent == folder.resolve()
    with contextlib.suppress(SnowmapError):
        if not differing(stored_config(folder, config), flat(config)) or resumes:
            return
    refuse_foreign(folder, "run.json")
    read_record(folder)  # it may be of another program


def _begins(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether a run begins in a folder, be it after one of another configuration that left no checkpoint.

    Raises:
        SnowmapError: When the run there is of another configuration, or its configuration cannot be read, and no
            checkpoint is given to resume from.
    """
    if config["ckpt"]:
        return False
    record, last = read_record(folder) or NEW_RECORD, folder / "checkpoints" / "last.ckpt"
    without_checkpoint = record["stage"] == "training" and not any(last.parent.glob("*.ckpt"))
    advice = f"resume it by ckpt={last}, or " if last.is_file() else ""
    try:
        stored, new = stored_config(folder, config), flat(config)
        if not (other := differing(stored, new)):
            return False
        shown = ", ".join(f"{key}={stored.get(key)} there and {new.get(key)} here" for key in other[:3])
        raise SnowmapError(
            f"{folder} already holds a run of another configuration ({shown}{', …' if len(other) > 3 else ''})"
        )
    except SnowmapError as error:
        if without_checkpoint:
            return True
        raise SnowmapError(f"{error}; {advice}give another folder as hydra.run.dir=…") from error


def _remove_if_empty(folder: Path, existed: bool) -> None:
    if not {path.name for path in folder.iterdir()} <= _WRITTEN_AT_ONCE or any(folder.rglob("*.ckpt")):
        return
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not existed:
        folder.rmdir()


def _leads() -> bool:
    """Whether this is the first process of its run, as Lightning numbers them."""
    return next((os.environ[key] for key in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if key in os.environ), "0") == "0"
