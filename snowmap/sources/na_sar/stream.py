"""Shards as streams: opened by webdataset wherever they lie, read again where a transfer breaks off."""

import contextlib
import hashlib
import os
import re
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from filelock import FileLock
from webdataset.cache import FileCache
from webdataset.gopen import gopen

from snowmap.errors import SnowmapError, shown
from snowmap.files import cache_folder

HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)")
BROKEN = (tarfile.TarError, EOFError, zlib.error, ValueError)
"""What tarfile makes of bytes that are no whole tar file."""

PAUSE_S = 0.5
"""Before the first retry; each further one waits twice as long."""


class Fault(NamedTuple):
    """A member that cannot be used, or only in part.

    Attributes:
        shard: Where it lies.
        key: Of its sample.
        words: What is wrong.
        of_shard: Whether the fault is the shard's, so that other members have it, too.
    """

    shard: str
    key: str
    words: str
    of_shard: bool = False


class Opening(NamedTuple):
    """How shards are opened.

    Attributes:
        cache_gb: Size of the folder of copies of remote shards, GB; None: no copies, they are streamed.
        retries: Further attempts to read what is remote.
    """

    cache_gb: float | None = None
    retries: int = 3

    def whole(self, url: str) -> bytes:
        """The content of a file.

        Raises:
            SnowmapError: When it cannot be read.
        """
        error = None
        for _ in self._attempts(url):
            try:
                with gopen(address(url)) if is_remote(url) else Path(url).open("rb") as stream:
                    return stream.read()
            except OSError as caught:
                error = caught
        raise _unreadable(url, error, self.retries)

    def members(self, url: str, keys: Sequence[str]) -> Iterator[bytes | Fault]:
        """The content of the members of some samples in the order of `keys`, or why there is none.

        A file that can be sought in is not read where it holds other members. A broken transfer is
        resumed at the first member that is missing.

        Args:
            url: Of the shard.
            keys: Of samples, in the order of their members.

        Raises:
            SnowmapError: When the shard cannot be opened, or its transfer breaks off again and again.
        """
        places = {key: place for place, key in enumerate(keys)}
        done, error = 0, None
        for _ in self._attempts(url):
            fault = "ends too early"
            try:
                with self._opened(url) as stream:
                    try:
                        for key, read in _walk(stream):
                            if (place := places.get(key, -1)) >= done:
                                content = read()
                                for missing in keys[done:place]:
                                    yield Fault(url, missing, "is not in the shard where the metadata has it")
                                done = place + 1
                                yield content
                                if done == len(keys):
                                    return
                    except BROKEN as caught:
                        fault = f"is cut short or damaged ({_one_line(caught)})"
            except OSError as caught:  # also of a broken transfer, which looks like a shard that is cut short
                if done == len(keys):
                    return
                error = caught
                continue
            for missing in keys[done:]:
                yield Fault(url, missing, fault, True)
            return
        raise _unreadable(url, error, self.retries)

    def _attempts(self, url: str) -> Iterator[int]:
        yield 0
        for attempt in range(self.retries if is_remote(url) else 0):
            time.sleep(PAUSE_S * 2**attempt)
            yield attempt + 1

    def _opened(self, url: str) -> Any:
        if not is_remote(url):
            return Path(url).open("rb")
        if self.cache_gb is None:
            return gopen(address(url))
        folder = cache_folder() / "na_sar"
        cache = FileCache(
            str(folder / "shards"),
            url_to_name=_cache_name,
            validator=None,  # type: ignore[arg-type]
            cache_size=int(self.cache_gb * 1e9),
            cache_cleanup_interval=0,
        )
        name = folder / "shards" / _cache_name(address(url))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / f"{name.name}.lock"):  # two readers of one shard fetch it once
                stream = Path(cache.get_file(address(url))).open("rb")  # noqa: SIM115  the caller closes it
        finally:
            with contextlib.suppress(FileNotFoundError):  # what webdataset leaves of a broken transfer
                Path(f"{name}.temp{os.getpid()}").unlink()
        assert cache.cleaner
        cache.cleaner.cleanup()  # a file that is open stays readable
        return stream


def is_remote(url: str) -> bool:
    """Whether it is a URL and no path."""
    return "://" in url


def address(url: str) -> str:
    """The URL that is opened: of a file of the hub that needs no token its address.

    Raises:
        SnowmapError: When a path of the hub has another form, or its client is not installed.
    """
    if not url.startswith("hf://"):
        return url
    try:
        from huggingface_hub import get_token, hf_hub_url
    except ImportError as error:
        raise SnowmapError(f'{url} needs huggingface_hub: pip install "snowmap[download]"') from error
    parts = HUB.fullmatch(url)
    if not parts:
        raise SnowmapError(f"{url}: expected a path of the hub such as hf://datasets/OWNER/NAME, or …/NAME@REVISION")
    if get_token():
        return url
    repository, revision, file = parts.groups()
    return hf_hub_url(repository, file, repo_type="dataset", revision=revision)


def _walk(stream: Any) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Key and content of every npz of a tar file; what is not asked for is passed over."""
    seekable = getattr(stream, "seekable", bool)()
    tar = tarfile.open(fileobj=stream, mode="r:" if seekable else "r|", bufsize=2**18)  # noqa: SIM115  the stream is the caller's
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  it would keep a header of every member
        name = PurePosixPath(member.name).name
        if member.isreg() and name.endswith(".npz"):
            yield name.removesuffix(".npz"), lambda member=member: tar.extractfile(member).read()  # type: ignore[union-attr]


def first_key(path: str) -> str | None:
    """The key of the first sample of a shard on this machine; None where it cannot be read."""
    with contextlib.suppress(OSError, *BROKEN), Path(path).open("rb") as stream:
        return next((key for key, _ in _walk(stream)), None)
    return None


def _cache_name(url: str) -> str:
    return f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{url.rpartition('/')[2][-100:]}"


def _unreadable(url: str, error: OSError | None, retries: int) -> SnowmapError:
    if not is_remote(url):
        return SnowmapError(f"{url} cannot be read: {_one_line(error)}; mend it, or give another data.root")
    status = re.search(r"exit (\d+) \(read\)", str(error))  # webdataset's own words hold the token of the hub
    why = f"curl ended with status {status[1]}, see `man curl`" if status else _one_line(error)
    return SnowmapError(
        f"{url} could not be read to its end in {retries + 1} attempts: {why}; try later, raise data.retries, or copy "
        "it and give the folder as data.root"
    )


def _one_line(error: BaseException | None) -> str:
    return shown(getattr(error, "strerror", None) or str(error) or type(error).__name__, longest=200)
