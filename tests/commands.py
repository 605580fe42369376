"""The commands as a user types them, in processes of their own."""

import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALL = ("model.channels=[8,16]", "trainer.enable_progress_bar=false")
"""A net that a test can wait for."""


def command(*words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python <script> <words>` from `cwd` and give back what it said."""
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


def succeed(*words: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """As `command`, for one that must succeed: what it printed."""
    done = command(*words, cwd=cwd, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fail(*words: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """As `command`, for one that must fail with a clear error and no traceback: the error."""
    done = command(*words, cwd=cwd, **environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr[done.stderr.index("error: ") :]


def train(root: Path, run: Path, *words: str) -> str:
    """Train a small net on `root` into `run`."""
    return succeed("train.py", f"data.root={root}", f"hydra.run.dir={run}", *SMALL, *words)
