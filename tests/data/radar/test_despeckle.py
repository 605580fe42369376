"""Filters of speckle, on simulated speckle whose truth is known and by a plain NumPy reference."""

import numpy as np
import pytest
import torch

from benchmarks.despeckling import by_shifts, plain
from snowmap.data.radar.despeckle import bandwidth, boxcar, despeckle, equivalent_looks, lee, ppb, reach

LOOKS = 4.0
PPB = {"search": 21, "patch": 7, "alpha": 0.92, "iterations": 1, "kl_scale": 0.2}
SMALL = {**PPB, "search": 7, "patch": 3}


def keys(name: str, **changes) -> dict:
    return {"despeckle": name, "despeckle_window": 7, "ppb": {**PPB, **changes}}


@pytest.fixture(scope="module")
def speckle() -> np.ndarray:
    return np.random.default_rng(0).gamma(LOOKS, 1 / LOOKS, (96, 96)).astype(np.float32)


def scene(shape=(24, 30), gap=False) -> np.ndarray:
    """Two fields of 0.1 and 1 in power, a bright point, speckle of four looks."""
    truth = np.where(np.arange(shape[1]) < shape[1] // 2, 0.1, 1.0) * np.ones(shape)
    truth[5, 6] = 1000
    power = (truth * np.random.default_rng(1).gamma(LOOKS, 1 / LOOKS, shape)).astype(np.float32)
    if gap:
        power[8:12, 10:20] = np.nan
        power[0, 0] = np.nan
    return power


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("iterations", [1, 3])
def test_ppb_is_its_plain_definition(gap, iterations):
    power, options = scene(gap=gap), {**SMALL, "iterations": iterations}
    expected = plain(power, LOOKS, **options)
    np.testing.assert_allclose(ppb(torch.from_numpy(power), LOOKS, **options), expected, rtol=1e-4)


def test_both_references_agree():
    power = scene()
    options = {"search": 7, "patch": 3}
    np.testing.assert_allclose(by_shifts(power, LOOKS, **options), plain(power, LOOKS, **options), rtol=1e-4)


def test_the_bandwidth_of_single_pixels_of_one_look_is_that_of_the_closed_form():
    # the ratio F of two powers has P(F < f) = f / (1 + f), so F / (1 + F) is uniform and, with it as u, the likeness
    # log(√F + 1 / √F) is −log(u (1 − u)) / 2: its mean is 1, and a share alpha has u (1 − u) above (1 − alpha²) / 4
    assert bandwidth(1.0, 1, 0.92) == pytest.approx(-np.log((1 - 0.92**2) / 4) / 2 - 1, abs=0.05)


@pytest.mark.parametrize("name", ["boxcar", "lee", "ppb"])
def test_pure_speckle_keeps_its_mean_and_gains_looks(name, speckle):
    filtered = despeckle(speckle, LOOKS, keys(name))
    assert filtered.mean() == pytest.approx(speckle.mean(), rel=0.02)
    assert filtered.mean() ** 2 / filtered.var() > 5 * LOOKS


@pytest.mark.parametrize("name", ["boxcar", "lee", "ppb"])
def test_a_constant_scene_stays_as_it_is(name):
    constant = np.full((20, 25), 0.3, np.float32)
    np.testing.assert_allclose(despeckle(constant, LOOKS, keys(name)), constant, rtol=1e-5)


def test_boxcar_is_the_mean_of_what_is_valid():
    power = np.arange(25, dtype=np.float32).reshape(5, 5) + 1
    power[1, 1] = np.nan
    filtered = boxcar(torch.from_numpy(power), 3).numpy()
    assert np.isnan(filtered[1, 1])
    assert filtered[0, 0] == pytest.approx(np.nanmean(power[:2, :2]))
    assert filtered[2, 2] == pytest.approx(np.nanmean(power[1:4, 1:4]))


def test_lee_is_its_closed_form():
    power = np.array([[1, 1, 1], [1, 10, 1], [1, 1, 1]], np.float32)
    mean, variance = 2.0, 8.0  # of the window around the middle
    scene_variance = (variance + mean**2) / (1 + 1 / LOOKS) - mean**2
    gain = scene_variance / (mean**2 / LOOKS + scene_variance)
    assert lee(torch.from_numpy(power), LOOKS, 3)[1, 1].item() == pytest.approx(mean + gain * (10 - mean))


@pytest.mark.parametrize("iterations", [1, 4])
def test_ppb_keeps_an_edge_that_boxcar_blurs(iterations):
    truth = np.where(np.arange(64) < 32, 0.1, 1.0) * np.ones((64, 64))
    power = (truth * np.random.default_rng(2).gamma(LOOKS, 1 / LOOKS, truth.shape)).astype(np.float32)
    beside = np.s_[:, 29:35]

    def rmse_db(values: np.ndarray) -> float:
        return float(np.sqrt(np.mean((10 * np.log10(values[beside] / truth[beside])) ** 2)))

    blurred = rmse_db(despeckle(power, LOOKS, keys("boxcar")))
    assert rmse_db(despeckle(power, LOOKS, keys("ppb", iterations=iterations))) < 0.4 * blurred


@pytest.mark.parametrize("name", ["boxcar", "lee", "ppb"])
def test_missing_pixels_stay_missing_and_change_no_other_beyond_their_weight(name):
    power = scene((40, 40), gap=True)
    filtered = despeckle(power, LOOKS, keys(name))
    np.testing.assert_array_equal(np.isnan(filtered), np.isnan(power))
    assert np.isnan(despeckle(np.full((9, 9), np.nan, np.float32), LOOKS, keys(name))).all()
    inside = filtered[np.isfinite(filtered)]
    assert inside.min() >= np.nanmin(power)
    assert inside.max() <= np.nanmax(power)


@pytest.mark.parametrize(
    "data", [keys("boxcar"), keys("lee"), keys("ppb", search=9), keys("ppb", search=7, patch=3, iterations=3)], ids=str
)
def test_no_pixel_reaches_further_than_it_is_said(data):
    power, far = scene((70, 50)), reach(data)
    whole, piece = despeckle(power, LOOKS, data), despeckle(power[20 - far : 40 + far], LOOKS, data)
    np.testing.assert_allclose(piece[far : far + 20], whole[20:40], rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 3)])
@pytest.mark.parametrize("name", ["boxcar", "lee", "ppb"])
def test_scenes_smaller_than_the_windows(name, shape, speckle):
    filtered = despeckle(speckle[: shape[0], : shape[1]], LOOKS, keys(name))
    assert filtered.shape == shape
    assert np.isfinite(filtered).all()


@pytest.mark.parametrize("looks", [1.0, 4.4, 50.0])
def test_looks_are_counted_where_the_scene_is_homogeneous(looks):
    rng = np.random.default_rng(3)
    truth = np.where(np.arange(256) < 128, 1.0, rng.lognormal(0, 1, (256, 256)))
    found = equivalent_looks([rng.gamma(looks, truth / looks)])
    assert found == pytest.approx(looks, rel=0.25)
    assert equivalent_looks([np.full((40, 40), np.nan)]) is None
