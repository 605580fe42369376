"""What ends a command before its end: the user's mistake, or somebody's wish."""

import contextlib
import json
import signal
from collections.abc import Iterator
from typing import Any

SMALLER = (
    "pieces of the maps to train on, e.g. data.crop=[256,256], a smaller data.batch_size or smaller model.channels"
)
"""What needs less memory."""


class SnowmapError(Exception):
    """Something the user can mend: names the file or key, what was found, what was expected and the way out.

    The commands print it without a traceback and end with status 1.
    """


class Stopped(BaseException):
    """A run that ends early though nothing went wrong; no `Exception`, for nothing should catch it and continue.

    Attributes:
        status: What ``run.json`` then says.
    """

    status = "pruned"


class Interrupted(Stopped):
    """A run that a signal ended; the same command resumes it.

    Attributes:
        signal: Which one.
    """

    status = "interrupted"

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"interrupted by {self.signal.name}")


@contextlib.contextmanager
def explaining_exhaustion() -> Iterator[None]:
    """Turn the error of an allocator into one line.

    Raises:
        SnowmapError: When the memory does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        allocators = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # PyTorch's
        if not (allocators or "can't allocate memory" in str(error)):
            raise
        raise SnowmapError(f"out of memory ({shown(str(error), longest=200)}); free some, or give {SMALLER}") from error


def shown(value: Any, longest: int = 80) -> str:
    """A value as it would be typed, on one line and cut where it is long."""
    text = (
        value if isinstance(value, str) else str(value) if isinstance(value, float) else json.dumps(value, default=str)
    )
    text = " ".join(text.replace('"', "").split())
    return text if len(text) <= longest else f"{text[:longest]}…"
