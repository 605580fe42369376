"""The commands as a user types them: in this process, which spares them seconds of imports, or in one of their own."""

import contextlib
import io
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

ROOT = Path(__file__).parents[1]
SMALL = ("model.channels=[8,16]", "trainer.enable_progress_bar=false", "split.test=3")
"""A net that a test can wait for, and few maps to draw."""


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


class Forked:
    """A copy of this process that runs a command: it has imported what it needs, and can be killed like any other."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = multiprocessing.get_context("fork").Process(target=self._run, args=(run,))
        self._process.start()

    def _run(self, run: Callable[[], object]) -> None:
        for number in (1, 2):
            os.dup2(self._output.fileno(), number)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def communicate(self, timeout: float = 240) -> tuple[str, None]:
        self._process.join(timeout)
        assert self.returncode is not None, "still at work"
        self._output.seek(0)
        return self._output.read(), None


def begin(
    script: str | Path, *words: str | Path, before: Callable[[], object] = lambda: None, **environment: str
) -> Forked:
    """Start `python <script> <words>` as a copy of this process, in which `before` is called first."""

    def run() -> None:
        os.environ.update(environment)
        before()
        with _typed(script, *words) as program:
            runpy.run_path(program, run_name="__main__")

    return Forked(run)


def succeed(*words: str | Path) -> str:
    """Run `<script> <words>` in this process, for a command that must succeed: what it printed."""
    said = io.StringIO()
    with _typed(*words) as script, contextlib.redirect_stdout(said):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
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
