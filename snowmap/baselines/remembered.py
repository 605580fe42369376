"""Baselines that remember the training maps: the season's mean, and the last-seen map."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from snowmap.baselines.base import Maps, QuantityBaseline
from snowmap.data.sequences import Dates

YEAR_DAYS = 365.25


class _Remembered(QuantityBaseline):
    """Remembers the training maps ``(window, y, x)`` and their dates, in days since 1970."""

    keeps_grid = True

    def learn(self, inputs: xr.Dataset, train: list[int], known: Maps, target: str) -> dict[str, Any]:
        """The maps, with the dates of their windows' ends."""
        return {"maps": known, "end": _days(inputs["end"].values[train])}


class Climatology(_Remembered):
    """Per pixel the mean of the training maps, each weighted by how near its day of the year lies.

    The weight is a Gaussian of the distance around the year, with the option ``season_days`` as its standard deviation.
    """

    name = "climatology"

    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """NaN where a pixel has no training value."""
        learned = self.learned[target]
        wanted = fraction_of_year(inputs["end"].values[windows])[:, None]
        years = np.abs(wanted - fraction_of_year(learned["end"].astype("datetime64[D]")))
        days = np.minimum(years, 1 - years) * YEAR_DAYS
        # a season without any window falls back on all
        weight = np.exp(-0.5 * (days / self.options["season_days"]) ** 2) + 1e-12
        valid = np.isfinite(learned["maps"])
        total = np.tensordot(weight, np.where(valid, learned["maps"], 0).astype(float), axes=1)
        count = np.tensordot(weight, valid.astype(float), axes=1)
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


class Persistence(_Remembered):
    """The last-seen map: that of the latest training window that had ended when the window began.

    It needs a known past: before the end of the first training window there is no map, and one of a winter ago says
    little.
    """

    name = "persistence"

    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """NaN for windows before the end of the first training window."""
        known = xr.DataArray(self.learned[target]["maps"], {"end": self.learned[target]["end"]}, ("end", "y", "x"))
        starts, ends = (_days(inputs[edge].values[windows]) for edge in ("start", "end"))
        # a single acquisition, which ends on the day on which it starts, is not its own past
        past = known.sortby("end").drop_duplicates("end").reindex(end=starts - (starts == ends), method="ffill")
        return past.values


def fraction_of_year(date: Dates) -> Float[np.ndarray, " window"]:
    """How much of its year has passed at each date, so that 31 December is last in leap years too."""
    year = date.astype("datetime64[Y]")
    first, next_first = _days(year), _days(year + 1)
    return (_days(date) - first) / (next_first - first)


def _days(date: Dates) -> np.ndarray:
    return date.astype("datetime64[D]").astype(np.int64)
