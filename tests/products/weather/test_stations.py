"""Stations: tables in various units, interpolation, and real ones."""

import numpy as np
import pandas as pd
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.weather import WEATHER, window_bands

HEADS = "Name;Lon;Lat;Elevation [m];Date;temp (°F);precipitation_in"
ROWS = [
    "low;10,0;46,0;500;2021-01-10;50;1",
    "high;10,02;46,0;2500;2021-01-10;14;-9999",
    "low;10,0;46,0;500;2021-01-11;32;0",
    "high;10,02;46,0;2500;2021-01-11;-9999;0",
]
GRID = Grid((1, 2), Affine(0.02, 0, 9.99, 0, -0.02, 46.01), CRS.from_epsg(4326))


def read(path, lines, **options):
    path.write_text("\n".join(lines))
    return WEATHER["stations"].read([path], options)


def test_a_table_with_units_in_its_heads(tmp_path):
    weather = read(tmp_path / "a.csv", [HEADS, *ROWS])
    fields = weather.fields.sortby("x")
    np.testing.assert_allclose(fields["temperature"], [[10, -10], [0, np.nan]], atol=1e-5)
    np.testing.assert_allclose(fields["precipitation"], [[25.4, np.nan], [0, 0]], atol=1e-5)
    assert fields["height"].values.tolist() == [500, 2500]
    assert fields["x"].values.tolist() == [10, 10.02]


def test_at_a_station_its_own_value_and_elsewhere_by_height(tmp_path):
    weather = read(tmp_path / "a.csv", [HEADS, *ROWS[:2]])
    day = np.datetime64("2021-01-10")
    bands = window_bands(weather, day, day, GRID, np.array([[500.0, 2500.0]]))
    np.testing.assert_allclose(bands["mean_temperature"], [[10, -10]], atol=1e-4)
    np.testing.assert_allclose(bands["pdd"], [[10, 0]], atol=1e-4)
    np.testing.assert_allclose(bands["precipitation"], [[25.4, 25.4]], atol=1e-4)
    higher = window_bands(weather, day, day, GRID, np.array([[1500.0, 2500.0]]), 6.0)["mean_temperature"]
    np.testing.assert_allclose(higher, [[4, -10]], atol=1e-4)
    between = Grid((1, 1), Affine(0.02, 0, 10.0, 0, -0.02, 46.01), CRS.from_epsg(4326))
    middle = window_bands(weather, day, day, between, np.array([[0.0]]), 6.0)["mean_temperature"]
    np.testing.assert_allclose(middle, [[(10 + 3 - 10 + 15) / 2]], atol=1e-3)


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(SnowmapError, match="column 'temp' states no unit"):
        read(tmp_path / "a.csv", [HEADS.replace(" (°F)", ""), *ROWS])
    with pytest.raises(SnowmapError, match="low stands twice on 2021-01-10"):
        read(tmp_path / "b.csv", [HEADS, *ROWS, ROWS[0]])
    with pytest.raises(SnowmapError, match=r"no column of date, temperature; it has name"):
        read(tmp_path / "c.csv", ["name,lon,lat,hs_cm", "a,10,46,3"])
    with pytest.raises(SnowmapError, match="no line with the heads"):
        read(tmp_path / "d.csv", ["name,when,temperature_c", "a,2020-01-01,3"])


def test_real_snotel_table(shared_data):
    path = shared_data / "grand_mesa" / "grand_mesa_snotel.csv"
    fields = WEATHER["stations"].read([path], {}).fields
    real = pd.read_csv(path).pivot(index="datetime", columns="site")
    np.testing.assert_allclose(fields["temperature"], (real["AVG AIR TEMP"] - 32) * 5 / 9, atol=1e-4)
    np.testing.assert_allclose(fields["precipitation"], real["PRECIPITATION"] * 25.4, atol=1e-4)
    np.testing.assert_allclose(fields["y"], [39.05738, 39.04433])
