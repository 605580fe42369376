"""Sums over windows that overlap: against truths made by hand, a dense solver, and real pairs."""

import numpy as np
import pytest
import xarray as xr

from snowmap.baselines import BASELINES
from snowmap.data.features import with_derived
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.radar.network import (
    changes_between_dates,
    closure,
    increments,
    parts,
    phase_variance,
    season_sum,
    triplets,
)
from snowmap.data.radar.phase import Phase, referenced
from snowmap.sources.trentino import open_archive
from tests.archives import MEXICO_BANDS, write_mexico_archive
from tests.cubes import make_cube
from tests.data.radar.test_phase import with_phase
from tests.data.test_features import band

NEAREST_THREE = [(12 * (last - count), 12 * last) for last in range(1, 9) for count in (1, 2, 3) if last >= count]


def network(pairs):
    """Start and end of windows by days from 1 October."""
    days = np.datetime64("2021-10-01", "ns") + np.array(pairs) * np.timedelta64(1, "D")
    return days[:, 0], days[:, 1]


def test_a_missing_change_counts_as_none_and_a_pixel_never_seen_stays_missing():
    cube = make_cube(windows=4)
    change = np.ones((4, 12, 17), np.float32)
    change[1, 2, 3], change[:2, 5, 5], change[:, 7, 7] = np.nan, np.nan, np.nan
    total = season_sum(change, cube)
    np.testing.assert_array_equal(total[:, 2, 3], [1, 1, 2, 3])
    np.testing.assert_array_equal(total[:, 5, 5], [np.nan, np.nan, 1, 2])
    assert np.isnan(total[:, 7, 7]).all()


