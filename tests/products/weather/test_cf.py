"""Weather in any CF NetCDF: units, steps, calendars and real files."""

import cftime
import numpy as np
import pytest
import xarray as xr

from snowmap.errors import SnowmapError
from snowmap.products.weather import WEATHER, missing_days

DAYS = np.datetime64("2020-02-27") + np.arange(5)
LAT, LON = np.arange(46.0, 49), np.arange(10.0, 14)


def write(
    path, times, *, temperature=("degC", None), precipitation=None, height=None, names=("tas", "pr"), bounds=None
):
    """Fields ``(time, lat, lon)`` in the units given; latitudes upwards."""
    fields = {}
    for name, given in zip(names, (temperature, precipitation), strict=True):
        if given is not None:
            fields[name] = (("time", "lat", "lon"), given[1], {"units": given[0]} if given[0] else {})
    if height is not None:
        fields["orog"] = (("lat", "lon"), height, {"units": "m", "standard_name": "surface_altitude"})
    dataset = xr.Dataset(fields, {"time": times, "lat": LAT, "lon": LON})
    dataset["lat"].attrs["units"], dataset["lon"].attrs["units"] = "degrees_north", "degrees_east"
    if bounds is not None:
        dataset["time_bnds"] = (("time", "nv"), bounds)
        dataset["time"].attrs["bounds"] = "time_bnds"
        dataset["time"].encoding["units"] = "days since 2000-01-01"
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


def read(*paths, **options):
    return WEATHER["cf"].read(list(paths), options)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(8).uniform(-10, 10, (5, 3, 4))


@pytest.mark.parametrize(
    ("unit", "scale"), [("mm", 1), ("kg m-2", 1), ("m", 1e-3), ("kg m-2 s-1", 1 / 86400), ("mm/day", 1)]
)
def test_daily_fields_in_the_units_that_they_state(tmp_path, values, unit, scale):
    path = write(
        tmp_path / "a.nc",
        DAYS.astype("datetime64[ns]"),
        temperature=("K", values + 273.15),
        precipitation=(unit, abs(values) * scale),
        height=100 * abs(values[0]),
    )
    fields = read(path).fields
    northwards = np.s_[:, ::-1]
    np.testing.assert_allclose(fields["temperature"], values[northwards], atol=1e-4)
    np.testing.assert_allclose(fields["precipitation"], abs(values)[northwards], rtol=1e-5)
    np.testing.assert_allclose(fields["height"], 100 * abs(values[0])[::-1], rtol=1e-5)


def test_shorter_steps_become_days(tmp_path, values):
    six_hours = np.datetime64("2020-02-27T00", "ns") + np.arange(20) * np.timedelta64(6, "h")
    fine = np.repeat(values, 4, axis=0) + np.tile([0.0, 1, 2, 3], 5)[:, None, None]
    some = np.arange(20) != 9
    path = write(
        tmp_path / "a.nc", six_hours[some], temperature=("degC", fine[some]), precipitation=("mm", abs(fine[some]))
    )
    weather = read(path)
    assert missing_days(weather, DAYS[0] - 1, DAYS[-1]) == ["2020-02-29"]  # one of its times lacks
    np.testing.assert_allclose(weather.fields["temperature"][0], values[0][::-1] + 1.5, atol=1e-5)
    np.testing.assert_allclose(weather.fields["precipitation"][2], abs(fine[12:16]).sum(axis=0)[::-1], rtol=1e-5)


def test_bounds_tell_the_day_of_a_mean(tmp_path, values):
    ends = (DAYS + 1).astype("datetime64[ns]")  # means are written at their ends
    bounds = np.stack([DAYS.astype("datetime64[ns]"), ends], axis=1)
    assert list(read(write(tmp_path / "a.nc", ends, temperature=("degC", values), bounds=bounds)).days) == list(DAYS)


def test_a_calendar_without_leap_days_lacks_one(tmp_path, values):
    times = [cftime.datetime(2020, 2, 27, calendar="noleap") + n * np.timedelta64(86400, "s").item() for n in range(5)]
    weather = read(write(tmp_path / "a.nc", times, temperature=("degC", values)))
    assert missing_days(weather, np.datetime64("2020-02-26"), np.datetime64("2020-03-03")) == ["2020-02-29"]


def test_what_cannot_be_read_is_refused(tmp_path, values):
    days = DAYS.astype("datetime64[ns]")
    with pytest.raises(SnowmapError, match=r"tas states no unit"):
        read(write(tmp_path / "a.nc", days, temperature=("", values)))
    with pytest.raises(SnowmapError, match="unit 'furlong' of temperature is unknown"):
        read(write(tmp_path / "b.nc", days, temperature=("furlong", values)))
    odd = write(tmp_path / "c.nc", days, temperature=("degC", values), names=("luft", "pr"))
    with pytest.raises(SnowmapError, match=r"no variable air temperature .* weather\.temperature"):
        read(odd)
    assert read(odd, temperature="luft").days.size == 5
    monthly = np.arange("2020-01", "2020-06", dtype="datetime64[M]").astype("datetime64[ns]")
    with pytest.raises(SnowmapError, match="days from field to field; expected a day"):
        read(write(tmp_path / "d.nc", monthly, temperature=("degC", values)))


def test_real_files(shared_data):
    with pytest.raises(SnowmapError, match=r"3[01] days from field to field"):  # months
        read(shared_data / "oetztal" / "HISTALP_oetztal.nc")
    path = shared_data / "mammoth_lakes" / "air_temp.nc"
    with xr.open_dataset(path, engine="h5netcdf") as real:
        hourly = real["air_temp"].values
    with pytest.raises(SnowmapError, match="no day has all of its values"):
        read(path)  # 3 hours
    assert np.isfinite(hourly).all()
