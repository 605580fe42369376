"""The second opening: never stale, whatever happens to files, entries and processes."""

import logging
import os
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from snowmap import open_archive, write_archive
from snowmap.sources.trentino import cache
from tests.archives import raster_path, window_dates, write_foreign_archive
from tests.commands import Started
from tests.cubes import make_cube

HS = raster_path(Path(), "hs", *window_dates(2)[0])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNOWMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_foreign_archive(tmp_path / "a", 2, (6, 7))
    return tmp_path / "a"


def entries(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("layers.npy"))


def inodes(entry: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in entry.iterdir()}


def assert_up_to_date(root: Path, **options: object) -> xr.Dataset:
    cube = open_archive(root, **options)
    assert cube.identical(open_archive(root, cache=False, **options))
    return cube


def test_second_opening_is_the_same_cube_and_reads_no_raster(root: Path, folder: Path) -> None:
    first = open_archive(root)
    (entry,) = entries(folder)
    assert {path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"} == {*entry.iterdir()}
    written = inodes(entry)
    second = assert_up_to_date(root)
    assert second.identical(first)
    assert entries(folder) == [entry]
    assert inodes(entry) == written


def test_second_opening_comes_from_the_entry(root: Path, folder: Path) -> None:
    open_archive(root)
    (entry,) = entries(folder)
    arrays, metadata = cache.load(root, entry.name)
    cache.store(root, entry.name, arrays, metadata | {"origin": "planted"})
    assert open_archive(root).attrs["origin"] == "planted"
    assert open_archive(root, cache=False).attrs["origin"] == "a"


def test_cube_from_the_cache_can_be_changed_without_changing_the_entry(root: Path) -> None:
    open_archive(root)
    cube = open_archive(root)
    cube["features"].values[:] = -1
    cube["mask"].values[:] = False
    assert_up_to_date(root)


def change_same_size_same_time(path: Path, value: np.float32) -> None:
    """The nastiest change: in place, of the lowest bit of one value, with the old modification time put back."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[content.index(value.tobytes())] ^= 0x01
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_change_with_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    root = write_archive(make_cube(2, (6, 7)), tmp_path / "a")
    for _ in range(5):
        before = open_archive(root)["hs"].values.copy()
        change_same_size_same_time(root / HS, before[0, 3, 3])
        after = assert_up_to_date(root)["hs"].values
        assert not np.array_equal(before, after, equal_nan=True)


def test_changes_just_before_opening_are_seen(root: Path, tmp_path: Path) -> None:
    """Two changes within one step of the file system's clock leave the same time."""
    one = write_archive(make_cube(2, (6, 7), seed=1), tmp_path / "one") / HS
    two = write_archive(make_cube(2, (6, 7), seed=2), tmp_path / "two") / HS
    archive = write_archive(make_cube(2, (6, 7), seed=1), tmp_path / "archive")
    for source in (one, two) * 4:
        (archive / HS).write_bytes(source.read_bytes())
        assert_up_to_date(archive)


def test_added_and_removed_files_are_seen(root: Path) -> None:
    open_archive(root)
    away = root / "away.tif"
    (root / HS).rename(away)
    assert assert_up_to_date(root).sizes["window"] == 1
    away.rename(root / HS)
    assert assert_up_to_date(root).sizes["window"] == 2


def test_another_archive_at_the_same_place_is_seen(root: Path, tmp_path: Path) -> None:
    before = open_archive(root)["hs"].values.copy()
    shutil.rmtree(root)
    write_foreign_archive(root, 2, (6, 7), seed=5)
    assert not np.array_equal(assert_up_to_date(root)["hs"].values, before, equal_nan=True)


def test_foreign_files_change_nothing(root: Path, folder: Path) -> None:
    open_archive(root)
    (root / "INSAR" / "notes.txt").write_text("new")
    open_archive(root)
    assert len(entries(folder)) == 1


def test_sidecars_are_seen(root: Path) -> None:
    before = open_archive(root)["hs"].values
    sidecar = root / f"{HS}.aux.xml"
    for offset in (1, 2):
        sidecar.write_text(
            f'<PAMDataset><PAMRasterBand band="1"><Offset>{offset}</Offset></PAMRasterBand></PAMDataset>'
        )
        np.testing.assert_allclose(assert_up_to_date(root)["hs"].values[0], before[0] + offset)
    sidecar.unlink()
    np.testing.assert_array_equal(assert_up_to_date(root)["hs"].values, before)


def test_requests_do_not_mix_and_old_entries_go(root: Path, folder: Path) -> None:
    for options in (
        {},
        {"bands": ["phase"]},
        {"zero_is_missing": ()},
        {"targets": ["hs"]},
        {"bands": ["phase", "pdd"]},
        {"swe_unit": "cm"},
    ):
        assert_up_to_date(root, **options)
        assert_up_to_date(root, **options)
    assert len(entries(folder)) == cache.KEPT_ENTRIES


@pytest.mark.parametrize("name", ["layers.npy", "mask.npy", "metadata.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:-40] + b"x" * 40,
        lambda content: b"not JSON\n" + content,
        lambda content: b"[]\n" + content,
        lambda content: content + b"more",
    ],
)
def test_damaged_entry_is_written_anew(root: Path, folder: Path, caplog, damage, name: str) -> None:
    open_archive(root)
    (entry,) = entries(folder)
    whole = (entry / name).read_bytes()
    (entry / name).write_bytes(damage(whole))
    assert_up_to_date(root)
    assert "damaged cache entry" in caplog.text
    caplog.clear()
    assert_up_to_date(root)
    assert caplog.text == ""


def test_cache_that_cannot_be_written_is_a_warning(root: Path, folder: Path, caplog) -> None:
    folder.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert_up_to_date(root)
    assert "the cache cannot be written" in caplog.text
    assert "SNOWMAP_CACHE" in caplog.text


def test_cache_lies_in_the_users_folder_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SNOWMAP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert cache.folder_of(tmp_path / "a").is_relative_to(tmp_path / "xdg" / "snowmap")


def test_an_entry_that_lacks_a_file_is_written_anew(root: Path, folder: Path) -> None:
    open_archive(root)
    (entry,) = entries(folder)
    (entry / "mask.npy").unlink()
    assert_up_to_date(root)
    assert (entry / "mask.npy").exists()


def test_what_a_crash_of_the_machine_left_without_content_is_written_anew(root: Path, folder: Path, caplog) -> None:
    open_archive(root)
    (entry,) = entries(folder)
    for length in (0, 100, 200):
        os.truncate(entry / "layers.npy", length)
        os.utime(entry / "layers.npy", ns=(cache.WRITTEN_NS, cache.WRITTEN_NS))
        assert_up_to_date(root)
        assert "damaged cache entry" in caplog.text
        caplog.clear()


def open_and_print(root: Path) -> None:
    print(open_archive(root).attrs["fingerprint"])


@pytest.mark.slow
def test_processes_at_once(root: Path, folder: Path) -> None:
    processes = [Started(partial(open_and_print, root)) for _ in range(4)]
    prints = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert prints == {open_archive(root, cache=False).attrs["fingerprint"]}
    assert len(entries(folder)) == 1
    assert_up_to_date(root)


def store_over_and_over(root: Path, ready: Path) -> None:
    """Store the same entry again and again, so that a kill falls somewhere into the writing."""
    arrays = {"features": np.arange(4_000_000, dtype=np.float32)}
    ready.touch()
    while True:
        cache.store(root, "key", arrays, {"whole": True})


@pytest.mark.slow
def test_kill_half_way_leaves_a_whole_entry_or_none(root: Path, folder: Path, tmp_path: Path) -> None:
    halfway = []
    for delay in (0.003, 0.01, 0.03):
        ready = tmp_path / f"ready-{delay}"
        process = Started(partial(store_over_and_over, root, ready))
        while not ready.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.001)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        halfway += folder.rglob("*.snowmap-part")
        if entry := cache.load(root, "key"):
            arrays, metadata = entry
            assert metadata == {"whole": True}
            np.testing.assert_array_equal(arrays["features"], np.arange(4_000_000, dtype=np.float32))
    assert halfway  # otherwise no kill fell into the writing, and nothing was tested
    assert_up_to_date(root)
    assert not list(folder.rglob("*.snowmap-part"))
