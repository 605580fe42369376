"""The commands as a user types them, in processes of their own."""

import os
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
