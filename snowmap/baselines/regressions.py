"""Baselines that regress the target on what a pixel shows, one pixel at a time, by scikit-learn; for any grid.

Scikit-learn is imported where an estimator is made: it takes half a second, which most runs can spare.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from snowmap.baselines.base import Maps, QuantityBaseline
from snowmap.data.features import DERIVED, DERIVED_BANDS
from snowmap.errors import SnowmapError

TRAINING_PIXELS = 200_000
"""Drawn from the training pixels: more of them change nothing but the time."""


class _PixelRegression(QuantityBaseline):
    """A regression on `needs` and `derived`, without negative snow; remembers the fitted estimator."""

    takes_missing: ClassVar[bool] = False

    @abstractmethod
    def estimator(self) -> Any:
        """A scikit-learn regressor to fit."""

    def learn(self, inputs: xr.Dataset, train: list[int], known: Maps, target: str) -> dict[str, Any]:
        """The estimator, fitted on as many as `TRAINING_PIXELS`."""
        features = inputs["features"].values[:, self._columns(inputs)]
        usable = np.isfinite(known)
        if not self.takes_missing:
            usable &= np.isfinite(features[train]).all(axis=1)
        if not usable.any():
            raise SnowmapError(f"{self.name}: no training pixel has {target} and {', '.join(self.archive_bands)}")
        chosen = np.random.default_rng(0).permutation(np.count_nonzero(usable))[:TRAINING_PIXELS]
        window, y, x = (axis[chosen] for axis in np.nonzero(usable))
        pixels = features[np.array(train)[window], :, y, x].astype(float)
        pixels[:, np.isnan(pixels).all(axis=0)] = 0  # scikit-learn refuses a column without any value
        return {"estimator": self.estimator().fit(pixels, known[window, y, x])}

    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """NaN where an input is missing that the estimator cannot do without."""
        features, columns = inputs["features"].values, self._columns(inputs)
        inside, estimator = inputs["mask"].values, self.learned[target]["estimator"]
        maps = np.full((len(windows), *inside.shape), np.nan, dtype=np.float32)
        for index, window in enumerate(windows):  # one after the other: all bands of a large scene fill the memory
            read = features[window, columns]
            usable = inside & (self.takes_missing | np.isfinite(read).all(axis=0))
            if usable.any():
                maps[index, usable] = np.maximum(estimator.predict(read[:, usable].T.astype(float)), 0)
        return maps

    def _columns(self, inputs: xr.Dataset) -> list[int]:
        return [i for i, band in enumerate(inputs["band"].values) if band in self.needs or band in DERIVED_BANDS]


class Elevation(_PixelRegression):
    """Least squares on a polynomial of elevation, one harmonic of the year and positive degree days since 1 September.

    The products of the three are among its terms: the season's course may differ with elevation. The option ``degree``
    is that of the polynomial.
    """

    name = "elevation"
    needs = ("elevation",)
    derived = ("day_of_year", "cumulative_pdd")

    def estimator(self) -> Any:
        """Scaled inputs, their powers and products, least squares."""
        from sklearn.linear_model import LinearRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        return make_pipeline(StandardScaler(), PolynomialFeatures(self.options["degree"]), LinearRegression())


class BoostedTrees(_PixelRegression):
    """Gradient-boosted trees on bands of the Cube and on derived features.

    The options ``bands`` and ``derived`` name them; None: all bands, and of the features below those that can be made
    of them.
    """

    name = "boosted_trees"
    takes_missing = True
    derived = (
        *("day_of_year", "cumulative_pdd", "cumulative_snowfall"),
        *("phase_swe", "cumulative_phase_swe", "cumulative_coherent_phase_swe"),
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if unknown := [name for name in self.options.get("derived") or [] if name not in DERIVED]:
            raise ValueError(f"derived={unknown} is unknown; known are {', '.join(DERIVED)}")

    def choose_inputs(self, cube: xr.Dataset) -> None:
        """What the options name; where they leave it open, what the Cube has."""
        bands = self.options.get("bands")
        self.needs = self._bands(cube) if bands is None else tuple(bands)
        possible = tuple(name for name in type(self).derived if not {*DERIVED[name].needs} - {*self.needs})
        self.derived = tuple(self.options.get("derived") or possible)

    def estimator(self) -> Any:
        """Scikit-learn's histogram gradient boosting, as it comes."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(random_state=0)

    def _bands(self, cube: xr.Dataset) -> tuple[str, ...]:
        return tuple(cube["band"].values.tolist())


class BoostedTreesWithoutSar(BoostedTrees):
    """`BoostedTrees` on terrain and weather alone: what the same trees know without the radar."""

    name = "boosted_trees_no_sar"

    def _bands(self, cube: xr.Dataset) -> tuple[str, ...]:
        return tuple(cube["band"].values[cube["group"].values != "sar"].tolist())
