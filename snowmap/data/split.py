"""A split: which windows train, validate and test, and where."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from snowmap.data.cube import window_name
from snowmap.data.sequences import Dates

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
