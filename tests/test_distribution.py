"""The distribution of a pixel against SciPy, numerical integrals and draws."""

import numpy as np
import pytest
import torch
from scipy import stats

from snowmap.distribution import DEVIATES, LEVELS, Distribution, widened

NORMAL = (30.0 + 4.0 * np.array(DEVIATES)).tolist()
SKEWED = [-3.0, 1.0, 4.0, 9.0, 30.0]
"""Quantiles of which one lies below zero: the value is 0 with a probability between 5 and 25 %."""

CASES = [(NORMAL, -np.inf), (NORMAL, 0.0), (SKEWED, 0.0), (SKEWED, -np.inf), ([-2.0, -1.0, 0.0, 1.0, 2.0], 0.0)]


def quantile(quantiles: list[float], least: float, levels: np.ndarray) -> np.ndarray:
    """The definition: linear in the normal deviate between the quantiles and beyond them, nothing below `least`."""
    z, edges = stats.norm.ppf(levels), np.array(DEVIATES)
    values = np.interp(z, edges, quantiles)
    slopes = np.diff(quantiles) / np.diff(edges)
    values = np.where(z < edges[0], quantiles[0] + slopes[0] * (z - edges[0]), values)
    values = np.where(z > edges[-1], quantiles[-1] + slopes[-1] * (z - edges[-1]), values)
    return np.maximum(values, least)


def stated(quantiles: list[float], least: float, count: int) -> Distribution:
    return Distribution(torch.tensor(quantiles, dtype=torch.float64)[:, None].expand(-1, count), least)


@pytest.mark.parametrize(("quantiles", "least"), CASES)
def test_scores_and_sigma_are_those_of_the_definition(quantiles, least):
    levels = (np.arange(200_000) + 0.5) / 200_000
    values = quantile(quantiles, least, levels)
    observed = np.array([max(least, x) for x in (-20.0, 0.0, 0.5, 2.0, 6.0, 31.0, 80.0)])
    own = stated(quantiles, least, len(observed))
    assert own.std().numpy() == pytest.approx(values.std(), rel=1e-3)
    # E|X − y| − ½ E|X − X'|, with the mean difference of sorted values in closed form
    spread = 2 * np.mean((2 * levels - 1) * values)
    crps = [np.mean(np.abs(values - y)) - 0.5 * spread for y in observed]
    assert own.crps(torch.tensor(observed)).numpy() == pytest.approx(crps, rel=1e-3)


def test_of_a_normal_distribution_they_are_those_of_scipy():
    mean, sigma, observed = 30.0, 4.0, np.array([5.0, 28.0, 41.0])
    own = stated(NORMAL, -np.inf, 3)
    assert own.std().numpy() == pytest.approx(sigma)
    assert own.nll(torch.tensor(observed)).numpy() == pytest.approx(-stats.norm.logpdf(observed, mean, sigma))
    z = (observed - mean) / sigma  # Gneiting & Raftery 2007, eq. 21
    crps = sigma * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert own.crps(torch.tensor(observed)).numpy() == pytest.approx(crps)


@pytest.mark.parametrize(("quantiles", "least"), CASES)
def test_density_and_point_mass_add_up_to_one(quantiles, least):
    values = np.linspace(max(least, -200.0), 400.0, 200_000)
    values[0] += 1e-9
    density = torch.exp(-stated(quantiles, least, len(values)).nll(torch.from_numpy(values))).numpy()
    mass = (
        np.exp(-stated(quantiles, least, 1).nll(torch.tensor([0.0], dtype=torch.float64)).item()) if least == 0 else 0
    )
    assert mass + np.trapezoid(density, values) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("quantiles", "least"), CASES)
def test_what_is_drawn_from_it_lies_inside_as_often_as_promised(quantiles, least):
    draws = quantile(quantiles, least, np.random.default_rng(0).random(100_000))
    own, drawn = stated(quantiles, least, len(draws)), torch.from_numpy(draws)
    for share in (0.1, 0.5, 0.7, 0.9):
        assert float(own.inside(drawn, share).mean()) == pytest.approx(share, abs=0.006)
    assert float(own.width(50)[0]) == pytest.approx(max(quantiles[3], least) - max(quantiles[1], least))


def test_widening_multiplies_the_distances_and_keeps_the_order():
    quantiles = torch.tensor(SKEWED, dtype=torch.float64)[:, None]
    factors = torch.tensor([2.0, 3.0, 1.0, 3.0, 2.0], dtype=torch.float64)[:, None]
    assert widened(quantiles, factors)[:, 0].tolist() == pytest.approx([-10.0, -5.0, 4.0, 19.0, 56.0])
    factors[1] = factors[3] = 50.0
    assert (widened(quantiles, factors).diff(dim=0) > 0).all()
    assert sorted(LEVELS.values()) == list(LEVELS.values())
