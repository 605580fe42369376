"""The commands as a user types them: in this process, which spares them seconds of imports, or in one of their own."""

import contextlib
import io
import logging
import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

ROOT = Path(__file__).parents[1]
SMALL = ("model.channels=[8,16]", "trainer.enable_progress_bar=false")
"""A net that a test can wait for."""


def command(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python <script> <words>` from `cwd` in a process of its own and give back what it said."""
    script, *rest = words
    return subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, rest)],
        cwd=cwd or ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=600,
    )


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


def succeed(*words: str | Path) -> str:
    """Run `<script> <words>` in this process, for a command that must succeed: what it printed."""
    said = io.StringIO()
    with _typed(*words) as script, contextlib.redirect_stdout(said):
        runpy.run_path(script, run_name="__main__")
    return said.getvalue()


def fail(*words: str | Path) -> str:
    """As `succeed`, for a command that must fail with a clear error and not by another exception: the error."""
    with _typed(*words) as script, contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    told = str(end.value.code)
    return told[told.index("error: ") :]


def train(root: Path, run: Path, *words: str) -> str:
    """Train a small net on `root` into `run`, in this process."""
    return succeed("train.py", f"data.root={root}", f"hydra.run.dir={run}", *SMALL, *words)


@contextlib.contextmanager
def _typed(script: str | Path, *words: str | Path) -> Iterator[str]:
    """The command line of a script; what Hydra and Lightning change in the process is undone.

    Lightning's launcher leaves LOCAL_RANK and the like in the environment: a later command would take itself for one
    of several processes and wait for the others.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    environment = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(ROOT / script), *map(str, words)])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        try:
            yield str(ROOT / script)
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            HydraConfig.instance().cfg = None
            os.environ.clear()
            os.environ.update(environment)
