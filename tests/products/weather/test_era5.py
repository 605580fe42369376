"""ERA5 and ERA5-Land in the layouts of the data store, over a known truth, and real files."""

import numpy as np
import pytest
import xarray as xr

from snowmap.errors import SnowmapError
from snowmap.products.weather import WEATHER, missing_days
from tests.products.writers_weather import hours, write_era5

LATITUDE, LONGITUDE = np.array([47.0, 46.75, 46.5]), np.array([10.0, 10.25, 10.5, 10.75])
TIMES = hours("2021-01-30", 4)
HOUR_OF_DAY = (TIMES - TIMES.astype("datetime64[D]")).astype(int)


def truth():
    """t2m in K, and what fell in the hour before each time in m."""
    rng = np.random.default_rng(3)
    shape = (TIMES.size, 3, 4)
    return rng.uniform(250, 280, shape), rng.uniform(0, 2e-3, shape) * (rng.random(shape) < 0.4)


def since_midnight(hourly):
    """As ERA5-Land: what fell since 00 UTC; at 00 UTC that of the whole day before."""
    total = hourly.copy()
    for index in range(1, len(total)):
        if HOUR_OF_DAY[index] != 1:
            total[index] += total[index - 1]
    return total


def read(*paths, **options):
    return WEATHER["era5"].read(sorted(paths), options)


def of_day(hourly, day, shift=0, *, after=False):
    """The hours of a day in local time; `after` those that end in it."""
    local = TIMES + np.timedelta64(shift, "h") - np.timedelta64(1 if after else 0, "h")
    return hourly[local.astype("datetime64[D]") == np.datetime64(day)]


@pytest.mark.parametrize("layout", ["old", "new"])
@pytest.mark.parametrize("land", [False, True])
def test_months_and_accumulations_in_files_of_their_own(tmp_path, layout, land):
    kelvin, hourly = truth()
    amount = since_midnight(hourly) if land else hourly
    january = TIMES.astype("datetime64[M]") == np.datetime64("2021-01")
    height = np.arange(12.0).reshape(1, 3, 4) * 100
    for name, some in (("01", january), ("02", ~january)):
        write_era5(
            tmp_path / f"{name}-instant.nc", {"t2m": kelvin[some]}, TIMES[some], LATITUDE, LONGITUDE, layout=layout
        )
        write_era5(tmp_path / f"{name}-accum.nc", {"tp": amount[some]}, TIMES[some], LATITUDE, LONGITUDE, layout=layout)
    write_era5(tmp_path / "z.nc", {"z": height * 9.80665}, TIMES[:1], LATITUDE, LONGITUDE, layout=layout)
    weather = read(*tmp_path.glob("*.nc"))
    assert weather.days.astype(str).tolist() == ["2021-01-30", "2021-01-31", "2021-02-01", "2021-02-02"]
    for index, day in enumerate(weather.days):
        packing = 1e-3
        expected = of_day(kelvin, day).mean(axis=0) - 273.15
        np.testing.assert_allclose(weather.fields["temperature"][index], expected, atol=packing)
        fallen = of_day(hourly, day, after=True).sum(axis=0) * 1e3
        np.testing.assert_allclose(weather.fields["precipitation"][index], fallen, atol=20 * packing)
    np.testing.assert_allclose(weather.fields["height"], height[0], atol=0.1)
    assert weather.fields.rio.crs.to_epsg() == 4326
    assert weather.fields.rio.bounds() == pytest.approx((9.875, 46.375, 10.875, 47.125))


def test_local_days_and_a_day_that_lacks_an_hour(tmp_path):
    kelvin, _ = truth()
    some = np.arange(TIMES.size) != 40  # 16 UTC of 31 January
    path = write_era5(tmp_path / "a.nc", {"t2m": kelvin[some]}, TIMES[some], LATITUDE, LONGITUDE)
    weather = read(path, utc_offset_hours=-7)
    missing = missing_days(weather, np.datetime64("2021-01-29"), np.datetime64("2021-02-02"))
    assert missing == ["2021-01-31", "2021-02-02"]  # of the last one's local time, 7 hours lie in the next file
    expected = [of_day(kelvin, day, -7).mean(axis=0) - 273.15 for day in ("2021-01-30", "2021-02-01")]
    np.testing.assert_allclose(weather.fields["temperature"], expected, atol=1e-4)


