"""Scores of a map against another, over the pixels where both have a value; all in float64."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from snowmap.units import IN_UNITS

Maps = Float[np.ndarray, "*dims"]

SCORES = (*IN_UNITS, "r2", "pearson_r", "spearman_r", "nse", "pixels")
"""The scores, in the order of every table."""

LEAST_VARIANCE = 1e-200
"""Squares of smaller differences lose their digits."""

NORMAL_MAD = 1.4826
"""Standard deviation ÷ median absolute deviation, of a normal distribution."""

REQUIREMENT_MM, REQUIREMENT_SHARE, REQUIREMENT_BORDER_MM = 30.0, 0.1, 300.0
"""The error of SWE that CoReH2O allows: 3 cm up to 30 cm of SWE, 10 % of it above (Rott et al. 2010, Proc. IEEE)."""


def scores(predicted: Maps, observed: Maps, observed_ranks: Maps | None = None) -> dict[str, float | int | None]:
    """Scores pooled over the pixels where both maps are finite.

    Args:
        predicted: Maps, in any unit; NaN = no prediction.
        observed: Maps in the same unit; NaN = no observation.
        observed_ranks: `ranks` of `observed`, where they are known: sorting is what takes the time. They are of use if
            every pixel has both values.

    Returns:
        In the unit of the maps, of the errors e = predicted − observed, ``rmse``, ``mae``, ``bias`` (mean of e),
        ``median_error`` and ``nmad``, 1.4826 · median |e − median e| (Höhle & Höhle 2009, ISPRS J. 64). Without
        unit ``r2`` (coefficient of determination), ``pearson_r``, ``spearman_r`` (equal values share their mean rank)
        and ``nse``, the efficiency of Nash & Sutcliffe (1970), which over pooled pixels is by definition the formula
        of ``r2``: the same number under the name that hydrologists look for. And the number of ``pixels``. None where
        a score is undefined: all of them without a pixel, ``r2`` and ``nse`` where the observed map is constant,
        ``pearson_r`` and ``spearman_r`` where either is.
    """
    p, o = _common(predicted, observed)
    if len(o) == 0:
        return dict.fromkeys(SCORES) | {"pixels": 0}
    error = p - o
    median = float(np.median(error))
    r2 = float(1 - np.mean(error**2) / np.var(o)) if _varies(o) else None
    known = observed_ranks if observed_ranks is not None and len(o) == observed.size else ranks(o)
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "median_error": median,
        "nmad": NORMAL_MAD * float(np.median(np.abs(error - median))),
        "r2": r2,
        "pearson_r": _pearson_r(p, o),
        "spearman_r": _pearson_r(ranks(p), known.ravel()),
        "nse": r2,
        "pixels": len(o),
    }


def ranks(values: Maps) -> Maps:
    """Ranks from 1, equal values sharing their mean rank; pandas sorts far faster than `scipy.stats.rankdata`."""
    return pd.Series(values.ravel()).rank().to_numpy().reshape(values.shape)


def presence(predicted: Maps, observed: Maps, threshold: float) -> dict[str, float | None]:
    """Scores of the presence of snow, which is a value of at least `threshold`.

    Of hits, misses, false alarms and correct negatives, counted over the pixels where both maps are finite (Wilks
    2011, Statistical Methods in the Atmospheric Sciences, section 8.2).

    Args:
        predicted: Maps; NaN = no prediction.
        observed: Maps in the same unit; NaN = no observation.
        threshold: In the unit of the maps.

    Returns:
        ``pod`` (probability of detection: the share of the observed snow that the map has, also called recall), ``far``
        (false alarm ratio: the share of the predicted snow that was not observed), ``precision`` (1 − far), ``f1``,
        ``csi`` (critical success index) and ``accuracy``. None where the divisor is 0.
    """
    p, o = (values >= threshold for values in _common(predicted, observed))
    hits, misses, alarms = (int(np.count_nonzero(cells)) for cells in (p & o, ~p & o, p & ~o))
    ratios = {
        "pod": (hits, hits + misses),
        "far": (alarms, hits + alarms),
        "precision": (hits, hits + alarms),
        "f1": (2 * hits, 2 * hits + misses + alarms),
        "csi": (hits, hits + misses + alarms),
        "accuracy": (len(o) - misses - alarms, len(o)),
    }
    return {name: part / whole if whole else None for name, (part, whole) in ratios.items()}


def requirement_share(predicted: Maps, observed: Maps, threshold: float, millimetre: float) -> float | None:
    """Share of the pixels with observed or mapped snow whose error of SWE is within the requirement of CoReH2O.

    On bare ground that is mapped as such every map would do. The requirement is 3 cm where the observed SWE is at most
    30 cm, and 10 % of it above (Rott et al. 2010, Proc. IEEE 98).

    Args:
        predicted: Maps of SWE; NaN = no prediction.
        observed: Maps of SWE in the same unit; NaN = no observation.
        threshold: SWE in this unit from which on there is snow.
        millimetre: One mm of water in the unit of the maps.

    Returns:
        From 0 to 1; None without such a pixel where both are finite.
    """
    p, o = _common(predicted, observed)
    snow = (p >= threshold) | (o >= threshold)
    p, o = p[snow] / millimetre, o[snow] / millimetre
    allowed = np.where(o <= REQUIREMENT_BORDER_MM, REQUIREMENT_MM, REQUIREMENT_SHARE * o)
    return float(np.mean(np.abs(p - o) <= allowed)) if len(o) else None


def _common(predicted: Maps, observed: Maps) -> tuple[np.ndarray, np.ndarray]:
    both = np.isfinite(predicted) & np.isfinite(observed)
    return predicted[both].astype(np.float64), observed[both].astype(np.float64)


def _pearson_r(p: np.ndarray, o: np.ndarray) -> float | None:
    return float(np.corrcoef(p, o)[0, 1]) if _varies(p) and _varies(o) else None


def _varies(values: np.ndarray) -> bool:
    return bool(values.min() < values.max() and np.var(values) > LEAST_VARIANCE)
