"""Windows on the ground: closed forms, pieces and wholes."""

import numpy as np
import pytest
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.weather import DailyWeather, window_bands, window_days

UTM = CRS.from_epsg(32632)
GRID = Grid((30, 40), Affine(500, 0, 605_000, 0, -500, 5_145_000), UTM)
START, END = np.datetime64("2021-01-09"), np.datetime64("2021-01-21")
DAYS = np.arange(np.datetime64("2021-01-01"), np.datetime64("2021-02-01"))


def planar(lapse, rough=600.0):
    """Temperature of each day as a plane over x and y and a rate over height; precipitation as a plane."""
    y, x = 5_150_000 - 10_000 * np.arange(5), 600_000 + 10_000 * np.arange(6)
    rng = np.random.default_rng(1)
    height = 1500 + rough * rng.standard_normal((5, 6))
    warmth = rng.uniform(-8, 8, DAYS.size)
    plane = 1e-4 * (x - 600_000) - 5e-5 * (y[:, None] - 5_150_000)
    fields = xr.Dataset(
        {
            "temperature": (("day", "y", "x"), warmth[:, None, None] + plane - lapse * 1e-3 * height),
            "precipitation": (("day", "y", "x"), 2 + 0.1 * (warmth[:, None, None] + plane)),
            "height": (("y", "x"), height),
        },
        coords={"day": DAYS.astype("datetime64[ns]"), "y": y.astype(float), "x": x.astype(float)},
    )
    transform = Affine(10_000, 0, 595_000, 0, -10_000, 5_155_000)
    return DailyWeather(fields.rio.write_crs(UTM).rio.write_transform(transform), "planar"), warmth


def expected(warmth, lapse, elevation, grid=GRID):
    x = grid.transform.c + grid.transform.a * (np.arange(grid.shape[1]) + 0.5)
    y = grid.transform.f + grid.transform.e * (np.arange(grid.shape[0])[:, None] + 0.5)
    plane = 1e-4 * (x - 600_000) - 5e-5 * (y - 5_150_000)
    of_window = warmth[(DAYS > START) & (DAYS <= END)][:, None, None]
    daily = of_window + plane - lapse * 1e-3 * elevation
    return daily.mean(axis=0), np.maximum(daily, 0).sum(axis=0), (2 + 0.1 * (of_window + plane)).sum(axis=0)


@pytest.fixture(scope="module")
def elevation():
    return np.random.default_rng(2).uniform(800, 3000, GRID.shape)


@pytest.mark.parametrize(("lapse", "given"), [(4.2, None), (-3.0, None), (7.0, 7.0)])
def test_a_planar_field_is_exact(elevation, lapse, given):
    weather, warmth = planar(lapse)
    bands = window_bands(weather, START, END, GRID, elevation, given)
    for name, true in zip(
        ("mean_temperature", "pdd", "precipitation"), expected(warmth, lapse, elevation), strict=True
    ):
        np.testing.assert_allclose(bands[name], true, atol=1e-4, err_msg=name)
        assert bands[name].dtype == np.float32


def test_flat_fields_tell_no_lapse_rate(elevation):
    weather, warmth = planar(6.5, rough=20.0)
    bands = window_bands(weather, START, END, GRID, elevation)
    np.testing.assert_allclose(bands["mean_temperature"], expected(warmth, 6.5, elevation)[0], atol=1e-4)


def test_a_piece_has_the_values_of_the_whole(elevation):
    weather, _ = planar(5.0)
    whole = window_bands(weather, START, END, GRID, elevation)
    rows, columns = slice(11, 25), slice(3, 30)
    piece = Grid((14, 27), GRID.transform @ Affine.translation(3, 11), UTM)
    for name, band in window_bands(weather, START, END, piece, elevation[rows, columns]).items():
        np.testing.assert_array_equal(band, whole[name][rows, columns])


def test_missing_cells_and_pixels_beyond_the_field():
    weather, _ = planar(6.5)
    weather.fields["temperature"][:, 0, 0] = np.nan
    far = Grid((1, 3), Affine(9000, 0, 585_500, 0, -500, 5_150_250), UTM)
    flat = window_bands(weather, START, END, far, np.full((1, 3), 1000.0))["mean_temperature"]
    assert np.isnan(flat[0, 0])  # beside the field
    assert np.isnan(flat[0, 1])  # within a missing cell alone
    assert np.isfinite(flat[0, 2])  # its neighbours' mean


def test_the_days_of_a_window():
    assert window_days(START, END)[[0, -1]].astype(str).tolist() == ["2021-01-10", "2021-01-21"]
    assert window_days(END, END).astype(str).tolist() == ["2021-01-21"]


def test_what_cannot_be_brought_to_the_ground_is_refused(elevation):
    weather, _ = planar(6.5)
    celsius = DailyWeather(weather.fields.assign(temperature=weather.fields["temperature"] - 273.15), "wrong.nc")
    with pytest.raises(
        SnowmapError, match=r"wrong\.nc: daily mean temperatures from -2.* its unit is not the one that it states"
    ):
        window_bands(celsius, START, END, GRID, elevation)
    flat = DailyWeather(weather.fields.drop_vars("height"), "no z")
    with pytest.raises(SnowmapError, match=r"no z: the height .* geopotential z .*lapse_rate: 0"):
        window_bands(flat, START, END, GRID, elevation)
    as_it_is = window_bands(flat, START, END, GRID, elevation, 0.0)["mean_temperature"]
    np.testing.assert_array_equal(
        as_it_is, window_bands(flat, START, END, GRID, 0 * elevation, 0.0)["mean_temperature"]
    )


def test_degrees_counted_across_180():
    y, x = np.array([52.0, 51.0]), np.array([178.0, 179.0, 180.0, 181.0])
    fields = xr.Dataset(
        {"temperature": (("day", "y", "x"), np.broadcast_to(x - 180, (DAYS.size, 2, 4)))},
        coords={"day": DAYS.astype("datetime64[ns]"), "y": y, "x": x},
    )
    fields = fields.rio.write_crs("EPSG:4326").rio.write_transform(Affine(1, 0, 177.5, 0, -1, 52.5))
    grid = Grid((1, 2), Affine(0.5, 0, -180, 0, -0.5, 51.75), CRS.from_epsg(4326))
    bands = window_bands(DailyWeather(fields, "islands"), START, END, grid, np.zeros((1, 2)), 0.0)
    np.testing.assert_allclose(bands["mean_temperature"], [[0.25, 0.75]], atol=1e-6)
