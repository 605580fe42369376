import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation, pearsonr, rankdata, spearmanr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    jaccard_score,
    mean_absolute_error,
    precision_score,
    r2_score,
    recall_score,
    root_mean_squared_error,
)

from snowmap.evaluation.metrics import SCORES, presence, ranks, requirement_share, scores

PRESENCE = ("pod", "far", "precision", "f1", "csi", "accuracy")


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), gaps=st.floats(0, 0.7), scale=st.sampled_from([1e-2, 1.0, 1e4]))
def test_equals_scikit_learn_and_scipy_on_pixels_where_both_have_a_value(seed, gaps, scale):
    generator = np.random.default_rng(seed)
    observed = (generator.gamma(2, 10, (3, 8, 9)) * scale).astype(np.float32)
    predicted = (observed + generator.normal(0, 5, observed.shape) * scale).astype(np.float32)
    for maps in (observed, predicted):
        maps[generator.random(maps.shape) < gaps] = np.nan
    both = np.isfinite(observed) & np.isfinite(predicted)
    o, p = observed[both].astype(float), predicted[both].astype(float)
    found = scores(predicted, observed)
    assert tuple(found) == SCORES
    assert found["pixels"] == both.sum()
    if both.sum() > 2:
        assert found["rmse"] == pytest.approx(root_mean_squared_error(o, p), rel=1e-6)
        assert found["mae"] == pytest.approx(mean_absolute_error(o, p), rel=1e-6)
        assert found["bias"] == pytest.approx(np.mean(p - o), rel=1e-6, abs=1e-9 * scale)
        assert found["r2"] == pytest.approx(r2_score(o, p), rel=1e-6)
        assert found["pearson_r"] == pytest.approx(pearsonr(o, p).statistic, rel=1e-6)
        assert found["spearman_r"] == pytest.approx(spearmanr(o, p).statistic, rel=1e-9)
        assert found["median_error"] == pytest.approx(np.median(p - o), rel=1e-9)
        assert found["nmad"] == pytest.approx(1.4826 * median_abs_deviation(p - o), rel=1e-9)
        assert found["nse"] == found["r2"]


@given(st.lists(st.sampled_from([-1.5, 0.0, 0.25, 3.0, 7.0]), max_size=40))
def test_ranks_are_those_of_scipy(values):
    array = np.array(values)
    np.testing.assert_array_equal(ranks(array), rankdata(array))


def test_known_ranks_change_nothing():
    generator = np.random.default_rng(0)
    observed = np.round(generator.gamma(2, 10, (5, 6)))
    predicted = observed + generator.normal(size=observed.shape)
    assert scores(predicted, observed, ranks(observed)) == scores(predicted, observed)
    predicted[0, 0] = np.nan  # then they do not fit, and are not used
    assert scores(predicted, observed, ranks(observed)) == scores(predicted, observed)


def test_a_shuffled_target_has_no_skill():
    generator = np.random.default_rng(0)
    observed = generator.gamma(2, 10, (20, 30, 40))
    found = scores(generator.permutation(observed.ravel()).reshape(observed.shape), observed)
    assert found["r2"] == pytest.approx(-1, abs=0.05)  # twice the variance
    assert abs(found["pearson_r"]) < 0.03
    assert abs(found["spearman_r"]) < 0.03


