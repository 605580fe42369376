"""Baselines that regress the target on what a pixel shows, one pixel at a time, by scikit-learn; for any grid.

Scikit-learn is imported where an estimator is made: it takes half a second, which most runs can spare.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Float

from snowmap.baselines.base import Baseline, Maps
from snowmap.data.features import DERIVED, DERIVED_BANDS
from snowmap.errors import SnowmapError

TRAINING_PIXELS = 200_000
"""Drawn from the training pixels: more of them change nothing but the time."""


class _PixelRegression(Baseline):
    """A regression on `needs` and `derived`, without negative snow; remembers the fitted estimator."""

    takes_missing: ClassVar[bool] = False

    @abstractmethod
    def estimator(self) -> Any:
        """A scikit-learn regressor to fit."""

    def learn(self, inputs: xr.Dataset, train: list[int], known: Maps, target: str) -> dict[str, Any]:
        """The estimator, fitted on as many as `TRAINING_PIXELS`."""
        columns = self._columns(inputs, train)
        usable = np.isfinite(known) & self._usable(columns)
        if not usable.any():
            raise SnowmapError(f"{self.name}: no training pixel has {target} and {', '.join(self.archive_bands)}")
        pixels, values = columns[usable], known[usable]
        chosen = np.random.default_rng(0).permutation(len(values))[:TRAINING_PIXELS]
        return {"estimator": self.estimator().fit(pixels[chosen], values[chosen])}

    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """NaN where an input is missing that the estimator cannot do without."""
        columns = self._columns(inputs, windows)
        usable = self._usable(columns) & inputs["mask"].values
        maps = np.full(usable.shape, np.nan, dtype=np.float32)
        if usable.any():
            maps[usable] = np.maximum(self.learned[target]["estimator"].predict(columns[usable]), 0)
        return maps

    def _columns(self, inputs: xr.Dataset, windows: list[int]) -> Float[np.ndarray, "window y x input"]:
        bands = inputs["band"].values
        read = [i for i, band in enumerate(bands) if band in self.needs or band in DERIVED_BANDS]
        return np.moveaxis(inputs["features"].values[windows][:, read], 1, -1).astype(float)

    def _usable(self, columns: Float[np.ndarray, "window y x input"]) -> np.ndarray:
        return np.asarray(self.takes_missing | np.isfinite(columns).all(axis=-1))


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
    """Gradient-boosted trees on the derived features that the option ``derived`` names."""

    name = "boosted_trees"
    takes_missing = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.derived = tuple(self.options["derived"])
        if unknown := [name for name in self.derived if name not in DERIVED]:
            raise ValueError(f"derived={unknown} is unknown; known are {', '.join(DERIVED)}")

    def estimator(self) -> Any:
        """Scikit-learn's histogram gradient boosting, as it comes."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(random_state=0)
