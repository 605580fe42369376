"""Which windows train, validate and test: pure functions of the windows' dates.

A split is a function ``(start, end, **options) -> Split`` over the windows sorted by date, entered in `SPLITS` under
the name that users type (``split=rolling``). It sees dates only, never data.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from snowmap.cube import window_name
from snowmap.errors import SnowmapError
from snowmap.sequences import Dates, season_of


class Split(NamedTuple):
    """Window indices of the three parts, each in order of date.

    No window is in two parts.

    Attributes:
        train: Windows whose targets the loss may see.
        validation: Windows that choose the checkpoint.
        test: Windows that are scored once, by `evaluate.py`.
    """

    train: list[int]
    validation: list[int]
    test: list[int]

    def named(self, start: Dates, end: Dates) -> dict[str, list[str]]:
        """Names of the windows of each part, e.g. ``{"test": ["2022-12-30_to_2023-01-11", ...]}``."""
        return {part: [window_name(start[i], end[i]) for i in windows] for part, windows in self._asdict().items()}


def rolling(start: Dates, end: Dates, *, train: int = 5, validation: int = 1, test: int = 7) -> Split:
    """The reference split: the last `test` windows test; before them `train` and `validation` windows alternate.

    Consecutive windows share an acquisition, so a validation window lies next to training windows: its score is
    optimistic.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        train: Training windows in each turn.
        validation: Validation windows that end each turn.
        test: Windows at the end of the archive that are kept for the test.

    Returns:
        The split; every window is in exactly one part.

    Raises:
        SnowmapError: When the archive has too few windows for at least one whole turn.
    """
    count = len(start)
    needed = train + validation + test
    if min(train, validation, test) < 1:
        raise SnowmapError(
            f"split.train={train}, split.validation={validation}, split.test={test}: each must be at least 1"
        )
    if count < needed:
        raise SnowmapError(
            f"split=rolling needs at least {needed} windows ({train} train + {validation} validation + {test} test), "
            f"but the archive has {count}; add windows, or ask for smaller parts, e.g. split.test={max(1, count // 5)}"
        )
    position = np.arange(count - test) % (train + validation)
    return Split(
        train=np.flatnonzero(position < train).tolist(),
        validation=np.flatnonzero(position >= train).tolist(),
        test=list(range(count - test, count)),
    )


def winters(start: Dates, end: Dates, *, fold: int = 1, test: int = 7) -> Split:
    """One whole snow year (1 September on) validates, the others train: what a rolling validation cannot see.

    Windows that share an acquisition with a window of another part are left out of training and of validation, so no
    acquisition lies on two sides.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        fold: Which snow year validates, counted from the first one of the archive.
        test: Windows at the end of the archive that are kept for the test.

    Raises:
        SnowmapError: When there are fewer than two snow years before the test windows, or no such fold.
    """
    count = len(start)
    season = season_of(end)[: max(0, count - test)]
    years = np.unique(season)
    if test < 1 or len(years) < 2:
        raise SnowmapError(
            f"split=winters needs windows of at least two snow years before the last {test} of the {count} windows; "
            f"found {len(years)}"
        )
    if not 0 <= fold < len(years):
        known = ", ".join(f"{number} ({year}/{(year + 1) % 100:02d})" for number, year in enumerate(years))
        raise SnowmapError(f"split.fold={fold} is no snow year before the test windows; there are {known}")
    tested = list(range(count - test, count))
    validation = np.flatnonzero(season == years[fold])
    validation = validation[~_shares_acquisition(start, end, validation, tested)]
    train = np.flatnonzero(season != years[fold])
    train = train[~_shares_acquisition(start, end, train, [*validation.tolist(), *tested])]
    if not (len(train) and len(validation)):
        raise SnowmapError(f"split.fold={fold} leaves no window to {'validate' if len(train) else 'train'}")
    return Split(train.tolist(), validation.tolist(), tested)


def _shares_acquisition(start: Dates, end: Dates, windows: np.ndarray, others: Sequence[int]) -> np.ndarray:
    theirs = np.concatenate([start[others], end[others]])
    return np.isin(start[windows], theirs) | np.isin(end[windows], theirs)


SPLITS: dict[str, Callable[..., Split]] = {"rolling": rolling, "winters": winters}


def make_split(name: str, start: Dates, end: Dates, **options: int) -> Split:
    """The split called `name`.

    Raises:
        SnowmapError: When no split has that name, or the split cannot be made from these windows.
    """
    if name not in SPLITS:
        raise SnowmapError(f"split.name={name} is unknown; known are {', '.join(SPLITS)}")
    return SPLITS[name](start, end, **options)