@settings(deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_presence_equals_scikit_learn(seed, share):
    generator = np.random.default_rng(seed)
    observed, predicted = (np.where(generator.random(60) < share, 0, generator.gamma(1, 10, 60)) for _ in range(2))
    predicted[:5], observed[3:8] = np.nan, np.nan
    found = presence(predicted, observed, 5.0)
    both = np.isfinite(predicted) & np.isfinite(observed)
    o, p = observed[both] >= 5, predicted[both] >= 5
    assert tuple(found) == PRESENCE
    assert found["accuracy"] == pytest.approx(accuracy_score(o, p))
    known = {"pod": recall_score, "precision": precision_score, "f1": f1_score, "csi": jaccard_score}
    for name, score in known.items():
        assert found[name] is None or found[name] == pytest.approx(score(o, p))
    assert (found["pod"] is None) == (not o.any())
    assert (found["precision"] is None) == (found["far"] is None) == (not p.any())
    assert (found["csi"] is None) == (found["f1"] is None) == (not (o | p).any())
    assert found["far"] is None or found["far"] == pytest.approx(1 - found["precision"])


def test_presence_begins_at_the_threshold_and_is_undefined_without_a_pixel():
    found = presence(np.array([5.0, 4.9, 5.0, 0.0]), np.array([5.0, 5.0, 0.0, 0.0]), 5.0)
    assert found == {"pod": 0.5, "far": 0.5, "precision": 0.5, "f1": 0.5, "csi": 1 / 3, "accuracy": 0.5}
    assert presence(np.array([np.nan]), np.array([1.0]), 5.0) == dict.fromkeys(PRESENCE)


def test_bare_ground_that_is_mapped_as_such_meets_no_requirement():
    observed, predicted = np.array([0.0, 0.5, 20.0, 0.0]), np.array([0.0, 0.0, 0.0, 2.0])
    assert requirement_share(predicted, observed, 1.0, 0.1) == 1 / 2
    assert requirement_share(predicted[:2], observed[:2], 1.0, 0.1) is None


def test_the_requirement_is_3_cm_up_to_30_cm_and_10_percent_above():
    observed = np.array([0.0, 20.0, 30.0, 30.0, 50.0, 50.0, 100.0, np.nan])
    error = np.array([3.0, -3.1, 3.0, -3.5, 5.0, -5.1, 9.0, 0.0])
    assert requirement_share(observed + error, observed, 1.0, 0.1) == 4 / 7
    assert requirement_share(10 * (observed + error), 10 * observed, 10.0, 1.0) == 4 / 7
    assert requirement_share(np.array([np.nan]), np.array([1.0]), 1.0, 1.0) is None


def test_undefined_scores_are_none_never_nan():
    nothing = scores(np.full(4, np.nan), np.ones(4))
    assert nothing == {**dict.fromkeys(SCORES), "pixels": 0}
    constant = scores(np.array([1.0, 2.0]), np.array([3.0, 3.0]))
    assert constant["bias"] == -1.5
    assert constant["r2"] is constant["pearson_r"] is None
    flat = scores(np.array([2.0, 2.0]), np.array([1.0, 3.0]))
    assert flat["r2"] == 0
    assert flat["pearson_r"] is None


@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-8])
def test_r2_does_not_depend_on_how_little_snow_there_is(scale):
    generator = np.random.default_rng(0)
    observed = generator.gamma(2, 1, 50) * scale
    for spread in (0.1, 3):
        predicted = observed + generator.normal(0, spread, 50) * scale
        assert scores(predicted, observed)["r2"] == pytest.approx(r2_score(observed, predicted), rel=1e-6)


def test_an_almost_snow_free_window_does_not_flatter_a_map_of_snow():
    observed = np.zeros(1000)
    observed[5] = 0.008
    found = scores(np.full(1000, 0.5), observed)
    assert found["r2"] == pytest.approx(r2_score(observed, np.full(1000, 0.5)), rel=1e-6)
    assert found["r2"] < -1e6


@pytest.mark.parametrize("spread", [1e-300, 1e-160])
def test_a_spread_too_small_to_square_is_undefined_and_silent(spread):
    generator = np.random.default_rng(0)
    tiny, wide = spread * generator.normal(size=50), generator.normal(size=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scores(tiny, wide)["pearson_r"] is None
        assert scores(wide, tiny)["r2"] is scores(wide, tiny)["pearson_r"] is None


def test_a_perfect_map_and_a_known_bias():
    observed = np.arange(12.0).reshape(3, 4)
    perfect, shifted = scores(observed, observed), scores(observed + 2.5, observed)
    assert perfect["rmse"] == 0
    assert perfect["r2"] == perfect["pearson_r"] == 1
    assert shifted["bias"] == shifted["rmse"] == shifted["mae"] == 2.5
    assert math.isclose(shifted["pearson_r"], 1)
