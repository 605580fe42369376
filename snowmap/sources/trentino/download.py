"""The public archive from the Hugging Face hub: fetched, compared with its checksums, unpacked whole or not at all."""

import gzip
import hashlib
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from snowmap.errors import SnowmapError
from snowmap.files import WriteError
from snowmap.sources.trentino.layout import MASK_NAME, PUBLIC_NAME

PACKAGES = ["data.tar.gz", f"{PUBLIC_NAME}.tar.gz"]
"""Names that the dataset card gives the one file; whichever the repository lists is taken."""

MOST_TIMES, MOST_BYTES = 20, 2**30
"""A package may unpack to so many times its size or to so many bytes, whichever is more; rasters stay far below."""

MOST_FOLDERS = 8
"""In which a file may lie; those of an archive lie in three."""


def download(out: Path, *, repository: str, revision: str = "main") -> Path:
    """Fetch and unpack the archive, unless it is there already.

    The hub's client shows the progress and resumes a broken transfer.

    Args:
        out: Folder in which the archive's folder will lie.
        repository: ``owner/name`` of the dataset.
        revision: Branch, tag or commit.

    Returns:
        The archive's folder.

    Raises:
        SnowmapError: When the hub cannot be reached or lacks the file, the file is damaged or unsafe, or the disk is
            full.
    """
    if present := _archive_below(out):
        print(f"{present} is there already; remove it to download it again")
        return present
    package = _fetch(repository, revision)
    try:
        _read_to_the_end(package)
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out, ignore_cleanup_errors=True) as unfinished:
            root = _unpack(package, Path(unfinished) / PUBLIC_NAME)
            return root.rename(out / root.name)
    except OSError as error:
        raise WriteError(out, error) from error


def _archive_below(folder: Path) -> Path | None:
    """The folder of an archive: `folder` itself or the one directly below it."""
    masks = [*folder.glob(MASK_NAME), *sorted(folder.glob(f"[!.]*/{MASK_NAME}"))]
    return masks[0].parent if masks else None


def _fetch(repository: str, revision: str) -> Path:
    """The package in the cache of the hub's client."""
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise SnowmapError('downloading needs huggingface_hub: pip install "snowmap[download]"') from error
    options: dict[str, Any] = {"repo_type": "dataset", "revision": revision}
    try:
        for again in (False, True):  # a damaged copy in the cache is replaced
            folder = Path(snapshot_download(repository, allow_patterns=PACKAGES, force_download=again, **options))
            package = next((folder / name for name in PACKAGES if (folder / name).exists()), None)
            if package is None:
                listed = ", ".join(sorted(HfApi().list_repo_files(repository, **options))) or "nothing"
                raise SnowmapError(f"{repository} lists none of {', '.join(PACKAGES)}, but: {listed}")
            if _is_as_stored(package):
                return package
    except SnowmapError:
        raise
    except Exception as error:  # no network, no such name, a full disk: the base class differs between versions
        raise SnowmapError(
            f"{repository} at {revision} could not be fetched ({type(error).__name__}: "
            f"{' '.join(str(error).split())}); the same command resumes a broken transfer"
        ) from error
    raise SnowmapError(f"{package}: the checksum is not the one that {repository} lists, twice; try again later")


def _is_as_stored(package: Path) -> bool:
    """Whether a large file has the SHA-256 by which the hub, and so the client's cache, calls it."""
    content = package.resolve()
    if len(content.name) != 64:
        return True
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == content.name


def _read_to_the_end(package: Path) -> None:
    """Measure the content, and compare it with the checksum at the end of the file, which unpacking does not reach."""
    size, most = 0, max(MOST_BYTES, MOST_TIMES * package.stat().st_size)
    try:
        with gzip.open(package) as stream:
            while piece := stream.read(2**20):
                size += len(piece)
                if size > most:
                    raise SnowmapError(f"{package.name} unpacks to more than {most:,} bytes; nothing was unpacked")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SnowmapError(
            f"{package.name} is cut short or damaged on the hub ({error}); nothing was unpacked"
        ) from error


def _unpack(package: Path, folder: Path) -> Path:
    """The archive's folder: `folder` or the one directly below it."""
    try:
        with tarfile.open(package) as tar:
            tar.extractall(str(folder), filter=_plain)
    except (OSError, SnowmapError):
        raise
    except Exception as error:  # whatever a hostile header makes of tarfile: TarError, ValueError, RecursionError
        raise SnowmapError(f"{package.name} is no sound tar file ({error}); nothing was unpacked") from error
    root = _archive_below(folder)
    if root is None:
        raise SnowmapError(f"{package.name} holds no {MASK_NAME}: it is not an archive in the Trentino layout")
    return root


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Python's data filter, for files and folders alone: links, holes and deep folders have no place in an archive."""
    plain = (member.isreg() and not member.issparse()) or member.isdir()
    if not plain or len(PurePosixPath(member.name).parts) > MOST_FOLDERS + 1 or not member.name.isprintable():
        raise SnowmapError(f"the package holds the unsafe member {member.name[:200]!r}; nothing was unpacked")
    return tarfile.data_filter(member, folder)