def test_windows_that_overlap_are_inverted_to_the_truth_and_sums_do_not_double():
    start, end = network(NEAREST_THREE)
    state = np.random.default_rng(0).normal(0, 30, (9, 3, 4))  # SWE on each date
    change = np.array([state[last // 12] - state[first // 12] for first, last in NEAREST_THREE], np.float32)
    added = increments(change, np.ones(change.shape), start, end)
    total = season_sum(added, xr.Dataset({"end": ("window", end)}))
    np.testing.assert_allclose(total, [state[last // 12] - state[0] for _, last in NEAREST_THREE], atol=1e-3)
    assert np.abs(np.sum(change, axis=0) - (state[-1] - state[0])).max() > 50


def test_noisy_windows_give_the_least_squares_of_a_dense_solver_and_the_least_rates_where_they_leave_them_open():
    random = np.random.default_rng(1)
    for pairs in ([pair for pair in NEAREST_THREE if pair != (36, 48)], [(0, 12), (5, 17), (12, 24), (17, 29)]):
        start, end = network(pairs)
        change = random.normal(0, 20, (len(pairs), 2, 3)).astype(np.float32)
        change[1, 0, 1] = np.nan
        variance = phase_variance(random.uniform(0, 1, change.shape))
        total = np.nansum(increments(change, variance, start, end), axis=0)
        dates = np.unique([start, end])
        days = np.diff(dates) / np.timedelta64(1, "D")
        spans = days * ((start[:, None] <= dates[:-1]) & (dates[1:] <= end[:, None]))
        for place in np.ndindex(2, 3):
            seen = np.isfinite(change[(slice(None), *place)])
            weight = 1 / np.sqrt(variance[(slice(None), *place)][seen])
            rates = np.linalg.pinv(spans[seen] * weight[:, None]) @ (change[(slice(None), *place)][seen] * weight)
            assert total[place] == pytest.approx(rates @ days, abs=0.01)


def test_a_chain_is_left_as_it_is_bit_for_bit_also_beside_windows_that_overlap():
    start, end = network([(0, 12), (12, 24), (30, 42), (42, 54), (30, 54), (54, 66)])
    change = np.random.default_rng(0).normal(0, 20, (6, 2, 3)).astype(np.float32)
    added = increments(change, np.ones(change.shape), start, end)
    np.testing.assert_array_equal(added[[0, 1, 5]], change[[0, 1, 5]])
    assert (added[4] != change[4]).all()


def overlapping_cube():
    """Windows of 12 days, each but the first followed by that of 24 days that ends with it."""
    cube, _ = with_phase(1, offset=0.0)
    long = cube.isel(window=slice(1, None)).assign_coords(start=("window", cube["start"].values[:-1]))
    pair = cube["features"].sel(band=["unwrapped_phase", "pdd"])
    sums = pair.values[1:] + pair.values[:-1]
    index = [cube["band"].values.tolist().index(name) for name in ("unwrapped_phase", "pdd")]
    long = long.copy(deep=True)
    long["features"].values[:, index] = sums
    both = xr.concat([cube, long], "window", data_vars="minimal")
    order = sorted(
        range(both.sizes["window"]), key=lambda i: (both["end"].values[i], -both["start"].values[i].astype(int))
    )
    return cube, both.isel(window=order)


def test_a_long_window_beside_its_halves_changes_no_sum_of_the_season():
    single, double = overlapping_cube()
    names = ["cumulative_phase_swe", "cumulative_pdd"]
    alone, beside = (with_derived(cube, names, Phase(1, "none")) for cube in (single, double))
    last = np.searchsorted(double["end"].values, single["end"].values, side="right") - 1
    np.testing.assert_allclose(
        band(beside, "cumulative_phase_swe")[last], band(alone, "cumulative_phase_swe"), rtol=1e-3, atol=0.05
    )
    # days of two windows count in the shortest
    np.testing.assert_array_equal(band(beside, "cumulative_pdd")[last], band(alone, "cumulative_pdd"))


def test_a_piece_of_a_scene_has_the_sums_of_the_scene_where_windows_overlap():
    _, cube = overlapping_cube()
    preprocessor = Preprocessor.plan([(cube, [0, 1, 2])], bands=["elevation"], derived=["phase_swe"], phase=Phase(1))
    scene = preprocessor.scene(cube)
    first = preprocessor.first_window(cube["start"].values, cube["end"].values, [30], 1)
    assert first < 29
    whole = preprocessor.features(scene)["features"].values[30, -1, 3:8, 9:17]
    piece = preprocessor.features(scene.isel(window=slice(first, 31), y=slice(3, 8), x=slice(9, 17)))
    np.testing.assert_allclose(piece["features"].values[-1, -1], whole, atol=1e-4)


def test_the_summed_phase_maps_pixels_without_an_incidence_from_their_surroundings_where_windows_overlap():
    _, cube = overlapping_cube()
    cube["features"].loc[{"band": "incidence"}][:, 5, 9] = np.nan
    maps = BASELINES["insar_swe"]().fit(cube, range(20), ["swe"], Phase(1)).predict(cube, [30])["swe"].values[0]
    assert np.isfinite(maps[cube["mask"].values]).all()


def test_parts_and_triplets_of_a_network():
    pairs = [(0, 12), (5, 17), (12, 24), (0, 24), (17, 29), (40, 52)]
    assert parts(*network(pairs)) == 3
    assert triplets(*network(pairs)) == [(0, 2, 3)]


def test_closure_shows_noise_and_a_lost_cycle_in_the_window_that_closes_the_triplet():
    start, end = network([(0, 12), (12, 24), (0, 24), (24, 36), (12, 36)])
    phase = np.array([1.0, 2.0, 3.2, 4.0, 6.0 + 2 * np.pi])[:, None, None] * np.ones((1, 2, 3))
    phase[4, 0, 0], phase[1, 1, 1] = 6.0, np.nan
    mean, slip = closure(phase, start, end)
    assert np.isnan(mean[[0, 1, 3]]).all()
    assert mean[2, 0, 0] == pytest.approx(0.2)
    assert (mean[4, 0, 0], mean[4, 0, 1]) == (pytest.approx(0), pytest.approx(2 * np.pi))
    assert slip[2, 0].tolist() == [0, 0, 0]
    assert slip[4, 0].tolist() == [0, 1, 1]
    assert np.isnan(slip[[2, 4], 1, 1]).all()


@pytest.fixture(scope="module")
def mexico(shared_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("real") / "mexico"
    write_mexico_archive(shared_data, root)
    return open_archive(root, bands=MEXICO_BANDS)


def test_the_inversion_of_real_pairs_reproduces_each_within_its_noise(mexico):
    start, end = mexico["start"].values, mexico["end"].values
    assert (len(start), len(np.unique([start, end])), parts(start, end)) == (30, 13, 1)
    phase = referenced(mexico, Phase(1))
    variance = phase_variance(band(mexico, "coherence"))  # of one look: no less than that of any number of them
    changes = changes_between_dates(phase, variance, start, end)
    dates = np.unique([start, end])
    spans = (start[:, None] <= dates[:-1]) & (dates[1:] <= end[:, None])
    misfit = (phase - np.einsum("wi,iyx->wyx", spans.astype(np.float32), changes)) / np.sqrt(variance)
    of_pair = np.sqrt(np.nanmean(misfit**2, axis=(1, 2)))
    assert np.mean(np.abs(misfit[np.isfinite(misfit)]) < 1.96) > 0.95
    # two pairs of a part of the map that was unwrapped a cycle off; closure shows it in the same triplet
    worst = np.flatnonzero(of_pair > 1).tolist()
    assert len(worst) == 2
    of_triplets = {of: np.nanmedian(np.abs(phase[of[0]] + phase[of[1]] - phase[of[2]])) for of in triplets(start, end)}
    assert len(of_triplets) == 24
    assert set(worst) < set(max(of_triplets, key=lambda of: of_triplets[of]))
    closed = with_derived(mexico, ["phase_closure"], Phase(1))
    assert 0.3 < np.nanmedian(band(closed, "phase_closure")) < 0.35
    assert 0.001 < np.nanmean(band(closed, "cycle_slip")) < 0.02
