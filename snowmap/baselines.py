"""Maps that need no network, from the training windows × study area × valid pixels alone.

Each baseline is a function ``(cube, train, windows, target) -> maps`` with NaN where it has nothing to say.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

Maps = Float[np.ndarray, "window y x"]

logger = logging.getLogger(__name__)

SEASON_DAYS = 20.0
"""Standard deviation of the climatology's window in the year: training maps of the same few weeks count most."""

YEAR_DAYS = 365.25


def climatology(cube: xr.Dataset, train: Sequence[int], windows: Sequence[int], target: str) -> Maps:
    """Per pixel the mean of the training windows, each weighted by how near its day of the year lies.

    The weight is a Gaussian of the distance around the year, with a standard deviation of `SEASON_DAYS`.

    Args:
        cube: The Cube.
        train: Indices of the training windows.
        windows: Indices of the windows to map.
        target: Name of the target.

    Returns:
        Maps in the target's unit; NaN where a pixel has no training value.
    """
    known = _inside(cube, cube[target].values[list(train)])
    years = np.abs(_fraction_of_year(cube, windows)[:, None] - _fraction_of_year(cube, train))
    days = np.minimum(years, 1 - years) * YEAR_DAYS
    weight = np.exp(-0.5 * (days / SEASON_DAYS) ** 2) + 1e-12  # a season without any window falls back on all
    valid = np.isfinite(known)
    total = np.einsum("wt,tyx->wyx", weight, np.where(valid, known, 0))
    count = np.einsum("wt,tyx->wyx", weight, valid)
    return _divide(total, count)


def elevation(cube: xr.Dataset, train: Sequence[int], windows: Sequence[int], target: str) -> Maps:
    """Least squares on a cubic of elevation and one harmonic of the year, with their products; no negative snow.

    Args:
        cube: The Cube, with the band `elevation`.
        train: Indices of the training windows.
        windows: Indices of the windows to map.
        target: Name of the target.

    Returns:
        Maps in the target's unit; NaN where elevation is missing, and everywhere without a training pixel that has
        both elevation and target.
    """
    known = _inside(cube, cube[target].values[list(train)])
    inputs = _elevation_and_season(cube, train)
    usable = np.isfinite(known) & np.isfinite(inputs).all(axis=-1)
    maps = np.full((len(windows), *known.shape[1:]), np.nan, dtype=np.float32)
    if not usable.any():
        return maps
    model = make_pipeline(StandardScaler(), PolynomialFeatures(3), LinearRegression())
    model.fit(inputs[usable], known[usable])
    inputs = _elevation_and_season(cube, windows)
    usable = np.isfinite(inputs).all(axis=-1)
    if usable.any():
        maps[usable] = np.maximum(model.predict(inputs[usable]), 0)
    return maps


def persistence(cube: xr.Dataset, train: Sequence[int], windows: Sequence[int], target: str) -> Maps:
    """The last-seen map: that of the latest training window that had ended when the window began.

    Args:
        cube: The Cube.
        train: Indices of the training windows.
        windows: Indices of the windows to map.
        target: Name of the target.

    Returns:
        Maps in the target's unit; NaN for windows before the end of the first training window.
    """
    known = _inside(cube, cube[target].values[list(train)])
    seen = cube["end"].values[list(train)]
    maps = np.full((len(windows), *known.shape[1:]), np.nan, dtype=np.float32)
    for position, window in enumerate(windows):
        past = np.flatnonzero(seen <= cube["start"].values[window])
        if past.size:
            maps[position] = known[past[np.argmax(seen[past])]]
    return maps


BASELINES: dict[str, Callable[[xr.Dataset, Sequence[int], Sequence[int], str], Maps]] = {
    "climatology": climatology,
    "elevation": elevation,
    "persistence": persistence,
}


def baseline_maps(cube: xr.Dataset, train: Sequence[int], windows: Sequence[int], target: str) -> dict[str, Maps]:
    """Maps of every baseline; without the band `elevation` its regression is left out, and that is said."""
    names = list(BASELINES)
    if "elevation" not in cube["band"].values:
        names.remove("elevation")
        logger.warning("the archive was opened without the band 'elevation': no elevation baseline")
    return {name: BASELINES[name](cube, train, windows, target) for name in names}


def _inside(cube: xr.Dataset, maps: np.ndarray) -> np.ndarray:
    return np.where(cube["mask"].values, maps, np.float32(np.nan))


def _fraction_of_year(cube: xr.Dataset, windows: Sequence[int]) -> np.ndarray:
    """How much of its year has passed at the end of each window, so that 31 December is last in leap years too."""
    end = cube["end"].dt
    return ((end.dayofyear - 1) / (365 + end.is_leap_year)).values[list(windows)]


def _elevation_and_season(cube: xr.Dataset, windows: Sequence[int]) -> np.ndarray:
    height = cube["features"].sel(band="elevation").values[list(windows)].astype(float)
    angle = (2 * np.pi * _fraction_of_year(cube, windows))[:, None, None]
    return np.stack(np.broadcast_arrays(height, np.cos(angle), np.sin(angle)), axis=-1)


def _divide(total: np.ndarray, count: np.ndarray) -> Maps:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)
