"""Scores of a model's uncertainty: sharpness, coverage and reliability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from snowmap.distribution import NAMES, Distribution, distribution_of, shows_snow
from snowmap.errors import SnowmapError
from snowmap.units import INTERVALS

Pixels = Float[Tensor, " pixel"]

NOMINAL = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Shares of the central intervals in the reliability diagram."""


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
        Over all these pixels what `_scores` gives and the points of the ``reliability`` diagram, and the same scores
        over the pixels where the map shows snow in ``snow``. None for a model without uncertainty.

    Raises:
        SnowmapError: When a standard deviation or a quantile is missing where the map has a value, or a standard
            deviation is not above 0.
    """
    if f"{target}_sigma" not in maps:
        return None
    both = _refuse_impossible(maps, target, names) & np.isfinite(observed)
    if not both.any():
        return None
    stated, predicted = (distribution_of(maps, target, both, calibrated) for calibrated in (True, False))
    truth = torch.from_numpy(observed[both].astype(np.float64))
    snow = torch.from_numpy(shows_snow(maps, target)[both])
    reliability = [
        {"nominal": share, "observed": _mean(stated.inside(truth, share))}
        | {"uncalibrated": _mean(predicted.inside(truth, share))}
        for share in NOMINAL
    ]
    return {
        **_scores(stated, predicted, truth, torch.ones_like(snow)),
        "snow": _scores(stated, predicted, truth, snow),
        "reliability": reliability,
    }


def _scores(
    stated: Distribution, predicted: Distribution, truth: Pixels, chosen: Bool[Tensor, " pixel"]
) -> dict[str, float | int | None]:
    """Mean scores of a distribution over some pixels.

    Args:
        stated: The distribution, calibrated.
        predicted: The same before its calibration.
        truth: Observed values.
        chosen: Over which pixels.

    Returns:
        ``crps`` and the mean width of the central intervals ``width_50`` and ``width_90``, in the unit of the target;
        without unit ``nll`` (`Distribution.nll`, of a density per unit of the target), ``coverage_50`` and
        ``coverage_90`` (`Distribution.inside`), and ``…_uncalibrated``. And the number of ``pixels``.
    """
    scores = {"crps": _mean(stated.crps(truth)[chosen]), "nll": _mean(stated.nll(truth)[chosen])}
    for share in INTERVALS:
        scores[f"coverage_{share}"] = _mean(stated.inside(truth, share / 100)[chosen])
        scores[f"coverage_{share}_uncalibrated"] = _mean(predicted.inside(truth, share / 100)[chosen])
        scores[f"width_{share}"] = _mean(stated.width(share)[chosen])
    return scores | {"pixels": int(chosen.sum())}


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _refuse_impossible(maps: xr.Dataset, target: str, names: Sequence[str]) -> Bool[np.ndarray, "window y x"]:
    """Where the target has a value, and with it a distribution."""
    mapped = np.isfinite(maps[target].values)
    sigma, *quantiles = (maps[f"{target}_{key}" if key else target] for key in ("sigma", *NAMES))
    above: list[Any] = [0.0, -np.inf, *(layer.values for layer in quantiles[:-1])]
    for layer, below in zip([sigma, *quantiles], above, strict=True):
        values = layer.values
        counts = (mapped & ~(np.isfinite(values) & (values > below))).sum(axis=(1, 2))
        for name, count in zip(names, counts, strict=True):
            if count:
                least = "0" if layer is sigma else "the quantile below"
                raise SnowmapError(
                    f"'{layer.name}' in {name} is missing or not above {least} at {count} pixels where '{target}' has "
                    "a value; a model must state its uncertainty wherever it maps"
                )
    return mapped
