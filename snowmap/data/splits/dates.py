"""Splits of windows by their dates and by the shape of the grid.

A split here is a function ``(start, end, **options) -> Split`` over the windows sorted by date, entered in `SPLITS`. It
never sees data. `holdout_winter` tests on a whole snow year, `regions` on a whole archive, every other split on the
last `test` windows. None has one acquisition in two subsets, unless its `Split.note` says so.
"""

from collections.abc import Callable

import numpy as np

from snowmap.data.sequences import Dates, season_of
from snowmap.data.splits.areas import spatial
from snowmap.data.splits.split import Indices, Split, apart, check_fold, in_turn, without_neighbours
from snowmap.errors import SnowmapError


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
        The split; every window is in exactly one subset.

    Raises:
        SnowmapError: When the archive has too few windows for at least one whole turn.
    """
    count = len(start)
    needed = train + validation + test
    if count < needed:
        raise SnowmapError(
            f"split=rolling needs at least {needed} windows ({train} train + {validation} validation + {test} test), "
            f"but the archive has {count}; add windows, or ask for smaller subsets, e.g. "
            f"split.test={max(1, count // 5)}"
        )
    return in_turn(start, end, np.arange(count - test), train, validation, np.arange(count - test, count))


def winters(start: Dates, end: Dates, *, fold: int = 1, test: int = 7) -> Split:
    """One whole snow year (1 September on) validates, the others train: what a rolling validation cannot see.

    Windows that share an acquisition with a window of another subset are left out of training and of validation.

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
    if len(years) < 2:
        raise SnowmapError(
            f"split=winters needs windows of at least two snow years before the last {test} of the {count} windows; "
            f"found {len(years)}"
        )
    if not 0 <= fold < len(years):
        known = ", ".join(f"{number} ({year}/{(year + 1) % 100:02d})" for number, year in enumerate(years))
        raise SnowmapError(f"split.fold={fold} is no snow year before the test windows; there are {known}")
    chosen = season == years[fold]
    return apart(start, end, np.flatnonzero(~chosen), np.flatnonzero(chosen), test, f"split.fold={fold}")


def holdout_winter(
    start: Dates, end: Dates, *, winter: int | None = None, train: int = 5, validation: int = 1
) -> Split:
    """A whole snow year (1 September on) tests, of which no window trains or validates.

    The windows of the other snow years train and validate in turn, as those of `rolling`; what shares an acquisition
    with the test is left out.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        winter: Year in which the snow year begins; None: the last one that has at least half as many windows as the
            longest.
        train: Training windows in each turn.
        validation: Validation windows that end each turn.

    Raises:
        SnowmapError: When the archive has no such snow year, or too few windows beside it.
    """
    season = season_of(end)
    years, counts = np.unique(season, return_counts=True)
    chosen = int(years[2 * counts >= counts.max()].max()) if winter is None else winter
    if chosen not in years or len(years) < 2:
        known = ", ".join(map(str, years.tolist()))
        raise SnowmapError(
            f"split=holdout_winter needs windows of the snow year {chosen}/{(chosen + 1) % 100:02d} and of another; "
            f"there are those that begin in {known}"
        )
    tested = np.flatnonzero(season == chosen)
    others = without_neighbours(start, end, np.flatnonzero(season != chosen), tested, 0)
    if len(others) < train + validation:
        raise SnowmapError(
            f"split.winter={chosen} leaves {len(others)} windows, but {train} train and {validation} validate in turn"
        )
    return in_turn(start, end, others, train, validation, tested)


def blocked(start: Dates, end: Dates, *, folds: int = 5, fold: int = 0, gap: int = 1, test: int = 7) -> Split:
    """The windows before the test in `folds` blocks without holes, one of which validates; the others train.

    Between two subsets lie `gap` windows of neither. What may leak across is a target: a sequence reads the bands of
    earlier windows, never their targets, but a net that was trained on a window can have memorised its target by its
    bands. So no window whose target trains may lie in what a validation sequence reads, and no validation window in
    what a training sequence reads. A sequence of n windows reaches n − 1 windows back and shares its first acquisition
    with one more: a gap of n windows keeps both apart, in either direction (`check_reach`). Sequences of both sides may
    meet inside the gap, whose targets are not used.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        folds: Number of blocks.
        fold: Which block validates, from 0.
        gap: Windows between two subsets; windows that share an acquisition with another subset are left out besides.
        test: Windows at the end of the archive that are kept for the test.

    Raises:
        SnowmapError: When there are too few windows, no such fold, or nothing is left to train or to validate.
    """
    blocks = _blocks("blocked", len(start), folds, folds, fold, gap, test)
    train = np.concatenate([block for number, block in enumerate(blocks) if number != fold])
    return apart(start, end, train, blocks[fold], test, f"split.fold={fold}", gap)


def expanding(start: Dates, end: Dates, *, folds: int = 4, fold: int = 0, gap: int = 1, test: int = 7) -> Split:
    """Forward chaining: everything before a block trains, the block validates, and what comes after it is not used.

    The windows before the test are cut into ``folds + 1`` blocks without holes; the first one only trains, and fold 0
    has the shortest past. The gap and its reason, the other arguments and the errors are those of `blocked`.
    """
    blocks = _blocks("expanding", len(start), folds + 1, folds, fold, gap, test)
    return apart(start, end, np.concatenate(blocks[: fold + 1]), blocks[fold + 1], test, f"split.fold={fold}", gap)


def regions(start: Dates, end: Dates, *, held_out: bool, train: int = 5, validation: int = 1) -> Split:
    """One of several archives tests, whole and by itself; the windows of the others train and validate in turn.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        held_out: Whether this archive is the one that tests.
        train: Training windows in each turn.
        validation: Validation windows that end each turn.

    Raises:
        SnowmapError: When an archive that trains has too few windows for a turn.
    """
    every, none = np.arange(len(start)), np.arange(0)
    if held_out:
        return Split([], [], every.tolist(), note="no window of this archive trains or validates")
    if len(start) < train + validation:
        raise SnowmapError(f"found {len(start)} windows, but {train} train and {validation} validate in turn")
    return in_turn(start, end, every, train, validation, none)


SPLITS: dict[str, Callable[..., Split]] = {
    "rolling": rolling,
    "winters": winters,
    "holdout_winter": holdout_winter,
    "blocked": blocked,
    "expanding": expanding,
    "spatial": spatial,
    "regions": regions,
}
"""Under the names that users type (``split=rolling``)."""

OF_THE_MAP = ("spatial",)
"""Splits that need the shape of the grid."""


def _blocks(name: str, count: int, blocks: int, folds: int, fold: int, gap: int, test: int) -> list[Indices]:
    """The windows before the test in so many blocks, as equal as can be."""
    if blocks < 2:
        raise SnowmapError(f"split.folds={folds}, split.test={test}: expected at least two blocks of windows")
    if count - test < blocks:
        raise SnowmapError(
            f"split={name} with split.folds={folds} needs at least {blocks} windows before the {test} test windows, "
            f"but the archive has {max(0, count - test)}; ask for fewer folds"
        )
    check_fold(fold, folds)
    return np.array_split(np.arange(count - test), blocks)
