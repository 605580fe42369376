"""The snow pack: a degree-day model run day by day over the ground."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snowmap.physics import degree_day_step
from snowmap.sources.synthetic.terrain import Terrain
from snowmap.sources.synthetic.weather import Weather, precipitation_at, temperature_at


class SnowState(NamedTuple):
    """The snow pack at the end of one day, rasters ``(y, x)``.

    Attributes:
        swe: Snow water equivalent in mm.
        wet: True where there is snow and the day's mean is above 0 °C: liquid water in the pack.
    """

    swe: NDArray[np.float64]
    wet: NDArray[np.bool_]


def run_snow_model(
    weather: Weather, terrain: Terrain, dates: np.ndarray, rng: np.random.Generator
) -> dict[np.datetime64, SnowState]:
    """Snow on the given dates, from bare ground on the weather's first day.

    Args:
        weather: The region's daily weather.
        terrain: The ground.
        dates: Days whose evening state is wanted, datetime64[D].
        rng: Source of randomness of the storms' patterns.
    """
    wanted = set(dates.tolist())
    states = {}
    swe = np.zeros(terrain.elevation.shape)
    for day, sea_level, amount in zip(weather.day, weather.temperature, weather.precipitation, strict=True):
        temperature = temperature_at(sea_level, terrain.elevation)
        precipitation = precipitation_at(amount, terrain, rng) if amount > 0 else 0.0
        swe = np.asarray(degree_day_step(swe, precipitation, temperature))
        if day.item() in wanted:
            states[day] = SnowState(swe, (swe > 0) & (temperature > 0))
    return states
