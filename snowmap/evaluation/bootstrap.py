"""Confidence intervals of scores, and of the difference to each baseline, from few windows of a small area.

The errors of a window share its weather and those of a place share its ground, so pixels are no independent draws.
What is drawn is whole windows and whole spatial blocks. Both dependences cross, which no single bootstrap covers:
three of them (windows, blocks, and cells, which are a block in a window) are put together as the variances of two-way
clustering are (Cameron, Gelbach & Miller 2011, J. Bus. Econ. Stat. 29, eq. 2.11).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student

Pixels = Float[np.ndarray, " pixel"]
Sums = Float[np.ndarray, "window block moment"]
Values = Float[np.ndarray, "resample score"]


class Scale(NamedTuple):
    """Where the distribution of a score is nearly symmetric, so that an interval may reach as far up as down."""

    of: Any
    back: Any


PLAIN = Scale(np.asarray, np.asarray)
SCALES = {
    "rmse": Scale(np.log, np.exp),
    "mae": Scale(np.log, np.exp),
    "bias": PLAIN,
    "r2": PLAIN,
    "pearson_r": Scale(np.arctanh, np.tanh),  # Fisher's z
}
"""The scores that sums over cells give, each with the scale of its interval."""


def score_intervals(
    columns: Mapping[str, Pixels],
    observed: Pixels,
    valid: Bool[np.ndarray, "window y x"],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Confidence intervals of every map's scores, and of what the model's differ from each baseline's.

    Args:
        columns: Values of the ``model`` and of every baseline at the valid pixels; NaN = no value.
        observed: Observed values there.
        valid: Where in the maps these pixels are.
        options: ``block_pixels``, ``resamples``, ``level`` and ``seed``, as `snowmap.schema.Scoring` describes them.

    Returns:
        ``level``; for the ``model`` and the ``baselines`` ``[low, high]`` of each score in `SCALES`; and
        ``differences`` to each baseline, over the pixels that both have and from the same resamples: ``difference``
        (model − baseline), ``low`` and ``high``. None where a score or its interval is undefined.
    """
    window, row, column = np.nonzero(valid)
    size = options["block_pixels"]
    across = -(-valid.shape[2] // size)
    blocks = -(-valid.shape[1] // size) * across
    cell = window * blocks + row // size * across + column // size
    shape = (valid.shape[0], blocks)
    resampling = Resampling(options["resamples"], options["level"], options["seed"])
    sums = {name: cell_sums(values, observed, cell, shape) for name, values in columns.items()}
    differences = {}
    for name, values in columns.items():
        if name != "model":
            shared = np.isfinite(values)
            ours, theirs = sums["model"], sums[name]
            if not shared.all():
                ours = cell_sums(np.where(shared, columns["model"], np.nan), observed, cell, shape)
            if not np.isfinite(columns["model"]).all():
                theirs = cell_sums(np.where(np.isfinite(columns["model"]), values, np.nan), observed, cell, shape)
            differences[name] = resampling.differences(ours, theirs)
    found = {name: resampling.intervals(own) for name, own in sums.items()}
    return {"level": options["level"], "model": found.pop("model"), "baselines": found, "differences": differences}


def cell_sums(predicted: Pixels, observed: Pixels, cell: np.ndarray, shape: tuple[int, int]) -> Sums:
    """Sums over the pixels of each cell: n, Σ|e|, Σe², Σp, Σo, Σp², Σo², Σpo.

    Args:
        predicted: NaN = no value; such pixels are left out.
        observed: In the same unit.
        cell: The cell that each pixel is in, counted window by window.
        shape: Number of windows and of blocks.
    """
    both = np.isfinite(predicted)
    cell, middle = cell[both], observed.mean(dtype=np.float64)
    p, o = predicted[both] - middle, observed[both] - middle  # nothing depends on it but how exact the squares are
    e = p - o
    moments = [
        np.bincount(cell, weights, shape[0] * shape[1]) for weights in (np.abs(e), e**2, p, o, p**2, o**2, p * o)
    ]
    count = np.bincount(cell, minlength=shape[0] * shape[1]).astype(np.float64)
    return np.stack([count, *moments], axis=-1).reshape(*shape, -1)


def scores_of_sums(sums: Float[np.ndarray, "*dims moment"]) -> Float[np.ndarray, "*dims score"]:
    """The scores of `SCALES`, in their order, from the sums of `cell_sums`; NaN or infinite where undefined."""
    n, absolute, square, p, o, pp, oo, po = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_p, spread_o = pp - p**2 / n, oo - o**2 / n
        correlation = (po - p * o / n) / np.sqrt(spread_p * spread_o)
        return np.stack([np.sqrt(square / n), absolute / n, (p - o) / n, 1 - square / spread_o, correlation], axis=-1)


class Resampling:
    """Draws of whole windows, whole blocks and cells; the same for every map with the same cells.

    Args:
        resamples: Number of draws.
        level: Nominal coverage of the intervals.
        seed: Of the draws.
    """

    def __init__(self, resamples: int, level: float, seed: int) -> None:
        self.resamples, self.level, self.seed = resamples, level, seed
        self._draws: dict[bytes, list[Draw]] = {}

    def intervals(self, sums: Sums) -> dict[str, list[float] | None]:
        """``[low, high]`` of each score."""
        draws = self._draw(sums)
        estimate, drawn = _scaled(scores_of_sums(sums.sum(axis=(0, 1)))), [_scaled(draw.scores(sums)) for draw in draws]
        reach = self._reach(drawn, draws)
        found: dict[str, list[float] | None] = {}
        for (name, scale), low, high in zip(SCALES.items(), estimate - reach, estimate + reach, strict=True):
            ends = np.array([scale.back(low), scale.back(high)])
            found[name] = ends.tolist() if np.isfinite(ends).all() else None
        return found

    def differences(self, ours: Sums, theirs: Sums) -> dict[str, dict[str, float | None]]:
        """Difference of each score, ours − theirs, with ``low`` and ``high``."""
        draws = self._draw(ours)
        difference = scores_of_sums(ours.sum(axis=(0, 1))) - scores_of_sums(theirs.sum(axis=(0, 1)))
        reach = self._reach([draw.scores(ours) - draw.scores(theirs) for draw in draws], draws)
        ends = {"difference": difference, "low": difference - reach, "high": difference + reach}
        return {
            name: {key: float(of[index]) if np.isfinite(of[index]) else None for key, of in ends.items()}
            for index, name in enumerate(SCALES)
        }

    def _draw(self, sums: Sums) -> list["Draw"]:
        there = sums[..., 0] > 0
        key = there.tobytes()
        if key not in self._draws:
            kinds = (np.flatnonzero(kind) for kind in (there.any(axis=1), there.any(axis=0), there))
            made = [Draw.make(kind, axis, self.resamples, self.seed) for axis, kind in enumerate(kinds)]
            crossed = all(len(draw.there) > 1 for draw in made)
            self._draws[key] = made if crossed else [draw for draw in made[:2] if len(draw.there) > 1]
        return self._draws[key]

    def _reach(self, drawn: list[Values], draws: list["Draw"]) -> Float[np.ndarray, " score"]:
        """Half the width of an interval; NaN where it is undefined."""
        if not drawn:
            return np.full(len(SCALES), np.nan)
        clusters = np.array([len(draw.there) for draw in draws])[:, None]
        with np.errstate(invalid="ignore"):
            variances = np.stack([values.var(axis=0, ddof=1) for values in drawn]) * clusters / (clusters - 1)
        if len(drawn) == 1:
            variance, freedom = variances[0], clusters[0] - 1.0
        else:
            windows, blocks, cells = variances
            variance = np.maximum(np.maximum(windows, blocks), windows + blocks - cells)
            freedom = np.full(len(variance), clusters[:2].min() - 1.0)
        return student.ppf((1 + self.level) / 2, freedom) * np.sqrt(variance)


def _scaled(scores: Float[np.ndarray, "*dims score"]) -> Float[np.ndarray, "*dims score"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([scale.of(scores[..., index]) for index, scale in enumerate(SCALES.values())], axis=-1)


class Draw(NamedTuple):
    """Resamples of one kind of cluster.

    Attributes:
        axis: 0 for windows, 1 for blocks, 2 for cells.
        there: Positions of the clusters that have a pixel.
        counts: How often each of them is drawn.
    """

    axis: int
    there: Int[np.ndarray, " cluster"]
    counts: Float[np.ndarray, "resample cluster"]

    @classmethod
    def make(cls, there: Int[np.ndarray, " cluster"], axis: int, resamples: int, seed: int) -> "Draw":
        """As many clusters as there are, with replacement."""
        generator, clusters = np.random.default_rng([seed, axis]), len(there)
        counts = generator.multinomial(clusters, np.full(clusters, 1 / max(clusters, 1)), size=resamples)
        return cls(axis, there, counts.astype(np.float64))

    def scores(self, sums: Sums) -> Values:
        """The scores of each resample."""
        by_cluster = (sums.sum(axis=1), sums.sum(axis=0), sums.reshape(-1, sums.shape[-1]))[self.axis]
        return scores_of_sums(self.counts @ by_cluster[self.there])
