"""The second opening of an archive: its arrays in one file, mapped into memory.

One file, so that renaming puts it in place at once, whole or not at all, also beside another process that does the
same. A line of JSON (metadata and where each array lies), then the arrays as they are in memory. The JSON also holds
the file's own size and the modification time that the writer gave it: whatever is done to the file afterwards changes
one of them, and the entry is then written anew. That costs nothing, where a checksum would have to read every byte.
"""

import contextlib
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock

FORMAT = "snowmap cache 2"
KEPT_ENTRIES = 3
"""Of one archive; the oldest are removed: other bands of the same archive are worth keeping, its past is not."""
ABANDONED_SECONDS = 3600.0
"""After this time a half-written file is taken for one left behind by a killed process."""
_ALIGNMENT = 64  # bytes; what NumPy's vector loops like

logger = logging.getLogger(__name__)


def folder_of(root: Path) -> Path:
    """Where the entries of an archive lie: below `$SNOWMAP_CACHE`, else the user's cache folder."""
    base = Path(os.environ.get("SNOWMAP_CACHE") or platformdirs.user_cache_dir("snowmap", appauthor=False))
    place = root.resolve()
    return base / "archives" / f"{place.name}-{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


def key_of(request: object) -> str:
    """A name for whatever decides the content: any JSON value."""
    return hashlib.sha256(json.dumps([FORMAT, request]).encode()).hexdigest()[:32]


@contextlib.contextmanager
def one_reader(root: Path) -> Iterator[None]:
    """Let one process after the other read the rasters of an archive; without a cache folder, all at once."""
    folder = folder_of(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError:
        yield  # `store` says why
        return
    try:
        yield
    finally:
        lock.release()


def load(root: Path, key: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """The arrays and metadata stored under a key, or None where there is no whole entry.

    The arrays are mapped copy-on-write: they may be changed, the file never is.
    """
    path = folder_of(root) / f"{key}.cube"
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
            begin, status = file.tell(), os.fstat(file.fileno())
            if [header["key"], header["size"], header["written_ns"]] != [key, status.st_size, status.st_mtime_ns]:
                raise ValueError("size, time or key differ from what was written")
            content = np.asarray(np.memmap(file, np.uint8, mode="c", offset=begin))
        arrays = {
            name: content[offset : offset + size].view(dtype).reshape(shape)
            for name, (dtype, shape, offset, size) in header["arrays"].items()
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s: damaged cache entry (%s); read the archive again", path, error)
        return None
    return arrays, header["metadata"]


def store(root: Path, key: str, arrays: dict[str, np.ndarray], metadata: dict) -> None:
    """Keep arrays and metadata under a key; a folder that cannot be written is worth a warning, not an error.

    Args:
        root: The archive.
        key: From `key_of`.
        arrays: By name.
        metadata: JSON values.
    """
    folder = folder_of(root)
    partial = folder / f"{uuid.uuid4().hex}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(partial, key, arrays, metadata)
        partial.replace(folder / f"{key}.cube")
    except OSError as error:
        logger.warning("%s: the cache cannot be written (%s); set SNOWMAP_CACHE to a folder that can", folder, error)
    finally:
        with contextlib.suppress(OSError):  # a folder that cannot be written was named above
            partial.unlink(missing_ok=True)
            _prune(folder)


def _write(path: Path, key: str, arrays: dict[str, np.ndarray], metadata: dict) -> None:
    table, offset = {}, 0
    for name, values in arrays.items():
        table[name] = (values.dtype.str, values.shape, offset, values.nbytes)
        offset += -(-values.nbytes // _ALIGNMENT) * _ALIGNMENT
    # whole even seconds: every file system can keep them
    written_ns = int(time.time()) // 2 * 2 * 10**9
    header = {"key": key, "written_ns": written_ns, "size": 0, "metadata": metadata, "arrays": table}
    room = len(json.dumps(header)) + 20  # for the digits of the size
    begin = -(-room // _ALIGNMENT) * _ALIGNMENT
    header["size"] = begin + offset
    with path.open("wb") as file:
        file.write(json.dumps(header).encode().ljust(begin - 1) + b"\n")
        for values in arrays.values():
            file.write(np.ascontiguousarray(values).data)
            file.write(bytes(-values.nbytes % _ALIGNMENT))
    os.utime(path, ns=(written_ns, written_ns))


def _prune(folder: Path) -> None:
    """Remove all but the newest entries, and what killed processes left behind."""
    entries = sorted(folder.glob("*.cube"), key=lambda path: path.stat().st_ctime_ns, reverse=True)
    old = time.time() - ABANDONED_SECONDS
    abandoned = [path for path in folder.glob("*.partial") if path.stat().st_mtime < old]
    for path in [*entries[KEPT_ENTRIES:], *abandoned]:
        path.unlink(missing_ok=True)
