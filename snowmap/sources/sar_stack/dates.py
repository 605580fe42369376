"""Which dates of a scene are read, and which of them are mapped."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snowmap.errors import SnowmapError

LEAST_COVER = 2 / 3
"""Of the periods of a year that need a date, for dates to be chosen by the calendar."""

logger = logging.getLogger(__name__)


class Acquisitions(NamedTuple):
    """Dates of a Cube.

    Attributes:
        days: datetime64[D], sorted.
        present: False for a period without a date, whose middle stands for it.
    """

    days: np.ndarray
    present: np.ndarray


def by_calendar(days: np.ndarray, periods: int | str, root: Path) -> Acquisitions:
    """One date of each of so many equal periods of every calendar year, that nearest its middle.

    So the n-th date of a year is of the same time of the year in every scene, whatever it has. Periods before the first
    and after the last date are left out, as long as one year of periods remains. Dates that lie in one season alone
    would leave most periods empty: they all stay.

    Args:
        days: Those that there are, datetime64[D], sorted.
        periods: Of a year; ``all``: every date.
        root: The scene, for messages.

    Raises:
        SnowmapError: When there are fewer dates.
    """
    every = Acquisitions(days, np.ones(len(days), bool))
    if periods == "all":
        return every
    count = int(periods)
    if count > len(days):
        raise SnowmapError(
            f"data.dates={count}: {root} has {len(days)} dates; ask for at most {len(days)} (the experiments take "
            f"data.dates from data.time: data.time={len(days)})"
        )
    years = days.astype("datetime64[Y]")
    chosen, has_date = [], []
    for year in np.unique(years):
        first, last = year.astype("datetime64[D]"), (year + 1).astype("datetime64[D]")
        of_year, length = days[years == year], (last - first).astype(int)
        elapsed = (of_year - first).astype(int)
        for period in range(count):
            middle = (period + 0.5) * length / count
            within = np.flatnonzero(elapsed * count // length == period)
            nearest = within[np.abs(elapsed[within] - middle).argmin()] if within.size else None
            chosen.append(first + int(middle) if nearest is None else of_year[nearest])
            has_date.append(nearest is not None)
    present = np.array(has_date)
    most = int(np.convolve(present, np.ones(count, int)).max())
    if most < LEAST_COVER * count:
        logger.warning(
            "data.dates=%d: no year of %s has dates in more than %d of so many periods; all %d dates are read",
            *(count, root, most, len(days)),
        )
        return every
    first, last = np.flatnonzero(present)[[0, -1]]
    first = max(0, min(first, last + 1 - count))
    kept = slice(first, max(last + 1, first + count))
    return Acquisitions(np.array(chosen, "datetime64[D]")[kept], present[kept])


def ends_of_sequences(days: np.ndarray, sequences: str) -> np.ndarray:
    """True for the last date of the scene (``whole``), or of each calendar year (``yearly``)."""
    years = days.astype("datetime64[Y]")
    last = np.append(years[1:] != years[:-1], True)
    if sequences == "whole":
        last[:-1] = False
    return last
