"""`snowmap download` with the real hub client, against a hub on loopback."""

import contextlib
import io
import resource
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from snowmap.cli import main
from snowmap.sources.trentino import open_archive
from tests.hub_server import Hub, serve_hub

constants = pytest.importorskip("huggingface_hub.constants")

REPOSITORY = "links-ads/insar-regional-snow-mapping"


def packed(folder: Path, name: str = "Dataset_icip2026", level: int = 9) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=level) as tar:
        tar.add(folder, name)
    return buffer.getvalue()


def with_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> bytes:
    """A package with one member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, size
        tar.addfile(member, io.BytesIO(bytes(size)))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(14, (12, 15))


@pytest.fixture(scope="module")
def package(archive) -> bytes:
    return packed(archive)


def download(hub: Hub, folder: Path, *words: str) -> tuple[int, str]:
    """The exit status of `snowmap download`, and what it said."""
    template = hub.endpoint + constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        for name, value in {
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "ENDPOINT": hub.endpoint,
            "HF_HUB_CACHE": str(folder / "hub"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DOWNLOAD_TIMEOUT": 5,
        }.items():
            patch.setattr(constants, name, value)
        status = main(["download", str(folder / "data"), *words])
    return status, said.getvalue()


def refused(hub: Hub, folder: Path, *words: str) -> str:
    """The error of a download that must fail and leave nothing unpacked."""
    status, said = download(hub, folder, *words)
    assert status == 1, said
    assert not list((folder / "data").glob("*")) + list((folder / "data").glob(".*"))
    error = said[said.index("error: ") :]
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("name", ["data.tar.gz", "Dataset_icip2026.tar.gz"])
def test_fetches_unpacks_and_checks_whichever_name_is_listed(archive, package, tmp_path, name):
    with serve_hub(Hub(REPOSITORY, {"README.md": b"card", name: package})) as hub:
        status, said = download(hub, tmp_path)
        assert status == 0, said
        hub.ranges.clear()
        status, again = download(hub, tmp_path)
        assert (status, hub.ranges) == (0, [])
    assert "is there already" in again
    assert "fit to train on" in said
    assert f"data.root={tmp_path}/data/Dataset_icip2026" in said
    assert open_archive(tmp_path / "data" / "Dataset_icip2026").features.equals(open_archive(archive).features)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["Dataset_icip2026"]


@pytest.mark.slow
def test_a_broken_transfer_goes_on_where_it_stopped(archive, tmp_path):
    big = tmp_path / "big"
    shutil.copytree(archive, big)
    (big / "foreign.bin").write_bytes(np.random.default_rng(0).bytes(24_000_000))  # the client keeps pieces of 10 MB
    package = packed(big)
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": package}, drop_after=[15_000_000])) as hub:
        status, said = download(hub, tmp_path)
        if status:  # the client may give up; the same command resumes
            status, said = download(hub, tmp_path)
        assert status == 0, said
        assert hub.ranges[0] is None
        assert all(asked and int(asked.removeprefix("bytes=").rstrip("-")) >= 10_000_000 for asked in hub.ranges[1:])
        assert len(hub.ranges) > 1


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def test_a_damaged_copy_in_the_cache_is_fetched_again(archive, package, tmp_path):
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": package})) as hub:
        assert download(hub, tmp_path)[0] == 0
        shutil.rmtree(tmp_path / "data")
        (blob,) = (path for path in tmp_path.glob("hub/**/blobs/*") if path.stat().st_size == len(package))
        blob.write_bytes(flipped(package, len(package) - 5))  # in the checksum of gzip
        assert download(hub, tmp_path)[0] == 0
        assert hub.ranges == [None, None]
    assert blob.read_bytes() == package


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: flipped(stored, len(stored) // 2),
        lambda stored: flipped(stored, len(stored) - 100),
        lambda stored: stored[: len(stored) // 2],
    ],
)
def test_damage_before_the_upload_is_seen(archive, tmp_path, damage):
    stored = packed(archive, level=0)  # the numbers as they are: nothing but the checksum of gzip shows a flipped bit
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": damage(stored)})) as hub:
        assert "cut short or damaged on the hub" in refused(hub, tmp_path)


def test_a_full_disk_is_not_called_damaged(archive, tmp_path):
    big = tmp_path / "big"
    shutil.copytree(archive, big)
    (big / "foreign.bin").write_bytes(bytes(3_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": packed(big)})) as hub:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
            error = refused(hub, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{tmp_path / 'data'} cannot be written" in error
    assert "make room" in error
    assert "damaged" not in error


def test_a_package_that_unpacks_without_end_is_refused(package, tmp_path, monkeypatch):
    monkeypatch.setattr("snowmap.sources.trentino.download.MOST_BYTES", 1_000_000)
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": with_member("zeros", size=2_000_000)})) as hub:
        assert "unpacks to more than 1,000,000 bytes" in refused(hub, tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../evil.tif", tarfile.REGTYPE, ""),
        ("Dataset_icip2026/link.tif", tarfile.SYMTYPE, "/etc/passwd"),
        ("Dataset_icip2026/hard.tif", tarfile.LNKTYPE, "../../secret"),
        ("Dataset_icip2026/pipe", tarfile.FIFOTYPE, ""),
        ("a/" * 2000 + "deep.tif", tarfile.REGTYPE, ""),
        ("a\nb", tarfile.REGTYPE, ""),
    ],
)
def test_unsafe_members_are_refused(tmp_path, name, kind, target):
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": with_member(name, kind, target)})) as hub:
        error = refused(hub, tmp_path)
    assert "nothing was unpacked" in error
    assert name[:20] in error or repr(name) in error
    assert not (tmp_path / "evil.tif").exists()


def test_a_leading_slash_does_not_leave_the_folder(tmp_path):
    outside = tmp_path / "evil.tif"
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": with_member(str(outside))})) as hub:
        assert "master_mask.tif" in refused(hub, tmp_path / "here")
    assert not outside.exists()


def test_a_repository_without_the_package_is_told_by_what_it_lists(tmp_path):
    with serve_hub(Hub(REPOSITORY, {"other.zip": b"", "README.md": b""})) as hub:
        assert "README.md, other.zip" in refused(hub, tmp_path)


def test_a_package_without_an_archive(tmp_path):
    (tmp_path / "x").mkdir()
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": packed(tmp_path / "x")})) as hub:
        assert "holds no master_mask.tif" in refused(hub, tmp_path)


def test_an_unknown_repository(package, tmp_path):
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": package})) as hub:
        assert "other/name at main could not be fetched" in refused(hub, tmp_path, "--repo", "other/name")


@pytest.mark.slow
def test_no_network(tmp_path):
    with serve_hub(Hub(REPOSITORY, {})) as hub:
        pass
    assert "could not be fetched" in refused(hub, tmp_path)  # after the client's own retries, 24 s
