"""Cube → archive → Cube, and what is refused."""

import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from snowmap import SnowmapError, open_archive, write_archive
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.commands import Started
from tests.cubes import make_cube


def assert_same_bits(found: xr.Dataset, expected: xr.Dataset) -> None:
    for name in ("features", "hs", "swe", "mask", "start", "end", "band", "unit"):
        np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=name)
    zeros = expected["features"].values == 0
    np.testing.assert_array_equal(
        np.signbit(found["features"].values[zeros]), np.signbit(expected["features"].values[zeros])
    )
    assert found.rio.crs == expected.rio.crs
    assert found.rio.transform() == expected.rio.transform()


def test_round_trip(tmp_path: Path) -> None:
    cube = make_cube()
    cube["features"].values[0, list(STANDARD_BANDS).index("phase"), 5, 3:6] = 0, -0.0, 1e-45
    cube.attrs["origin"] = "synthetic: snowmap 0.1.0, seed 0"
    assert write_archive(cube, tmp_path / "deep" / "archive") == tmp_path / "deep" / "archive"
    found = open_archive(tmp_path / "deep" / "archive", cache=False)
    assert_same_bits(found, cube)
    assert found.attrs["origin"] == "synthetic: snowmap 0.1.0, seed 0"
    write_archive(found, tmp_path / "again")
    again = open_archive(tmp_path / "again", cache=False)
    assert again.attrs["fingerprint"] == found.attrs["fingerprint"]
    assert again.attrs["origin"] == found.attrs["origin"]


def test_names_nodata_units_and_grid_as_other_programs_see_them(tmp_path: Path) -> None:
    cube = make_cube(windows=1)
    write_archive(cube, tmp_path / "a")
    assert sorted(str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.tif")) == sorted(
        [
            "INSAR/2021-01-09_2021-01-21_Intensity_ifg_IW1_VV_09Jan2021_21Jan2021_db.tif",
            "INSAR/2021-01-09_2021-01-21_Phase_ifg_IW1_VV_09Jan2021_21Jan2021.tif",
            "INSAR/2021-01-09_2021-01-21_Unw_Phase_ifg_09Jan2021_21Jan2021_VV.tif",
            "INSAR/2021-01-09_2021-01-21_coh_IW1_VV_09Jan2021_21Jan2021.tif",
            "INSAR/2021-01-09_2021-01-21_displacement_VV.tif",
            "INSAR/2021-01-09_2021-01-21_elevation_VV.tif",
            "INSAR/2021-01-09_2021-01-21_localIncidenceAngle.tif",
            "ITSNOW/HS/2021-01-09_to_2021-01-21_hs.tif",
            "ITSNOW/SWE/2021-01-09_to_2021-01-21_swe.tif",
            "S3/2021-01-09_2021-01-21_meanTemp.tif",
            "S3/2021-01-09_2021-01-21_pdd.tif",
            "master_mask.tif",
        ]
    )
    with rasterio.open(tmp_path / "a" / "S3" / "2021-01-09_2021-01-21_meanTemp.tif") as raster:
        assert raster.dtypes == ("float32",)
        assert np.isnan(raster.nodata)
        assert raster.units == ("degC",)
        assert raster.crs == cube.rio.crs
        assert raster.transform == cube.rio.transform()
        np.testing.assert_array_equal(raster.read(1), cube["features"].values[0, 7])
    with rasterio.open(tmp_path / "a" / "master_mask.tif") as raster:
        assert raster.dtypes == ("uint8",)
        np.testing.assert_array_equal(raster.read(1), cube["mask"].values.astype(np.uint8))


SMALLEST = float(np.float32(1e-45))
VALUES = st.floats(-8999, 2.0**99, width=32) | st.sampled_from([0.0, -0.0, np.nan, SMALLEST, -SMALLEST])


@settings(max_examples=25, deadline=None)
@given(data=st.data(), windows=st.integers(1, 3), height=st.integers(1, 4), width=st.integers(1, 4))
def test_round_trip_of_any_cube(tmp_path_factory, data, windows: int, height: int, width: int) -> None:
    cube = make_cube(windows, (height + 1, width + 2))  # its mask leaves out one row and two columns
    shape = cube["features"].shape
    features = data.draw(arrays.arrays(np.float32, shape, elements=VALUES))
    features[:, :, -1, -1] = 0.25  # a window without any value in the study area would be excluded
    cube["features"].values[:] = features
    cube["swe"].values[:, -1, -1], cube["hs"].values[:, -1, -1] = 3, 10
    root = tmp_path_factory.mktemp("any") / "archive"
    write_archive(cube, root)
    assert_same_bits(open_archive(root, cache=False), cube)


def test_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("mine")
    with pytest.raises(SnowmapError, match="not an empty folder"):
        write_archive(make_cube(windows=1), tmp_path / "a")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "thesis.txt"]
    (tmp_path / "empty").mkdir()
    write_archive(make_cube(windows=1), tmp_path / "empty")
    assert (tmp_path / "empty" / "master_mask.tif").is_file()


@pytest.mark.parametrize("value", [-9000.0, -32768.0])
def test_refuses_what_would_be_read_as_missing(tmp_path: Path, value: float) -> None:
    cube = make_cube(windows=1)
    cube["hs"].values[0, 0, 0] = value
    with pytest.raises(SnowmapError, match="'hs' holds values of -9000 or below"):
        write_archive(cube, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_refuses_dates_that_names_cannot_hold(tmp_path: Path) -> None:
    cube = make_cube(windows=2)
    with pytest.raises(SnowmapError, match="'start' has a time of day"):
        write_archive(cube.assign_coords(start=cube["start"] + np.timedelta64(5, "h")), tmp_path / "a")
    with pytest.raises(SnowmapError, match="several windows have the dates 2021-01-09_to_2021-01-21"):
        write_archive(cube.isel(window=[0, 0]), tmp_path / "a")


def test_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SnowmapError, match="cannot be written"):
        write_archive(make_cube(windows=1), tmp_path / "file" / "a")
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def write_with_little_room(folder: Path) -> None:
    import resource  # not on Windows

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    cube = make_cube(1, (200, 200))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    write_archive(cube, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    """A disk that fills up: in a process of its own, no file may grow beyond 100 kB, and a raster needs 160 kB."""
    process = Started(partial(write_with_little_room, tmp_path / "a"))
    said = process.communicate()[0]
    assert process.returncode == 1
    assert "no room on the disk at / (File too large)" in said
    assert list(tmp_path.iterdir()) == []
