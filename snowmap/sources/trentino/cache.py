"""The second opening of an archive: its arrays in files that are mapped into memory.

An entry is a folder that is renamed into its place, whole or not at all, also beside another process that does the
same. Its files get one modification time for all: whatever is done to a file afterwards changes it, and the entry is
then written anew. That costs nothing, where a checksum would have to read every byte.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from snowmap.files import WriteError, cache_folder, whole_folder

FORMAT = "snowmap cache 6"
KEPT_ENTRIES = 3
"""Of one archive; the oldest are removed: other bands of the same archive are worth keeping, its past is not."""
WRITTEN_NS = 946_684_800 * 10**9
"""Modification time of every file: 1 January 2000, in whole even seconds, which every file system can keep."""
METADATA = "metadata.json"

logger = logging.getLogger(__name__)


def folder_of(root: Path) -> Path:
    """Where the entries of an archive lie."""
    place = root.resolve()
    return cache_folder() / "archives" / f"{place.name}-{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


def key_of(request: object) -> str:
    """A name for whatever decides the content: any JSON value."""
    return hashlib.sha256(json.dumps([FORMAT, request]).encode()).hexdigest()[:32]


@contextlib.contextmanager
def one_reader(root: Path) -> Iterator[None]:
    """Let one process after the other read the rasters of an archive; without a cache folder, all at once."""
    folder = folder_of(root)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # `store` says why
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / ".lock"))
        yield


def load(root: Path, key: str) -> tuple[dict[str, np.ndarray], dict] | None:
    """The arrays and metadata stored under a key, or None where there is no whole entry.

    The arrays are mapped copy-on-write: they may be changed, the file never is.
    """
    entry = folder_of(root) / key
    try:
        names, metadata = json.loads(_unchanged(entry / METADATA).read_text())
        arrays = {name: np.asarray(np.load(_unchanged(entry / f"{name}.npy"), mmap_mode="c")) for name in names}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s: damaged cache entry (%s); read the archive again", entry, error)
        return None
    return arrays, metadata


def _unchanged(path: Path) -> Path:
    if path.stat().st_mtime_ns != WRITTEN_NS:
        raise ValueError(f"{path.name} was changed after it was written")
    return path


def store(root: Path, key: str, arrays: dict[str, np.ndarray], metadata: dict) -> None:
    """Keep arrays and metadata under a key; a folder that cannot be written is worth a warning, not an error.

    Args:
        root: The archive.
        key: From `key_of`.
        arrays: By name.
        metadata: JSON values.
    """
    folder = folder_of(root)
    try:
        shutil.rmtree(folder / key, ignore_errors=True)  # a damaged one
        with whole_folder(folder / key) as unfinished:
            for name, values in arrays.items():
                np.save(unfinished / f"{name}.npy", values)
            (unfinished / METADATA).write_text(json.dumps([list(arrays), metadata]))
            for path in unfinished.iterdir():
                os.utime(path, ns=(WRITTEN_NS, WRITTEN_NS))
    except WriteError as error:
        logger.warning("%s: the cache cannot be written (%s); set SNOWMAP_CACHE to one that can", folder, error.error)
    with contextlib.suppress(OSError):  # another process removes them, too
        entries = sorted(folder.glob("[!.]*"), key=lambda entry: entry.stat().st_ctime_ns)
        for entry in entries[:-KEPT_ENTRIES]:
            shutil.rmtree(entry, ignore_errors=True)
