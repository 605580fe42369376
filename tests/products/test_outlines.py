"""Outlines on a grid: pixels inside, shares of pixels, and real glaciers."""

import logging

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine
from shapely import Polygon, box

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.outlines import inside, share

UTM = CRS.from_epsg(32632)
NORTH_UP = Affine(100, 0, 600_000, 0, -100, 5_101_000)
SOUTH_UP = Affine(100, 0, 600_000, 0, 100, 5_100_000)


def write(path, *geometries, crs=UTM):
    gpd.GeoDataFrame(geometry=list(geometries), crs=UTM).to_crs(crs).to_file(path)
    return path


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp"])
def test_overlapping_outlines_in_another_crs(tmp_path, suffix):
    first, second = box(600_150, 5_100_700, 600_400, 5_101_000), box(600_300, 5_100_800, 600_540, 5_100_900)
    path = write(tmp_path / f"a.{suffix}", first, second, crs="EPSG:4326")
    expected = np.zeros((10, 8))
    expected[:3, 1], expected[:3, 2:4] = 0.5, 1
    expected[1, 4:6] = 1, 0.4
    grid = Grid((10, 8), NORTH_UP, UTM)
    np.testing.assert_allclose(share(path, grid), expected, atol=1e-3)
    certain = expected != 0.5
    np.testing.assert_array_equal(inside(path, grid)[certain], (expected > 0.5)[certain])
    upwards = Grid((10, 8), SOUTH_UP, UTM)
    np.testing.assert_allclose(share(path, upwards), expected[::-1], atol=1e-3)
    np.testing.assert_array_equal(inside(path, upwards)[::-1][certain], (expected > 0.5)[certain])


def test_an_outline_that_crosses_itself_is_mended(tmp_path, caplog):
    bow = Polygon([(600_000, 5_100_800), (600_200, 5_101_000), (600_200, 5_100_800), (600_000, 5_101_000)])
    with caplog.at_level(logging.WARNING):
        part = share(write(tmp_path / "a.gpkg", bow), Grid((10, 8), NORTH_UP, UTM))
    assert part.sum() == pytest.approx(2)
    assert "a.gpkg: mended" in caplog.text


def test_outlines_that_miss_the_grid(tmp_path):
    path = write(tmp_path / "a.gpkg", box(700_000, 5_100_700, 700_400, 5_101_000))
    with pytest.raises(SnowmapError, match=r"a\.gpkg lies over 11\.58.* the region over 10\.29.*they do not meet"):
        inside(path, Grid((10, 8), NORTH_UP, UTM))


def test_real_glaciers(shared_data):
    path = shared_data / "oetztal" / "rgi_oetztal.shp"
    with rasterio.open(shared_data / "oetztal" / "srtm_oetztal.tif") as dem:
        grid = Grid(dem.shape, dem.transform, dem.crs)
    part, glacier = share(path, grid), inside(path, grid)
    assert part.sum() == pytest.approx(glacier.sum(), rel=0.01)
    cell = abs(grid.transform.a * grid.transform.e)
    frame = box(*rasterio.transform.array_bounds(*grid.shape, grid.transform))
    area = gpd.read_file(path).to_crs(grid.crs).make_valid().union_all().intersection(frame).area
    assert part.sum() * cell == pytest.approx(area, rel=1e-5)
    assert part.max() <= 1
