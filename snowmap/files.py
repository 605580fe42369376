"""Files and folders that are whole or not there: every file that the package writes is written here.

They are written beside their place, under a name that no other program uses, checked, and then renamed. What is there
under any other name stays as it is.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from snowmap.errors import SnowmapError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{12}\.snowmap-part", re.DOTALL)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cache_folder() -> Path:
    """What can be made again lies here: ``$SNOWMAP_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("SNOWMAP_CACHE") or platformdirs.user_cache_dir("snowmap", appauthor=False))


class WriteError(SnowmapError):
    """A file or folder that cannot be written.

    Attributes:
        path: Which one.
        error: Why.
        no_room: Whether its disk is full.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        self.path, self.error, self.no_room = path, error, error.errno in _NO_ROOM
        if self.no_room:
            disk = next(place for place in (path.absolute(), *path.absolute().parents) if place.is_mount())
            reason = f"no room on the disk at {disk} ({error.strerror}); make room or name another disk"
        else:
            reason = f"{error.strerror or error}; name another place"
        super().__init__(f"{path} cannot be written: {reason}")

    def __reduce__(self) -> tuple[type, tuple[Path, OSError]]:
        """As pickle makes it again, which would call it with its message: workers raise it, too."""
        return WriteError, (self.path, self.error)


def write_whole(path: Path, content: bytes | memoryview | str) -> Path:
    """Write a file, and its folder; an older file is replaced, a device or pipe is written to.

    Libraries that write a file themselves do not all say when a disk is full: HDF5 may crash, and GDAL may leave a file
    cut short without an error. So they write into memory, and this writes to the disk.

    Args:
        path: The file; of a symbolic link, what it points to.
        content: What it shall hold; text is encoded as UTF-8.

    Returns:
        `path`.

    Raises:
        WriteError: Nothing of it stays, and an older file is as before.
    """
    data = memoryview(content.encode() if isinstance(content, str) else content).cast("B")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return path
        place = Path(os.path.realpath(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(place) as part:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if (written := part.stat().st_size) != len(data):
                raise OSError(errno.EIO, f"{written} of {len(data)} bytes were written")
            part.replace(place)
    except OSError as error:
        raise WriteError(path, error) from error
    return path


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Write several files of a folder: all of them come to be there, or none.

    Where the folder exists, they are moved into it one by one in the order of their names, and older ones of the same
    names are replaced, unless less than half of them are there: these were not written together.

    Args:
        folder: The folder.

    Yields:
        The folder to write them to by `write_whole`.

    Raises:
        SnowmapError: Nothing of them stays, and older files are as before.
    """
    try:
        place = Path(os.path.realpath(folder))
        exists = place.is_dir()
        remove_unfinished(place if exists else place.parent)
        with _unfinished(place / "files" if exists else place, folder=True) as part:
            try:
                yield part
            except WriteError as error:
                raise WriteError(folder / error.path.relative_to(part), error.error) from error
            if exists:
                _move_files(part, place, folder)
            else:
                part.replace(place)
    except OSError as error:
        raise WriteError(folder, error) from error


def _move_files(part: Path, place: Path, folder: Path) -> None:
    written = sorted(part.iterdir())
    older = [path.name for path in written if os.path.lexists(place / path.name)]
    if 0 < 2 * len(older) < len(written):
        raise SnowmapError(
            f"{folder} already holds {', '.join(older)}, but nothing else that this command writes; move it away, or "
            "name another folder"
        )
    for path in written:
        path.replace(place / path.name)


def as_png(figure: "Figure") -> bytes:
    """Draw a figure once; `Figure.savefig` draws it twice, the first time to lay it out, which drawing does anyway."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not by pyplot, which would look for a screen

    figure.set_dpi(110)
    drawn = BytesIO()
    FigureCanvasAgg(figure).print_png(drawn)
    return drawn.getvalue()


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left of `write_whole` and `whole_folder` in a folder, but not below it."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_unfinished(path):
            with contextlib.suppress(OSError), _claimed(path):  # another process is writing it
                _remove(path)


def is_unfinished(path: Path) -> bool:
    """Whether a file or folder is one that `write_whole` or `whole_folder` writes before it is renamed."""
    return _UNFINISHED.fullmatch(path.name) is not None


def refuse_inputs(out: Path, *inputs: str | Path | None) -> None:
    """Refuse to write over a file that is read.

    Raises:
        SnowmapError: When `out` is one of `inputs`.
    """
    for path in inputs:
        if path is not None and out.exists() and Path(path).exists() and out.samefile(path):
            raise SnowmapError(f"{out} is read by this command and would be written over; name another file")


@contextlib.contextmanager
def _unfinished(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A new file or folder beside `path`, under a name that is ours alone; it is removed unless it is renamed."""
    part = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:12]}.snowmap-part")
    try:
        part.mkdir(parents=True) if folder else part.touch(exist_ok=False)
        with _claimed(part):
            yield part
    finally:
        _remove(part)


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Say that this process is writing a file or folder.

    Raises:
        BlockingIOError: When another process is.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError):
                raise
            # a disk without locks: nothing can be said
        yield
    finally:
        os.close(descriptor)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
