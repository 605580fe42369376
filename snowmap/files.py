"""Files that are whole or not there."""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, content: bytes | memoryview) -> Path:
    """Write a file under a temporary name beside it, then rename it; an older one is replaced.

    Libraries that write a file themselves do not all say when a disk is full: HDF5 may crash, and GDAL may leave a file
    cut short without an error. So they write into memory, and this writes to the disk.

    Returns:
        `path`.

    Raises:
        OSError: When it cannot be written; nothing of it stays.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
