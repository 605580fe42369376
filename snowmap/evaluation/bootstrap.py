"""Confidence intervals of scores, and of the difference to each baseline, from few windows of a small area.

The errors of a window share its weather and those of a place share its ground, so pixels are no independent draws.
What is drawn is whole windows and whole spatial blocks. Both dependences cross, which no single bootstrap covers:
three of them (windows, blocks, and cells, which are a block in a window) are put together as the variances of two-way
clustering are: V = V(windows) + V(blocks) − V(cells) (Cameron, Gelbach & Miller 2011, J. Bus. Econ. Stat. 29, section
2), each × R/(R − 1) of its R clusters. Three things make up for how few clusters there are:

- What a direction adds to V(cells) is left out unless its F ratio passes a test at 25 % ("sometimes pooling", Bancroft
  1964, Biometrics 20). With the usual lower bound instead, the larger of V(windows) and V(blocks), 90 % intervals cover
  95 % of independent errors.
- The t quantile has the degrees of freedom of a sum of variances (Satterthwaite 1946, Biometrics Bull. 2).
- A handful of errors does not show its own tail: of the rmse of 7 normal effects, 90 % intervals would cover 81 %.
  So the variance of rmse and mae by windows, or by blocks, is at least that which normal effects have whose spread is
  that of the bias. Differences of scores are left as they are: theirs cover about 85 % where the effects of 7 windows
  rule.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import erf
from scipy.stats import f as fisher
from scipy.stats import t as student

Pixels = Float[np.ndarray, " pixel"]
Sums = Float[np.ndarray, "window block moment"]
Values = Float[np.ndarray, "resample score"]
Variances = Float[np.ndarray, "kind score"]


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
"""The scores that sums over cells give, each with the scale of its interval."""

BIAS = list(SCALES).index("bias")  # behind rmse and mae

POOLING = 0.25
"""Level of the test whether a direction has effects of its own."""

MOST_CLUSTERS = 10_000
"""Of more, several are drawn together; only cells and blocks of large scenes are so many."""

MOST_UNDEFINED = 0.05
"""Share of the resamples in which a score may be undefined, e.g. because only windows without snow were drawn."""


def score_intervals(
    columns: Mapping[str, Pixels],
    observed: Pixels,
    valid: Bool[np.ndarray, "window y x"],
    options: Mapping[str, Any],
    same: Int[np.ndarray, " window"] | None = None,
) -> dict[str, Any]:
    """Confidence intervals of every map's scores, and of what the model's differ from each baseline's.

    Args:
        columns: Values of the ``model`` and of every baseline at the valid pixels; NaN = no value.
        observed: Observed values there.
        valid: Where in the maps these pixels are.
        options: ``block_pixels``, ``resamples``, ``level`` and ``seed``, of `snowmap.config.schema.Scoring`.
        same: A number for each map, the same for maps of the same window; by default each map is of another one.

    Returns:
        ``level``; for the ``model`` and the ``baselines`` ``[low, high]`` of each score in `SCALES`; and
        ``differences`` to each baseline, over the pixels that both have and from the same resamples: ``difference``
        (model − baseline), ``low`` and ``high``. None where a score or its interval is undefined.
    """
    window, row, column = np.nonzero(valid)
    window = window if same is None else same[window]
    size = options["block_pixels"]
    across = -(-valid.shape[2] // size)
    blocks = -(-valid.shape[1] // size) * across
    cell = window * blocks + row // size * across + column // size
    shape = (valid.shape[0] if same is None else int(same.max()) + 1, blocks)
    resampling = Resampling(options["resamples"], options["level"], options["seed"])
    differences = {}
    for name, values in columns.items():
        if name != "model":
            shared = np.where(np.isfinite(values) & np.isfinite(columns["model"]), observed, np.nan)
            ours, theirs = (cell_sums(maps, shared, cell, shape) for maps in (columns["model"], values))
            differences[name] = resampling.differences(ours, theirs)
    intervals = {
        name: resampling.intervals(cell_sums(values, observed, cell, shape)) for name, values in columns.items()
    }
    model = intervals.pop("model")
    return {"level": options["level"], "model": model, "baselines": intervals, "differences": differences}


def cell_sums(predicted: Pixels, observed: Pixels, cell: np.ndarray, shape: tuple[int, int]) -> Sums:
    """Sums over the pixels of each cell: n, Σ|e|, Σe², Σp, Σo, Σp², Σo², Σpo.

    Args:
        predicted: NaN = no value; such pixels are left out.
        observed: In the same unit; NaN = no value.
        cell: The cell that each pixel is in, counted window by window.
        shape: Number of windows and of blocks.
    """
    both = np.isfinite(predicted) & np.isfinite(observed)
    cell, p, o = cell[both], predicted[both].astype(np.float64), observed[both].astype(np.float64)
    middle = o.mean() if len(o) else 0.0
    p, o = p - middle, o - middle  # nothing depends on it but how exact the squares are
    e = p - o
    moments = (np.ones_like(e), np.abs(e), e**2, p, o, p**2, o**2, p * o)
    sums = [np.bincount(cell, moment, shape[0] * shape[1]) for moment in moments]
    return np.stack(sums, axis=-1, dtype=np.float64).reshape(*shape, -1)


def scores_of_sums(sums: Float[np.ndarray, "*dims moment"]) -> Float[np.ndarray, "*dims score"]:
    """The scores of `SCALES`, in their order, from the sums of `cell_sums`; NaN or infinite where undefined."""
    n, absolute, square, p, o, pp, oo, po = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_p, spread_o = pp - p**2 / n, oo - o**2 / n
        correlation = np.clip((po - p * o / n) / np.sqrt(spread_p * spread_o), -1, 1)
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
        draws, estimate = self._draw(sums), scores_of_sums(sums.sum(axis=(0, 1)))
        variances = _variances([_scaled(draw.scores(sums)) for draw in draws], draws)
        for draw, variance in zip(draws[:2], variances, strict=False):
            least = _of_normal_effects(estimate[: BIAS + 1], variance[BIAS], draw.clusters)
            variance[:BIAS] = np.fmax(variance[:BIAS], least)
        middle, reach = _scaled(estimate), self._reach(variances, draws)
        result: dict[str, list[float] | None] = {}
        for (name, scale), ends in zip(SCALES.items(), np.stack([middle - reach, middle + reach], axis=1), strict=True):
            result[name] = sorted(scale.back(ends).tolist()) if np.isfinite(ends).all() else None
        return result

    def differences(self, ours: Sums, theirs: Sums) -> dict[str, dict[str, float | None]]:
        """Difference of each score, ours − theirs, with ``low`` and ``high``."""
        draws = self._draw(ours)
        with np.errstate(invalid="ignore"):
            difference = scores_of_sums(ours.sum(axis=(0, 1))) - scores_of_sums(theirs.sum(axis=(0, 1)))
            drawn = [draw.scores(ours) - draw.scores(theirs) for draw in draws]
        reach = self._reach(_variances(drawn, draws), draws)
        ends = {"difference": difference, "low": difference - reach, "high": difference + reach}
        return {
            name: {key: float(of[index]) if np.isfinite(of[index]) else None for key, of in ends.items()}
            for index, name in enumerate(SCALES)
        }

    def _draw(self, sums: Sums) -> list["Draw"]:
        occupied = sums[..., 0] > 0
        key = occupied.tobytes()
        if key not in self._draws:
            kinds = enumerate(np.flatnonzero(kind) for kind in (occupied.any(axis=1), occupied.any(axis=0), occupied))
            made = [Draw.make(kind, axis, self.resamples, self.seed) for axis, kind in kinds if len(kind) > 1]
            self._draws[key] = made if len(made) == 3 else made[:1]  # cells alone would be the same clusters again
        return self._draws[key]

    def _reach(self, variances: Variances, draws: list["Draw"]) -> Float[np.ndarray, " score"]:
        """Half the width of an interval; NaN where it is undefined."""
        if not draws:
            return np.full(len(SCALES), np.nan)
        freedom = np.array([draw.clusters - 1.0 for draw in draws])[:, None]
        if len(draws) == 1:
            variance, degrees = variances[0], freedom[0]
        else:
            direction, cells = variances[:2], variances[2]
            effects = direction > cells * fisher.ppf(1 - POOLING, freedom[:2], freedom[2])
            variance = cells + np.where(effects, direction - cells, 0).sum(axis=0)
            spread = np.where(effects, direction**2 / freedom[:2], 0).sum(axis=0) + cells**2 / freedom[2]
            degrees = np.divide(variance**2, spread, out=np.full(len(SCALES), np.inf), where=spread > 0)
            degrees = np.maximum(degrees, freedom.min())
        return student.ppf((1 + self.level) / 2, degrees) * np.sqrt(variance)


def _variances(drawn: list[Values], draws: list["Draw"]) -> Variances:
    """Of the scores over the resamples of each kind, × R/(R − 1) of its R clusters."""
    variances = np.full((len(draws), len(SCALES)), np.nan)
    for index, (values, draw) in enumerate(zip(drawn, draws, strict=True)):
        enough = np.isfinite(values).mean(axis=0) >= 1 - MOST_UNDEFINED
        spread = np.ma.masked_invalid(values).var(axis=0, ddof=1).filled(np.nan)
        variances[index] = np.where(enough, spread * draw.clusters / (draw.clusters - 1), np.nan)
    return variances


def _of_normal_effects(estimate: Float[np.ndarray, " 3"], variance: float, clusters: int) -> Float[np.ndarray, " 2"]:
    """Variance of log rmse and log mae where the errors of each cluster are normal, about normal effects.

    Args:
        estimate: rmse, mae and bias.
        variance: Of the bias, by these clusters.
        clusters: How many there are.
    """
    rmse, mae, bias = estimate
    effect, within = clusters * variance, max(rmse**2 - bias**2 - clusters * variance, 0.0)
    if not (rmse > 0 and np.isfinite(effect)):
        return np.full(2, np.nan)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    means, sigma = bias + np.sqrt(effect) * nodes, np.sqrt(within) + 1e-6 * rmse
    reach = means / (np.sqrt(2) * sigma)
    # the mean of a folded normal distribution (Leone, Nelson & Nottingham 1961, Technometrics 3)
    absolute = np.sqrt(2 / np.pi) * sigma * np.exp(-(reach**2)) + means * erf(reach)
    of_square = 2 * effect**2 + 4 * bias**2 * effect
    of_absolute = weights @ (absolute - weights @ absolute) ** 2
    return np.array([of_square / (4 * rmse**4), of_absolute / mae**2]) / clusters


def _scaled(scores: Float[np.ndarray, "*dims score"]) -> Float[np.ndarray, "*dims score"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([scale.of(scores[..., index]) for index, scale in enumerate(SCALES.values())], axis=-1)


class Draw(NamedTuple):
    """Resamples of one kind of cluster.

    Attributes:
        axis: 0 for windows, 1 for blocks, 2 for cells.
        order: Positions of the clusters that have a pixel. More than `MOST_CLUSTERS` come in random order, and those
            that far apart are one cluster: it keeps the expectation of the variance, and the memory small.
        counts: How often each of them is drawn.
    """

    axis: int
    order: Int[np.ndarray, " position"]
    counts: Int[np.ndarray, "resample cluster"]

    @classmethod
    def make(cls, occupied: Int[np.ndarray, " position"], axis: int, resamples: int, seed: int) -> "Draw":
        """As many clusters as are occupied, with replacement."""
        generator, clusters = np.random.default_rng([seed, axis]), min(len(occupied), MOST_CLUSTERS)
        order = occupied if len(occupied) == clusters else generator.permutation(occupied)
        counts = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
        return cls(axis, order, counts.astype(np.int16))

    @property
    def clusters(self) -> int:
        """How many are drawn from."""
        return self.counts.shape[1]

    def scores(self, sums: Sums) -> Values:
        """The scores of each resample."""
        moments = sums.shape[-1]
        rows = (sums.sum(axis=1), sums.sum(axis=0), sums.reshape(-1, moments))[self.axis][self.order]
        filled = np.concatenate([rows, np.zeros((-len(rows) % self.clusters, moments))])
        return scores_of_sums(self.counts.astype(np.float64) @ filled.reshape(-1, self.clusters, moments).sum(axis=0))
