"""The energy balance of the synthetic snow against closed forms and published examples, and its water budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmap.sources.synthetic.energy import (
    SOLAR_CONSTANT,
    daily_sunshine,
    longwave,
    pressure_at,
    shortwave,
    snow_share,
    turbulent,
    vapour_pressure,
    wet_bulb,
)
from snowmap.sources.synthetic.snow import (
    FUSION_HEAT,
    HELD_WATER,
    ICE_HEAT,
    NEW_ALBEDO,
    Day,
    Pack,
    run_snow_model,
    step,
)
from snowmap.sources.synthetic.weather import Weather
from tests.slopes import slope_terrain

FLAT = np.array([0.0, 0.0, 1.0])


def facing(direction: float, slope: float) -> np.ndarray:
    """Unit normal of a slope that faces a direction, both in degrees."""
    direction, slope = np.radians([direction, slope])
    return np.array([np.sin(slope) * np.sin(direction), np.sin(slope) * np.cos(direction), np.cos(slope)])


def test_sunshine_on_flat_ground_is_the_example_of_fao_56() -> None:
    assert daily_sunshine(FLAT, -20, 246) * 0.0864 == pytest.approx(32.2, rel=0.01)  # example 8, MJ m⁻² d⁻¹


@pytest.mark.parametrize(("latitude", "day"), [(46.0, 15), (46.0, 172), (-30.0, 300)])
def test_sunshine_against_its_integral(latitude: float, day: int) -> None:
    declination, place = 0.409 * np.sin(2 * np.pi * day / 365 - 1.39), np.radians(latitude)
    sunset = np.arccos(-np.tan(place) * np.tan(declination))
    lit = sunset * np.sin(place) * np.sin(declination) + np.cos(place) * np.cos(declination) * np.sin(sunset)
    distance = 1 + 0.033 * np.cos(2 * np.pi * day / 365)
    assert daily_sunshine(FLAT, latitude, day) == pytest.approx(SOLAR_CONSTANT * distance * lit / np.pi, rel=0.01)


def test_a_slope_that_faces_the_equator_is_flat_ground_further_south() -> None:
    # at the equinox the sun rises due east for both, so that no part of the day is cut off
    assert daily_sunshine(facing(180, 20), 46, 81) == pytest.approx(daily_sunshine(FLAT, 26, 81), rel=5e-3)
    assert daily_sunshine(facing(90, 30), 46, 81) == pytest.approx(daily_sunshine(facing(270, 30), 46, 81))
    assert daily_sunshine(facing(0, 60), 46, 355) == 0  # a steep north face in December


def test_radiation_under_clear_sky_and_under_cloud() -> None:
    clear = shortwave(300.0, 300.0, 1.0, 1000.0, 1.0)
    assert clear == pytest.approx(0.77 * 300)  # FAO-56, equation 37
    beam, cloud = (shortwave(600.0, 300.0, 1.0, 1000.0, clearness) for clearness in (1.0, 0.2))
    assert beam == pytest.approx(0.77 * (600 - 0.166 * 300), rel=0.01)  # Erbs: 16.6 % of it is diffuse
    assert cloud == pytest.approx(0.2 * 0.77 * 300, rel=0.02)  # all of it: the slope plays no part


def test_moist_air() -> None:
    assert vapour_pressure(0.0) == pytest.approx(6.11, abs=0.01)
    assert vapour_pressure(20.0) == pytest.approx(23.4, abs=0.1)
    assert wet_bulb(20.0, 0.5) == pytest.approx(13.7, abs=0.05)  # the example of Stull (2011)
    assert pressure_at(0.0) == pytest.approx(1013.25)
    assert pressure_at(3000.0) == pytest.approx(701.1, abs=0.5)  # the standard atmosphere


def test_snow_falls_at_higher_temperatures_in_dry_air() -> None:
    assert snow_share(3.0, 0.4) > 0.7 > 0.1 > snow_share(3.0, 0.95)
    assert snow_share(np.array([-20.0, 12.0]), 0.8) == pytest.approx([1, 0], abs=1e-3)


def test_longwave_of_clear_and_of_overcast_sky() -> None:
    black = 5.67e-8 * 283.15**4
    assert longwave(10.0, 8.0, 0.0) == pytest.approx(black)
    assert longwave(10.0, 8.0, 1.0) == pytest.approx(1.24 * (8 / 283.15) ** (1 / 7) * black)


def test_turbulent_exchange_vanishes_without_a_difference_and_follows_its_sign() -> None:
    assert turbulent(0.0, vapour_pressure(0.0), 0.0, 800.0, 3.0) == (0, 0)
    sensible, latent = turbulent(8.0, 5.0, 0.0, 800.0, 3.0)
    assert sensible == pytest.approx(800e2 / (287 * 281.15) * 1005 * (0.4 / np.log(2000)) ** 2 * 3 * 8)
    assert latent < 0  # 5 hPa over snow of 6.1 hPa: it evaporates


def calm(**change: float) -> Day:
    """A night without exchange of any kind but long waves."""
    day = {
        "snowfall": 0.0, "rain": 0.0, "temperature": -10.0, "humidity": 0.7, "pressure": 800.0, "wind": 0.0,
        "shortwave": 0.0, "clearness": 1.0,
    }  # fmt: skip
    return Day(**(day | change))


def pack(swe: float, liquid: float = 0.0, cold: float = 0.0) -> Pack:
    return Pack(*(np.array([value]) for value in (swe, liquid, cold, NEW_ALBEDO)))


def test_a_day_of_melt_and_a_night_of_frost_by_hand() -> None:
    air = calm(temperature=5.0, humidity=0.9, clearness=0.0, shortwave=200.0)  # the surface is at 0 °C
    absorbed = 0.15 * 200 + 0.98 * 5.67e-8 * (278.15**4 - 273.15**4)
    after, lost = step(pack(100.0), air)
    melt = absorbed * 86400 / FUSION_HEAT
    assert after.liquid == pytest.approx(HELD_WATER * (100 - melt))
    assert lost == pytest.approx(melt - after.liquid)
    night = calm()
    frozen, lost = step(after, night)
    assert (frozen.liquid, lost) == (0, 0)
    assert frozen.swe == pytest.approx(after.swe)
    assert 0 < frozen.cold < ICE_HEAT / FUSION_HEAT * frozen.swe * 30  # no pack is colder than −30 °C in such a night
    warmed, _ = step(frozen, air)
    assert warmed.liquid < after.liquid or warmed.swe > after.swe - melt  # first the cold has to be overcome


def test_strong_sun_does_not_melt_snow_in_cold_dry_wind() -> None:
    sunny = calm(temperature=-8.0, humidity=0.5, wind=4.0, shortwave=250.0)
    after, lost = step(pack(300.0), sunny)
    assert after.liquid == 0
    assert lost == pytest.approx(300 - after.swe)
    assert 0 < lost < 3  # sublimation
    assert step(pack(300.0), sunny._replace(temperature=10.0))[0].liquid > 0


@given(
    st.floats(0, 500), st.floats(0, 0.05), st.floats(0, 5), st.floats(0, 60), st.floats(0, 60), st.floats(-25, 20),
    st.floats(0.3, 1), st.floats(0, 10), st.floats(0, 400), st.floats(0, 1),
)  # fmt: skip
def test_water_is_conserved(swe, wet, cold, snowfall, rain, temperature, humidity, wind, sun, clearness) -> None:
    day = calm(
        snowfall=snowfall, rain=rain, temperature=temperature, humidity=humidity, wind=wind, shortwave=sun,
        clearness=clearness,
    )  # fmt: skip
    after, lost = step(pack(swe, wet * swe, cold), day)
    assert after.swe + lost == pytest.approx(swe + snowfall + rain, abs=1e-9)
    assert 0 <= after.liquid <= after.swe + 1e-12
    assert after.liquid <= HELD_WATER * (after.swe - after.liquid) + 1e-9
    assert after.cold >= 0
    assert 0.5 <= after.albedo <= NEW_ALBEDO


def test_south_slopes_melt_before_north_slopes() -> None:
    terrain, rise = slope_terrain(shape=(41, 8)), np.tan(np.radians(25)) * 560
    terrain = terrain._replace(elevation=1500 - rise * np.abs(np.arange(41.0) - 20)[:, None] * np.ones((41, 8)) / 1e3)
    terrain = terrain._replace(spacing=(0.56, 0.4))  # 25° on both sides of an east-west ridge, at one height
    days = np.arange("2021-01-01", "2021-05-01", dtype="datetime64[D]")
    snowing = days < np.datetime64("2021-01-20")
    weather = Weather(
        days,
        np.where(snowing, 0.0, np.linspace(4, 16, days.size)),
        np.where(snowing, 15.0, 0.0),
        np.full(days.size, 0.9),
        np.full(days.size, 0.6),
        np.full(days.size, 2.0),
    )
    states = run_snow_model(weather, terrain, days, np.random.default_rng(0))
    swe = np.array([[states[day].swe[rows].mean() for rows in (slice(2, 18), slice(23, 39))] for day in days])
    north, south = swe.T
    assert north[19] == pytest.approx(south[19], rel=0.1)  # as much fell
    free = [int(np.flatnonzero(side[20:] == 0)[0]) for side in (north, south)]
    assert free[1] + 7 < free[0]