def test_preliminary_values_beside_the_final_ones(tmp_path):
    kelvin, _ = truth()
    both = np.full((TIMES.size, 2, 3, 4), np.nan)
    both[:30, 0], both[30:, 1] = kelvin[:30], kelvin[30:]
    dims = ("time", "expver", "latitude", "longitude")
    xr.Dataset(
        {"t2m": (dims, both, {"units": "K"})},
        coords={
            "time": TIMES.astype("datetime64[ns]"),
            "expver": [1, 5],
            "latitude": ("latitude", LATITUDE, {"units": "degrees_north"}),
            "longitude": ("longitude", LONGITUDE, {"units": "degrees_east"}),
        },
    ).to_netcdf(tmp_path / "mixed.nc", engine="h5netcdf")
    weather = read(tmp_path / "mixed.nc")
    expected = of_day(kelvin, "2021-01-31").mean(axis=0) - 273.15
    np.testing.assert_allclose(weather.fields["temperature"].sel(day="2021-01-31"), expected, atol=1e-4)


@pytest.mark.parametrize("engine", ["old", "new"])
def test_a_file_cut_short_is_refused(tmp_path, engine):
    path = write_era5(tmp_path / "a.nc", {"t2m": truth()[0]}, TIMES, LATITUDE, LONGITUDE, layout=engine)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(SnowmapError, match=r"a\.nc: not readable as NetCDF .* fetch it again"):
        read(path)


def test_what_is_no_era5_is_refused(tmp_path):
    (tmp_path / "b.nc").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(SnowmapError, match="zip archive"):
        read(tmp_path / "b.nc")
    (tmp_path / "c.grib").write_bytes(b"GRIB and more")
    with pytest.raises(SnowmapError, match=r"pip install 'snowmap\[grib\]'|not readable"):
        read(tmp_path / "c.grib")
    path = write_era5(tmp_path / "d.nc", {"t2m": truth()[0][::3]}, TIMES[::3], LATITUDE, LONGITUDE)
    with pytest.raises(SnowmapError, match="no day has its 24 hours"):
        read(path)
    other = write_era5(tmp_path / "e.nc", {"t2m": truth()[0]}, TIMES, LATITUDE + 0.25, LONGITUDE)
    with pytest.raises(SnowmapError, match="another grid than"):
        read(path, other)


@pytest.mark.parametrize(
    ("files", "first"),
    [("davos/SURF_202001.nc", "2020-01-01"), ("finse/SURF_*.nc", "2018-10-01"), ("grand_mesa/era5*.nc", "2021-01-01")],
)
def test_real_files(shared_data, files, first):
    paths = sorted(shared_data.glob(files))
    weather = read(*paths)
    assert str(weather.days[0]) == first
    with xr.open_mfdataset(paths, engine="scipy", combine="by_coords") as real:
        kelvin = real["t2m"].resample(time="1D").mean().values
        second = weather.days[1]
        fallen = real["tp"].sel(time=slice(f"{second}T01", f"{second + 1}T00")).sum("time").values
        longitude = real["longitude"].values
        height = real["z"][0].values / 9.80665 if "z" in real else None
    assert weather.days.size == len(kelvin) - 1  # the last day of precipitation ends with the next file
    np.testing.assert_allclose(weather.fields["temperature"], kelvin[:-1] - 273.15, atol=1e-3)
    np.testing.assert_allclose(weather.fields["precipitation"][1], 1e3 * fallen, atol=1e-3)
    np.testing.assert_allclose(weather.fields["x"], longitude, atol=1e-4)
    if height is not None:
        np.testing.assert_allclose(weather.fields["height"], height, atol=1e-2)
