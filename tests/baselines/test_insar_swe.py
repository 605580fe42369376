import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from snowmap.baselines import BASELINES
from snowmap.baselines.insar_swe import weighted_by_coherence
from snowmap.data.radar.phase import Phase
from snowmap.physics import density_guyennon
from tests.baselines.snow import snow_told_by_phase

TRAIN = list(range(30))


def mapped(cube: xr.Dataset, windows: list[int], target: str = "swe") -> np.ndarray:
    return BASELINES["insar_swe"]().fit(cube, TRAIN, [target]).predict(cube, windows)[target].values


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("target", ["swe", "hs"])
def test_the_sum_is_the_snow_where_the_phase_is_perfect(sign, target):
    cube = snow_told_by_phase(sign)
    truth = cube[target].values[[35, 50]]
    for observed, found in zip(truth, mapped(cube, [35, 50], target), strict=True):
        off = (observed - found)[cube["mask"].values & (found > 0)]
        assert len(off) > 100
        assert np.ptp(off) < 1e-3 * observed.max()
        assert 0 < off.mean() < 0.25 * observed.max()  # the snow of the reference ground, which the phase cannot tell


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sign_is_told_from_the_training_windows_and_reported(sign, caplog):
    caplog.set_level("INFO")
    fitted = BASELINES["insar_swe"]().fit(snow_told_by_phase(sign), TRAIN, ["swe"])
    assert fitted.preprocessor.phase.sign == sign
    assert f"insar_swe: phase_sign={sign}" in caplog.text
    other = BASELINES["insar_swe"]().fit(snow_told_by_phase(sign), TRAIN, ["swe"], phase=Phase(-sign))
    assert other.preprocessor.phase.sign == -sign


def test_the_sum_is_given_in_the_unit_of_the_archive():
    cube = snow_told_by_phase()
    millimetres = cube.assign(swe=(cube["swe"] * 10).assign_attrs(units="mm"))
    np.testing.assert_allclose(mapped(millimetres, [35]), mapped(cube, [35]) * 10, rtol=1e-5)


def test_depth_is_swe_by_the_density_of_the_date():
    cube = snow_told_by_phase()
    density = density_guyennon(cube["end"].values[[35, 50]])[:, None, None] / 1000  # of water's
    np.testing.assert_allclose(mapped(cube, [35, 50], "hs"), mapped(cube, [35, 50]) / density, rtol=1e-5)


def test_lost_coherence_does_not_shrink_the_sum():
    cube = snow_told_by_phase()
    whole = mapped(cube, [35, 50])
    coherence = np.random.default_rng(0).uniform(0.05, 0.6, cube["features"].sel(band="coherence").shape)
    cube["features"].loc[{"band": "coherence"}] = coherence
    found = mapped(cube, [35, 50])
    inner = np.zeros((12, 17), bool)
    inner[3:-3, 6:-6] = True  # whose surroundings are even on all sides: a ramp's mean is its middle
    assert found[:, inner].mean() == pytest.approx(whole[:, inner].mean(), rel=0.05)


def test_weighting_is_normalised_convolution():
    generator = np.random.default_rng(1)
    change = generator.normal(size=(2, 9, 11)).astype(np.float32)
    coherence = generator.uniform(0, 1, change.shape).astype(np.float32)
    change[0, 3, 4], coherence[1, 2, 2] = np.nan, np.nan
    inside = np.ones((9, 11), bool)
    inside[0] = False
    found = weighted_by_coherence(change, coherence, inside, 1.5)
    for index in range(2):
        weight = np.where(np.isfinite(change[index]) & np.isfinite(coherence[index]) & inside, coherence[index] ** 2, 0)
        y, x = np.indices(inside.shape)
        for row, column in ((1, 0), (3, 4), (2, 2), (8, 10)):
            # the two axes of the Gaussian are cut at 4 standard deviations
            near = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 1.5**2))
            near[(abs(y - row) > 6) | (abs(x - column) > 6)] = 0
            around = (near * weight * np.nan_to_num(change[index])).sum() / (near * weight).sum()
            own = weight[row, column]
            known = own * np.nan_to_num(change[index, row, column]) + (1 - own) * around
            assert found[index, row, column] == pytest.approx(known, rel=1e-4)


@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0.5, 5))
def test_an_even_change_stays_what_it_is_however_poor_the_coherence(seed, value, smoothing):
    generator = np.random.default_rng(seed)
    coherence = (generator.uniform(0.01, 1, (1, 7, 8)) * (generator.random((1, 7, 8)) < 0.7)).astype(np.float32)
    coherence[0, 3, 3] = 0.1
    change = np.full(coherence.shape, value, np.float32)
    change[generator.random(change.shape) < 0.2] = np.nan
    change[0, 3, 3] = value
    found = weighted_by_coherence(change, coherence, np.ones((7, 8), bool), smoothing)
    np.testing.assert_allclose(found[np.isfinite(found)], value, rtol=1e-4, atol=1e-5)
    assert np.isfinite(found[0, 3]).all()


def test_full_coherence_keeps_every_pixel_and_none_takes_the_mean_of_the_surroundings():
    generator = np.random.default_rng(2)
    change = generator.normal(size=(1, 8, 9)).astype(np.float32)
    coherence = np.ones_like(change)
    coherence[0, 4, 4] = 0
    inside = np.ones((8, 9), bool)
    found = weighted_by_coherence(change, coherence, inside, 2.0)
    others = coherence[0] == 1
    np.testing.assert_allclose(found[0][others], change[0][others], rtol=1e-5, atol=1e-6)
    smooth = gaussian_filter(np.where(others, change[0], 0).astype(float), 2.0, mode="constant")
    share = gaussian_filter(others.astype(float), 2.0, mode="constant")
    assert found[0, 4, 4] == pytest.approx(smooth[4, 4] / share[4, 4], rel=1e-5)


def test_nothing_seen_in_a_season_is_nothing_said():
    cube = snow_told_by_phase()
    cube["features"].loc[{"band": "coherence"}].values[:] = 0.0
    assert np.isnan(mapped(cube, [35])).all()
