"""Daily weather: one series of the region, spread over the ground by height and by the storms' own pattern."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snowmap.physics import positive_degree_days
from snowmap.sources.synthetic.terrain import Terrain, power_law_field

LAPSE_RATE = -0.006  # °C per m (Rolland 2003: −5.4 to −5.8 °C per km for annual means in Trentino and Alto Adige)
MEAN_TEMPERATURE = 14.0  # °C at sea level: the 12.6 °C of Trento (about 200 m) brought down by the lapse rate
ANNUAL_AMPLITUDE = 9.5  # °C: half of January–July, between Trento (about 10.5) and stations at 2000 m (about 8)
COLDEST_DAY = 20  # of the year: the coldest days lag the solstice by four weeks
WEATHER_DEVIATION = 3.0  # °C of daily means about the season, mid-latitude (Wilks 2011)
WEATHER_MEMORY = 0.75  # correlation with the day before (the same)
WET_AFTER_DRY, WET_AFTER_WET = (
    0.20,
    0.45,
)  # two-state Markov chain (Richardson 1981): 98 wet days a year, Trento's count
WET_DAY_AMOUNT = 9.0  # mm: with those days about 880 mm a year, the region's mean (Crespi et al. 2018: about 900)
AMOUNT_SHAPE = 0.75  # of the gamma distribution of wet-day amounts (Wilks 2011: below 1, many light days)
OROGRAPHIC_GRADIENT = 3e-4  # relative increase per m of height from 800 m up (Alps: 20–50 % per km, Frei & Schär 1998)
OROGRAPHIC_REFERENCE = 800.0  # m, height to which the regional amount applies
# What clouds let through: wet days apart from dry ones (Richardson 1981), beta distributions with means 0.83 and 0.4;
# over a year 0.7, about the ratio of global to clear-sky radiation at stations of the southern Alps.
CLEAR_DRY, CLEAR_WET = (5.0, 1.0), (4.0, 6.0)
HUMIDITY_OVERCAST, HUMIDITY_CLEAR = 0.95, 0.60  # relative; their mean, 0.7, is usual at Alpine stations
WIND, WIND_SHAPE = 2.0, 3.0  # m s⁻¹ and shape of a gamma distribution: sheltered slopes, where snow is measured
STORM_EXPONENT = -3.0  # 2-D spectrum of rain fields, between 2 and 3.5 in radar data (Menabde et al. 1997)
STORM_SPREAD = 0.35  # standard deviation of log amounts inside one day's field: daily totals are smoother than radar's

# Precipitation factor and temperature anomaly (°C) of October–April. 2020/21: the snowiest start of winter for decades
# on the southern side of the Alps. 2021/22 and 2022/23: consecutive snow droughts, dry and mild (Colombo et al. 2023,
# Environ. Res. Lett. 18, 074014; CIMA Foundation, IT-SNOW: Adige basin −73 % SWE against 2011–2021 on 10 March 2023,
# with less snow than in 2022).
WINTERS = {2020: (1.5, -0.5), 2021: (0.6, 0.5), 2022: (0.45, 1.0)}
WINTER_SPREAD = (0.3, 0.8)  # log precipitation and °C from winter to winter elsewhere (HISTALP, Auer et al. 2007)

PRECIPITATION_ERROR, ERROR_SCALE = 0.3, 20_000.0
"""Spread of log amounts, and m, of what maps of precipitation miss of a window's: assumed; gauges in the Alps lie 10 to
20 km apart, and few of them high up."""


class Weather(NamedTuple):
    """Days in order.

    Attributes:
        day: ``(day,)`` datetime64[D].
        temperature: Daily mean at sea level in °C, ``(day,)``.
        precipitation: Regional amount in mm, ``(day,)``.
        clearness: What clouds let through of the radiation of a clear sky, 0–1, ``(day,)``.
        humidity: Relative, 0–1, ``(day,)``.
        wind: m s⁻¹, ``(day,)``.
    """

    day: np.ndarray
    temperature: NDArray[np.float64]
    precipitation: NDArray[np.float64]
    clearness: NDArray[np.float64]
    humidity: NDArray[np.float64]
    wind: NDArray[np.float64]


def make_weather(first: np.datetime64, last: np.datetime64, rng: np.random.Generator) -> Weather:
    """Daily weather of the region.

    Args:
        first: First day.
        last: Last day, included.
        rng: Source of randomness; the winters of `WINTERS` keep their character with every seed.
    """
    day = np.arange(first, last + np.timedelta64(1, "D"), dtype="datetime64[D]")
    factor, anomaly = _winters(day, rng)
    day_of_year = (day - day.astype("datetime64[Y]").astype("datetime64[D]")).astype(int) + 1
    season = -ANNUAL_AMPLITUDE * np.cos(2 * np.pi * (day_of_year - COLDEST_DAY) / 365.25)
    noise = np.empty(day.size)
    noise[0] = rng.normal(0, WEATHER_DEVIATION)
    shocks = rng.normal(0, WEATHER_DEVIATION * np.sqrt(1 - WEATHER_MEMORY**2), day.size)
    wet = np.zeros(day.size, dtype=bool)
    draws = rng.random(day.size)
    for index in range(1, day.size):
        noise[index] = WEATHER_MEMORY * noise[index - 1] + shocks[index]
        wet[index] = draws[index] < (WET_AFTER_WET if wet[index - 1] else WET_AFTER_DRY)
    amount = rng.gamma(AMOUNT_SHAPE, WET_DAY_AMOUNT / AMOUNT_SHAPE, day.size)
    clearness = np.maximum(0.05, np.where(wet, rng.beta(*CLEAR_WET, day.size), rng.beta(*CLEAR_DRY, day.size)))
    humidity = HUMIDITY_OVERCAST + (HUMIDITY_CLEAR - HUMIDITY_OVERCAST) * clearness
    wind = rng.gamma(WIND_SHAPE, WIND / WIND_SHAPE, day.size)
    temperature = MEAN_TEMPERATURE + season + anomaly + noise
    return Weather(day, temperature, wet * amount * factor, clearness, humidity, wind)


def temperature_at(sea_level: float | np.ndarray, elevation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Temperature in °C on the ground from that at sea level, which broadcasts against `elevation` in m."""
    return sea_level + LAPSE_RATE * elevation


