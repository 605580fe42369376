"""Values against what is plausible, and against those that a model was trained on.

For `snowmap check`, and at the start of a training and of a prediction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from snowmap.data.cube import Quantity, narrowed, quantities_of, targets_of
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.splits.split import Split

MEDIAN_PIXELS = 20_000
"""Of more pixels of a window, evenly spaced ones are kept for the median."""

RADIANS = 1.6
"""No local incidence angle above this, in degrees, means that it is in radians (π/2 = 1.57)."""

SAMPLED_WINDOWS, SAMPLED_ROWS = 64, 96
"""Of a scene that is mapped: windows that are looked at, and rows of each, read in one piece."""

MOST_SHIFT, MOST_SPREAD = 3.0, 5.0
"""Standard deviations of the training by which the mean of a band may differ, and by how many times its spread."""

MOST_BEYOND = 0.01
"""Share of the pixels of a band that may lie outside the range that it had in the training."""

PHASE_BANDS = ("unwrapped_phase", "elevation", "mean_temperature")
SURE, COLD_SHARE = 2.5, 0.2
"""Standard errors of a sign test (a chance of 1 in 160); the share of pixels with frost from which a window counts."""


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
    def sample(self) -> np.ndarray:
        """Evenly spaced values of every window."""
        return np.concatenate(self._sample)

    @property
    def median(self) -> float:
        """Of the sample."""
        return float(np.median(self.sample))

    def doubts(self, unit: str) -> list[str]:
        """A sentence for what cannot be, in a unit that the values may be in."""
        radians = f"'incidence' reaches only {self.greatest:.2f}: it is in radians; expected degrees"
        return [
            *([self.sentence(unit)] if self.outside.get(unit) else []),
            *([radians] if self.name == "incidence" and self.valid and self.greatest < RADIANS else []),
        ]

    def sentence(self, unit: str) -> str:
        """How many values lie outside which range, and how far the values go."""
        quantity, count = self.quantities[unit], self.outside[unit]
        plausible = f"{quantity.valid_min:g} … {quantity.valid_max:g} {unit}"
        extremes = f"{self.least:g} … {self.greatest:g}"
        return f"'{self.name}': {count:,} of {self.valid:,} values lie outside {plausible} (found {extremes})"


def values_inside(cube: xr.Dataset, name: str, window: int = 0) -> np.ndarray:
    """(pixel): those of a window inside the study area."""
    maps = cube[name] if name in cube.data_vars else cube["features"].sel(band=name)
    return maps[window].values[cube["mask"].values]


def implausible(cube: xr.Dataset, split: Split, targets: Sequence[str]) -> list[str]:
    """Sentences on bands and targets whose training pixels are not plausible."""
    inside = narrowed(cube, split.train_area)
    sentences = []
    for name, quantity in quantities_of(cube).items():
        if name in targets_of(cube) and name not in targets:
            continue
        tally = Tally(name, {quantity.unit: quantity})
        for window in split.train:
            tally.add(values_inside(inside, name, window))
        sentences += tally.doubts(quantity.unit)
    return sentences


def unlike_training(cube: xr.Dataset, windows: Sequence[int], preprocessor: Preprocessor) -> list[str]:
    """Sentences on what of a scene is not plausible, or unlike what a model was trained on.

    A sample is looked at: `SAMPLED_WINDOWS` and `SAMPLED_ROWS` of each, so that a scene that is larger than the memory
    is not read once more.

    Args:
        cube: The scene; its `features` may be a dask array.
        windows: Indices of the windows that are mapped.
        preprocessor: Of the model.
    """
    known, normalizer = quantities_of(cube), preprocessor.normalizer
    read = [band for band in cube["band"].values.tolist() if band in preprocessor.archive_bands]
    if not read:
        return []
    tallies, rises = {name: Tally(name, {known[name].unit: known[name]}) for name in read}, list[float]()
    for piece in _pieces(cube.sel(band=read), windows):
        for name, tally in tallies.items():
            tally.add(values_inside(piece, name))
        rises += _rise_of_phase(piece) if {*PHASE_BANDS} <= {*read} else []
    sentences = [doubt for name, tally in tallies.items() for doubt in tally.doubts(known[name].unit)]
    statistics = (normalizer.band_mean, normalizer.band_std, normalizer.band_least, normalizer.band_greatest)
    trained = zip(normalizer.bands, *(values.tolist() for values in statistics), strict=True)
    for name, mean, std, least, greatest in trained:
        if name not in tallies or name in normalizer.wrapped or not (tallies[name].valid and np.isfinite(mean)):
            continue
        tally, unit = tallies[name], known[name].unit
        beyond = float(((tally.sample < least) | (tally.sample > greatest)).mean())
        if beyond > MOST_BEYOND:
            sentences.append(
                f"'{name}' is {tally.least:.4g} … {tally.greatest:.4g} {unit}, {beyond:.0%} of it outside the range of "
                f"the training windows of the checkpoint, {least:.4g} … {greatest:.4g} {unit}"
            )
            continue
        here, spread = float(tally.sample.mean()), float(tally.sample.std())
        if abs(here - mean) > MOST_SHIFT * std or spread > MOST_SPREAD * std:
            sentences.append(
                f"'{name}' is {here:.4g} ± {spread:.2g} {known[name].unit}; in the training windows of the checkpoint "
                f"it was {mean:.4g} ± {std:.2g} (a shift of {(here - mean) / std:+.1f} standard deviations)"
            )
    return sentences + _doubts_of_sign(np.array(rises), preprocessor.phase.sign or 1)


def _pieces(cube: xr.Dataset, windows: Sequence[int]) -> Iterator[xr.Dataset]:
    """A piece of each of evenly spaced windows, spread over the scene as well."""
    steps = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), SAMPLED_WINDOWS)).round().astype(int))
    rows = [slice(first, first + SAMPLED_ROWS) for first in range(0, cube.sizes["y"], SAMPLED_ROWS)]
    rows = [some for some in rows if cube["mask"].values[some].any()]
    for number, step in enumerate(steps):
        place = rows[number % len(rows)]
        yield cube.drop_vars(targets_of(cube)).isel(window=[windows[step]], y=place).load()


def _rise_of_phase(piece: xr.Dataset) -> list[float]:
    """The covariance of phase and elevation where there is frost; nothing where that is too little of the piece."""
    phase, height, temperature = (values_inside(piece, name) for name in PHASE_BANDS)
    cold = np.isfinite(phase) & np.isfinite(height) & (temperature < 0)
    if cold.sum() < max(2, COLD_SHARE * cold.size):
        return []
    return [float(np.mean((phase[cold] - phase[cold].mean()) * (height[cold] - height[cold].mean())))]


def _doubts_of_sign(rises: np.ndarray, sign: int) -> list[str]:
    """Whether the phase has the sign of the training, as far as it shows without a target.

    Snow that falls in frost is mostly deeper at greater elevation, so that over many windows the phase rises with
    elevation if it grows with snow. That of the stratified atmosphere rises and falls. A sign test over windows.
    """
    against = int((rises * sign < 0).sum())
    if 2 * against - len(rises) <= SURE * np.sqrt(len(rises)):
        return []
    return [
        f"the unwrapped phase {'falls' if sign > 0 else 'rises'} with elevation in {against} of {len(rises)} windows "
        "with frost, against what its sign in the training windows lets expect; if another processor made this "
        "archive, multiply its phase, wrapped phase and displacement by −1"
    ]
