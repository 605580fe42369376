import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from pyproj import Geod
from rasterio.transform import from_origin
from shapely import LineString, MultiPolygon, Point, Polygon, box

from snowmap.cli import main
from snowmap.data.grid import cell_areas
from snowmap.errors import SnowmapError
from snowmap.maps.basins import basin_table, pixels_of_basins, print_basins
from snowmap.maps.read import read_maps
from snowmap.products.outlines import read_outlines
from tests.map_files import NORTH, PIXEL, WEST, make_maps, write_maps

CELL = PIXEL**2
RAMP = np.add.outer(np.arange(2.0) * 100, np.add.outer(np.arange(20.0), np.arange(30.0)))
DEGREES = from_origin(10.0, 46.5, 0.005, 0.005)


def outlines(crs="EPSG:32632", **polygons):
    return gpd.GeoDataFrame(geometry=list(polygons.values()), index=list(polygons), crs=crs)


def pixels(west, north, east, south):
    """The rectangle of these pixels of the default grid."""
    return box(WEST + west * PIXEL, NORTH - south * PIXEL, WEST + east * PIXEL, NORTH - north * PIXEL)


def test_sums_over_whole_pixels_are_exact():
    maps = make_maps(RAMP)
    table = basin_table(maps, outlines(a=pixels(3, 2, 7, 5)))
    part, weight = RAMP[:, 2:5, 3:7].astype(np.float32), cell_areas(maps)[2:5, 3:7]
    assert table["window"].tolist() == ["2021-01-09_to_2021-01-21", "2021-01-21_to_2021-02-02"]
    assert table["unit"].tolist() == ["cm", "cm"]
    np.testing.assert_allclose(table["area_km2"], weight.sum() / 1e6)
    np.testing.assert_allclose(table["mean"], (part * weight).sum(axis=(1, 2)) / weight.sum())
    np.testing.assert_allclose(table["volume_m3"], (part * weight).sum(axis=(1, 2)) / 100)
    assert table["covered_share"].tolist() == [1, 1]
    np.testing.assert_allclose(table["share_in_map"], 1, rtol=2e-3)
    assert "mean_sigma" not in table


@pytest.mark.parametrize(("unit", "metres"), [("m", 1), ("cm", 0.01), ("mm", 0.001), ("kg m-2", 0.001)])
def test_volume_of_a_uniform_layer_is_area_times_depth(unit, metres):
    table = basin_table(make_maps(np.full((1, 20, 30), 2.5), unit=unit), outlines(a=pixels(1, 1, 9, 9)))
    assert table["volume_m3"][0] == pytest.approx(2.5 * metres * table["area_km2"][0] * 1e6)


def shares(maps, outline):
    """Share of each pixel's area that lies inside an outline."""
    _, pixels = pixels_of_basins(maps, outlines(a=outline))
    inside = np.zeros((maps.sizes["y"], maps.sizes["x"]))
    inside[pixels["y"], pixels["x"]] = pixels["area_m2"]
    return inside / cell_areas(maps)


@pytest.mark.parametrize("upwards", [False, True])
def test_shares_of_a_triangle_pixel_by_pixel(upwards):
    maps = make_maps(RAMP, transform=from_origin(WEST, NORTH - 20 * PIXEL, PIXEL, -PIXEL) if upwards else None)
    triangle = Polygon([(WEST + 710, NORTH - 330), (WEST + 6020, NORTH - 1240), (WEST + 2900, NORTH - 7777)])
    exact = [[triangle.intersection(pixels(x, y, x + 1, y + 1)).area / CELL for x in range(30)] for y in range(20)]
    np.testing.assert_allclose(shares(maps, triangle)[:: -1 if upwards else 1], exact, atol=1e-6)


def test_holes_islands_and_a_basin_smaller_than_a_pixel():
    ring = Point(WEST + 6000, NORTH - 5000).buffer(3000) - Point(WEST + 6000, NORTH - 5000).buffer(1000)
    island = Point(WEST + 12000, NORTH - 8000).buffer(800)
    pond = Point(WEST + 7100, NORTH - 4750).buffer(50)
    assert shares(make_maps(RAMP), MultiPolygon([ring, island])).sum() * CELL == pytest.approx(ring.area + island.area)
    assert shares(make_maps(RAMP), pond).sum() * CELL == pytest.approx(pond.area)


