"""Which windows choose the epoch, and which the weights are fitted on: one fit, or two."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from snowmap.data.cube import archive_names
from snowmap.data.sequences import Dates, season_of
from snowmap.data.splits.split import Split, without_neighbours
from snowmap.errors import SnowmapError

LAST = "last"
"""Choice of ``selection``: no epoch is chosen."""


class Fits(NamedTuple):
    """The fits of a run.

    Attributes:
        first: The splits, one for each Cube, of a fit that only chooses the epoch, in the folder ``selection``; None:
            one fit does both.
        final: The splits of the fit whose weights are kept.
        chosen_by: What chooses the epoch, in words.
    """

    first: Sequence[Split] | None
    final: Sequence[Split]
    chosen_by: str


def plan_fits(config: Mapping[str, Any], splits: Sequence[Split], cubes: Sequence[xr.Dataset]) -> Fits:
    """The fits that ``selection`` and ``final_fit`` of the configuration ask for.

    Args:
        config: The checked configuration.
        splits: The split of each Cube.
        cubes: The Cubes.

    Raises:
        SnowmapError: When a final fit would train where the test is scored.
    """
    pairs, names = list(zip(splits, cubes, strict=True)), archive_names([cube.attrs for cube in cubes])
    winters: list[Split | None] = [None for _ in pairs]
    if config["selection"] == "winter":
        winters = [
            held_out_winter(split, cube["start"].values, cube["end"].values)
            if split.train and "sequence_end" not in cube.coords  # there a year has the labels of the others
            else None
            for split, cube in pairs
        ]
    choosing = [winter or split for winter, split in zip(winters, splits, strict=True)]
    chosen_by = " and ".join(
        _words(split, cube["end"].values) + (f" of {name}" if name else "")
        for split, cube, name in zip(choosing, cubes, names, strict=True)
        if split.validation
    )
    if config["selection"] == LAST:
        chosen_by = "trainer.max_epochs, not by a score"
    elif (earliest := config["callbacks"]["earliest"]) > 1:
        chosen_by += f", epoch {earliest} at the earliest"
    first = choosing if any(winters) else None
    if not config["final_fit"]:
        return Fits(first, splits, chosen_by)
    if any(split.validation_area is not None for split in splits):
        raise SnowmapError(
            f"final_fit=true with split={config['split']['name']} would train in the area in which the test windows "
            "are scored; leave final_fit out"
        )
    everything = [replace(split, train=sorted({*split.train, *split.validation}), validation=[]) for split in splits]
    return Fits(choosing, everything, chosen_by)


def held_out_winter(split: Split, start: Dates, end: Dates) -> Split | None:
    """The split of a first fit that chooses the epoch: a whole snow year validates, what else trains trains.

    It is the snow year with most training windows, the latest of several, that leaves a third of them to train; the
    validation windows of `split` in that year validate with them. Its targets are looked at in the training area alone.

    Args:
        split: The split of the run.
        start: First day of each window, sorted.
        end: Last day of each window.

    Returns:
        None where no window of the snow years that `split` validates trains, or the archive is too short: the snow
        year would have less than half as many windows as another.
    """
    season, train = season_of(end), np.array(split.train)
    years, counts = np.unique(season[train], return_counts=True)
    possible = (3 * counts <= 2 * len(train)) & (2 * counts >= counts.max())
    whole = split.train_area is None and not np.isin(season[split.validation], years).any()
    if whole or not possible.any():
        return None
    year = max(zip(counts[possible], years[possible], strict=True))[1]
    before = np.union1d(train, split.validation)
    validation = before[season[before] == year]
    train = without_neighbours(start, end, train[season[train] != year], validation, 0)
    if not train.size:  # windows that overlap share acquisitions with all that is left
        return None
    return Split(train.tolist(), validation.tolist(), split.test, split.train_area, split.train_area, split.test_area)


def _words(split: Split, end: np.ndarray) -> str:
    """E.g. ``the winter 2021/22 (21 windows, which do not train)``."""
    years = np.unique(season_of(end)[split.validation])
    windows = f"{len(split.validation)} windows"
    if not split.train:
        return f"the validation windows ({windows} of an archive that does not train)"
    if len(years) == 1 and not np.isin(years, season_of(end)[split.train]).any():
        return f"the winter {years[0]}/{(years[0] + 1) % 100:02d} ({windows}, which do not train)"
    return f"the validation windows ({windows}, of winters that train, too)"
