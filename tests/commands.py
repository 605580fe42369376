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
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
from hydra.core.hydra_config import HydraConfig

from snowmap.runs import launchers

ROOT = Path(__file__).parents[1]
SMALL = ("model.channels=[8,16]", "trainer.enable_progress_bar=false", "split.test=3", "selection=validation")
"""A net that a test can wait for, few maps to draw, and one fit."""


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


PRELOADED = (
    *("pytorch_lightning", "distributed", "sklearn.linear_model", "sklearn.ensemble", "tests.commands"),
    *("snowmap.evaluation", "snowmap.maps.explorer", "snowmap.maps.predict", "snowmap.runs.training"),
)
"""What takes seconds to import; the commands' processes are copies of one that has done so, and has no threads yet."""


class Started:
    """Work in a process of its own, which can be killed like any other.

    Args:
        work: What to call there, of a module.
        environment: Variables beside those of this process.
    """

    def __init__(self, work: Callable[[], object], **environment: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*PRELOADED])
        self._output = tempfile.NamedTemporaryFile("r")  # noqa: SIM115
        self._process = context.Process(target=_run, args=(self._output.name, work, {**os.environ, **environment}))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status; None if it is still at work after so many seconds."""
        self._process.join(timeout)
        return self.returncode

    def communicate(self, timeout: float = 240) -> tuple[str, None]:
        assert self.wait(timeout) is not None, "still at work"
        return self._output.read(), None


def _run(output: str, work: Callable[[], object], environment: Mapping[str, str]) -> None:
    with Path(output).open("a") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    work()


def _command(words: Sequence[str | Path], before: Callable[[], object]) -> None:
    before()
    with _typed(*words) as program:
        runpy.run_path(program, run_name="__main__")


def _nothing() -> None:
    pass


def fork_jobs(folder: Path = ROOT) -> None:
    """For `before`, of a multirun in `folder`: its jobs, too, are copies of a process that has done its imports."""

    def start(words: Sequence[str], *, env: Mapping[str, str], stdout: BinaryIO, **_: object) -> object:
        arguments = (stdout.name, partial(_command, words[1:], os.setsid), dict(env))
        # not a copy of this one, whose threads may hold locks that would never be released there
        process = multiprocessing.get_context("forkserver").Process(target=_run, args=arguments)
        process.start()
        return process._popen  # it waits and ends as a `subprocess.Popen` does

    launchers.subprocess = SimpleNamespace(Popen=start, STDOUT=subprocess.STDOUT)
    os.chdir(folder)


def begin(*words: str | Path, before: Callable[[], object] = _nothing, **environment: str) -> Started:
    """Start `python <script> <words>` in a process of its own, in which `before`, of a module, is called first."""
    return Started(partial(_command, words, before), **environment)


def run_forked(
    words: Sequence[str], *, env: Mapping[str, str] | None = None, check: bool = False, **_: object
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of `python <script> <words>`, by a process that has done its imports."""
    process = begin(*words[1:], **(env or {}))
    said, _nothing = process.communicate()
    done = subprocess.CompletedProcess(words, process.returncode or 0, said, said)
    if check:
        done.check_returncode()
    return done


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
