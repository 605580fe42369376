"""Scores of a model's uncertainty: sharpness, coverage and reliability."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.stats import norm

from snowmap.errors import SnowmapError
from snowmap.units import INTERVALS, QUANTILES

Pixels = Float[np.ndarray, " pixel"]

NOMINAL = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Levels of the reliability diagram of a normal distribution."""


def score_uncertainty(
    maps: xr.Dataset, target: str, observed: Float[np.ndarray, "window y x"], names: Sequence[str]
) -> dict[str, Any] | None:
    """Scores of the model's uncertainty, pooled over the pixels where it and the observation have a value.

    Args:
        maps: Predictions, with ``<target>_sigma`` and ``<target>_q05`` … ``_q95`` if the model states its uncertainty.
        target: Name of the target.
        observed: Observed maps in the unit of the target; NaN = no observation.
        names: Of the windows, for the error.

    Returns:
        In the unit of the target ``crps`` (`crps_normal`, or `crps_quantiles` where quantiles are all that the model
        states) and the mean width of the central intervals ``width_50``, ``width_90``; without unit ``nll`` (a
        density's logarithm; None for quantiles), the ``coverage_50`` and ``coverage_90`` of the quantile maps as given
        and ``…_uncalibrated``, with the widening by their ``conformal_factor`` undone, and the points of the
        ``reliability`` diagram: of the stated normal distribution, or of the two intervals as given. None for a model
        without uncertainty.

    Raises:
        SnowmapError: When a standard deviation or a quantile is missing where the map has a value, or a standard
            deviation is not above 0.
    """
    if f"{target}_sigma" not in maps:
        return None
    _refuse_impossible(maps, target, names)
    both = np.isfinite(maps[target].values) & np.isfinite(observed)
    if not both.any():
        return None
    layers = {key: maps[f"{target}_{key}"] for key in ("sigma", *QUANTILES)}
    values = {key: layer.values[both].astype(np.float64) for key, layer in layers.items()}
    o, median, sigma = observed[both].astype(np.float64), maps[target].values[both].astype(np.float64), values["sigma"]
    normal = layers["sigma"].attrs["distribution"] == "normal"
    crps = crps_normal(median, sigma, o) if normal else crps_quantiles(median, values, o)
    scores = {"crps": float(crps.mean()), "nll": float(-norm.logpdf(o, median, sigma).mean()) if normal else None}
    for share, (low, high) in INTERVALS.items():
        given = [values[end] for end in (low, high)]
        predicted = [median + (values[end] - median) / layers[end].attrs["conformal_factor"] for end in (low, high)]
        scores[f"coverage_{share}"] = coverage(o, *given)
        scores[f"coverage_{share}_uncalibrated"] = coverage(o, *predicted)
        scores[f"width_{share}"] = float(np.mean(given[1] - given[0]))
    if normal:
        distance = np.abs(o - median) / sigma
        points = {nominal: float(np.mean(distance <= norm.ppf((1 + nominal) / 2))) for nominal in NOMINAL}
    else:
        points = {share / 100: scores[f"coverage_{share}_uncalibrated"] for share in INTERVALS}
    return scores | {"reliability": [{"nominal": nominal, "observed": share} for nominal, share in points.items()]}


def crps_normal(mean: Pixels, sigma: Pixels, observed: Pixels) -> Pixels:
    """Continuous ranked probability score of normal distributions (Gneiting & Raftery 2007, JASA 102, eq. 21).

    σ · (z (2 Φ(z) − 1) + 2 φ(z) − 1/√π) with z = (observed − mean)/σ, in the unit of the arguments; smaller is better.
    """
    z = (observed - mean) / sigma
    return sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def crps_quantiles(median: Pixels, quantiles: Mapping[str, Pixels], observed: Pixels) -> Pixels:
    """Continuous ranked probability score from quantiles: 2 × the mean of their pinball losses.

    The CRPS is twice the integral of the pinball loss over all levels (Gneiting & Ranjan 2011, J. Bus. Econ. Stat. 29);
    the mean over the five levels stands for it, so scores of models with the same levels compare.

    Args:
        median: The quantile of level 0.5.
        quantiles: Those of the other levels, by the keys of `snowmap.units.QUANTILES`.
        observed: Observed values in the same unit.
    """
    levels = np.array([[0.5], *([level] for level in QUANTILES.values())])
    above = observed - np.stack([median, *(quantiles[key] for key in QUANTILES)])
    return 2 * np.maximum(levels * above, (levels - 1) * above).mean(axis=0)


def coverage(observed: Pixels, low: Pixels, high: Pixels) -> float:
    """Share of the observed values from `low` to `high`."""
    return float(np.mean((low <= observed) & (observed <= high)))


def _refuse_impossible(maps: xr.Dataset, target: str, names: Sequence[str]) -> None:
    for key in ("sigma", *QUANTILES):
        values = maps[f"{target}_{key}"].values
        valid = np.isfinite(values) & (values > 0) if key == "sigma" else np.isfinite(values)
        counts = (np.isfinite(maps[target].values) & ~valid).sum(axis=(1, 2))
        for name, count in zip(names, counts, strict=True):
            if count:
                raise SnowmapError(
                    f"'{target}_{key}' in {name} is missing{' or not above 0' if key == 'sigma' else ''} at {count} "
                    f"pixels where '{target}' has a value; a model must state its uncertainty wherever it maps"
                )
