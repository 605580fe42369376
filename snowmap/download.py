"""The public archive from the Hugging Face hub: fetched, unpacked safely, never half there."""

import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from zlib import error as ZlibError  # noqa: N812

from snowmap.errors import SnowmapError

PACKAGES = ("data.tar.gz", "Dataset_icip2026.tar.gz")
"""Names that the dataset card gives the one file; whichever the repository lists is taken."""


def download(out: Path, *, repository: str, revision: str = "main") -> Path:
    """Fetch and unpack the archive, unless it is there already.

    The hub's client shows the progress, goes on with a broken transfer and compares size and checksum.

    Args:
        out: Folder in which the archive's folder will lie.
        repository: ``owner/name`` of the dataset.
        revision: Branch, tag or commit.

    Returns:
        The archive's folder.

    Raises:
        SnowmapError: When the hub cannot be reached or lacks the file, or the file is cut short or unsafe.
    """
    if present := _archive_below(out):
        print(f"{present} is there already; remove it to download it again")
        return present
    package = _fetch(out, repository, revision)
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=out))
        try:
            return _unpack(package, unfinished, out)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise SnowmapError(f"{out} cannot be written ({error}); give another folder") from error


def _archive_below(folder: Path) -> Path | None:
    """The folder of an archive: `folder` itself or the one directly below it."""
    masks = [*folder.glob("master_mask.tif"), *sorted(folder.glob("[!.]*/master_mask.tif"))]
    return masks[0].parent if masks else None


def _fetch(out: Path, repository: str, revision: str) -> Path:
    try:
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise SnowmapError('downloading needs huggingface_hub: pip install "snowmap[download]"') from error
    try:
        listed = HfApi().list_repo_files(repository, repo_type="dataset", revision=revision)
        name = next((name for name in PACKAGES if name in listed), None)
        if name is None:
            raise SnowmapError(
                f"{repository} lists none of {', '.join(PACKAGES)}, but: {', '.join(sorted(listed)) or 'nothing'}"
            )
        return Path(hf_hub_download(repository, name, repo_type="dataset", revision=revision))
    except SnowmapError:
        raise
    except HfHubHTTPError as error:
        raise SnowmapError(f"the hub refuses {repository} at {revision}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # no network, a broken transfer: the base class differs between versions of the client
        raise SnowmapError(
            f"{repository} could not be fetched ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "the same command goes on where it stopped"
        ) from error


def _unpack(package: Path, unfinished: Path, out: Path) -> Path:
    try:
        with tarfile.open(package) as tar:
            for member in tar:
                _refuse_unsafe(member, package)
                tar.extract(member, unfinished, filter="data")
    except tarfile.FilterError as error:
        raise SnowmapError(f"{package.name} holds an unsafe member: {error}; nothing was unpacked") from error
    except (tarfile.TarError, EOFError, ZlibError, OSError) as error:
        raise SnowmapError(
            f"{package.name} is cut short or damaged ({error}); remove {package} and download it again"
        ) from error
    root = _archive_below(unfinished)
    if root is None:
        raise SnowmapError(f"{package.name} holds no master_mask.tif: it is not an archive in the Trentino layout")
    return root.rename(out / (root.name if root != unfinished else "Dataset_icip2026"))


def _refuse_unsafe(member: tarfile.TarInfo, package: Path) -> None:
    """The data filter alone would strip a leading slash and keep links that stay inside: here neither has a place."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
        raise SnowmapError(f"{package.name} holds the unsafe member '{member.name}'; nothing was unpacked")
