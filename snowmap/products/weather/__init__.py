"""Products of weather: each module reads one as daily fields or stations, and `WEATHER` names them."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from snowmap.products.reader import Reader


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


WEATHER: dict[str, Reader] = {}
"""Readers under the word of ``weather.source``."""
