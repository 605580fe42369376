"""Labels of SAR scenes: outlines and class rasters against hand-made masks, and a real inventory."""

import logging

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.features import geometry_mask
from shapely import Polygon, box

from snowmap.errors import SnowmapError
from snowmap.sources import open_cube
from tests.sources.sar_stack.scenes import CORNER, CRS, SHAPE, TRANSFORM, power, write, write_scene
from tests.sources.sar_stack.test_reading import settings


def pixels(rows: slice, columns: slice) -> Polygon:
    """A rectangle of whole pixels."""
    west, north = CORNER
    return box(west + 30 * columns.start, north - 30 * rows.stop, west + 30 * columns.stop, north - 30 * rows.start)


def write_outlines(path, *shapes, crs=CRS, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    gpd.GeoDataFrame(columns, geometry=list(shapes), crs=CRS).to_crs(crs).to_file(path)


@pytest.fixture
def root(tmp_path):
    write_scene(tmp_path / "north", bands=("HH",))
    return tmp_path


def target(root, name="glacier", **options):
    return open_cube(settings(root / "north", **options), [name])


FIRST, SECOND = pixels(slice(3, 13), slice(4, 20)), pixels(slice(20, 35), slice(30, 50))
HOLE = pixels(slice(24, 28), slice(35, 40))
ICE = np.zeros(SHAPE, bool)
ICE[3:13, 4:20], ICE[20:35, 30:50], ICE[24:28, 35:40] = True, True, False


@pytest.mark.parametrize("suffix", ["gpkg", "shp", "geojson"])
@pytest.mark.parametrize("place", ["", "north/"])
def test_outlines_of_any_file_and_crs_with_holes(root, suffix, place):
    write_outlines(root / f"{place}outlines.{suffix}", FIRST, SECOND - HOLE, crs="EPSG:4326")
    cube = target(root)
    np.testing.assert_array_equal(cube["glacier"].values, np.broadcast_to(ICE, (3, *SHAPE)))
    assert cube["glacier"].values.strides[0] == 0  # one map for all dates
    assert cube["glacier"].attrs["flag_meanings"] == "other glacier"
    expected = np.where(ICE, np.where(np.arange(SHAPE[1]) < 25, 1, 2), 0)
    np.testing.assert_array_equal(cube["outline"].values, expected)


@pytest.mark.parametrize("how", ["glims", "column", "file"])
def test_rock_within_the_ice(root, how):
    shapes, columns = [FIRST, SECOND], {}
    if how != "file":
        shapes.append(HOLE)
        words = ["glac_bound", "glac_bound", "intrnl_rock"] if how == "glims" else ["ice", "ice", "rock"]
        columns = {"line_type" if how == "glims" else "kind": words}
    else:
        write_outlines(root / "outcrops.gpkg", HOLE)
    write_outlines(root / "outlines.gpkg", *shapes, **columns)
    np.testing.assert_array_equal(target(root, outcrops="kind=rock" if how == "column" else None)["glacier"][0], ICE)
    if how == "glims":
        with pytest.raises(SnowmapError, match=r"data\.outcrops=kind=rock: .* has no column 'kind'; it has line_type"):
            target(root, outcrops="kind=rock")


def test_a_pro_glacial_lake_of_glims_is_no_ice(root):
    write_outlines(root / "outlines.gpkg", FIRST, SECOND, line_type=["glac_bound", "pro_lake"])
    assert target(root)["glacier"].values[0].sum() == 10 * 16


def test_an_outline_that_crosses_itself_is_mended_with_a_word(root, caplog):
    west, north = CORNER
    bow = [(west, north - 300), (west + 300, north), (west + 300, north - 300), (west, north)]
    write_outlines(root / "outlines.gpkg", Polygon(bow))
    with caplog.at_level(logging.WARNING):
        assert target(root)["glacier"].values[0].sum() == pytest.approx(50, abs=10)
    assert "outlines.gpkg: mended" in caplog.text


def test_outlines_beside_the_scene(root):
    write_outlines(root / "outlines.gpkg", pixels(slice(900, 910), slice(900, 910)))
    with pytest.raises(SnowmapError, match=r"outlines\.gpkg lies over .*they do not meet"):
        target(root)


def test_no_labels(root):
    with pytest.raises(SnowmapError, match=r"north: no labels; expected outlines\.gpkg"):
        target(root)
    write_outlines(root / "outlines.gpkg", FIRST)
    with pytest.raises(
        SnowmapError, match=r"target=swe: .* knows the classes of glacier, crack, freeze_thaw alone; name them"
    ):
        target(root, "swe")


CODES = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 4], np.uint8), SHAPE)
FOUR = {1: "frozen", 2: "thawed", 3: "wet snow", 4: "water"}


