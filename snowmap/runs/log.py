"""``run.log``: what a run prints, line by line on the disk as it is said, also where the process is killed."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from snowmap.errors import SnowmapError


class _Twice:
    """A stream that also writes to the log; what overwrites a line, as a progress bar does, stays on the screen."""

    def __init__(self, screen: Any, log: TextIO) -> None:
        self._screen, self._log = screen, log

    def write(self, text: str) -> int:
        if "\r" not in text and "\x1b" not in text:
            with contextlib.suppress(OSError):  # a full disk: the run itself says so, where it matters
                self._log.write(text)
        return self._screen.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)


@contextlib.contextmanager
def logged(file: Path, title: str) -> Iterator[None]:
    """Add everything that is printed and logged to a file, and the traceback of an unexpected error.

    Args:
        file: It is appended to; nothing is added where a launcher sends there what the process prints.
        title: A line to begin with.
    """
    with file.open("a", buffering=1) as log:
        print(title, file=log)
        if _is_printed_to(log):
            yield
            return
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logging.getLogger().addHandler(handler)
        twice: list[Any] = [_Twice(sys.stdout, log), _Twice(sys.stderr, log)]
        try:
            with contextlib.redirect_stdout(twice[0]), contextlib.redirect_stderr(twice[1]):
                yield
        except Exception as error:
            with contextlib.suppress(OSError):
                log.write(f"error: {error}\n" if isinstance(error, SnowmapError) else traceback.format_exc())
            raise
        finally:
            logging.getLogger().removeHandler(handler)
            with contextlib.suppress(OSError):
                log.flush()


def _is_printed_to(log: TextIO) -> bool:
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), log.fileno())
    except (OSError, AttributeError):  # a stream without a file
        return False
