"""`snowmap download` with the real hub client, against a hub on loopback."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from snowmap.archive import open_archive
from tests.archives import write_foreign_archive
from tests.hub_server import Hub, serve_hub

pytest.importorskip("huggingface_hub")

REPOSITORY = "links-ads/insar-regional-snow-mapping"


def packed(folder: Path, name: str = "Dataset_icip2026") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, name)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("source") / "Dataset_icip2026"
    write_foreign_archive(root, windows=14, shape=(12, 15))
    return root


@pytest.fixture(scope="module")
def package(archive) -> bytes:
    return packed(archive)


def download(hub: Hub, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snowmap.cli", "download", str(folder / "data"), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            "SNOWMAP_CACHE": str(folder / "cache"),
            "COLUMNS": "100",
        },
    )


def refused(hub: Hub, folder: Path, *words: str) -> str:
    """The error of a download that must fail and leave nothing unpacked."""
    done = download(hub, folder, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert not list((folder / "data").glob("*")) + list((folder / "data").glob(".*"))
    return done.stderr[done.stderr.index("error: ") :]


@pytest.mark.parametrize("name", ["data.tar.gz", "Dataset_icip2026.tar.gz"])
def test_fetches_unpacks_and_checks_whichever_name_is_listed(archive, package, tmp_path, name):
    with serve_hub(Hub(REPOSITORY, {"README.md": b"card", name: package})) as hub:
        done = download(hub, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fit to train on" in done.stdout
    assert f"data.root={tmp_path}/data/Dataset_icip2026" in done.stdout
    assert open_archive(tmp_path / "data" / "Dataset_icip2026").features.equals(open_archive(archive).features)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["Dataset_icip2026"]


def test_what_is_there_is_not_fetched_again(package, tmp_path):
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": package})) as hub:
        assert download(hub, tmp_path).returncode == 0
        hub.ranges.clear()
        done = download(hub, tmp_path)
        assert done.returncode == 0
        assert "is there already" in done.stdout
        assert not hub.ranges


@pytest.mark.slow
def test_a_broken_transfer_goes_on_where_it_stopped(archive, tmp_path):
    big = tmp_path / "big"
    shutil.copytree(archive, big)
    (big / "foreign.bin").write_bytes(np.random.default_rng(0).bytes(24_000_000))  # the client keeps pieces of 10 MB
    package = packed(big)
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": package}, drop_after=[15_000_000])) as hub:
        done = download(hub, tmp_path)
        if done.returncode:  # the client may give up; the same command goes on
            done = download(hub, tmp_path)
        assert done.returncode == 0, done.stderr
        assert hub.ranges[0] is None
        assert all(asked and int(asked.removeprefix("bytes=").rstrip("-")) >= 10_000_000 for asked in hub.ranges[1:])
        assert len(hub.ranges) > 1


def test_a_package_cut_short_is_refused(package, tmp_path):
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": package[: len(package) // 2]})) as hub:
        assert "cut short or damaged" in refused(hub, tmp_path)


def test_no_member_may_leave_the_folder(package, tmp_path):
    for name, kind, target in (
        ("../evil.tif", tarfile.REGTYPE, ""),
        ("/tmp/evil.tif", tarfile.REGTYPE, ""),
        ("Dataset_icip2026/link.tif", tarfile.SYMTYPE, "/etc/passwd"),
        ("Dataset_icip2026/hard.tif", tarfile.LNKTYPE, "../../secret"),
        ("Dataset_icip2026/pipe", tarfile.FIFOTYPE, ""),
    ):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
        folder = tmp_path / name.replace("/", "_")
        with serve_hub(Hub(REPOSITORY, {"data.tar.gz": buffer.getvalue()})) as hub:
            assert f"unsafe member '{name}'" in refused(hub, folder)
        assert not (folder / "evil.tif").exists()


def test_a_repository_without_the_package_is_told_by_what_it_lists(tmp_path):
    with serve_hub(Hub(REPOSITORY, {"other.zip": b"", "README.md": b""})) as hub:
        assert "README.md, other.zip" in refused(hub, tmp_path)


def test_a_package_without_an_archive(tmp_path):
    (tmp_path / "x").mkdir()
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": packed(tmp_path / "x")})) as hub:
        assert "holds no master_mask.tif" in refused(hub, tmp_path)


def test_an_unknown_repository(package, tmp_path):
    with serve_hub(Hub(REPOSITORY, {"data.tar.gz": package})) as hub:
        assert "the hub refuses other/name" in refused(hub, tmp_path, "--repo", "other/name")


@pytest.mark.slow
def test_no_network(tmp_path):
    with serve_hub(Hub(REPOSITORY, {})) as hub:
        pass
    assert "could not be fetched" in refused(hub, tmp_path)  # after the client's own retries, 24 s
