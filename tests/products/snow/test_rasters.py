"""Snow in GeoTIFFs, ASCII grids and SNODAS: dates, units and places, and ASO's real rasters."""

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine, array_bounds

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.overlap import check_overlap
from snowmap.products.snow import SNOW
from snowmap.products.snow.geotiff import date_of
from tests.products.writers_weather import write_snodas

UTM = CRS.from_epsg(32612)
PLACE = Affine(50, 0, 737_000, 0, -50, 4_330_000)
VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def write(path, values=VALUES, *, unit=None, tag=None, crs=UTM, nodata=None):
    height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype, "count": 1, "crs": crs, "transform": PLACE, "nodata": nodata}
    with rasterio.open(path, "w", height=height, width=width, **profile) as raster:
        raster.write(values, 1)
        if unit:
            raster.units = (unit,)
        if tag:
            raster.update_tags(Band_1=tag)
    return path


def read(source, *paths, target="hs", **options):
    return SNOW[source].read(sorted(paths), {"target": target} | options)


@pytest.mark.parametrize(
    ("name", "pattern", "day"),
    [
        ("ASO_GrandMesa_Mosaic_2020Feb1-2_snowdepth_50m.tif", None, "2020-02-01"),
        ("SD_2021009.tif", None, "2021-01-09"),
        ("SD_2021009.tif", "SD_{date:%Y%j}.tif", "2021-01-09"),
        ("swe_20210109_v2.tif", None, "2021-01-09"),
        ("a_2021-01-09T0600.tif", None, "2021-01-09"),
        ("run7_09012021_x.tif", "run*_{date:%d%m%Y}_*.tif", "2021-01-09"),
        ("run7_09012021_x.tif", "other_{date:%d%m%Y}.tif", None),
        ("depth.tif", None, None),
        ("sd_20219999.tif", None, None),
    ],
)
def test_the_date_in_a_name(name, pattern, day):
    assert date_of(name, pattern, {}) == (day and np.datetime64(day))
    assert str(date_of(name, pattern, {name: "2001-02-03"})) == "2001-02-03"


def test_units_of_tags_and_of_the_recipe(tmp_path):
    in_unit = write(tmp_path / "SD_2021009.tif", unit="cm")
    in_tag = write(tmp_path / "SD_2021010.tif", VALUES * 10, tag="Snow Depth [mm]", nodata=0)
    silent = write(tmp_path / "SD_2021011.tif")
    found = read("geotiff", in_unit, in_tag)
    np.testing.assert_allclose(found.maps[np.datetime64("2021-01-09")]().values, VALUES / 100, rtol=1e-6)
    expected = np.where(VALUES, VALUES / 100, np.nan)
    np.testing.assert_allclose(found.maps[np.datetime64("2021-01-10")]().values, expected, rtol=1e-6)
    with pytest.raises(SnowmapError, match=r"SD_2021011\.tif: the file states no unit; give the key unit"):
        read("geotiff", silent)
    np.testing.assert_allclose(read("geotiff", silent, unit="cm").maps.popitem()[1]().values, VALUES / 100, rtol=1e-6)


def test_what_is_left_out_or_refused(tmp_path):
    first = write(tmp_path / "a_20210109.tif", unit="m")
    second = write(tmp_path / "b_20210109.tif", unit="m")
    undated = write(tmp_path / "c.tif", unit="m")
    assert read("geotiff", first, second, undated).left_out == [
        "b_20210109.tif: a_20210109.tif is of the same day, 2021-01-09",
        "c.tif: no date in its name; give the key pattern: or dates:",
    ]
    assert len(read("geotiff", first, undated, dates={"c.tif": "2021-01-21"}).maps) == 2
    with pytest.raises(SnowmapError, match=r"no map with a date; c\.tif: no date in its name"):
        read("geotiff", undated)
    with pytest.raises(SnowmapError, match=r"pattern: SD_%Y\.tif; expected a date such as \{date:%Y%m%d\}"):
        read("geotiff", first, pattern="SD_%Y.tif")
    with pytest.raises(SnowmapError, match="no CRS"):
        read("geotiff", write(tmp_path / "d_20210110.tif", unit="m", crs=None))
    first.write_bytes(first.read_bytes()[:100])
    with pytest.raises(SnowmapError, match=r"a_20210109\.tif: not readable as a raster .* fetch it again"):
        read("geotiff", first)


