"""Which windows choose the epoch, and which the weights are fitted on: one fit, or two."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from snowmap.data.sequences import season_of
from snowmap.data.splits import Split, held_out_winter
from snowmap.errors import SnowmapError


class Fits(NamedTuple):
    """The fits of a run.

    Attributes:
        first: The split of a fit that only chooses the epoch, in the folder ``selection``; None: one fit does both.
        final: The split of the fit whose weights are kept.
        chosen_by: What chooses the epoch, in words.
    """

    first: Split | None
    final: Split
    chosen_by: str


def plan_fits(config: Mapping[str, Any], split: Split, cube: xr.Dataset) -> Fits:
    """The fits that ``selection`` and ``final_fit`` of the configuration ask for.

    Args:
        config: The checked configuration.
        split: The split of the run.
        cube: The Cube.

    Raises:
        SnowmapError: When a final fit would train where the test is scored.
    """
    start, end = cube["start"].values, cube["end"].values
    first = held_out_winter(split, start, end) if config["selection"] == "winter" else None
    chosen_by = _words(first or split, end)
    if not config["final_fit"]:
        return Fits(first, split, chosen_by)
    if split.validation_area is not None:
        raise SnowmapError(
            f"final_fit=true with split={config['split']['name']} would train in the area in which the test windows "
            "are scored; leave final_fit out"
        )
    everything = replace(split, train=sorted({*split.train, *split.validation}), validation=[])
    return Fits(first or split, everything, chosen_by)


def _words(split: Split, end: np.ndarray) -> str:
    """E.g. ``the winter 2021/22, 21 windows that did not train``."""
    years = np.unique(season_of(end)[split.validation])
    windows = f"{len(split.validation)} windows"
    if len(years) == 1 and not np.isin(years, season_of(end)[split.train]).any():
        return f"the winter {years[0]}/{(years[0] + 1) % 100:02d}, {windows} that did not train"
    return f"the {windows} of validation, of winters that train, too"
