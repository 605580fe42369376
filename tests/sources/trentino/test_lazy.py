"""Opening lazily gives what opening gives, piece by piece."""

import shutil

import numpy as np
import pytest
import rasterio
import xarray as xr

from snowmap import SnowmapError, open_archive
from snowmap.data.cube import check
from snowmap.sources.trentino import open_lazily
from tests.archives import raster_path, window_dates, write_foreign_archive
from tests.sources.trentino.test_opening import overwrite

SHAPE = (300, 17)  # more rows than are read at once
DATES = window_dates(8)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive") / "a"
    write_foreign_archive(root, 8, SHAPE)
    return root


@pytest.fixture
def root(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "a")


@pytest.mark.parametrize(
    "piece",
    [
        {},
        {"y": slice(250, 260), "x": slice(3, 9), "window": slice(2, 5)},
        {"window": [5, 1], "band": [8, 0]},
        {"window": 3, "band": 2, "y": slice(None, None, -7), "x": 4},
        {"y": [299, 0, 20], "x": slice(2, 15, 3)},
        {"y": slice(4, 4)},
    ],
)
def test_every_piece_is_that_of_the_whole(pristine, piece):
    whole, lazy = open_archive(pristine, targets=(), cache=False), open_lazily(pristine)
    xr.testing.assert_identical(
        lazy.isel(piece).load().drop_attrs(deep=False),
        whole.drop_vars(["hs", "swe"]).isel(piece).drop_attrs(deep=False),
    )


def test_a_loaded_piece_is_a_valid_cube(pristine):
    lazy = open_lazily(pristine, bands=["phase", "elevation"])
    assert lazy["features"].chunks is not None
    assert lazy["band"].values.tolist() == ["elevation", "phase"]
    check(lazy.isel(y=slice(100, 200), x=slice(5, 12)).load())


def test_only_what_is_looked_at_is_read(root):
    lazy = open_lazily(root)
    for window in (0, 1, 3):
        shutil.rmtree(root / "S3", ignore_errors=True)
        raster_path(root, "phase", *DATES[window]).unlink()
    lazy["features"].isel(window=2, band=slice(0, 7)).load()
    with pytest.raises(SnowmapError, match=rf"{DATES[3][0]}.*Phase.*not readable"):
        lazy["features"].sel(band="phase").isel(window=3, y=slice(0, 5)).load()


def test_targets_are_not_needed_and_exclusions_and_faults_are_those_of_opening(root, caplog):
    shutil.rmtree(root / "ITSNOW")
    with rasterio.open(root / "master_mask.tif") as raster:
        mask = raster.read(1) > 0
    path = raster_path(root, "coherence", *DATES[2])
    with rasterio.open(path) as raster:
        outside = np.where(mask, np.nan, 0.5).astype(np.float32)
    overwrite(path, values=outside, nodata=None)
    raster_path(root, "pdd", *DATES[4]).unlink()
    whole = open_archive(root, targets=(), cache=False)
    caplog.clear()
    lazy = open_lazily(root)
    assert lazy.attrs["excluded"] == whole.attrs["excluded"]
    assert len(lazy.attrs["excluded"]) == 2
    assert "windows left out: 2" in caplog.text
    np.testing.assert_array_equal(lazy["features"].values, whole["features"].values)
    overwrite(raster_path(root, "phase", *DATES[0]), values=np.ones((3, 5), np.float32))
    raster_path(root, "phase", *DATES[1]).write_bytes(b"no raster")
    messages = []
    for opened in (open_lazily, lambda root: open_archive(root, targets=(), cache=False)):
        with pytest.raises(SnowmapError) as caught:
            opened(root)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "2 faults" in messages[0]


def test_zero_is_missing_where_it_is_said_to_be(pristine):
    found = open_lazily(pristine, zero_is_missing=["coherence"])["features"]
    known = open_archive(pristine, zero_is_missing=["coherence"], cache=False)["features"]
    np.testing.assert_array_equal(found.values, known.values)
    assert (found.values == 0).any()
