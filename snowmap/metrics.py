"""Scores of a map against another, over the pixels where both have a value."""

import numpy as np
import torch
from jaxtyping import Float
from torchmetrics.functional import mean_absolute_error, mean_squared_error, pearson_corrcoef, r2_score

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
        all of them without a pixel, ``r2`` and ``pearson_r`` where the maps are constant.
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
    if o.min() < o.max():
        found["r2"] = float(r2_score(p, o))
        if p.min() < p.max():
            found["pearson_r"] = float(pearson_corrcoef(p, o))
    return found
