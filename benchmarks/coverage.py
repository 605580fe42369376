"""How often 90 % intervals of scores hold the truth, where the errors of windows in a row are alike.

Errors of a window: an effect that all its pixels share, autoregressive over the windows (its lag-1 correlation is that
of the table), and as much again of each pixel's own. The baseline's effects are alike the model's and larger.
"""

import argparse

import numpy as np
from scipy.stats import t as student

from snowmap.evaluation.intervals import SCALES, _scaled, scores_of_sums, standard_error

PIXELS = 400
SHOWN = ("rmse", "mae", "bias")
LEVEL = 0.9


def effects(generator: np.random.Generator, cases: int, windows: int, correlation: float) -> np.ndarray:
    """Of mean 0 and variance 1, (case, window)."""
    values = generator.normal(size=(cases, windows))
    for window in range(1, windows):
        values[:, window] = correlation * values[:, window - 1] + np.sqrt(1 - correlation**2) * values[:, window]
    return values


def sums_of(effect: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """What `window_sums` gives of maps whose observed values are independent of the errors, (window, moment)."""
    error = effect[:, None] + generator.normal(size=(len(effect), PIXELS))
    observed = generator.gamma(4, 5, size=error.shape)
    predicted = observed + error
    moments = (np.ones_like(error), abs(error), error**2, predicted, observed, predicted**2, observed**2)
    return np.stack([*(moment.sum(axis=1) for moment in moments), (predicted * observed).sum(axis=1)], axis=-1)


def covers(estimate: np.ndarray, without: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether the interval of each score holds the truth."""
    error, degrees = standard_error(without)
    return np.abs(estimate - truth) <= student.ppf((1 + LEVEL) / 2, degrees) * error


def coverage(windows: int, correlation: float, cases: int, seed: int = 0) -> dict[str, float]:
    """Share of the cases, by score."""
    generator = np.random.default_rng(seed)
    ours = effects(generator, cases, windows, correlation)
    theirs = 1.2 * (0.6 * ours + 0.8 * effects(generator, cases, windows, correlation))
    spread, spread_theirs = np.sqrt(2), np.sqrt(1 + 1.2**2)
    truth = np.array([np.log(spread), np.log(spread * np.sqrt(2 / np.pi)), 0.0])
    columns = [list(SCALES).index(name) for name in SHOWN]
    held, better = [], []
    for one, other in zip(ours, theirs, strict=True):
        a, b = sums_of(one, generator), sums_of(other, generator)
        whole, without = (_scaled(scores_of_sums(sums))[..., columns] for sums in (a.sum(axis=0), a.sum(axis=0) - a))
        held.append(covers(whole, without, truth))
        first = [scores_of_sums(sums.sum(axis=0))[0] for sums in (a, b)]
        left = [scores_of_sums(sums.sum(axis=0) - sums)[:, :1] for sums in (a, b)]
        better.append(covers(np.array([first[0] - first[1]]), left[0] - left[1], spread - spread_theirs)[0])
    shares = dict(zip(SHOWN, np.mean(held, axis=0), strict=True))
    return {**shares, "rmse − baseline's": float(np.mean(better))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, nargs="+", default=[7, 14, 28])
    parser.add_argument("--cases", type=int, default=2000)
    asked = parser.parse_args()
    print(f"coverage of {LEVEL:.0%} intervals, {asked.cases} cases each")
    print("| windows | lag-1 correlation | RMSE | MAE | bias | RMSE − baseline's |\n|---|---|---|---|---|---|")
    for windows in asked.windows:
        for correlation in (0.0, 0.5, 0.8):
            shares = coverage(windows, correlation, asked.cases).values()
            print(f"| {windows} | {correlation} | {' | '.join(f'{share:.0%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
