"""Snow in CF NetCDF: units, calendars, longitudes and latitudes either way, and real files."""

import cftime
import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine
from shapely import Point

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.overlap import check_overlap
from snowmap.products.snow import SNOW, points_to_grid
from tests.products.writers_weather import write_cf_swe

UTM = CRS.from_epsg(32632)
PLACE = Affine(500, 0, 600_000, 0, -500, 5_150_000)
DAYS = np.datetime64("2021-01-09") + np.arange(3)


def read(*paths, target="swe", **options):
    return SNOW["cf"].read(list(paths), {"target": target} | options)


def opened(found, day):
    return found.maps[np.datetime64(day, "D")]()


@pytest.fixture(scope="module")
def swe():
    """m of water ``(day, y, x)``."""
    return np.random.default_rng(5).uniform(0, 1, (3, 4, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("unit", "per_metre"), [("mm", 1e3), ("kg m-2", 1e3), ("mm w.e.", 1e3), ("cm", 100), ("meters", 1)]
)
def test_units_as_the_file_states_them(tmp_path, swe, unit, per_metre):
    path = write_cf_swe(tmp_path / "a.nc", DAYS, swe * per_metre, PLACE, UTM, unit=unit)
    found = read(path)
    assert list(found.maps) == list(DAYS)
    last = opened(found, "2021-01-11")
    np.testing.assert_allclose(last.values, swe[2], rtol=1e-6)
    assert (last.grid.crs, last.grid.transform) == (UTM, PLACE)


def test_the_last_time_of_a_day_and_the_first_file_of_a_day(tmp_path, swe):
    hours = DAYS[0].astype("datetime64[h]") + np.array([0, 6, 25])
    first = write_cf_swe(tmp_path / "a.nc", hours, swe, PLACE, UTM, unit="m")
    second = write_cf_swe(tmp_path / "b.nc", DAYS[1:], swe[:2] + 5, PLACE, UTM, unit="m")
    found = read(first, second)
    for day, true in (("2021-01-09", swe[1]), ("2021-01-10", swe[2]), ("2021-01-11", swe[1] + 5)):
        np.testing.assert_array_equal(opened(found, day).values, true)


def global_file(path, longitude, latitude, values, *, units="mm", times=DAYS, name="SWE"):
    """Without a grid mapping, as most models of the whole Earth are written."""
    coords = {"time": times, "lat": latitude, "lon": longitude}
    dataset = xr.Dataset({name: (("time", "lat", "lon"), values, {"units": units} if units else {})}, coords)
    dataset["lat"].attrs["units"], dataset["lon"].attrs["units"] = "degrees_north", "degrees_east"
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


def test_longitudes_from_0_to_360_and_latitudes_upwards(tmp_path, swe):
    values = np.broadcast_to(np.arange(8.0) * 100, (3, 4, 8))
    path = global_file(tmp_path / "a.nc", np.arange(0, 360, 45.0), np.arange(-67.5, 90, 45), values * 1e3)
    found = opened(read(path), DAYS[0])
    assert found.grid.axes[1].tolist() == [-180, -135, -90, -45, 0, 45, 90, 135]
    assert found.grid.axes[0].tolist() == [67.5, 22.5, -22.5, -67.5]
    np.testing.assert_allclose(found.values[0], [400, 500, 600, 700, 0, 100, 200, 300])
    islands = global_file(tmp_path / "b.nc", np.arange(176.0, 184), np.arange(50.0, 54), values)
    assert opened(read(islands), DAYS[0]).grid.axes[1].tolist() == list(range(176, 184))
    west = global_file(tmp_path / "c.nc", np.arange(250.0, 258), np.arange(50.0, 54), values)
    assert opened(read(west), DAYS[0]).grid.axes[1].tolist() == list(range(-110, -102))


@pytest.mark.parametrize(("source", "target", "name"), [("itsnow", "swe", "SWE"), ("ua", "hs", "DEPTH")])
def test_times_beside_their_dimension(tmp_path, swe, source, target, name):
    """IT-SNOW's: the times are a variable, latitudes run upwards, there is no grid mapping."""
    dims = ("time", "Latitude", "Longitude")
    dataset = xr.Dataset({name: (dims, swe * 1e3, {"units": "mm"}), "Time": ("time", DAYS.astype("datetime64[ns]"))})
    dataset = dataset.assign_coords(Latitude=46 + 0.005 * np.arange(4), Longitude=10 + 0.005 * np.arange(6))
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = SNOW[source].read([tmp_path / "a.nc"], {"target": target})
    np.testing.assert_allclose(opened(found, DAYS[1]).values, swe[1][::-1], rtol=1e-6)


@pytest.mark.parametrize(("calendar", "dates"), [("noleap", (2, 28, 3, 1)), ("360_day", (2, 30, 3, 1))])
def test_dates_of_calendars_without_leap_days(tmp_path, swe, calendar, dates):
    times = [cftime.datetime(2020, *dates[:2], calendar=calendar), cftime.datetime(2020, *dates[2:], calendar=calendar)]
    path = global_file(tmp_path / "a.nc", np.arange(6.0), np.arange(4.0), swe[:2], times=times)
    expected = ["2020-02-28", "2020-03-01"] if calendar == "noleap" else ["2020-03-01"]  # there is no 30 February
    assert [str(day) for day in read(path).maps] == expected
    np.testing.assert_allclose(opened(read(path), "2020-03-01").values, swe[1][::-1] / 1e3, rtol=1e-6)


def test_what_a_file_does_not_state(tmp_path, swe):
    unitless = global_file(tmp_path / "a.nc", np.arange(6.0), np.arange(4.0), swe, units="")
    with pytest.raises(SnowmapError, match=r"a\.nc, SWE: the file states no unit; give the key unit"):
        read(unitless)
    np.testing.assert_allclose(opened(read(unitless, unit="cm"), DAYS[0]).values, swe[0][::-1] / 100, rtol=1e-6)
    stated = global_file(tmp_path / "b.nc", np.arange(6.0), np.arange(4.0), swe, units="mm")
    with pytest.raises(SnowmapError, match="the file states the unit 'mm', the recipe unit: cm"):
        read(stated, unit="cm")
    with pytest.raises(SnowmapError, match=r"no variable 'SNOW'; it has SWE"):
        read(stated, variable="SNOW")
    with pytest.raises(SnowmapError, match="no map of snow depth"):
        read(stated, target="hs")
    with xr.open_dataset(stated, engine="h5netcdf") as dataset:
        plain = dataset.rename(lat="y", lon="x").load()
    plain["x"].attrs, plain["y"].attrs = {}, {}
    plain.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    with pytest.raises(SnowmapError, match=r"c\.nc, SWE has no CRS"):
        read(tmp_path / "c.nc")
    plain.assign_coords(x=np.arange(6.0) ** 2).rename(x="lon", y="lat").to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    with pytest.raises(SnowmapError, match="expected a regular grid"):
        read(tmp_path / "d.nc")


def test_a_target_that_never_meets_the_region(tmp_path, swe):
    found = opened(read(write_cf_swe(tmp_path / "a.nc", DAYS, swe, PLACE, UTM)), DAYS[0])
    check_overlap(found, "a.nc", Grid((9, 9), Affine(0.1, 0, 10, 0, -0.1, 46.5), CRS.from_epsg(4326)))
    with pytest.raises(
        SnowmapError, match=r"a\.nc lies over 10\.\d+, 46\.\d+, .*the region over -120, 37.*do not meet"
    ):
        check_overlap(found, "a.nc", Grid((9, 9), Affine(0.1, 0, -120, 0, -0.1, 38), CRS.from_epsg(4326)))


def test_the_mean_of_the_points_in_each_pixel():
    places = [
        Point(600_100, 5_149_900),
        Point(600_400, 5_149_600),
        Point(600_600, 5_149_900),
        Point(599_999, 5_149_900),
    ]
    points = gpd.GeoDataFrame({"value": [1.0, 2.0, np.nan, 7.0]}, geometry=places, crs=UTM).to_crs("EPSG:4326")
    expected = np.full((2, 2), np.nan)
    expected[0, 0] = 1.5
    np.testing.assert_allclose(points_to_grid(points, Grid((2, 2), PLACE, UTM)), expected)


@pytest.mark.parametrize(
    ("file", "target", "variable", "epsg"),
    [
        ("mammoth_lakes/snow.nc", "swe", "specific_mass", 32611),
        ("mammoth_lakes/snow.nc", "hs", "thickness", 32611),
        ("mammoth_lakes/lidar_depths.nc", "hs", "depth", 32611),
        ("mores_creek/mores_2020-02-09.nc", "hs", "snow_depth", 4326),
    ],
)
def test_real_files(shared_data, file, target, variable, epsg):
    path = shared_data / file
    found = read(path, target=target, **({"unit": "m"} if "mores" in file else {}))
    with xr.open_dataset(path, engine="h5netcdf") as real:
        times = real["time"].values.astype("datetime64[D]")
        assert list(found.maps) == sorted(set(times))
        day, values = times[-1], real[variable].isel(time=-1).values * (1e-3 if target == "swe" else 1)
        corner = real["x"].values[0], real["y"].values[0]
    array = opened(found, day)
    np.testing.assert_allclose(array.values, values, rtol=1e-6)
    assert array.grid.crs.to_epsg() == epsg
    assert (array.grid.axes[1][0], array.grid.axes[0][0]) == pytest.approx(corner)
