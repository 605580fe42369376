"""What the atmosphere and the orbits add to the phase: planes and a part that follows the elevation."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float64

from snowmap.physics import SNOW_RAIN_TEMPERATURE, SNOW_RAIN_WIDTH

TERMS = {"ramp": (1, 2), "stratified": (3,)}
"""What each correction fits, of 1, x, y and elevation."""

COHERENT = 0.5
"""From which on the phase is fitted: melting snow, and most of what is wrong, has less."""

SNOW_FREE_TEMPERATURE = SNOW_RAIN_TEMPERATURE + SNOW_RAIN_WIDTH * float(np.log(9))
"""°C from which on at most a tenth of the precipitation is snow."""

LEAST_PIXELS, MOST_PIXELS = 100, 5000
"""With fewer a window stays as it is; of more, evenly spaced ones are fitted."""

LEAST_RELIEF = 200.0
"""Metres between the 5th and the 95th percentile of the fitted pixels, below which nothing is said of the elevation."""

Maps = Float64[np.ndarray, "y x"]


def fit_trend(
    window: xr.Dataset, phase: np.ndarray, weight: np.ndarray, corrections: Sequence[str]
) -> Float64[np.ndarray, " term"]:
    """The trend of one window's phase over stable ground, by robust regression (Huber's loss).

    Stable is coherent ground on which no snow falls: warmer than `SNOW_FREE_TEMPERATURE` by the window's mean
    temperature, where there is such a band. Snow that melts there has no coherence.

    Args:
        window: A Cube of one window.
        phase: Its unwrapped phase, rad, ``(y, x)``.
        weight: Of each pixel, its squared coherence.
        corrections: Keys of `TERMS`.

    Returns:
        Coefficients of 1, x and y (coordinates of the grid) and elevation (m), in rad: so the trend of a piece is that
        of the scene. It is 0 on average over the stable ground. NaN where this is too small, or too flat.
    """
    from sklearn.linear_model import HuberRegressor  # half a second, and most runs correct nothing

    coefficients = np.full(4, np.nan)
    columns = _columns(window)
    stable = window["mask"].values & np.isfinite(phase) & np.isfinite(columns).all(axis=-1) & (weight >= COHERENT**2)
    if "mean_temperature" in window["band"].values:
        stable &= window["features"].sel(band="mean_temperature").values[0] >= SNOW_FREE_TEMPERATURE
    places = np.flatnonzero(stable)
    places = places[:: 1 + len(places) // MOST_PIXELS]
    terms = [term for name, of_name in TERMS.items() if name in corrections for term in of_name]
    known = columns.reshape(-1, 4)[places][:, terms]
    if len(known) < LEAST_PIXELS or (3 in terms and np.ptp(np.quantile(known[:, -1], (0.05, 0.95))) < LEAST_RELIEF):
        return coefficients
    centre, scale = known.mean(axis=0), known.std(axis=0)
    fit = HuberRegressor(alpha=0, max_iter=1000).fit(
        (known - centre) / scale, phase.ravel()[places], sample_weight=weight.ravel()[places]
    )
    coefficients[:] = 0
    coefficients[terms] = fit.coef_ / scale
    coefficients[0] = -coefficients[terms] @ centre
    return coefficients


def trend_map(window: xr.Dataset, coefficients: Float64[np.ndarray, " term"]) -> Maps:
    """The trend of a window, or of a piece of it, in rad."""
    return _columns(window) @ coefficients


def _columns(window: xr.Dataset) -> Float64[np.ndarray, "y x term"]:
    x, y = np.meshgrid(window["x"].values, window["y"].values)
    return np.stack([np.ones_like(x), x, y, window["features"].sel(band="elevation").values[0]], axis=-1)
