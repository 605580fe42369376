import numpy as np
import pytest
from scipy.stats import foldnorm, norm, t

from snowmap.evaluation import bootstrap
from snowmap.evaluation.bootstrap import SCALES, _of_normal_effects, cell_sums, score_intervals, scores_of_sums
from snowmap.evaluation.metrics import scores

OPTIONS = {"block_pixels": 4, "resamples": 1000, "level": 0.9, "seed": 0}
PIXELS = 16
"""In a cell."""


def layout(windows: int, blocks: int) -> np.ndarray:
    """Valid pixels of blocks of 4 × 4, side by side."""
    return np.ones((windows, 4, 4 * blocks), dtype=bool)


def errors(
    generator: np.random.Generator, windows: int, blocks: int, by_window: float, by_block: float, noise: float = 1.0
) -> np.ndarray:
    """Errors (window, y, x): effects of windows, of blocks and of pixels, as standard deviations."""
    effects = by_window * generator.normal(size=(windows, 1, 1)) + by_block * generator.normal(size=(1, 1, blocks))
    return noise * generator.normal(size=(windows, 4, 4 * blocks)) + np.repeat(effects, 4, axis=2)[:, :, : 4 * blocks]


def maps(seed: int = 0, windows: int = 6, blocks: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    valid = generator.random(layout(windows, blocks).shape) < 0.9
    observed = generator.gamma(2, 10, valid.sum())
    predicted = observed + errors(generator, windows, blocks, 2, 1)[valid] + 0.5
    return predicted, observed, valid


def test_sums_over_cells_give_the_scores_of_the_pixels():
    predicted, observed, valid = maps()
    predicted[::7] = np.nan
    cell = np.nonzero(valid)[0] * 9 + np.nonzero(valid)[2] // 4
    found = dict(
        zip(SCALES, scores_of_sums(cell_sums(predicted, observed, cell, (6, 9)).sum(axis=(0, 1))), strict=True)
    )
    known = scores(predicted, observed)
    assert found == pytest.approx({name: known[name] for name in SCALES}, rel=1e-10)


def test_each_interval_holds_its_score_and_the_same_seed_gives_the_same():
    predicted, observed, valid = maps()
    columns = {"model": predicted, "baseline": observed * 0.5}
    found = score_intervals(columns, observed, valid, OPTIONS)
    known = scores(predicted, observed)
    for name, (low, high) in found["model"].items():
        assert low < known[name] < high
    assert found == score_intervals(columns, observed, valid, OPTIONS)
    assert found != score_intervals(columns, observed, valid, {**OPTIONS, "seed": 1})
    wider = score_intervals(columns, observed, valid, {**OPTIONS, "level": 0.99})
    assert wider["model"]["bias"][0] < found["model"]["bias"][0]
    assert found["model"]["r2"][1] < 1
    assert found["model"]["pearson_r"][1] < 1


@pytest.mark.parametrize(("by_window", "by_block"), [(5.0, 0.0), (0.0, 5.0), (5.0, 5.0), (0.0, 0.0)])
def test_the_interval_of_the_bias_is_that_of_analysis_of_variance(by_window, by_block):
    """With equal cells the three bootstraps estimate mean squares, so width² = t² × their sum."""
    windows, blocks = 8, 16
    error = errors(np.random.default_rng(3), windows, blocks, by_window, by_block)
    observed = np.zeros(error.size)
    options = {**OPTIONS, "resamples": 20_000}
    low, high = score_intervals({"model": error.ravel()}, observed, layout(windows, blocks), options)["model"]["bias"]
    cells = error.reshape(windows, 4, blocks, 4).mean(axis=(1, 3))
    of_windows, of_blocks = cells.mean(axis=1).var(ddof=1) / windows, cells.mean(axis=0).var(ddof=1) / blocks
    of_cells = cells.var(ddof=1) / cells.size
    parts = [of_cells] + [of_windows - of_cells] * (by_window > 0) + [of_blocks - of_cells] * (by_block > 0)
    degrees = sum(parts) ** 2 / (
        of_cells**2 / (cells.size - 1)
        + (by_window > 0) * of_windows**2 / (windows - 1)
        + (by_block > 0) * of_blocks**2 / (blocks - 1)
    )
    assert (high - low) / 2 == pytest.approx(t.ppf(0.95, degrees) * np.sqrt(sum(parts)), rel=0.03)
    assert (high + low) / 2 == pytest.approx(error.mean(), rel=1e-9)


@pytest.mark.parametrize(("effect", "bias"), [(1.0, 0.0), (0.5, 1.0), (0.1, 0.3)])
def test_variance_of_normal_effects_is_that_of_draws(effect, bias):
    means, clusters = bias + effect * np.random.default_rng(0).normal(size=(200_000, 1)), 12
    errors_of = means + norm.ppf((np.arange(200) + 0.5) / 200)  # of a cluster: normal, without noise
    rmse, mae = np.sqrt(np.mean(errors_of**2)), np.mean(np.abs(errors_of))
    found = _of_normal_effects(np.array([rmse, mae, bias]), effect**2 / clusters, clusters)
    assert found[0] == pytest.approx((errors_of**2).mean(axis=1).var() / clusters / (4 * rmse**4), rel=0.02)
    assert found[1] == pytest.approx(np.abs(errors_of).mean(axis=1).var() / clusters / mae**2, rel=0.02)


def test_differences_are_paired():
    """Errors that model and baseline share cancel, so the difference is far surer than either score."""
    predicted, observed, valid = maps()
    columns = {"model": predicted, "shifted": predicted + 1, "same": predicted.copy()}
    found = score_intervals(columns, observed, valid, OPTIONS)
    bias = found["differences"]["shifted"]["bias"]
    assert bias == pytest.approx({"difference": -1, "low": -1, "high": -1}, abs=1e-9)
    low, high = found["model"]["bias"]
    assert high - low > 1
    for entry in found["differences"]["same"].values():
        assert entry == pytest.approx({"difference": 0, "low": 0, "high": 0}, abs=1e-12)


def test_differences_are_over_the_pixels_that_both_have():
    predicted, observed, valid = maps()
    baseline = observed + 3
    gaps = np.random.default_rng(1).random(len(observed)) < 0.5
    predicted[::5], baseline[gaps] = np.nan, np.nan
    found = score_intervals({"model": predicted, "baseline": baseline}, observed, valid, OPTIONS)
    both = np.isfinite(predicted) & np.isfinite(baseline)
    for name in SCALES:
        ours, theirs = scores(predicted[both], observed[both])[name], scores(baseline[both], observed[both])[name]
        assert found["differences"]["baseline"][name]["difference"] == pytest.approx(ours - theirs, abs=1e-9)


def test_one_window_leaves_the_blocks_and_one_block_the_windows():
    generator = np.random.default_rng(0)
    for windows, blocks in ((1, 20), (20, 1)):
        valid = layout(windows, blocks)
        error = errors(generator, windows, blocks, 0, 0)
        low, high = score_intervals({"model": error.ravel()}, np.zeros(error.size), valid, OPTIONS)["model"]["bias"]
        clusters = error.reshape(windows, 4, blocks, 4).mean(axis=(1, 3)).ravel()
        known = 1.729 * clusters.std(ddof=1) / np.sqrt(20)  # t of 19 degrees of freedom
        assert (high - low) / 2 == pytest.approx(known, rel=0.1)


def test_cells_that_are_too_many_are_drawn_together(monkeypatch):
    predicted, observed, valid = maps(windows=20, blocks=50)
    options = {**OPTIONS, "resamples": 4000}
    (low, high) = score_intervals({"model": predicted}, observed, valid, options)["model"]["rmse"]
    monkeypatch.setattr(bootstrap, "MOST_CLUSTERS", 300)
    (lower, higher) = score_intervals({"model": predicted}, observed, valid, options)["model"]["rmse"]
    assert higher - lower == pytest.approx(high - low, rel=0.05)
    assert (lower, higher) != (low, high)


def test_nothing_to_resample_or_no_pixel_gives_no_interval():
    valid = layout(1, 1)
    found = score_intervals({"model": np.arange(16.0), "gap": np.full(16, np.nan)}, np.zeros(16), valid, OPTIONS)
    assert found["model"] == found["baselines"]["gap"] == dict.fromkeys(SCALES)
    assert found["differences"]["gap"]["rmse"] == {"difference": None, "low": None, "high": None}
    perfect = score_intervals({"model": np.arange(192.0)}, np.arange(192.0), layout(3, 4), OPTIONS)["model"]
    assert perfect["bias"] == [0, 0]
    assert perfect["rmse"] is perfect["pearson_r"] is None  # their scales end there


KINDS = {"independent": (0.0, 0.0), "windows": (1.0, 0.0), "blocks": (0.0, 1.0), "both": (1.0, 1.0)}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(7, 24), (12, 48)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("kind", KINDS)
def test_nominal_90_percent_intervals_cover_the_truth_in_about_90_percent(kind, size):
    cases, bias, (by_window, by_block) = 200, 0.5, KINDS[kind]
    generator, options = np.random.default_rng(1), {**OPTIONS, "resamples": 300}
    sigma = np.sqrt(by_window**2 + by_block**2 + 1)
    truth = {"bias": bias, "rmse": np.hypot(bias, sigma), "mae": foldnorm.mean(bias / sigma, scale=sigma)}
    covered = dict.fromkeys(truth, 0)
    for _ in range(cases):
        error = bias + errors(generator, *size, by_window, by_block).ravel()
        found = score_intervals({"model": error}, np.zeros(error.size), layout(*size), options)["model"]
        for name, value in truth.items():
            low, high = found[name]
            covered[name] += low <= value <= high
    for name, count in covered.items():
        assert 0.85 <= count / cases <= 0.95, (kind, size, name, count / cases)
