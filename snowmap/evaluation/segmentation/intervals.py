"""Confidence intervals of the scores of class maps, by a bootstrap over square blocks of the map.

Pixels beside each other are right or wrong together: the units that are drawn are blocks of pixels, the same ones for
every map, so that differences are paired. A block stays the same through time, as the errors on static classes do. The
percentiles reach out a little further than the level, by what Student's t and the divisor n − 1 add to the normal
distribution (Hesterberg 2015, Am. Stat. 69(4), expanded percentile interval): of few blocks they would be too narrow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm
from scipy.stats import t as student

from snowmap.data.classes import SCORES, Classes
from snowmap.evaluation.segmentation.scores import pooled_scores

Blocks = Int[np.ndarray, "block observed mapped"]

BLOCKS_OF_SCENE, SMALLEST_BLOCK = 64, 8
"""About how many blocks a scene is cut into, and the least side of one in pixels."""

FEWEST_BLOCKS, DRAWS = 5, 2000


def blocks_of(shape: tuple[int, int], pixels: int) -> tuple[Int[np.ndarray, "y x"], int]:
    """The number of each pixel's block, and how many there are.

    Args:
        shape: Of the map.
        pixels: Inside the study area.
    """
    side = max(SMALLEST_BLOCK, round(np.sqrt(pixels / BLOCKS_OF_SCENE)))
    rows, columns = (np.arange(length) // side for length in shape)
    across = int(columns[-1]) + 1
    return rows[:, None] * across + columns, (int(rows[-1]) + 1) * across


def score_intervals(
    blocks: Mapping[str, Blocks], shared: Mapping[str, tuple[Blocks, Blocks]], classes: Classes, level: float
) -> dict[str, Any]:
    """Intervals of every map's scores, and of what the model's differ from each baseline's.

    Args:
        blocks: Confusion of each block, of the ``model`` and of every baseline.
        shared: Of each baseline the model's confusion and its own, over the pixels that both have.
        classes: Of the target.
        level: Nominal coverage.

    Returns:
        ``level``; ``blocks``, the number of those that hold a pixel; for the ``model`` and the ``baselines``
        ``[low, high]`` of each of `SCORES`; and ``differences`` to each baseline, ``difference`` (model − baseline),
        ``low`` and ``high``. None where a score or its interval is undefined, as those of few blocks are.
    """
    used = np.flatnonzero(blocks["model"].sum(axis=(1, 2)))
    count, weights = len(used), np.zeros((0, len(used)))
    if count >= FEWEST_BLOCKS:
        weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)

    def drawn(of_blocks: Blocks) -> Float[np.ndarray, "draw score"]:
        sums = weights @ of_blocks[used].reshape(count, -1).astype(np.float64)
        return pooled_scores(sums.reshape(len(weights), *of_blocks.shape[1:]), classes)

    def ends(draws: Float[np.ndarray, "draw score"]) -> list[list[float] | None]:
        return [percentiles(of_score, level, count) for of_score in draws.T]

    intervals = {name: dict(zip(SCORES, ends(drawn(values)), strict=True)) for name, values in blocks.items()}
    differences = {}
    for name, (ours, theirs) in shared.items():
        difference = pooled_scores(ours.sum(axis=0), classes) - pooled_scores(theirs.sum(axis=0), classes)
        both = zip(SCORES, difference, ends(drawn(ours) - drawn(theirs)), strict=True)
        differences[name] = {score: _difference(value, pair) for score, value, pair in both}
    return {"level": level, "blocks": count, "model": intervals.pop("model"), "baselines": intervals} | {
        "differences": differences
    }


def percentiles(draws: Float[np.ndarray, " draw"], level: float, count: int) -> list[float] | None:
    """Ends of the interval of a score, from its values in the draws; None where many of these are undefined.

    Args:
        draws: NaN where undefined.
        level: Nominal coverage.
        count: Blocks that were drawn from.
    """
    known = draws[np.isfinite(draws)]
    if len(known) < 0.9 * DRAWS:
        return None
    reach = np.sqrt(count / (count - 1)) * student.ppf((1 + level) / 2, count - 1)
    return np.quantile(known, [norm.cdf(-reach), norm.cdf(reach)]).tolist()


def area_interval(errors: Float[np.ndarray, " block"], level: float) -> list[float] | None:
    """Ends of the interval of a sum over blocks.

    Args:
        errors: Of each block.
        level: Nominal coverage.
    """
    count = len(errors)
    if count < FEWEST_BLOCKS:
        return None
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=DRAWS)
    return percentiles(weights @ errors, level, count)


def _difference(value: float, pair: Sequence[float] | None) -> dict[str, float | None]:
    low, high = pair or (None, None)
    return {"difference": float(value) if np.isfinite(value) else None, "low": low, "high": high}
