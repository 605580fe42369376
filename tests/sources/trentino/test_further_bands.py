"""Bands that an archive may hold besides the nine: for each window or once for all, read where they are named."""

import shutil

import numpy as np
import pytest
import xarray as xr

from snowmap.data.cube import quantities_of
from snowmap.errors import SnowmapError
from snowmap.sources.trentino import open_archive, open_lazily, write_archive
from snowmap.sources.trentino.check import check_archive
from snowmap.sources.trentino.quantities import FURTHER_BANDS, STANDARD_BANDS
from tests.cubes import make_cube

ALL = [*STANDARD_BANDS, *FURTHER_BANDS]


def with_further_bands() -> xr.Dataset:
    cube = make_cube(windows=14, bands=ALL)
    cube["features"].loc[{"band": "component"}] = 1
    for position, name in enumerate(("forest_cover", "glacier", "layover_shadow")):
        cube["features"].loc[{"band": name}] = np.float32(np.arange(17) % (position + 2) == 0)
    return cube


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_archive(with_further_bands(), tmp_path_factory.mktemp("further") / "a")


def test_they_are_read_where_they_are_named_and_change_nothing_where_not(root):
    assert sorted(path.name for path in (root / "STATIC").iterdir()) == [
        "forest_cover.tif", "glacier.tif", "layover_shadow.tif",
    ]  # fmt: skip
    cube, asked = with_further_bands(), [name for name in ALL if name != "layover_shadow"]
    xr.testing.assert_equal(open_archive(root, bands=asked)["features"], cube["features"].sel(band=asked))
    standard = open_archive(root)
    assert standard["band"].values.tolist() == list(STANDARD_BANDS)
    xr.testing.assert_equal(standard["features"], cube["features"].sel(band=list(STANDARD_BANDS)))


def test_the_radar_has_no_value_in_layover_and_shadow_however_it_is_opened(root):
    whole, cube = open_archive(root, bands=ALL), with_further_bands()
    hidden = np.arange(17) % 4 == 0
    for name, quantity in quantities_of(whole).items():
        if name in ALL:
            known, found = (each["features"].sel(band=name).values for each in (cube, whole))
            expected = np.where(hidden, np.nan, known) if quantity.group == "sar" else known
            np.testing.assert_array_equal(found, expected.astype(np.float32))
    piece = {"y": slice(2, 9), "x": slice(3, 11), "window": slice(2, 4)}
    lazy = open_lazily(root, bands=ALL)["features"]
    assert lazy.chunks is not None
    xr.testing.assert_equal(lazy.isel(piece).load(), whole["features"].isel(piece))


def test_the_unwrapped_phase_is_that_of_the_largest_component_however_it_is_opened(tmp_path):
    """Of most pixels of the study area, whose first two columns lie outside; its number differs between windows."""
    bands = ["component", "coherence", "phase", "displacement", "unwrapped_phase", "elevation"]
    cube = make_cube(windows=14, bands=bands)
    number = np.ones((14, 12, 17), np.float32)
    number[0, :, :9], number[0, :, 9:] = 7, 3  # 7 has more pixels of the scene, 3 of the study area
    number[1, 2], number[1, 3:], number[1, 5, 5] = 1, 2, np.nan
    number[2] = 0
    cube["features"].loc[{"band": "component"}] = number
    kept = number == np.array([3, 2, np.nan, *[1] * 11], np.float32)[:, None, None]
    root = write_archive(cube, tmp_path / "a")
    opened, lazy = open_archive(root, bands=bands), open_lazily(root, bands=bands)["features"]
    for name in bands:
        known = cube["features"].sel(band=name).values
        expected = np.where(kept, known, np.nan) if name in ("displacement", "unwrapped_phase") else known
        found = opened["features"].sel(band=name).values
        np.testing.assert_array_equal(found, kept if name == "component" else expected)
    piece = {"y": slice(2, 9), "x": slice(3, 11), "window": slice(0, 3)}
    assert lazy.chunks is not None
    assert lazy.dtype == np.float32
    xr.testing.assert_equal(lazy.isel(piece).load(), opened["features"].isel(piece))
    assert open_archive(root, bands=bands[1:])["features"].sel(band="unwrapped_phase").notnull()[2].any()


def test_check_says_what_else_lies_there(root):
    report = check_archive(root)
    assert any(note.endswith(f": {', '.join(sorted(FURTHER_BANDS))}") for note in report.notes)
    named = check_archive(root, bands=ALL)
    assert not named.faults
    assert {row[0]: row[-1] for row in named.quantities}["glacier"] == "ok"


def test_two_files_or_two_contents_of_what_is_static_are_refused(root, tmp_path):
    twice = shutil.copytree(root, tmp_path / "twice")
    shutil.copy(twice / "STATIC" / "glacier.tif", twice / "STATIC" / "Glacier.TIFF")
    with pytest.raises(SnowmapError, match="every window: 2 files for band 'glacier'"):
        open_archive(twice, bands=ALL)
    cube = with_further_bands()
    cube["features"].loc[{"band": "glacier", "window": 3}] = 0
    with pytest.raises(SnowmapError, match="'glacier' changes between windows"):
        write_archive(cube, tmp_path / "b")
    assert not (tmp_path / "b").exists()
