"""Scores of a map against another, over the pixels where both have a value."""

import warnings

import numpy as np
import torch
from jaxtyping import Float
from torchmetrics.functional import mean_absolute_error, mean_squared_error, pearson_corrcoef

SCORES = ("rmse", "mae", "bias", "r2", "pearson_r", "pixels")
"""The scores, in the order of every table."""


def scores(
    predicted: Float[np.ndarray, "*dims"], observed: Float[np.ndarray, "*dims"]
) -> dict[str, float | int | None]:
    """Scores pooled over the pixels where both maps are finite, computed in float64.

    Args:
        predicted: Maps, in any unit; NaN = no prediction.
        observed: Maps in the same unit; NaN = no observation.

    Returns:
        In the unit of the maps ``rmse``, ``mae`` and ``bias`` (mean of predicted − observed); without unit ``r2``
        (coefficient of determination) and ``pearson_r``; and the number of ``pixels``. None where a score is undefined:
        all of them without a pixel, ``r2`` where the observed map is constant, ``pearson_r`` where either is.
    """
    both = np.isfinite(predicted) & np.isfinite(observed)
    p, o = (torch.from_numpy(maps[both].astype(np.float64)) for maps in (predicted, observed))
    found: dict[str, float | int | None] = dict.fromkeys(SCORES)
    found["pixels"] = len(o)
    if len(o) == 0:
        return found
    found["rmse"] = float(mean_squared_error(p, o, squared=False))
    found["mae"] = float(mean_absolute_error(p, o))
    found["bias"] = float((p - o).mean())
    found["r2"] = _r2(p, o)
    if o.min() < o.max() and p.min() < p.max():
        found["pearson_r"] = _pearson_r(p, o)
    return found


def _r2(p: torch.Tensor, o: torch.Tensor) -> float | None:
    """1 − Σ(p − o)² / Σ(o − ō)².

    Not that of torchmetrics, which takes a sum below 1e-4 for 0 in whatever unit: with little snow it calls maps
    perfect that are not.
    """
    if o.min() == o.max():
        return None
    return _finite(1 - (p - o).square().sum() / (o - o.mean()).square().sum())


def _pearson_r(p: torch.Tensor, o: torch.Tensor) -> float | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a variance too small to divide by, which None tells
        return _finite(pearson_corrcoef(p, o))


def _finite(score: torch.Tensor) -> float | None:
    return float(score) if score.isfinite() else None