@pytest.mark.parametrize(
    ("width", "height", "step", "corner", "epsg"),
    [(1383, 586, 25067.53, (-17334193.54, -7344784.83), 3410), (720, 332, 0.25, (-180, 0), 4326)],
)
def test_ascii_grids_without_a_crs(tmp_path, width, height, step, corner, epsg):
    values = np.full((height, width), -1)
    values[100, 200] = 35
    head = f"ncols {width}\nnrows {height}\nxllcorner {corner[0]}\nyllcorner {corner[1]}\n"
    head += f"cellsize {step}\nNODATA_value -1\n"
    path = tmp_path / "20210109.txt"
    path.write_text(head + "\n".join(" ".join(map(str, row)) for row in values.tolist()))
    array = read("ascii", path, unit="cm").maps[np.datetime64("2021-01-09")]()
    assert array.grid.crs.to_epsg() == epsg
    assert array_bounds(*array.grid.shape, array.grid.transform)[:2] == pytest.approx(corner)
    assert float(array.values[100, 200]) == pytest.approx(0.35)
    assert np.isfinite(array.values).sum() == 1


def test_snodas(tmp_path):
    west, north, step = -124.73375, 52.87458333, 1 / 120
    bounds = west, north - 6 * step, west + 8 * step, north
    swe = np.arange(48.0).reshape(6, 8)
    swe[0, 0] = np.nan
    days = [np.datetime64("2021-01-09"), np.datetime64("2021-01-10")]
    paths = [write_snodas(tmp_path, day, {"1034": swe + n, "1036": 4 * swe}, bounds) for n, day in enumerate(days)]
    found = read("snodas", *paths, target="swe")
    assert list(found.maps) == days
    for n, day in enumerate(days):
        np.testing.assert_allclose(found.maps[day]().values, (swe + n) / 1e3, rtol=1e-6)
    depth = read("snodas", paths[0]).maps[days[0]]()
    np.testing.assert_allclose(depth.values, 4 * swe / 1e3, rtol=1e-6)
    assert array_bounds(*depth.grid.shape, depth.grid.transform) == pytest.approx(bounds, abs=1e-9)
    assert depth.grid.crs.to_epsg() == 4326
    other = write_snodas(tmp_path, "2021-01-11", {"1025": swe}, bounds)
    assert read("snodas", paths[0], other).left_out == ["SNODAS_20210111.tar: it holds no product 1036"]


def test_a_damaged_archive_of_snodas(tmp_path):
    path = write_snodas(
        tmp_path, "2021-01-09", {"1034": np.random.default_rng(0).integers(0, 9, (60, 80))}, (0, 0, 8, 6)
    )
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SnowmapError, match=r"SNODAS_20210109\.tar.*fetch it again"):
        read("snodas", path, target="swe").maps[np.datetime64("2021-01-09")]()


def test_real_rasters_of_aso(shared_data):
    folder = shared_data / "grand_mesa"
    path = folder / "ASO_GrandMesa_Mosaic_2020Feb1-2_snowdepth_50m.tif"
    found = read("geotiff", path)  # its tag says "ASO Depth [m]"
    array = found.maps[np.datetime64("2020-02-01")]()
    with rasterio.open(path) as real:
        np.testing.assert_array_equal(array.values, real.read(1))
        assert (array.grid.crs, array.grid.transform) == (real.crs, real.transform)
    check_overlap(array, path.name, Grid((9, 9), Affine(0.05, 0, -108.4, 0, -0.05, 39.2), CRS.from_epsg(4326)))
    with pytest.raises(SnowmapError, match="the CRS is broken: its central meridian is -183°"):
        read("geotiff", folder / "ASO_GrandMesa_2020Feb1-2_snowdepth_3m_clip_GMb.tif", unit="m")