def test_area_on_degrees_is_that_on_the_ellipsoid():
    maps = make_maps(np.ones((1, 60, 80)), crs="EPSG:4326", transform=DEGREES)
    disc = gpd.GeoSeries([Point(592_000, 5_135_000).buffer(6000, quad_segs=100)], crs="EPSG:32632")
    true, _ = Geod(ellps="WGS84").geometry_area_perimeter(disc.to_crs("EPSG:4326").iloc[0])
    table = basin_table(maps, disc.to_frame("geometry"))
    assert table["area_km2"][0] == pytest.approx(abs(true) / 1e6, rel=1e-3)
    assert table["share_in_map"][0] == pytest.approx(1, abs=1e-3)


def test_a_basin_beyond_the_rim_counts_what_is_inside():
    table = basin_table(make_maps(RAMP), outlines(a=pixels(-5, 3, 5, 6)))
    assert table["area_km2"][0] == pytest.approx(15 * CELL / 1e6, rel=2e-3)
    assert table["share_in_map"][0] == pytest.approx(0.5, rel=2e-3)


def test_missing_pixels_are_left_out_of_mean_and_volume():
    values = np.full((1, 20, 30), 4.0)
    values[0, :5, :10] = np.nan
    maps = make_maps(values, unit="m")
    table = basin_table(maps, outlines(half=pixels(0, 0, 10, 10), none=pixels(2, 1, 5, 4)))
    half, none = table.to_dict("records")
    assert half["covered_share"] == pytest.approx(0.5, rel=1e-3)
    assert half["mean"] == pytest.approx(4)
    assert half["volume_m3"] == pytest.approx(4 * cell_areas(maps)[5:10, :10].sum())
    assert none["covered_share"] == 0
    assert np.isnan([none["mean"], none["volume_m3"], none["snow_area_km2"]]).all()


def test_snow_covered_area_begins_at_the_threshold():
    values = np.zeros((1, 20, 30))
    values[0, 0, :10], values[0, 1, :10], values[0, 2, :10] = 1.01, 1.0, 0.99  # 10 mm counts, in whatever unit
    basins, weight = outlines(a=pixels(0, 0, 10, 10)), cell_areas(make_maps(values))
    for maps in (make_maps(values), make_maps(values / 100, unit="m"), make_maps(values * 5, "hs")):
        assert basin_table(maps, basins)["snow_area_km2"][0] == pytest.approx(weight[:2, :10].sum() / 1e6)
    lower = basin_table(make_maps(values), basins, snow_threshold_m={"swe": 0.0099})
    assert lower["snow_area_km2"][0] == pytest.approx(weight[:3, :10].sum() / 1e6)


def uncertain(**more):
    values = np.broadcast_to(np.linspace(0.5, 3, 30), (1, 20, 30))
    return make_maps(values, sigma=np.full((1, 20, 30), 0.5), **more)


def test_unknown_correlation_gives_the_upper_bound_and_says_so():
    table = basin_table(uncertain(), outlines(a=pixels(2, 2, 12, 9)))
    assert table["mean_sigma"][0] == pytest.approx(0.5)
    assert table["volume_sigma_m3"][0] == pytest.approx(0.005 * table["area_km2"][0] * 1e6)
    assert table["sigma_assumes"][0] == "fully correlated errors (upper bound)"


def test_correlation_length_of_the_maps_or_of_the_user():
    maps, basins = uncertain(), outlines(a=pixels(2, 2, 12, 9))
    maps["swe_sigma"].attrs["correlation_length_m"] = 1000.0
    own = basin_table(maps, basins)
    assert own["sigma_assumes"][0] == "errors correlated over 1 km"
    row, column = np.indices((7, 10)).reshape(2, -1)
    weight = cell_areas(maps)[2:9, 2:12].ravel()
    distance = 500 * np.hypot(row[:, None] - row, column[:, None] - column)
    double_sum = np.sqrt(weight @ np.exp(-distance / 1000) @ weight) * 0.5 / weight.sum()
    assert own["mean_sigma"][0] == pytest.approx(double_sum, rel=1e-3)
    assert own["mean_sigma"][0] < basin_table(maps, basins, correlation_length_m=3000.0)["mean_sigma"][0] < 0.5


