"""Baselines that map classes, one pixel at a time, on any grid; they learn from all Cubes of a training at once.

Scikit-learn is imported where an estimator is made: it takes half a second, which most runs can spare.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float32, Int, Int8

from snowmap.baselines.base import Baseline, Training
from snowmap.data.classes import Classes, class_layers, decide, is_class_map, places_of, refuse_quantities
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.radar.phase import Phase
from snowmap.data.threshold import BestThreshold
from snowmap.errors import SnowmapError

Places = Int[np.ndarray, " pixel"]
"""Pixels of the flattened grid."""

Columns = Float[np.ndarray, "pixel column"]
Probabilities = Float[np.ndarray, "pixel class"]

TRAINING_PIXELS = 30_000
"""Drawn from the training pixels of all Cubes."""


STRIP_PIXELS = 2**19
"""That are mapped at once: their series are copied."""


class ClassBaseline(Baseline):
    """The probability of each class at a pixel, from what the pixel shows."""

    maps_classes = True
    learns_from_all = True
    maps_pieces = True

    @property
    def targets(self) -> dict[str, str]:
        """Of every target an empty unit."""
        return {name: "" for name, layer in self.layers.items() if is_class_map(layer)}

    def learn_targets(self, training: Training, targets: Mapping[str, Mapping[str, Any]], phase: Phase) -> None:
        """The pixels of all Cubes count alike."""
        refuse_quantities(targets, f"model={self.name}")
        self.preprocessor = Preprocessor.plan([training[0]], bands=self.needs, phase=phase._replace(sign=1))
        for target, attributes in targets.items():
            classes = Classes.of(target, attributes)
            pixels, labels = self._training_pixels(training, classes)
            self.learned[target] = self.learn_classes(pixels, labels, classes)
            self.layers |= class_layers(target, attributes, self.learned[target].get("threshold"))

    def values(self, cube: xr.Dataset, windows: list[int]) -> Float32[np.ndarray, "layer window y x"]:
        """Strip by strip: of each target a class map and the probability of each class."""
        height, width = cube["mask"].shape
        values = np.full((len(self.layers), len(windows), height, width), np.nan, np.float32)
        step = max(1, STRIP_PIXELS // width)
        for first in range(0, height, step):
            above, last = max(0, first - 1), min(height, first + step)
            strip = cube.isel(y=slice(above, last + 1))  # with a row on either side, for the slope
            for position, window in enumerate(windows):
                rows = self._map_strip(strip, window)
                values[:, position, first:last] = rows[:, first - above : last - above]
        return values

    def _map_strip(self, cube: xr.Dataset, window: int) -> Float32[np.ndarray, "layer y x"]:
        inside = np.flatnonzero(cube["mask"].values)
        layers = np.full((len(self.layers), cube["mask"].size), np.nan, np.float32)
        pixels = self.columns(cube, window, inside)
        known = np.isfinite(pixels).any(axis=1)
        if known.any():
            names = list(self.layers)
            for target in self.targets:
                classes = Classes.of(target, self.layers[target])
                probabilities = self.probabilities(pixels[known], self.learned[target], len(classes.values)).T
                decided = decide(classes, probabilities, self.layers[target].get("threshold"))
                for name, of_pixel in zip([target, *classes.probabilities], [decided, *probabilities], strict=True):
                    layers[names.index(name), inside[known]] = of_pixel
        return layers.reshape(-1, *cube["mask"].shape)

    @abstractmethod
    def columns(self, cube: xr.Dataset, window: int, places: Places) -> Columns:
        """What the pixels show; NaN = missing."""

    @abstractmethod
    def learn_classes(self, pixels: Columns, labels: Int[np.ndarray, " pixel"], classes: Classes) -> dict[str, Any]:
        """What to remember of training pixels and the places of their classes; ``threshold`` as `decide` takes it."""

    @abstractmethod
    def probabilities(self, pixels: Columns, learned: dict[str, Any], count: int) -> Probabilities:
        """Of each of `count` classes at pixels of which something is known."""

    def _training_pixels(self, training: Training, classes: Classes) -> tuple[Columns, Int[np.ndarray, " pixel"]]:
        """Evenly drawn from the labelled pixels of the training windows inside the study areas."""
        known = [(cube, window, _labels(cube, window, classes)) for cube, windows in training for window in windows]
        present = np.unique(np.concatenate([np.unique(labels) for *_, labels in known]))
        words = [classes.meanings[place] for place in present if place >= 0]
        if len(words) < 2:
            raise SnowmapError(
                f"{self.name}: the training pixels of '{classes.target}' hold {', '.join(words) or 'no class'} alone; "
                f"expected at least two of {', '.join(classes.meanings)}: choose another split="
            )
        share = min(1.0, TRAINING_PIXELS / sum(np.count_nonzero(labels >= 0) for *_, labels in known))
        generator = np.random.default_rng(0)
        pixels, drawn = [], []
        for cube, window, labels in known:
            places = np.flatnonzero(labels >= 0)
            places = np.sort(generator.permutation(places)[: int(np.ceil(share * len(places)))])
            pixels.append(self.columns(cube, window, places))
            drawn.append(labels.flat[places])
        columns, labels = np.concatenate(pixels), np.concatenate(drawn).astype(np.int64)
        usable = np.isfinite(columns).any(axis=1)
        if len(np.unique(labels[usable])) < 2:
            raise SnowmapError(
                f"{self.name}: fewer than two classes of '{classes.target}' have training pixels with data"
            )
        return columns[usable], labels[usable]


class Trees(ClassBaseline):
    """A scikit-learn classifier on the columns."""

    @abstractmethod
    def estimator(self) -> Any:
        """To fit."""

    def learn_classes(self, pixels: Columns, labels: Int[np.ndarray, " pixel"], classes: Classes) -> dict[str, Any]:
        """The estimator, fitted on two of three pixels, and the places of the classes that it knows.

        Of two classes the other pixels choose the ``threshold``: that of the greatest intersection over union.
        """
        third = np.arange(len(labels)) % 3 == 2
        learned = {
            "estimator": self.estimator().fit(pixels[~third], labels[~third]),
            "known": np.unique(labels[~third]),
        }
        if classes.named is None:
            return learned
        share = self.probabilities(pixels[third], learned, len(classes.values))[:, classes.named]
        best = BestThreshold()
        best.update(torch.from_numpy(share), torch.from_numpy(labels[third] == classes.named))
        return learned | {"threshold": best.threshold()}

    def probabilities(self, pixels: Columns, learned: dict[str, Any], count: int) -> Probabilities:
        """0 of a class that the training had not."""
        shares = np.zeros((len(pixels), count), np.float32)
        shares[:, learned["known"]] = learned["estimator"].predict_proba(pixels)
        return shares


def of_two(share: Float[np.ndarray, " pixel"], sought: int) -> Probabilities:
    """The probabilities of two classes from that of one of them."""
    both = np.stack([1 - share, share], axis=1)
    return both if sought == 1 else both[:, ::-1]


def window_values(cube: xr.Dataset, name: str, window: int) -> np.ndarray:
    """(y, x): a variable in one window, of which alone the values are read."""
    return cube[name].isel(window=window).values


def _labels(cube: xr.Dataset, window: int, classes: Classes) -> Int8[np.ndarray, "y x"]:
    """The place of each pixel's class; −1 where it has none and outside the study area."""
    return np.where(cube["mask"].values, places_of(window_values(cube, classes.target, window), classes), np.int8(-1))
