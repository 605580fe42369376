"""Confidence intervals of scores, and of the difference to each baseline, from windows that depend on each other.

The errors of a window share its weather, and those of the next window its snow: neither pixels nor windows are
independent draws. The jackknife pseudo-values of a score, one for each window by date, are projected on the slowest
cosines over the windows. Their mean square estimates the variance of the score with all that windows in a row share,
and Student's t has one degree of freedom for each cosine (equal-weighted cosine estimator, Lazarus, Lewis, Stock &
Watson 2018, J. Bus. Econ. Stat. 36, section 3): as many as if the windows were `cosines` + 1 independent ones.

The cosines of a short series see too little of slow errors, as its mean takes most of them away. The variance is
multiplied by what it would lack if the lag-1 correlation of the windows were `CORRELATION`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import toeplitz
from scipy.stats import t as student

Pixels = Float[np.ndarray, " pixel"]
Sums = Float[np.ndarray, "window moment"]

CORRELATION = 0.4
"""With it 90 % intervals cover 85 to 93 % where the correlation is 0 to 0.5 (`python -m benchmarks.coverage`)."""


class Scale(NamedTuple):
    """Where the distribution of a score is nearly symmetric, so that an interval may reach as far up as down."""

    of: Any
    back: Any


PLAIN = Scale(np.asarray, np.asarray)
SCALES = {
    "rmse": Scale(np.log, np.exp),
    "mae": Scale(np.log, np.exp),
    "bias": PLAIN,
    "r2": Scale(lambda r2: np.log(1 - r2), lambda unexplained: 1 - np.exp(unexplained)),
    "pearson_r": Scale(np.arctanh, np.tanh),  # Fisher's z
}
"""The scores that sums over windows give, each with the scale of its interval."""


def score_intervals(
    columns: Mapping[str, Pixels],
    observed: Pixels,
    valid: Bool[np.ndarray, "window y x"],
    level: float,
    same: Int[np.ndarray, " window"] | None = None,
) -> dict[str, Any]:
    """Confidence intervals of every map's scores, and of what the model's differ from each baseline's.

    They hold for other windows of the same area and the same winters.

    Args:
        columns: Values of the ``model`` and of every baseline at the valid pixels; NaN = no value.
        observed: Observed values there.
        valid: Where in the maps, by date, these pixels are.
        level: Nominal coverage.
        same: A number for each map by date, the same for maps of the same window; by default each map is of another.

    Returns:
        ``level``; for the ``model`` and the ``baselines`` ``[low, high]`` of each score in `SCALES`; and
        ``differences`` to each baseline, over the pixels that both have: ``difference`` (model − baseline), ``low`` and
        ``high``. None where a score or its interval is undefined, as those of a single window are.
    """
    window = np.nonzero(valid)[0]
    window = window if same is None else same[window]
    differences = {}
    for name, values in columns.items():
        if name != "model":
            shared = np.where(np.isfinite(values) & np.isfinite(columns["model"]), observed, np.nan)
            ours, theirs = (window_sums(maps, shared, window) for maps in (columns["model"], values))
            differences[name] = _differences(ours, theirs, level)
    intervals = {name: _intervals(window_sums(values, observed, window), level) for name, values in columns.items()}
    model = intervals.pop("model")
    return {"level": level, "model": model, "baselines": intervals, "differences": differences}


def window_sums(predicted: Pixels, observed: Pixels, window: Int[np.ndarray, " pixel"]) -> Sums:
    """Sums over the pixels of each window that has any: n, Σ|e|, Σe², Σp, Σo, Σp², Σo², Σpo.

    Args:
        predicted: NaN = no value; such pixels are left out.
        observed: In the same unit; NaN = no value.
        window: The window that each pixel is in.
    """
    both = np.isfinite(predicted) & np.isfinite(observed)
    p, o = predicted[both].astype(np.float64), observed[both].astype(np.float64)
    middle = o.mean() if len(o) else 0.0
    p, o = p - middle, o - middle  # nothing depends on it but how exact the squares are
    e = p - o
    moments = (np.ones_like(e), np.abs(e), e**2, p, o, p**2, o**2, p * o)
    sums = np.stack([np.bincount(window[both], moment) for moment in moments], axis=-1).astype(np.float64)
    return sums[sums[:, 0] > 0]


def scores_of_sums(sums: Float[np.ndarray, "*dims moment"]) -> Float[np.ndarray, "*dims score"]:
    """The scores of `SCALES`, in their order, from sums of `window_sums`; NaN or infinite where undefined."""
    n, absolute, square, p, o, pp, oo, po = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_p, spread_o = pp - p**2 / n, oo - o**2 / n
        correlation = np.clip((po - p * o / n) / np.sqrt(spread_p * spread_o), -1, 1)
        return np.stack([np.sqrt(square / n), absolute / n, (p - o) / n, 1 - square / spread_o, correlation], axis=-1)


def standard_error(
    without: Float[np.ndarray, "window score"],
) -> tuple[Float[np.ndarray, " score"], int]:
    """Standard errors of scores, and the degrees of freedom of Student's t.

    Args:
        without: The scores without each window, by date.

    Returns:
        The standard errors, NaN where a score is undefined without one of the windows; and the number of cosines.
    """
    count = len(without)
    cosines = min(max(2, round(0.41 * count ** (2 / 3))), count - 1)  # Lazarus et al. (2018), eq. 4; 2 of 7 windows
    if cosines < 1:
        return np.full(without.shape[1:], np.nan), 1
    position = (np.arange(count) + 0.5) / count
    basis = np.sqrt(2 / count) * np.cos(np.pi * np.arange(1, cosines + 1)[:, None] * position)
    assumed = toeplitz(CORRELATION ** np.arange(count))
    lacking = assumed.mean() * count / np.mean(np.diag(basis @ assumed @ basis.T))
    with np.errstate(invalid="ignore"):  # of undefined scores
        variance = np.mean((basis @ ((count - 1) * without)) ** 2, axis=0)
    return np.sqrt(lacking * variance / count), cosines


def _intervals(sums: Sums, level: float) -> dict[str, list[float] | None]:
    error, degrees = standard_error(_scaled(scores_of_sums(sums.sum(axis=0) - sums)))
    middle, reach = _scaled(scores_of_sums(sums.sum(axis=0))), student.ppf((1 + level) / 2, degrees) * error
    result: dict[str, list[float] | None] = {}
    for (name, scale), ends in zip(SCALES.items(), np.stack([middle - reach, middle + reach], axis=1), strict=True):
        result[name] = sorted(scale.back(ends).tolist()) if np.isfinite(ends).all() else None
    return result


def _differences(ours: Sums, theirs: Sums, level: float) -> dict[str, dict[str, float | None]]:
    """Difference of each score, ours − theirs, with ``low`` and ``high``."""
    with np.errstate(invalid="ignore"):
        difference = scores_of_sums(ours.sum(axis=0)) - scores_of_sums(theirs.sum(axis=0))
        without = scores_of_sums(ours.sum(axis=0) - ours) - scores_of_sums(theirs.sum(axis=0) - theirs)
    error, degrees = standard_error(without)
    reach = student.ppf((1 + level) / 2, degrees) * error
    ends = {"difference": difference, "low": difference - reach, "high": difference + reach}
    return {
        name: {key: float(of[index]) if np.isfinite(of[index]) else None for key, of in ends.items()}
        for index, name in enumerate(SCALES)
    }


def _scaled(scores: Float[np.ndarray, "*dims score"]) -> Float[np.ndarray, "*dims score"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([scale.of(scores[..., index]) for index, scale in enumerate(SCALES.values())], axis=-1)