def test_range_of_the_snow_covered_area():
    maps, basins = uncertain(), outlines(a=pixels(0, 0, 30, 20))
    table, weight = basin_table(maps, basins), cell_areas(maps)
    values = maps["swe"].values[0]
    for name, shift in (("q05", -1.6449 * 0.5), ("q95", 1.6449 * 0.5)):
        assert table[f"snow_area_{name}_km2"][0] == pytest.approx(weight[values + shift > 1].sum() / 1e6)
    given = uncertain(q05=np.zeros((1, 20, 30)), q95=np.full((1, 20, 30), 9.0))
    table = basin_table(given, basins)
    assert table["snow_area_q05_km2"][0] == 0
    assert table["snow_area_q95_km2"][0] == pytest.approx(table["area_km2"][0])


def test_basins_outside_are_named_and_none_inside_is_an_error(caplog):
    far = pixels(100, 100, 110, 110)
    with caplog.at_level(logging.WARNING):
        table = basin_table(make_maps(RAMP), outlines(near=pixels(1, 1, 3, 3), far=far))
    assert table["basin"].unique().tolist() == ["near"]
    assert "outside the maps: far" in caplog.text
    with pytest.raises(SnowmapError, match="no basin lies inside the maps"):
        basin_table(make_maps(RAMP), outlines(far=far))
    antipode = box(-171.0, -47.0, -170.0, -46.0)
    with pytest.raises(SnowmapError, match="no basin lies inside the maps"):
        basin_table(make_maps(RAMP), outlines(crs="EPSG:4326", far=antipode))


# --- outlines from files


def write_outlines(path, geometries, crs="EPSG:32632", **columns):
    gpd.GeoDataFrame(columns, geometry=geometries, crs=crs).to_file(path)
    return path


@pytest.mark.parametrize("suffix", ["gpkg", "shp", "geojson"])
def test_any_vector_file_and_any_crs(tmp_path, suffix):
    two = gpd.GeoSeries([pixels(1, 1, 3, 3), pixels(4, 4, 9, 9)], crs="EPSG:32632").to_crs("EPSG:4326")
    path = write_outlines(tmp_path / f"basins.{suffix}", two, "EPSG:4326", Name=["Noce", "Avisio"])
    table = basin_table(make_maps(RAMP), read_outlines(path))
    assert table["basin"].tolist() == ["Noce", "Avisio"] * 2
    np.testing.assert_allclose(table["mean"][:2], [3, 12], atol=0.02)


def test_names_from_a_column_or_by_number(tmp_path):
    two = [pixels(1, 1, 3, 3), pixels(4, 4, 9, 9)]
    path = write_outlines(tmp_path / "b.gpkg", two, code=[17, 18], river=["Noce", None])
    assert read_outlines(path).index.tolist() == ["1", "2"]
    assert read_outlines(path, "code").index.tolist() == ["17", "18"]
    assert read_outlines(path, "river").index.tolist() == ["Noce", "2"]
    with pytest.raises(SnowmapError, match="no column 'rivers'; it has code, river"):
        read_outlines(path, "rivers")


def test_a_polygon_that_crosses_itself_is_mended(tmp_path):
    bow = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    path = write_outlines(tmp_path / "b.gpkg", [bow])
    assert read_outlines(path).geometry.iloc[0].area == pytest.approx(2)


def test_what_is_no_polygon_is_named(tmp_path, caplog):
    line = LineString([(WEST, NORTH), (WEST + 1, NORTH)])
    far = Polygon([(0, 0), (1e300, 0), (1e300, 1e300)])
    names = ["a", "brook", "nothing", "far"]
    path = write_outlines(tmp_path / "b.gpkg", [pixels(1, 1, 3, 3), line, None, far], name=names)
    with caplog.at_level(logging.WARNING):
        assert read_outlines(path).index.tolist() == ["a"]
    assert "brook, nothing, far" in caplog.text


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_files_that_are_no_outlines(tmp_path):
    with pytest.raises(SnowmapError, match="does not exist"):
        read_outlines(tmp_path / "nowhere.gpkg")
    (tmp_path / "b.gpkg").write_text("no vector file")
    with pytest.raises(SnowmapError, match="cannot be read as a vector file"):
        read_outlines(tmp_path / "b.gpkg")
    (tmp_path / "b.csv").write_text("name,area\na,1\n")
    with pytest.raises(SnowmapError, match="without geometry"):
        read_outlines(tmp_path / "b.csv")
    with pytest.raises(SnowmapError, match="no polygon but Point"):
        read_outlines(write_outlines(tmp_path / "points.gpkg", [Point(0, 0)]))
    nowhere = write_outlines(tmp_path / "c.shp", [pixels(1, 1, 3, 3)], crs=None, name=["a"])
    with pytest.raises(SnowmapError, match="no CRS"):
        read_outlines(nowhere)


