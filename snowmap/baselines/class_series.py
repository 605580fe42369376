"""Baselines that map classes from the series of radar bands at a pixel: a random forest, and Otsu's threshold.

A series ends at the window that is mapped and reaches back `DAYS`.
"""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from snowmap.baselines.class_base import ClassBaseline, Columns, Places, Probabilities, Trees, of_two
from snowmap.data.classes import Classes, named_of_two
from snowmap.errors import SnowmapError

DAYS = 366
"""How far a series reaches back: what the land does in a year."""

STATISTICS = ("mean", "spread", "lowest", "highest", "last")
"""Of a series of values at a pixel; the last is that of the window that is mapped."""


class RandomForest(Trees):
    """A random forest on `STATISTICS` of each radar band, and on nothing else; the option ``trees`` is their number."""

    name = "random_forest"

    def choose_inputs(self, cube: xr.Dataset) -> None:
        """The bands of the radar."""
        self.needs = radar_bands(cube, self.name)

    def columns(self, cube: xr.Dataset, window: int, places: Places) -> Columns:
        """Statistics, band by band."""
        return np.concatenate([statistics(cube, window, band, places) for band in self.needs], axis=1)

    def estimator(self) -> Any:
        """Scikit-learn's, with leaves of five pixels or more."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(self.options["trees"], min_samples_leaf=5, random_state=0)


class Otsu(ClassBaseline):
    """Two classes on the two sides of Otsu's threshold of a radar band's temporal mean.

    The threshold is that of Otsu (1979, IEEE Trans. SMC 9), from the values alone. The classes of training pixels say
    which side is which, and which band: that whose threshold maps the class that is sought with the greatest
    intersection over union. The probability of a class is its share of the training pixels on that side.
    """

    name = "otsu"

    def choose_inputs(self, cube: xr.Dataset) -> None:
        """The bands of the radar."""
        self.needs = radar_bands(cube, self.name)

    def columns(self, cube: xr.Dataset, window: int, places: Places) -> Columns:
        """The temporal mean of each band."""
        return np.concatenate([statistics(cube, window, band, places)[:, :1] for band in self.needs], axis=1)

    def learn_classes(self, pixels: Columns, labels: Int[np.ndarray, " pixel"], classes: Classes) -> dict[str, Any]:
        """Band, its threshold, and the share of the class that is sought ``below`` and ``above`` it."""
        place = named_of_two(classes, f"model={self.name}")
        sought, best = labels == place, dict[str, Any]()
        for column, band in enumerate(self.needs):
            values = pixels[:, column]
            valid = np.isfinite(values)
            if not valid.any():
                continue
            cut = otsu_threshold(values[valid])
            above, truth = values[valid] > cut, sought[valid]
            shares = {"below": _share(truth[~above]), "above": _share(truth[above])}
            mapped = above == (shares["above"] >= shares["below"])
            iou = float(np.count_nonzero(mapped & truth) / max(1, np.count_nonzero(mapped | truth)))
            if not best or iou > best["iou"]:
                best = {"band": band, "column": column, "cut": cut, **shares, "iou": iou, "sought": place}
        return best | {"threshold": (best["below"] + best["above"]) / 2}

    def probabilities(self, pixels: Columns, learned: dict[str, Any], count: int) -> Probabilities:
        """NaN where the band has no value."""
        values = pixels[:, learned["column"]]
        share = np.where(values > learned["cut"], learned["above"], learned["below"])
        return of_two(np.where(np.isfinite(values), share, np.nan), learned["sought"])


def radar_bands(cube: xr.Dataset, name: str) -> tuple[str, ...]:
    """The bands of the group ``sar``.

    Raises:
        SnowmapError: When there is none.
    """
    bands = tuple(cube["band"].values[cube["group"].values == "sar"].tolist())
    if not bands:
        raise SnowmapError(f"model={name} needs bands of the radar; found {', '.join(cube['band'].values.tolist())}")
    return bands


def statistics(cube: xr.Dataset, window: int, band: str, places: Places) -> Columns:
    """`STATISTICS` of a band over the windows of the year that ends with `window`; NaN where it has no value."""
    end = cube["end"].values[: window + 1]
    first = int(np.flatnonzero(end > end[-1] - np.timedelta64(DAYS, "D"))[0])
    series = cube["features"].isel(window=slice(first, window + 1)).sel(band=band).values
    values = series.reshape(len(series), -1)[:, places]
    valid = np.isfinite(values)
    count = valid.sum(axis=0)
    with np.errstate(invalid="ignore"):  # of pixels without a value
        mean = np.where(valid, values, 0).sum(axis=0) / count
        spread = np.sqrt((np.where(valid, values - mean, 0) ** 2).sum(axis=0) / count)
    lowest, highest = np.where(valid, values, np.inf).min(axis=0), np.where(valid, values, -np.inf).max(axis=0)
    columns = np.stack([mean, spread, lowest, highest, values[-1]], axis=1).astype(np.float32)
    columns[~np.isfinite(columns)] = np.nan
    return columns


def otsu_threshold(values: Float[np.ndarray, " pixel"]) -> float:
    """The value that parts a histogram of 256 bins with the greatest variance between both sides (Otsu 1979)."""
    count, edges = np.histogram(values, bins=256)
    middle = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(count), np.cumsum(count[::-1])[::-1]
    mean_below = np.cumsum(count * middle) / np.maximum(below, 1)
    mean_above = (np.cumsum((count * middle)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2.0
    return float(edges[1:][between.argmax()])


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if chosen.size else 0.0