def precipitation_at(amount: float, terrain: Terrain, rng: np.random.Generator) -> NDArray[np.float64]:
    """One day's precipitation in mm on the ground, ``(y, x)``: more with height, patchy as storms are."""
    pattern = STORM_SPREAD * power_law_field(terrain.elevation.shape, terrain.spacing, STORM_EXPONENT, rng)
    height = np.maximum(0.2, 1 + OROGRAPHIC_GRADIENT * (terrain.elevation - OROGRAPHIC_REFERENCE))
    return amount * height * np.exp(pattern - STORM_SPREAD**2 / 2)  # the mean of the pattern is 1


def observed_precipitation(
    fallen: NDArray[np.float64], terrain: Terrain, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A window's precipitation in mm as a map made from gauges has it, from what fell, ``(y, x)``."""
    error = power_law_field(fallen.shape, terrain.spacing, STORM_EXPONENT, rng, ERROR_SCALE)
    return fallen * np.exp(PRECIPITATION_ERROR * error)


def window_weather(
    weather: Weather, start: np.datetime64, end: np.datetime64, elevation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean temperature (°C) and positive degree days (°C d) of the days after `start` up to `end`, each ``(y, x)``."""
    days = (weather.day > start) & (weather.day <= end)
    temperature = temperature_at(weather.temperature[days][:, None, None], elevation)
    return temperature.mean(axis=0), positive_degree_days(temperature)


def _winters(day: np.ndarray, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precipitation factor and temperature anomaly of each day: a winter's from October to April, else 1 and 0."""
    factor, anomaly = np.ones(day.size), np.zeros(day.size)
    months = day.astype("datetime64[M]").astype(int)
    year, month = 1970 + months // 12, months % 12 + 1
    winter = np.where(month >= 10, year, year - 1)
    cold = (month >= 10) | (month <= 4)
    for first_year in np.unique(winter[cold]).tolist():
        drawn = float(np.exp(rng.normal(0, WINTER_SPREAD[0]))), float(rng.normal(0, WINTER_SPREAD[1]))
        here = cold & (winter == first_year)
        factor[here], anomaly[here] = WINTERS.get(first_year, drawn)
    return factor, anomaly
