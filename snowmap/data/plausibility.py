"""Values against the plausible ranges of their band or target, for `snowmap check` and at the start of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from snowmap.data.cube import Quantity, narrowed, quantities_of, targets_of
from snowmap.data.splits import Split

MEDIAN_PIXELS = 20_000
"""Of more pixels of a window, evenly spaced ones are kept for the median."""


@dataclass
class Tally:
    """Of the values of a band or target inside the study area, added up window by window.

    Attributes:
        name: The band or target.
        quantities: It in each unit that the values may be in, by unit.
        pixels: All of them, missing ones too.
        valid: Those with a value.
        outside: Those outside the plausible range, for each unit that the values may be in.
        least: Of the values.
        greatest: Of the values.
    """

    name: str
    quantities: Mapping[str, Quantity]
    pixels: int = 0
    valid: int = 0
    outside: dict[str, int] = field(default_factory=dict)
    least: float = np.inf
    greatest: float = -np.inf
    _sample: list[np.ndarray] = field(default_factory=list)

    def add(self, values: np.ndarray) -> None:
        """Values of one more window, NaN = missing."""
        valid = values[np.isfinite(values)]
        self.pixels += values.size
        self.valid += valid.size
        if valid.size:
            least, greatest = float(valid.min()), float(valid.max())
            for unit, quantity in self.quantities.items():
                sound = quantity.valid_min <= least and greatest <= quantity.valid_max
                count = 0 if sound else int(((valid < quantity.valid_min) | (valid > quantity.valid_max)).sum())
                self.outside[unit] = self.outside.get(unit, 0) + count
            self.least, self.greatest = min(self.least, least), max(self.greatest, greatest)
            self._sample.append(valid[:: 1 + valid.size // MEDIAN_PIXELS].copy())  # a view would keep all

    @property
    def median(self) -> float:
        """Of the sample."""
        return float(np.median(np.concatenate(self._sample)))

    def sentence(self, unit: str) -> str:
        """How many values lie outside which range, and how far the values go."""
        quantity, count = self.quantities[unit], self.outside[unit]
        plausible = f"{quantity.valid_min:g} … {quantity.valid_max:g} {unit}"
        extremes = f"{self.least:g} … {self.greatest:g}"
        return f"'{self.name}': {count:,} of {self.valid:,} values lie outside {plausible} (found {extremes})"


def values_inside(cube: xr.Dataset, name: str, window: int = 0) -> np.ndarray:
    """(pixel): those of a window inside the study area."""
    maps = cube[name] if name in cube.data_vars else cube["features"].sel(band=name)
    return maps.values[window][cube["mask"].values]


def implausible(cube: xr.Dataset, split: Split, targets: Sequence[str]) -> list[str]:
    """A sentence for each band and target with training pixels outside the plausible range."""
    inside = narrowed(cube, split.train_area)
    sentences = []
    for name, quantity in quantities_of(cube).items():
        if name in targets_of(cube) and name not in targets:
            continue
        tally = Tally(name, {quantity.unit: quantity})
        for window in split.train:
            tally.add(values_inside(inside, name, window))
        if tally.outside.get(quantity.unit):
            sentences.append(tally.sentence(quantity.unit))
    return sentences
