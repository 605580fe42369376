"""What every product of weather becomes: daily fields, or days at stations."""

from typing import NamedTuple

import numpy as np
import xarray as xr


class DailyWeather(NamedTuple):
    """Daily weather on its own grid, or at stations.

    Attributes:
        fields: ``temperature (day, y, x)`` daily mean air temperature in °C; where known ``precipitation`` mm a day;
            ``height (y, x)`` m above the sea of the field itself; NaN = missing; CRS and transform as rioxarray keeps
            them. Of stations, dims ``(day, station)`` and coordinates ``x``, ``y`` with the CRS.
        name: Of the product, for messages.
    """

    fields: xr.Dataset
    name: str

    @property
    def days(self) -> np.ndarray:
        """The days that it has, datetime64[D]."""
        return self.fields["day"].values.astype("datetime64[D]")


def window_days(start: np.datetime64, end: np.datetime64) -> np.ndarray:
    """The days of a window, datetime64[D]: those after its first date up to its last; of a single date, that day."""
    first, last = start.astype("datetime64[D]"), end.astype("datetime64[D]")
    return np.arange(min(first + 1, last), last + 1)


def missing_days(weather: DailyWeather, start: np.datetime64, end: np.datetime64) -> list[str]:
    """The days of a window that the weather does not have, ISO 8601."""
    return [str(day) for day in np.setdiff1d(window_days(start, end), weather.days)]
