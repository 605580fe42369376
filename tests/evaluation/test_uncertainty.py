import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from snowmap.errors import SnowmapError
from snowmap.evaluation.uncertainty import score_uncertainty
from snowmap.units import QUANTILES

SHAPE = (4, 50, 60)
NAMES = ["first", "second", "third", "fourth"]


def gaussian(scale: float = 1.0, factor: float = 1.0) -> tuple[xr.Dataset, np.ndarray]:
    """Maps that state a standard deviation of `scale` × the true one, their intervals widened by `factor`."""
    generator = np.random.default_rng(0)
    median, sigma = generator.uniform(20, 80, SHAPE), generator.uniform(1, 9, SHAPE)
    observed = median + sigma * generator.normal(size=SHAPE)
    median[:, 0], observed[:, :, 0] = np.nan, np.nan
    dims = ("window", "y", "x")
    maps = xr.Dataset({"hs": (dims, median, {"units": "cm"})})
    maps["hs_sigma"] = (dims, scale * factor * sigma, {"lower_bound": 0.0})
    for key, level in QUANTILES.items():
        values = median + factor * norm.ppf(level) * scale * sigma
        maps[f"hs_{key}"] = (dims, values, {"units": "cm", "conformal_factor": factor})
    return maps, observed


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
    assert sure["pixels"] == honest["pixels"] == SHAPE[0] * (SHAPE[1] - 1) * (SHAPE[2] - 1)


def order(made: tuple[xr.Dataset, np.ndarray]) -> tuple[xr.Dataset, str, np.ndarray]:
    return made[0], "hs", made[1]


def test_the_widening_can_be_undone():
    """A model that is too sure by 2 and was widened by 2 covers as it should, and did not before."""
    found = score_uncertainty(*order(gaussian(scale=0.5, factor=2.0)), NAMES)
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.02)
    sure = score_uncertainty(*order(gaussian(scale=0.5)), NAMES)
    assert found["coverage_90_uncalibrated"] == pytest.approx(sure["coverage_90"], abs=1e-3)
    assert found["coverage_50_uncalibrated"] == pytest.approx(sure["coverage_50"], abs=1e-3)
    assert found["crps"] == pytest.approx(score_uncertainty(*order(gaussian()), NAMES)["crps"])  # of what is stated
    assert [point["uncalibrated"] for point in found["reliability"]] == pytest.approx(
        [point["observed"] for point in sure["reliability"]]
    )


def test_bare_ground_counts_as_the_point_mass_that_it_is():
    """Half of the map is bare, and the truth is drawn from what the map states: no share is above the promised one."""
    maps, observed = gaussian()
    shift = np.where(np.arange(SHAPE[2]) < SHAPE[2] // 2, maps["hs"].values, 0)
    for layer in ("hs", *(f"hs_{key}" for key in QUANTILES)):
        maps[layer].values -= shift
    found = score_uncertainty(maps, "hs", np.maximum(observed - shift, 0), NAMES)
    assert found["snow"]["pixels"] < 0.6 * found["pixels"]
    for scores in (found, found["snow"]):
        for share in (50, 90):
            assert scores[f"coverage_{share}"] == pytest.approx(share / 100, abs=0.02)


def test_a_model_without_uncertainty_has_none():
    maps, observed = gaussian()
    assert score_uncertainty(maps[["hs"]], "hs", observed, NAMES) is None


@pytest.mark.parametrize(("key", "value"), [("sigma", 0.0), ("sigma", np.nan), ("q25", np.nan), ("q75", 0.0)])
def test_an_impossible_statement_names_target_window_and_count(key, value):
    maps, observed = gaussian()
    maps[f"hs_{key}"].values[2, 5, :7] = value
    with pytest.raises(SnowmapError, match=rf"'hs_{key}' in third .* at 7 pixels"):
        score_uncertainty(maps, "hs", observed, NAMES)
    maps, observed = gaussian()
    maps[f"hs_{key}"].values[:, 0] = value  # where the map has no value either
    assert score_uncertainty(maps, "hs", observed, NAMES)
