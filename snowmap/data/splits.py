"""Which windows train, validate and test, and where: pure functions of the windows' dates and the grid's shape.

A split is a function ``(start, end, **options) -> Split`` over the windows sorted by date, entered in `SPLITS` under
the name that users type (``split=rolling``). It never sees data. ``docs/splits.md`` says what each can tell.

`holdout_winter` tests on a whole snow year, `regions` on a whole archive, every other split on the last `test` windows.
None has one acquisition in two subsets, unless its `Split.note` says so.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int

from snowmap.data.cube import archive_names, window_name
from snowmap.data.sequences import SEASON, Dates, season_of
from snowmap.errors import SnowmapError

logger = logging.getLogger(__name__)

Area = Bool[np.ndarray, "y x"]
Indices = Int[np.ndarray, " _"]


@dataclass(frozen=True)
class Split:
    """Window indices of the three subsets, each in order of date, and the areas that belong to them.

    Where there are no areas, no window is in two subsets.

    Attributes:
        train: Windows whose targets the loss may see.
        validation: Windows that choose the checkpoint.
        test: Windows that are scored once, by `evaluate.py`.
        train_area: Pixels whose targets the loss, the statistics and the baselines may see; None: the study area.
        validation_area: Pixels in which validation and test are scored; None: the study area.
        note: What has to be said of every score of this split; empty where there is nothing.
    """

    train: list[int]
    validation: list[int]
    test: list[int]
    train_area: Area | None = None
    validation_area: Area | None = None
    note: str = ""

    @property
    def subsets(self) -> dict[str, list[int]]:
        """The windows of each subset by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def named(self, start: Dates, end: Dates) -> dict[str, list[str]]:
        """Names of the windows of each subset, e.g. ``{"test": ["2022-12-30_to_2023-01-11", ...]}``."""
        return {subset: [window_name(start[i], end[i]) for i in windows] for subset, windows in self.subsets.items()}


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
    return _in_turn(start, end, np.arange(count - test), train, validation, np.arange(count - test, count))


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
    return _apart(start, end, np.flatnonzero(~chosen), np.flatnonzero(chosen), test, f"split.fold={fold}")


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
    return _in_turn(start, end, others, train, validation, tested)


