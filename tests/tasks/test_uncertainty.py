"""How sure a net is: heads, ensembles and dropout through the task with the real Trainer, and calibration."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from snowmap.checkpoints.provenance import windows_of
from snowmap.maps.calibration import calibrate, calibrate_checkpoint, conformal_factor
from snowmap.runs.training import make_trainer
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.point_head import LEAST_SIGMA
from tests.cubes import make_cube
from tests.tasks.test_pixel import fit, parts

QUANTILES = ["swe_q05", "swe_q25", "swe_q75", "swe_q95"]
FORMS = {
    "gaussian": ("head=gaussian",),
    "quantile": ("head=quantile",),
    "ensemble": ("ensemble=3",),
    "gaussian ensemble": ("ensemble=2", "head=gaussian"),
    "quantile ensemble": ("ensemble=2", "head=quantile"),
    "mass balance": ("model=massbalance", "head=gaussian", "ensemble=2"),
}


@pytest.mark.parametrize("form", FORMS)
def test_maps_say_how_sure_they_are_in_the_targets_unit(form, tmp_path):
    cube = make_cube()
    cube["swe"] = (cube["swe"] * 10).assign_attrs(units="mm")
    task = fit(cube, tmp_path, *FORMS[form], "trainer.max_epochs=1")
    loaded = SnowRegression.load_from_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    xr.testing.assert_identical(loaded.predict(cube, [3, 4]), loaded.predict(cube, [3, 4]))
    maps = task.predict(cube)
    inside = np.isfinite(maps["swe"].values)
    assert (np.isfinite(maps["swe_sigma"].values) == inside).all()
    spread = float(task.head.std[0])
    sigma = maps["swe_sigma"].values[inside]
    assert sigma.min() >= 0.999 * LEAST_SIGMA * spread
    assert sigma.max() < 10 * spread
    assert maps["swe_sigma"].attrs["units"] == maps["swe_q05"].attrs["units"] == "mm"
    assert maps["swe_sigma"].attrs["distribution"] == ("quantiles" if "quantile" in form else "normal")
    layers = np.stack([maps[name].values[inside] for name in [*QUANTILES[:2], "swe", *QUANTILES[2:]]])
    assert (np.diff(layers, axis=0) > 0).all()
    width = (maps["swe_q95"] - maps["swe_q05"]).values[inside]
    assert width == pytest.approx(2 * 1.6449 * sigma, rel=1e-3)


def test_the_two_targets_have_each_their_own(tmp_path):
    cube = make_cube()
    task = fit(cube, tmp_path, "target=both", "head=gaussian", "trainer.max_epochs=1")
    with torch.no_grad():
        task.net.head.bias.copy_(torch.tensor([0.0, 2.0, 0.0, -2.0]))  # hs: unsure, swe: sure
        task.net.head.weight.zero_()
    maps = task.predict(cube)
    hs, swe = task.head.std.tolist()
    assert float(maps["hs_sigma"].max()) == pytest.approx(hs * (np.log1p(np.exp(2)) + LEAST_SIGMA), rel=1e-4)
    assert float(maps["swe_sigma"].max()) == pytest.approx(swe * (np.log1p(np.exp(-2)) + LEAST_SIGMA), rel=1e-4)


def test_an_ensemble_maps_the_mean_of_members_that_differ_and_one_net_alone_is_sure():
    cube = make_cube()
    _, task, _ = parts(cube, "ensemble=3")
    maps = task.predict(cube, [2])
    found = []
    for member in task.net.members:
        _, alone, _ = parts(cube)
        alone.net.load_state_dict(member.state_dict())
        found.append(alone.predict(cube, [2]))
    assert list(found[0].data_vars) == ["swe"]
    members = np.stack([one["swe"].values for one in found])
    np.testing.assert_allclose(maps["swe"], members.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        maps["swe_sigma"], np.maximum(members.std(axis=0), float(maps["swe_sigma"].min())), rtol=1e-3
    )


@given(seed=st.integers(0, 500), share=st.sampled_from([0.5, 0.9]), count=st.integers(20, 400))
def test_the_conformal_factor_is_the_smallest_that_holds_the_share(seed, share, count):
    errors = np.random.default_rng(seed).normal(0, 3, count)
    factor = conformal_factor(errors, share)
    assert (np.abs(errors) <= factor).sum() >= share * (count + 1) or factor == np.abs(errors).max()
    assert (np.abs(errors) < factor).sum() < share * (count + 1)


def test_calibration_is_that_of_the_validation_windows_and_lies_in_the_checkpoint(tmp_path):
    cube = make_cube(windows=40)
    config, task, datamodule = parts(cube, "head=gaussian", "split.validation=2", "trainer.max_epochs=2")
    make_trainer(config, tmp_path).fit(task, datamodule)
    path = tmp_path / "checkpoints" / "last.ckpt"
    plain = SnowRegression.load_from_checkpoint(path)
    calibrate_checkpoint(path, SnowRegression.load_from_checkpoint(path), [cube], plain)
    calibrated = SnowRegression.load_from_checkpoint(path)
    validation = windows_of(task.metadata, "validation", cube)
    maps = calibrated.predict(cube, validation)
    observed = np.where(cube["mask"], cube["swe"].values[validation], np.nan)
    valid = np.isfinite(observed)
    for low, high, share in (("q05", "q95", 0.9), ("q25", "q75", 0.5)):
        inside = (observed >= maps[f"swe_{low}"].values) & (observed <= maps[f"swe_{high}"].values)
        assert inside[valid].mean() == pytest.approx(share, abs=2 / valid.sum() + 1e-3)
    before = plain.predict(cube, validation)
    np.testing.assert_array_equal(before["swe"], maps["swe"])
    np.testing.assert_array_equal(before["swe_sigma"], maps["swe_sigma"])
    factor = maps["swe_q95"].attrs["conformal_factor"]
    wider = (maps["swe_q95"] - maps["swe"]) / (before["swe_q95"] - before["swe"])
    assert wider.values[np.isfinite(wider.values)] == pytest.approx(factor, rel=1e-3)
    # what other windows hold plays no part
    other = cube.copy(deep=True)
    rest = [window for window in range(40) if window not in validation]
    other["swe"].values[rest] += 50
    assert calibrate(plain, [(other, validation, None)]) == calibrate(plain, [(cube, validation, None)])


@pytest.mark.slow
def test_a_gaussian_head_learns_where_the_target_is_noisy(tmp_path):
    cube = make_cube(windows=30, shape=(16, 24))
    generator = np.random.default_rng(1)
    noise = np.where(np.arange(24) < 12, 0.5, 6.0)
    cube["swe"] = cube["swe"].copy(data=(30 + generator.normal(0, 1, cube["swe"].shape) * noise).astype(np.float32))
    task = fit(cube, tmp_path, "head=gaussian", "trainer.max_epochs=40", "data.augment=none", "callbacks.patience=null")
    sigma = task.predict(cube, windows_of(task.metadata, "validation", cube))["swe_sigma"].values
    assert np.nanmedian(sigma[:, :, 3:10]) < 2
    assert np.nanmedian(sigma[:, :, 14:]) == pytest.approx(6, rel=0.35)
