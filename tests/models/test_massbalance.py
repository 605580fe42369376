"""The budget holds by construction, for any weights and inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmap.models import Inputs, Specification, build_net
from snowmap.models.massbalance import DENSITY_BOUNDS, coherence_lost
from tests.models.inputs import BANDS, CHANNELS, make_inputs, make_net


@settings(max_examples=30, deadline=None)
@given(
    weights=st.integers(0, 10**6),
    values=st.integers(0, 10**6),
    gap=st.sampled_from([0.0, 12.0, 48.0]),
    start=st.integers(-1, 4),
    padding=st.integers(0, 2),
    scale=st.sampled_from([1.0, 10.0]),
)
def test_the_mass_budget_holds_for_random_weights_and_inputs(weights, values, gap, start, padding, scale):
    net, inputs = make_net("massbalance", seed=weights), make_inputs("massbalance", seed=values)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= scale
        inputs.gap_days[:, 3] = gap
        inputs.step_valid[:, :padding] = False
        if start >= padding:
            inputs.season_start[:, start] = True
        budget = net.budget(inputs)
    before, accumulation, melt, state = (part.double() for part in budget)
    tolerance = 1e-4 * (1 + before + accumulation)
    assert ((state - before - accumulation + melt).abs() <= tolerance).all()
    assert (budget.state >= 0).all()
    assert (accumulation >= 0).all()
    assert (melt >= 0).all()
    assert (budget.melt <= budget.before + budget.accumulation).all()
    for step in range(max(1, padding + 1), 5):  # a step builds on the one before, unless a season begins
        if step != start:
            assert torch.equal(budget.before[:, step], budget.state[:, step - 1])


def test_a_gap_before_the_snow_with_which_a_step_begins_adds_and_melts_nothing():
    net, inputs = make_net("massbalance"), make_inputs("massbalance")
    inputs.season_start[:, 2] = True
    without = net.budget(inputs)
    inputs.gap_days[:, 0], inputs.gap_days[:, 2] = 60.0, 130.0
    for known, after in zip(without, net.budget(inputs), strict=True):
        assert torch.equal(known, after)
    inputs.gap_days[:, 4] = 12.0
    assert not torch.equal(without.state[:, 4], net.budget(inputs).state[:, 4])


def test_snowfall_and_melt_are_rates_so_that_shorter_windows_of_the_same_weather_give_the_same_snow():
    net = build_net({"name": "massbalance"}, Specification(CHANNELS, BANDS, {"swe": "mm"})).eval()
    long = make_inputs("massbalance", time=10, batch=1)  # 120 days
    long.valid[:, :, :2] = False  # no phase
    long.season_start[:, 0] = True
    long.bands[:, :, 3] /= 10  # °C d: as much melts as falls
    halves = Inputs(*(each.repeat_interleave(2, dim=1) for each in long))
    halves.season_start[:, 1] = False
    halves.bands[:, :, 3] /= 2  # PDD is a sum over the days
    halves.length_days[:], halves.added_days[:] = 6.0, 6.0
    swe = net(long)[0, :, 0]
    # both weathers are steady within 12 days, so that the budget is the same but for rounding
    torch.testing.assert_close(net(halves)[0, 1::2, 0], swe, rtol=1e-4, atol=1e-3)
    assert (swe[-1] > 10).any()
    assert (swe == 0).any()
    overlapping = Inputs(*(each.repeat_interleave(2, dim=1) for each in long))  # each window twice
    overlapping.season_start[:, 1] = False
    overlapping.added_days[:, 1::2] = 0.0
    torch.testing.assert_close(net(overlapping)[0, 1::2, 0], swe, rtol=1e-4, atol=1e-3)


def test_density_stays_within_physical_bounds_and_depth_follows_from_it():
    net, inputs = make_net("massbalance"), make_inputs("massbalance")
    with torch.no_grad():
        net.dense[-1].weight *= 100
        maps, budget = net(inputs), net.budget(inputs)
    swe, hs = maps[:, :, 0], maps[:, :, 1]
    torch.testing.assert_close(swe, budget.state / 10)
    density = (swe * 10 / (hs / 100))[swe > 0.01]
    assert density.min() >= DENSITY_BOUNDS[0] * 0.999
    assert density.max() <= DENSITY_BOUNDS[1] * 1.001


def test_fluxes_are_those_of_the_budget():
    net, inputs = make_net("massbalance"), make_inputs("massbalance")
    maps, fluxes = net.with_fluxes(inputs)
    budget = net.budget(inputs)
    assert torch.equal(maps, net(inputs))
    assert torch.equal(fluxes, torch.stack([budget.accumulation, budget.melt], dim=2))


def test_the_phase_of_wet_snow_counts_for_nothing():
    bands = (*BANDS, "wet_snow")
    net = build_net({"name": "massbalance"}, Specification(CHANNELS, bands, {"swe": "mm"})).eval()
    inputs = make_inputs("massbalance", time=3, batch=1)
    inputs.season_start[:, 0] = True
    wet = torch.zeros_like(inputs.bands[:, :, :1])
    wet[:, 1] = 1.0
    inputs.bands[:, :, 1] = 1.0  # coherent all the same
    inputs.valid[:] = True

    def accumulation(phase_swe: float, wet: torch.Tensor) -> torch.Tensor:
        inputs.bands[:, :, 0] = phase_swe
        with_band = inputs._replace(
            bands=torch.cat([inputs.bands, wet], dim=2), valid=inputs.valid[:, :, [0, 1, 2, 3, 0]]
        )
        return net.budget(with_band).accumulation

    dry, soaked = (accumulation(40.0, each) - accumulation(0.0, each) for each in (0 * wet, wet))
    assert (dry[:, 1] > 1).any()
    assert soaked[:, 1].abs().max() < 1e-5
    torch.testing.assert_close(soaked[:, 0], dry[:, 0])


def with_bands(**values: float):
    """The untrained net that reads these bands too, and three cold windows without phase from 1 September on."""
    net = build_net({"name": "massbalance"}, Specification(CHANNELS, (*BANDS, *values), {"swe": "mm"})).eval()
    inputs = make_inputs("massbalance", time=3, batch=1)
    inputs.season_start[:, 0] = True
    further = torch.ones_like(inputs.bands[:, :, :1]) * torch.tensor(list(values.values()))[:, None, None]
    bands = torch.cat([inputs.bands, further], dim=2)
    bands[:, :, 2], bands[:, :, 3] = -15.0, 0.0
    valid = torch.ones_like(bands, dtype=torch.bool)
    valid[:, :, 0] = False
    return net, inputs._replace(bands=bands, valid=valid)


def test_untrained_it_takes_precipitation_as_it_is_where_the_phase_says_nothing():
    net, inputs = with_bands(precipitation=37.0)
    inputs.bands[:, :, 1] = 0.5
    torch.testing.assert_close(net.budget(inputs).accumulation, torch.full((1, 3, 12, 9), 37.0), rtol=0.01, atol=0)
    inputs.valid[:, 1, -1] = False  # a window without it takes what the net has learnt instead
    assert (net.budget(inputs).accumulation[:, 1] < 20).all()


def test_coherence_is_lost_against_the_best_so_far_of_windows_as_long():
    coherence = torch.tensor([0.8, 0.6, 0.9, 0.3, 0.45, 0.0])[None, :, None, None].repeat(1, 1, 7, 6)
    coherence[:, :, :, 3:] /= 2  # a forest
    valid = torch.ones_like(coherence, dtype=torch.bool)
    valid[:, 5] = False
    lost = coherence_lost(coherence, valid, torch.tensor([[12.0, 12.0, 6.0, 24.0, 12.0, 12.0]]))
    expected = torch.tensor([0.0, 0.25, 0.0, 0.0, 1 - 0.45 / 0.8, 0.0])
    for place in (0, 5):  # the averages mix forest and open ground only at its edge
        torch.testing.assert_close(lost[0, :, 3, place], expected)


def test_untrained_a_storm_that_takes_coherence_brings_snow_that_no_phase_shows():
    net, inputs = with_bands(glacier=0.0)
    inputs.bands[:, :, 1] = torch.tensor([0.8, 0.8, 0.2])[:, None, None]
    quiet, calm, storm = net.budget(inputs).accumulation.mean(dim=(0, 2, 3))
    assert quiet == calm < 10
    assert (storm - calm).item() == pytest.approx(0.75 * 104, rel=0.02)


def test_coherence_that_wet_snow_takes_is_no_storm_in_either_window_that_shares_its_acquisition():
    net, inputs = with_bands(wet_snow=0.0)
    inputs.bands[:, :, 1] = torch.tensor([0.8, 0.2, 0.2])[:, None, None]
    inputs.bands[:, 1, -1, 4:] = 1.0  # at the end of the second window, on part of the ground
    quiet, wet, after = net.budget(inputs).accumulation.mean(dim=-1)[0, :, 9:].mean(dim=-1)
    assert quiet == wet == after < 10
    gap = net.budget(inputs._replace(gap_days=torch.tensor([[0.0, 0.0, 12.0]]))).accumulation
    assert (gap[0, 2, 9:] > 60).all()  # the third window begins with an acquisition of its own
    storm = net.budget(inputs).accumulation[0, :, 0].mean(dim=-1)
    assert (storm[1:] > 60).all()


def test_on_a_glacier_a_season_does_not_begin_on_bare_ground():
    bare, ice = (net.budget(inputs).before[:, 0] for net, inputs in (with_bands(glacier=0.0), with_bands(glacier=1.0)))
    assert (bare < 5).all()
    assert (ice > 50).all()


def test_untrained_and_coherent_it_sums_the_phase_in_the_cold_and_melts_by_degree_days():
    net = build_net({"name": "massbalance"}, Specification(CHANNELS, BANDS, {"swe": "mm"})).eval()
    inputs = make_inputs("massbalance", time=4, batch=1)
    inputs.season_start[:, 0] = True
    for index, value in enumerate((20.0, 1.5, -15.0, 0.0)):  # phase_swe, coherence, temperature, PDD
        inputs.bands[:, :, index] = value
    inputs.valid[:] = True
    cold = net(inputs)[0, :, 0].mean(dim=(1, 2))
    torch.testing.assert_close(cold.diff(), torch.full((3,), 20.0), rtol=0.02, atol=0.1)
    inputs.bands[:, :, 0], inputs.bands[:, 3, 2], inputs.bands[:, 3, 3] = 20.0, 10.0, 6.0
    warm = net(inputs)[0, :, 0].mean(dim=(1, 2))
    assert (warm[2] - warm[3]).item() == pytest.approx(4.9 * 6, rel=0.15)


def test_a_missing_phase_falls_back_on_the_net_and_counts_no_phase():
    net, inputs = make_net("massbalance"), make_inputs("massbalance")
    inputs.valid[:, :, 0] = False
    other = inputs._replace(bands=inputs.bands.clone())
    other.bands[:, :, 0] = 500.0
    assert torch.equal(net(inputs), net(other))


def test_trained_on_swe_alone_it_has_no_weight_without_use():
    net = make_net("massbalance", targets=("swe",)).train()
    net(make_inputs("massbalance")).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
