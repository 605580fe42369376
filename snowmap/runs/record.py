"""``run.json``: how a run ended, how far it came, and its scores. Imports neither torch nor xarray."""

import contextlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from snowmap.errors import SnowmapError
from snowmap.files import write_whole
from snowmap.runs.configuration import foreign_files

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


def read_record(folder: Path) -> dict[str, Any] | None:
    """What is known of the run in a folder: its ``run.json``; None where there is none.

    The status is ``killed`` where the record says ``running``, but no process works there.

    Raises:
        SnowmapError: When the file is damaged, or no record of a run.
    """
    file = folder / "run.json"
    try:
        stored = json.loads(file.read_text())
        known = isinstance(stored, dict) and {"status", "stage", "starts", "wall_s"} <= stored.keys()
        if not (known and isinstance(stored["status"], str) and type(stored["starts"]) is int):
            raise ValueError("it is no record of a run")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SnowmapError(
            f"{file} cannot be read ({error}); give another folder, or, if the run is yours, move the file away: the "
            "same command then resumes it"
        ) from error
    record = NEW_RECORD | stored
    if record["status"] == "running" and record["host"] == platform.node() and not is_locked(folder):
        record["status"] = "killed"
    return record


def is_locked(folder: Path) -> bool:
    """Whether a process works in a run folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", blocking=False):
            return False
    except (Timeout, PermissionError):  # another user's lock cannot be tried: what run.json says stands
        return True


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``run.json``, whole or not at all."""
    write_whole(folder / "run.json", json.dumps(record, indent=2))


def record_failure(folder: Path, error: str) -> None:
    """Write down that a run failed which could not do so itself; what it or another program wrote stays."""
    with contextlib.suppress(SnowmapError):
        record = read_record(folder)
        if foreign_files(folder) if record is None else record["started"] and record["status"] != "killed":
            return
        write_record(folder, {**(record or NEW_RECORD), "status": "failed", "error": error, "ended": now()})


def now() -> str:
    """This moment as ISO 8601, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
