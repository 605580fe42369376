"""What ends a command before its end: the user's mistake, or somebody's wish."""

import json
import signal
from typing import Any


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


def shown(value: Any, longest: int = 80) -> str:
    """A value as it would be typed, on one line and cut where it is long."""
    text = (
        value if isinstance(value, str) else str(value) if isinstance(value, float) else json.dumps(value, default=str)
    )
    text = " ".join(text.replace('"', "").split())
    return text if len(text) <= longest else f"{text[:longest]}…"
