import numpy as np
import pytest
from scipy.stats import t

from benchmarks.coverage import coverage
from snowmap.evaluation.intervals import CORRELATION, SCALES, score_intervals, scores_of_sums, window_sums
from snowmap.evaluation.metrics import scores


def maps(seed: int = 0, windows: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and observed values of the valid pixels, and where these are; each window is off by an error."""
    generator = np.random.default_rng(seed)
    valid = generator.random((windows, 6, 8)) < 0.9
    observed = generator.gamma(2, 10, valid.sum())
    of_window = 2 * generator.normal(size=windows)[np.nonzero(valid)[0]]
    return observed + of_window + generator.normal(size=valid.sum()) + 0.5, observed, valid


def test_sums_over_windows_give_the_scores_of_the_pixels():
    predicted, observed, valid = maps()
    predicted[::7] = np.nan
    sums = window_sums(predicted, observed, np.nonzero(valid)[0]).sum(axis=0)
    known = scores(predicted, observed)
    result = dict(zip(SCALES, scores_of_sums(sums), strict=True))
    assert result == pytest.approx({name: known[name] for name in SCALES}, rel=1e-10)


def test_each_interval_holds_its_score():
    predicted, observed, valid = maps()
    intervals = score_intervals({"model": predicted}, observed, valid, 0.9)["model"]
    for name, (low, high) in intervals.items():
        assert low < scores(predicted, observed)[name] < high
    wider = score_intervals({"model": predicted}, observed, valid, 0.99)["model"]
    assert wider["bias"][0] < intervals["bias"][0]
    assert wider["r2"][1] < 1
    assert wider["pearson_r"][1] < 1


@pytest.mark.parametrize(("windows", "cosines"), [(2, 1), (7, 2), (28, 4)])
def test_the_interval_of_the_bias_is_that_of_a_mean_by_cosines(windows, cosines):
    """With as many pixels in each window the bias is the mean of a series (Lazarus et al. 2018, eq. 3 and 4)."""
    of_window = np.random.default_rng(3).normal(size=windows)
    valid = np.ones((windows, 2, 3), dtype=bool)
    low, high = score_intervals({"model": np.repeat(of_window, 6)}, np.zeros(6 * windows), valid, 0.9)["model"]["bias"]
    at = [[np.cos(np.pi * j * (i + 0.5) / windows) for i in range(windows)] for j in range(1, cosines + 1)]
    projected = [np.sqrt(2 / windows) * sum(c * x for c, x in zip(row, of_window, strict=True)) for row in at]
    alike = [[CORRELATION ** abs(i - k) for i in range(windows)] for k in range(windows)]
    of_mean = sum(map(sum, alike)) / windows
    of_cosines = np.mean([2 / windows * np.array(row) @ np.array(alike) @ np.array(row) for row in at])
    reach = t.ppf(0.95, cosines) * np.sqrt(of_mean / of_cosines * np.mean(np.square(projected)) / windows)
    assert (high - low) / 2 == pytest.approx(reach, rel=1e-9)
    assert (high + low) / 2 == pytest.approx(of_window.mean(), rel=1e-9)


def test_differences_are_paired():
    """Errors that model and baseline share cancel, so the difference is far surer than either score."""
    predicted, observed, valid = maps()
    columns = {"model": predicted, "shifted": predicted + 1, "same": predicted.copy()}
    intervals = score_intervals(columns, observed, valid, 0.9)
    bias = intervals["differences"]["shifted"]["bias"]
    assert bias == pytest.approx({"difference": -1, "low": -1, "high": -1}, abs=1e-9)
    low, high = intervals["model"]["bias"]
    assert high - low > 1
    for entry in intervals["differences"]["same"].values():
        assert entry == pytest.approx({"difference": 0, "low": 0, "high": 0}, abs=1e-12)


def test_differences_are_over_the_pixels_that_both_have():
    predicted, observed, valid = maps()
    baseline = observed + 3
    gaps = np.random.default_rng(1).random(len(observed)) < 0.5
    predicted[::5], baseline[gaps] = np.nan, np.nan
    differences = score_intervals({"model": predicted, "baseline": baseline}, observed, valid, 0.9)["differences"]
    both = np.isfinite(predicted) & np.isfinite(baseline)
    for name in SCALES:
        ours, theirs = scores(predicted[both], observed[both])[name], scores(baseline[both], observed[both])[name]
        assert differences["baseline"][name]["difference"] == pytest.approx(ours - theirs, abs=1e-9)


def test_maps_of_the_same_window_are_one():
    predicted, observed, valid = maps(windows=6)
    same = np.array([0, 0, 1, 1, 2, 2])
    joined = score_intervals({"model": predicted}, observed, valid, 0.9, same)["model"]
    wide = valid.reshape(3, 12, 8)
    assert joined == score_intervals({"model": predicted}, observed, wide, 0.9)["model"]


def test_a_single_window_or_no_pixel_gives_no_interval():
    valid = np.ones((1, 4, 4), dtype=bool)
    result = score_intervals({"model": np.arange(16.0), "gap": np.full(16, np.nan)}, np.zeros(16), valid, 0.9)
    assert result["model"] == result["baselines"]["gap"] == dict.fromkeys(SCALES)
    assert result["differences"]["gap"]["rmse"] == {"difference": None, "low": None, "high": None}
    valid = np.ones((3, 4, 4), dtype=bool)
    perfect = score_intervals({"model": np.arange(48.0)}, np.arange(48.0), valid, 0.9)["model"]
    assert perfect["bias"] == [0, 0]
    assert perfect["rmse"] is perfect["pearson_r"] is None  # their scales end there


@pytest.mark.slow
@pytest.mark.parametrize("windows", [7, 28])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_90_percent_intervals_cover_the_truth_in_about_90_percent(windows, correlation):
    for name, share in coverage(windows, correlation, cases=500).items():
        assert 0.85 <= share <= 0.95, name