def test_class_rasters_with_a_code_to_ignore(root):
    write(root / "north" / "classes.tif", CODES)
    cube = target(root, "freeze_thaw", classes=FOUR, ignore=0)
    np.testing.assert_array_equal(cube["freeze_thaw"][0], np.where(CODES == 0, np.nan, CODES))
    assert cube["freeze_thaw"].attrs["flag_values"] == [1, 2, 3, 4]
    assert cube["freeze_thaw"].attrs["flag_meanings"] == "frozen thawed wet_snow water"
    with pytest.raises(
        SnowmapError, match=r"codes 0, 1, 2, 3, 4; 0 is none of the classes 1, 2, 3, 4: .*data\.ignore=0"
    ):
        target(root, "freeze_thaw", classes=FOUR)


def test_one_zero_255(root):
    write(root / "north" / "classes.tif", np.where(CODES == 4, 255, CODES == 1).astype(np.uint8))
    glacier = target(root, ignore=255)["glacier"][0]
    np.testing.assert_array_equal(glacier, np.where(CODES == 4, np.nan, CODES == 1))


def test_a_class_raster_of_another_grid_keeps_its_codes(root):
    write(root / "north" / "classes.tif", CODES[::2, ::2].copy(), transform=TRANSFORM @ TRANSFORM.scale(2))
    found = target(root, "freeze_thaw", classes=FOUR, ignore=0)["freeze_thaw"].values[0]
    expected = np.repeat(np.repeat(CODES[::2, ::2], 2, 0), 2, 1)
    np.testing.assert_array_equal(found, np.where(expected == 0, np.nan, expected))


def test_dated_class_rasters(root):
    write(root / "north" / "2020-04-11_classes.tif", np.where(CODES == 0, 1, CODES).astype(np.uint8))
    with pytest.raises(SnowmapError, match=r"are dated; give data\.sequences=dated"):
        target(root, "freeze_thaw", classes=FOUR)
    cube = target(root, "freeze_thaw", classes=FOUR, sequences="dated")
    assert np.isfinite(cube["freeze_thaw"]).all(("y", "x")).values.tolist() == [False, True, False]
    assert "sequence_end" not in cube.coords


def test_real_glaciers(shared_data, tmp_path):
    """Those of an inventory on the grid of a real DEM, against rasterio's own mask of the same file."""
    folder = shared_data / "oetztal"
    with rasterio.open(folder / "srtm_oetztal.tif") as dem:
        shape, transform, crs = dem.shape, dem.transform, dem.crs
    write(tmp_path / "a" / "2020-01-05_VV.tif", power(0, shape), transform=transform, crs=crs)
    (tmp_path / "a" / "dem.tif").symlink_to(folder / "srtm_oetztal.tif")
    table = gpd.read_file(folder / "rgi_oetztal.shp")
    table.to_file(tmp_path / "outlines.shp")
    cube = open_cube(settings(tmp_path / "a"), ["glacier"])
    expected = geometry_mask(table.make_valid(), shape, transform, invert=True)
    np.testing.assert_array_equal(cube["glacier"][0] == 1, expected)
    assert {*np.unique(cube["outline"])} == {*range(21)}
    assert cube["features"].sel(band="elevation").max() == 3727
