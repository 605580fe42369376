"""Baselines that remember the training maps: the season's mean, and the last-seen map."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from snowmap.baselines.base import Baseline, Maps
from snowmap.data.sequences import Dates

YEAR_DAYS = 365.25


class _Remembered(Baseline):
    """Remembers the training maps ``(window, y, x)`` and their dates, in days since 1970."""

    keeps_grid = True

    def learn(self, inputs: xr.Dataset, train: list[int], known: Maps, target: str) -> dict[str, Any]:
        """The maps, with the dates of their windows' ends."""
        return {"maps": known, "end": _days(inputs["end"].values[train])}


class Climatology(_Remembered):
    """Per pixel the mean of the training maps, each weighted by how near its day of the year lies.

    The weight is a Gaussian of the distance around the year.
    """

    name = "climatology"

    def __init__(self, *, season_days: float = 20.0) -> None:
        """Make it.

        Args:
            season_days: Standard deviation of the weight in days.
        """
        super().__init__(season_days=season_days)
        if season_days <= 0:
            raise ValueError(f"season_days={season_days}: expected days above 0")

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

    It needs a known past: where nothing was seen before a window it has nothing to say, and a map seen a winter ago
    says little.
    """

    name = "persistence"

    def __init__(self) -> None:
        """Make it; there is nothing to choose."""
        super().__init__()

    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """NaN for windows before the end of the first training window."""
        known, dates = self.learned[target]["maps"], self.learned[target]["end"]
        maps = np.full((len(windows), *known.shape[1:]), np.nan, dtype=np.float32)
        starts, ends = (_days(inputs[edge].values[windows]) for edge in ("start", "end"))
        for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
            past = np.flatnonzero((dates <= start) & (dates < end))  # a single acquisition is not its own past
            if past.size:
                maps[position] = known[past[np.argmax(dates[past])]]
        return maps


def fraction_of_year(date: Dates) -> Float[np.ndarray, " window"]:
    """How much of its year has passed at each date, so that 31 December is last in leap years too."""
    year = date.astype("datetime64[Y]")
    first, next_first = _days(year), _days(year + 1)
    return (_days(date) - first) / (next_first - first)


def _days(date: Dates) -> np.ndarray:
    return date.astype("datetime64[D]").astype(np.int64)
