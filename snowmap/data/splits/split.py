"""A split: which windows train, validate and test, and where; and what makes one of windows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from snowmap.data.cube import window_name
from snowmap.data.sequences import Dates, season_of
from snowmap.errors import SnowmapError

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
        validation_area: Pixels in which validation is scored; None: the study area.
        test_area: Pixels in which the test is scored; None: the study area.
        note: What has to be said of every score of this split; empty where there is nothing.
    """

    train: list[int]
    validation: list[int]
    test: list[int]
    train_area: Area | None = None
    validation_area: Area | None = None
    test_area: Area | None = None
    note: str = ""

    @property
    def subsets(self) -> dict[str, list[int]]:
        """The windows of each subset by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def areas(self) -> dict[str, Area | None]:
        """The area of each subset by its name."""
        return {"train": self.train_area, "validation": self.validation_area, "test": self.test_area}

    def named(self, start: Dates, end: Dates) -> dict[str, list[str]]:
        """Names of the windows of each subset, e.g. ``{"test": ["2022-12-30_to_2023-01-11", ...]}``."""
        return {subset: [window_name(start[i], end[i]) for i in windows] for subset, windows in self.subsets.items()}


def in_turn(start: Dates, end: Dates, windows: Indices, train: int, validation: int, tested: Indices) -> Split:
    """The split whose `windows` train and validate in turn."""
    trains = np.arange(len(windows)) % (train + validation) < train
    trained, validated = windows[trains], windows[~trains]
    neighbours = "share acquisitions" if _share(start, end, validated, trained) else "lie side by side"
    notes = [f"training and validation windows {neighbours}: the validation score is optimistic"]
    notes += note_of_test(start, end, windows, tested)
    return Split(trained.tolist(), validated.tolist(), tested.tolist(), note="; ".join(notes))


def apart(start: Dates, end: Dates, train: Indices, validation: Indices, test: int, given: str, gap: int = 0) -> Split:
    """The split without the windows of training and validation that are too near to another subset.

    `given` names the keys of the split in errors.
    """
    tested = np.arange(len(start) - test, len(start))
    validation = without_neighbours(start, end, validation, tested, gap)
    train = without_neighbours(start, end, train, np.concatenate([validation, tested]), gap)
    if not (len(train) and len(validation)):
        mend = "; give a smaller split.gap" if gap else ""
        raise SnowmapError(f"{given} leaves no window to {'validate' if len(train) else 'train'}{mend}")
    note = "; ".join(note_of_test(start, end, np.union1d(train, validation), tested))
    return Split(train.tolist(), validation.tolist(), tested.tolist(), note=note)


def check_fold(fold: int, folds: int) -> None:
    """Refuse a fold that is none of so many."""
    if not 0 <= fold < folds:
        raise SnowmapError(f"split.fold={fold} is not possible; there are {', '.join(map(str, range(folds)))}")


def note_of_test(start: Dates, end: Dates, before: Indices, tested: Indices) -> list[str]:
    """How near the windows that train or validate come to those of the test; none where a winter lies between."""
    if not len(tested):
        return []
    if _share(start, end, before, tested):
        return ["test windows share acquisitions with those before them"]
    if not np.isin(season_of(end)[before], season_of(end)[tested]).any():
        return []
    days = (start[tested].min() - end[before].max()) / np.timedelta64(1, "D")
    return [f"the winter of the test windows trains or validates, too, up to {days:.0f} days before them"]


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


def _share(start: Dates, end: Dates, one: Indices, other: Indices) -> bool:
    """Whether an acquisition belongs to windows of both."""
    return bool(np.isin([start[one], end[one]], [start[other], end[other]]).any())