def blocked(start: Dates, end: Dates, *, folds: int = 5, fold: int = 0, gap: int = 1, test: int = 7) -> Split:
    """The windows before the test in `folds` blocks without holes, one of which validates; the others train.

    Between two subsets lie `gap` windows of neither. What may leak across is a target: a sequence reads the bands of
    earlier windows, never their targets, but a net that was trained on a window can have memorised its target by its
    bands. So no window whose target trains may lie in what a validation sequence reads, and no validation window in
    what a training sequence reads. A sequence of n windows reaches n − 1 windows back and shares its first acquisition
    with one more: a gap of n windows keeps both apart, in either direction (`check_reach`). Sequences of both sides may
    meet inside the gap, whose targets nobody sees.

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
    return _apart(start, end, train, blocks[fold], test, f"split.fold={fold}", gap)


def expanding(start: Dates, end: Dates, *, folds: int = 4, fold: int = 0, gap: int = 1, test: int = 7) -> Split:
    """Forward chaining: everything before a block trains, the block validates, and what comes after it is not used.

    The windows before the test are cut into ``folds + 1`` blocks without holes; the first one only trains, and fold 0
    has the shortest past. The gap and its reason, the other arguments and the errors are those of `blocked`.
    """
    blocks = _blocks("expanding", len(start), folds + 1, folds, fold, gap, test)
    return _apart(start, end, np.concatenate(blocks[: fold + 1]), blocks[fold + 1], test, f"split.fold={fold}", gap)


def spatial(
    start: Dates,
    end: Dates,
    *,
    shape: Sequence[int],
    rows: int = 2,
    columns: int = 2,
    fold: int = 0,
    buffer: int = 8,
    test: int = 7,
) -> Split:
    """A rectangle of the map validates: the same windows train outside of it and validate inside.

    The test windows are scored inside the rectangle, too: they are new in time and in space.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        shape: Height and width of the grid.
        rows: Rectangles from north to south.
        columns: Rectangles from west to east.
        fold: Which rectangle validates, from 0, row by row. The rectangles of all folds cover the map once.
        buffer: Pixels around the rectangle, in rows and columns, that belong to neither area.
        test: Windows at the end of the archive that are kept for the test.

    Raises:
        SnowmapError: When there are too few windows, no such fold, or no pixel is left to train on.
    """
    if len(start) <= test:
        raise SnowmapError(f"split.test={test} leaves no window of the {len(start)} to train")
    train_area, validation_area = areas(shape, rows, columns, fold, buffer)
    before, tested = np.arange(len(start) - test), np.arange(len(start) - test, len(start))
    notes = ["the same windows, and so the same acquisitions, train and validate: apart in space, not in time"]
    notes += _note_of_test(start, end, before, tested)
    return Split(before.tolist(), before.tolist(), tested.tolist(), train_area, validation_area, "; ".join(notes))


def areas(shape: Sequence[int], rows: int, columns: int, fold: int, buffer: int) -> tuple[Area, Area]:
    """Training area and validation area of `spatial`, whose arguments these are.

    Raises:
        SnowmapError: When there is no such rectangle, or no pixel is left to train on.
    """
    if rows * columns < 2 or rows > shape[0] or columns > shape[1]:
        raise SnowmapError(
            f"split.rows={rows}, split.columns={columns}: the map of {shape[0]} × {shape[1]} pixels needs at least two "
            "rectangles of at least a pixel"
        )
    _check_fold(fold, rows * columns)
    row, column = divmod(fold, columns)
    y = np.linspace(0, shape[0], rows + 1).round().astype(int)[row : row + 2]
    x = np.linspace(0, shape[1], columns + 1).round().astype(int)[column : column + 2]
    validation, train = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    validation[y[0] : y[1], x[0] : x[1]] = True
    train[max(0, y[0] - buffer) : y[1] + buffer, max(0, x[0] - buffer) : x[1] + buffer] = False
    if not train.any():
        raise SnowmapError(f"split.buffer={buffer} leaves no pixel of the {shape[0]} × {shape[1]} to train on")
    return train, validation


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
    return _in_turn(start, end, every, train, validation, none)


def held_out_archive(names: Sequence[str], holdout: int | str | None) -> int:
    """Which archive tests with ``split=regions``.

    Args:
        names: Short names of the archives.
        holdout: The number of one, its name, or None for the last.

    Raises:
        SnowmapError: When there is no other archive to train on, or none of this number or name.
    """
    if len(names) < 2:
        raise SnowmapError("split=regions holds one of several archives out; give data.root=[one,another]")
    chosen = len(names) - 1 if holdout is None else names.index(holdout) if holdout in names else holdout
    if not isinstance(chosen, int) or chosen >= len(names):
        known = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
        raise SnowmapError(f"split.holdout={holdout} is none of the archives of data.root; there are {known}")
    return chosen


SPLITS: dict[str, Callable[..., Split]] = {
    "rolling": rolling,
    "winters": winters,
    "holdout_winter": holdout_winter,
    "blocked": blocked,
    "expanding": expanding,
    "spatial": spatial,
    "regions": regions,
}

OF_THE_MAP = ("spatial",)
"""Splits that need the shape of the grid."""


def make_split(
    name: str, start: Dates, end: Dates, *, shape: Sequence[int] | None = None, **options: int | None
) -> Split:
    """The split called `name`; `shape`, height and width of the grid, is for those `OF_THE_MAP`.

    Raises:
        SnowmapError: When the split cannot be made from these windows.
    """
    return SPLITS[name](start, end, **options, **({"shape": shape} if name in OF_THE_MAP else {}))


def split_cubes(cubes: Sequence[xr.Dataset], options: Mapping[str, Any]) -> list[Split]:
    """The split of each Cube, from its own dates and with the same options.

    Args:
        cubes: The Cubes.
        options: ``name`` and arguments of the split.

    Raises:
        SnowmapError: When a Cube cannot be split; with several Cubes it is named.
    """
    splits, each = [], [dict(options) for _ in cubes]
    if options["name"] == "regions":
        chosen = held_out_archive(archive_names([cube.attrs for cube in cubes]), options["holdout"])
        each = [{**options, "held_out": number == chosen} for number in range(len(cubes))]
        for of_cube in each:
            del of_cube["holdout"]
    for cube, of_cube in zip(cubes, each, strict=True):
        try:
            start, end = cube["start"].values, cube["end"].values
            splits.append(make_split(start=start, end=end, shape=cube["mask"].shape, **of_cube))
        except SnowmapError as error:
            raise SnowmapError(f"{cube.attrs['archive']}: {error}") if len(cubes) > 1 else error from error
    return splits


def check_reach(options: Mapping[str, Any], time: int | str, pixels: int) -> None:
    """Refuse a gap that is shorter than the sequences (see `blocked`), warn of a buffer that a net looks across.

    Sequences since 1 September have no length that a gap could keep, which is said; `winters` holds them apart.

    Args:
        options: Name and arguments of the split.
        time: Windows in a sequence, or ``season``.
        pixels: How far the net looks, see `snowmap.models.net.Net.reach`.

    Raises:
        SnowmapError: When the split has a gap and a sequence reaches across it.
    """
    if options.get("buffer", pixels) < pixels:
        logger.warning(
            "split.buffer=%d is less than the %d pixels that the net looks around each: beside the border, maps that "
            "are scored read what maps that train read; split.buffer=%d keeps them apart",
            *(options["buffer"], pixels, pixels),
        )
    if "gap" not in options:
        return
    if time == SEASON:
        logger.warning("sequences since 1 September reach across split.gap; split=winters keeps whole seasons apart")
    elif int(time) > max(1, options["gap"]):
        raise SnowmapError(
            f"split.gap={options['gap']} is shorter than the sequences of {time} windows, which would reach from one "
            f"subset into the other; give split.gap={time}"
        )


def _in_turn(start: Dates, end: Dates, windows: Indices, train: int, validation: int, tested: Indices) -> Split:
    """The split whose `windows` train and validate in turn."""
    trains = np.arange(len(windows)) % (train + validation) < train
    trained, validated = windows[trains], windows[~trains]
    neighbours = "share acquisitions" if _share(start, end, validated, trained) else "lie side by side"
    notes = [f"training and validation windows {neighbours}: the validation score is optimistic"]
    notes += _note_of_test(start, end, windows, tested)
    return Split(trained.tolist(), validated.tolist(), tested.tolist(), note="; ".join(notes))


def _blocks(name: str, count: int, blocks: int, folds: int, fold: int, gap: int, test: int) -> list[Indices]:
    """The windows before the test in so many blocks, as equal as can be."""
    if blocks < 2:
        raise SnowmapError(f"split.folds={folds}, split.test={test}: expected at least two blocks of windows")
    if count - test < blocks:
        raise SnowmapError(
            f"split={name} with split.folds={folds} needs at least {blocks} windows before the {test} test windows, "
            f"but the archive has {max(0, count - test)}; ask for fewer folds"
        )
    _check_fold(fold, folds)
    return np.array_split(np.arange(count - test), blocks)


def _check_fold(fold: int, folds: int) -> None:
    if not 0 <= fold < folds:
        raise SnowmapError(f"split.fold={fold} is not possible; there are {', '.join(map(str, range(folds)))}")


def _apart(start: Dates, end: Dates, train: Indices, validation: Indices, test: int, given: str, gap: int = 0) -> Split:
    """The split without the windows of training and validation that are too near to another subset.

    `given` names the keys of the split in errors.
    """
    tested = np.arange(len(start) - test, len(start))
    validation = without_neighbours(start, end, validation, tested, gap)
    train = without_neighbours(start, end, train, np.concatenate([validation, tested]), gap)
    if not (len(train) and len(validation)):
        mend = "; give a smaller split.gap" if gap else ""
        raise SnowmapError(f"{given} leaves no window to {'validate' if len(train) else 'train'}{mend}")
    note = "; ".join(_note_of_test(start, end, np.union1d(train, validation), tested))
    return Split(train.tolist(), validation.tolist(), tested.tolist(), note=note)


def _note_of_test(start: Dates, end: Dates, before: Indices, tested: Indices) -> list[str]:
    """How near the windows that train or validate come to those of the test; none where a winter lies between."""
    if not len(tested):
        return []
    if _share(start, end, before, tested):
        return ["test windows share acquisitions with those before them"]
    if not np.isin(season_of(end)[before], season_of(end)[tested]).any():
        return []
    days = (start[tested].min() - end[before].max()) / np.timedelta64(1, "D")
    return [f"the winter of the test windows trains or validates, too, up to {days:.0f} days before them"]


def _share(start: Dates, end: Dates, one: Indices, other: Indices) -> bool:
    """Whether an acquisition belongs to windows of both."""
    return bool(np.isin([start[one], end[one]], [start[other], end[other]]).any())


def without_neighbours(start: Dates, end: Dates, windows: Indices, others: Indices, gap: int) -> Indices:
    """Those of `windows` that are far from `others`.

    Args:
        start: First day of each window, sorted.
        end: Last day of each window.
        windows: Indices of windows.
        others: Indices of other windows.
        gap: Windows that must lie between each of `windows` and each of `others`, which share no acquisition either.
    """
    theirs = np.concatenate([start[others], end[others]])
    shared = np.isin(start[windows], theirs) | np.isin(end[windows], theirs)
    distance = np.abs(windows[:, None] - others).min(axis=1)
    return windows[~shared & (distance > gap)]
