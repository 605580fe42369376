import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from snowmap.metrics import SCORES, scores


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