# --- the command


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Maps as a file, and two basins."""
    folder = tmp_path_factory.mktemp("basins")
    path = write_maps(make_maps(RAMP, sigma=np.ones_like(RAMP)), folder / "predictions.nc")
    names = ["Noce", "Avisio"]
    return path, write_outlines(folder / "b.gpkg", [pixels(1, 1, 3, 3), pixels(4, 4, 9, 9)], name=names)


def test_the_command_on_a_written_file(written, tmp_path, capsys):
    path, basins = written
    out = tmp_path / "tables" / "basins.csv"
    words = ["basins", str(path), str(basins), "--out", str(out), "--correlation-length-km", "2"]
    assert main([*words, "--snow-threshold", "swe=12cm"]) == 0
    said = capsys.readouterr().out
    assert "SYNTHETIC" in said
    assert "Avisio" in said
    assert str(out) in said
    table = pd.read_csv(out, parse_dates=["start", "end"])
    expected = basin_table(
        read_maps(path), read_outlines(basins), snow_threshold_m={"swe": 0.12, "hs": 1.0}, correlation_length_m=2000.0
    )
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert [file.name for file in out.parent.iterdir()] == ["basins.csv"]


def test_names_with_markup_formulas_or_control_characters(written, tmp_path, capsys):
    names = ["[red]x[/bold]", "=1+1", "a\x1b[2Jb"]
    basins = write_outlines(tmp_path / "b.gpkg", [pixels(1, 1, 3, 3)] * 3, name=names)
    assert main(["basins", str(written[0]), str(basins), "--out", str(tmp_path / "b.csv")]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("[red]x[/bold]", " =1+1 ", "a [2Jb"))
    assert pd.read_csv(tmp_path / "b.csv")["basin"].tolist()[:3] == ["[red]x[/bold]", "'=1+1", "a [2Jb"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--snow-threshold", "swe=10"], "swe=10 cannot be understood"),
        (["--snow-threshold", "swe=10furlong"], "'furlong' of swe is unknown"),
        (["--snow-threshold", "swe=1.2.3mm"], "swe=1.2.3mm cannot be understood"),
        (["--snow-threshold", "swe=0mm"], "swe=0mm cannot be understood"),
        (["--correlation-length-km", "-1"], "is no length"),
        (["--name", "river"], "no column 'river'"),
    ],
)
def test_words_that_cannot_be_understood(written, tmp_path, capsys, words, says):
    path, basins = map(str, written)
    assert main(["basins", path, basins, "--out", str(tmp_path / "b.csv"), *words]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "b.csv").exists()


def test_a_table_that_cannot_be_written(written, capsys):
    path, basins = map(str, written)
    assert main(["basins", path, basins, "--out", f"{path}/b.csv"]) == 1
    assert "cannot be written: File exists; name another place" in capsys.readouterr().err


def test_many_windows_print_the_last(capsys):
    maps = make_maps(np.ones((50, 20, 30)))
    print_basins(basin_table(maps, outlines(Noce=pixels(1, 1, 3, 3))), maps)
    said = capsys.readouterr().out
    assert "the last of 50 windows" in said
    assert said.count("Noce") == 1


def test_real_glaciers_of_the_oetztal(shared_data):
    glaciers = read_outlines(shared_data / "oetztal" / "rgi_oetztal.shp", "RGIId")
    maps = make_maps(
        np.ones((1, 111, 146)), unit="m", crs="EPSG:4326", transform=from_origin(10.55, 47.0, 0.00333, 0.00333)
    )
    table = basin_table(maps, glaciers).set_index("basin")
    own = gpd.read_file(shared_data / "oetztal" / "rgi_oetztal.shp").set_index("RGIId")["Area"].astype(float)
    inside = table[table["share_in_map"] > 0.999]
    assert len(inside) >= 15
    np.testing.assert_allclose(inside["area_km2"], own[inside.index], rtol=0.01)
    np.testing.assert_allclose(inside["volume_m3"], inside["area_km2"] * 1e6, rtol=1e-6)
