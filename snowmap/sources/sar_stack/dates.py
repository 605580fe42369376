"""Which dates of a scene are read, and which of them are mapped."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from snowmap.errors import SnowmapError


class Acquisitions(NamedTuple):
    """Dates of a Cube.

    Attributes:
        days: datetime64[D], sorted.
        there: False for a period without a date, whose middle stands for it.
    """

    days: np.ndarray
    there: np.ndarray


def by_calendar(days: np.ndarray, periods: int | str, root: Path) -> Acquisitions:
    """One date of each of so many equal periods of every calendar year, that nearest its middle.

    So the n-th date of every scene is of the same time of the year, whatever it has.

    Args:
        days: Those that there are, datetime64[D], sorted.
        periods: Of a year; ``all``: every date.
        root: The scene, for the error.

    Raises:
        SnowmapError: When no year has as many dates.
    """
    if periods == "all":
        return Acquisitions(days, np.ones(len(days), bool))
    count = int(periods)
    years = days.astype("datetime64[Y]")
    most = int(np.unique(years, return_counts=True)[1].max())
    if count > most:
        raise SnowmapError(f"data.dates={count}: {root} has at most {most} dates in a year; ask for at most {most}")
    chosen, there = [], []
    for year in np.unique(years):
        first, last = year.astype("datetime64[D]"), (year + 1).astype("datetime64[D]")
        of_year, length = days[years == year], (last - first).astype(int)
        elapsed = (of_year - first).astype(int)
        for period in range(count):
            middle = (period + 0.5) * length / count
            within = np.flatnonzero(elapsed * count // length == period)
            nearest = within[np.abs(elapsed[within] - middle).argmin()] if within.size else None
            chosen.append(first + int(middle) if nearest is None else of_year[nearest])
            there.append(nearest is not None)
    return Acquisitions(np.array(chosen, "datetime64[D]"), np.array(there))


def ends_of_sequences(days: np.ndarray, sequences: str) -> np.ndarray:
    """True for the last date of the scene (``whole``), or of each calendar year (``yearly``)."""
    years = days.astype("datetime64[Y]")
    last = np.append(years[1:] != years[:-1], True)
    if sequences == "whole":
        last[:-1] = False
    return last
