import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.stats import norm

from snowmap.errors import SnowmapError
from snowmap.evaluation.uncertainty import crps_normal, crps_quantiles, score_uncertainty
from snowmap.units import QUANTILES

SHAPE = (4, 50, 60)
NAMES = ["first", "second", "third", "fourth"]


def gaussian(scale: float = 1.0, factor: float = 1.0, distribution: str = "normal") -> tuple[xr.Dataset, np.ndarray]:
    """Maps that state a standard deviation of `scale` × the true one, their intervals widened by `factor`."""
    generator = np.random.default_rng(0)
    median, sigma = generator.uniform(20, 80, SHAPE), generator.uniform(1, 9, SHAPE)
    observed = median + sigma * generator.normal(size=SHAPE)
    median[:, 0], observed[:, :, 0] = np.nan, np.nan
    dims = ("window", "y", "x")
    maps = xr.Dataset({"hs": (dims, median, {"units": "cm"})})
    maps["hs_sigma"] = (dims, scale * sigma, {"distribution": distribution})
    for key, level in QUANTILES.items():
        values = median + factor * norm.ppf(level) * scale * sigma
        maps[f"hs_{key}"] = (dims, values, {"units": "cm", "conformal_factor": factor})
    return maps, observed


@pytest.mark.parametrize("z", [-3.0, -0.4, 0.0, 1.0, 2.5])
def test_crps_of_the_normal_is_its_integral(z):
    """∫ (F(x) − 1{x ≥ observed})² dx, the definition."""
    mean, sigma = 30.0, 4.0
    observed = mean + z * sigma
    below, _ = quad(lambda x: norm.cdf(x, mean, sigma) ** 2, -200, observed)
    above, _ = quad(lambda x: norm.sf(x, mean, sigma) ** 2, observed, 300)
    found = crps_normal(np.array([mean]), np.array([sigma]), np.array([observed]))
    assert found == pytest.approx(below + above, rel=1e-6)


def test_crps_of_the_normal_is_that_of_its_draws():
    """E|X − observed| − ½ E|X − X'|, by draws."""
    draws = np.random.default_rng(0).normal(10, 3, 200_000)
    for observed in (4.0, 10.0, 17.0):
        known = np.mean(np.abs(draws - observed)) - 0.5 * np.mean(np.abs(draws - draws[::-1]))
        found = crps_normal(np.array([10.0]), np.array([3.0]), np.array([observed]))
        assert found == pytest.approx(known, rel=0.02)


def test_crps_from_quantiles_by_hand():
    quantiles = {key: np.array([value]) for key, value in zip(QUANTILES, (1.0, 3.0, 7.0, 9.0), strict=True)}
    found = crps_quantiles(np.array([5.0]), quantiles, np.array([6.0]))
    known = 2 * np.mean([0.5 * 1, 0.05 * 5, 0.25 * 3, 0.25 * 1, 0.05 * 3])
    assert found == pytest.approx(known)


def test_a_true_statement_is_calibrated_and_has_the_closed_forms_of_its_scores():
    maps, observed = gaussian()
    found = score_uncertainty(maps, "hs", observed, NAMES)
    both = np.isfinite(maps["hs"].values) & np.isfinite(observed)
    sigma = maps["hs_sigma"].values[both]
    assert found["coverage_50"] == pytest.approx(0.5, abs=0.02)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.02)
    assert found["width_90"] == pytest.approx(2 * 1.6449 * sigma.mean(), rel=1e-4)
    assert found["width_50"] == pytest.approx(2 * 0.6745 * sigma.mean(), rel=1e-4)
    assert found["crps"] == pytest.approx(sigma.mean() / np.sqrt(np.pi), rel=0.03)  # its expectation
    assert found["nll"] == pytest.approx(np.mean(np.log(sigma)) + 0.5 * np.log(2 * np.pi) + 0.5, rel=0.01)
    assert [point["nominal"] for point in found["reliability"]] == pytest.approx(np.arange(0.1, 1, 0.1))
    for point in found["reliability"]:
        assert point["observed"] == pytest.approx(point["nominal"], abs=0.02)


def test_too_sure_a_model_covers_too_little_and_scores_worse():
    honest = score_uncertainty(*order(gaussian()), NAMES)
    sure = score_uncertainty(*order(gaussian(scale=0.5)), NAMES)
    assert sure["coverage_90"] == pytest.approx(2 * norm.cdf(1.645 / 2) - 1, abs=0.02)
    assert sure["nll"] > honest["nll"]
    assert sure["crps"] > honest["crps"]
    assert all(point["observed"] < point["nominal"] - 0.03 for point in sure["reliability"])


def order(made: tuple[xr.Dataset, np.ndarray]) -> tuple[xr.Dataset, str, np.ndarray]:
    return made[0], "hs", made[1]


def test_the_widening_can_be_undone():
    """A model that is too sure by 2 and was widened by 2 covers as it should, and did not before."""
    found = score_uncertainty(*order(gaussian(scale=0.5, factor=2.0)), NAMES)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.02)
    sure = score_uncertainty(*order(gaussian(scale=0.5)), NAMES)
    assert found["coverage_90_uncalibrated"] == pytest.approx(sure["coverage_90"], abs=1e-3)
    assert found["coverage_50_uncalibrated"] == pytest.approx(sure["coverage_50"], abs=1e-3)


def test_quantiles_alone_have_no_density():
    maps, observed = gaussian(distribution="quantiles")
    found = score_uncertainty(maps, "hs", observed, NAMES)
    assert found["nll"] is None
    assert found["reliability"] == [
        {"nominal": 0.5, "observed": found["coverage_50_uncalibrated"]},
        {"nominal": 0.9, "observed": found["coverage_90_uncalibrated"]},
    ]
    both = np.isfinite(maps["hs"].values) & np.isfinite(observed)
    levels = {0.5: maps["hs"].values[both]} | {
        level: maps[f"hs_{key}"].values[both] for key, level in QUANTILES.items()
    }
    losses = [
        np.where(observed[both] >= values, level * (observed[both] - values), (1 - level) * (values - observed[both]))
        for level, values in levels.items()
    ]
    assert found["crps"] == pytest.approx(2 * np.mean(losses), rel=1e-9)


def test_a_model_without_uncertainty_has_none():
    maps, observed = gaussian()
    assert score_uncertainty(maps[["hs"]], "hs", observed, NAMES) is None


@pytest.mark.parametrize(("key", "value"), [("sigma", 0.0), ("sigma", -1.0), ("sigma", np.nan), ("q25", np.nan)])
def test_an_impossible_statement_names_target_window_and_count(key, value):
    maps, observed = gaussian()
    maps[f"hs_{key}"].values[2, 5, :7] = value
    with pytest.raises(SnowmapError, match=rf"'hs_{key}' in third .* at 7 pixels"):
        score_uncertainty(maps, "hs", observed, NAMES)
    maps, observed = gaussian()
    maps[f"hs_{key}"].values[:, 0] = value  # where the map has no value either
    assert score_uncertainty(maps, "hs", observed, NAMES)
