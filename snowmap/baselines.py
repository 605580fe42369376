"""Maps that need no network, from the training windows × study area × valid pixels alone.

Each baseline is a function ``(cube, train, windows, target) -> maps`` with NaN where it has nothing to say.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from snowmap.derived import DERIVED, estimate_phase_sign, with_derived
from snowmap.physics import MILLIMETRES, density_guyennon

Maps = Float[np.ndarray, "window y x"]

logger = logging.getLogger(__name__)

SEASON_DAYS = 20.0
"""Standard deviation of the climatology's window in the year: training maps of the same few weeks count most."""

YEAR_DAYS = 365.25

TREE_PIXELS = 200_000
"""Training pixels for the trees: more of them change nothing but the time."""


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


def summed_phase(cube: xr.Dataset, train: Sequence[int], windows: Sequence[int], target: str) -> Maps:
    """ΔSWE of dry snow from the unwrapped phase, summed since 1 September; HS by Guyennon's density of the date.

    Nothing is learned but the sign of the phase.

    Args:
        cube: The Cube, with the bands that `snowmap.derived.summed_phase_swe` needs.
        train: Indices of the training windows, which tell the sign of the phase.
        windows: Indices of the windows to map.
        target: Name of the target.

    Returns:
        Maps in the target's unit, ≥ 0; NaN where a pixel never had a phase in its season.
    """
    whole = with_derived(cube, ["summed_phase_swe"], estimate_phase_sign(cube, train))
    total = np.maximum(whole["features"].sel(band="summed_phase_swe").values[list(windows)], 0)
    if target == "hs":
        density = density_guyennon(cube["end"].values[list(windows)])[:, None, None]
        return (total / density * 100).astype(np.float32)  # mm = kg m⁻² -> m -> cm
    return (total * MILLIMETRES[cube[target].attrs["units"]]).astype(np.float32)


def boosted_trees(cube: xr.Dataset, train: Sequence[int], windows: Sequence[int], target: str) -> Maps:
    """Gradient-boosted trees, pixel by pixel, on phase-derived ΔSWE and positive degree days summed since 1 September.

    Args:
        cube: The Cube, with the bands that the two sums need.
        train: Indices of the training windows.
        windows: Indices of the windows to map.
        target: Name of the target.

    Returns:
        Maps in the target's unit, ≥ 0; NaN everywhere without a training pixel.
    """
    whole = with_derived(cube, ["summed_pdd", "summed_phase_swe"], estimate_phase_sign(cube, train))
    sums = whole["features"].sel(band=["summed_phase_swe", "summed_pdd"]).values
    inputs = np.moveaxis(sums, 1, -1)
    known = _inside(cube, cube[target].values[list(train)])
    usable = np.isfinite(known)
    maps = np.full((len(windows), *known.shape[1:]), np.nan, dtype=np.float32)
    if not usable.any():
        return maps
    pixels, values = inputs[list(train)][usable], known[usable]
    chosen = np.random.default_rng(0).permutation(len(values))[:TREE_PIXELS]
    model = HistGradientBoostingRegressor(random_state=0).fit(pixels[chosen], values[chosen])
    inside = np.broadcast_to(cube["mask"].values, maps.shape)
    maps[inside] = np.maximum(model.predict(inputs[list(windows)][inside]), 0)
    return maps


BASELINES: dict[str, Callable[[xr.Dataset, Sequence[int], Sequence[int], str], Maps]] = {
    "climatology": climatology,
    "elevation": elevation,
    "persistence": persistence,
    "summed_phase": summed_phase,
    "boosted_trees": boosted_trees,
}

NEEDS = {
    "elevation": ("elevation",),
    "summed_phase": DERIVED["summed_phase_swe"].needs,
    "boosted_trees": (*DERIVED["summed_phase_swe"].needs, *DERIVED["summed_pdd"].needs),
}
"""Bands without which a baseline is left out."""


def baseline_maps(cube: xr.Dataset, train: Sequence[int], windows: Sequence[int], target: str) -> dict[str, Maps]:
    """Maps of every baseline; one that lacks a band is left out, and that is said."""
    there = set(cube["band"].values.tolist())
    lacking = {name: set(NEEDS.get(name, ())) - there for name in BASELINES}
    if left_out := [name for name, missing in lacking.items() if missing]:
        missing = ", ".join(sorted(set().union(*lacking.values())))
        logger.warning("no baseline %s: the archive was opened without %s", ", ".join(left_out), missing)
    return {name: make(cube, train, windows, target) for name, make in BASELINES.items() if not lacking[name]}


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
