"""How sure a net is: heads, ensembles and dropout through the task with the real Trainer, and calibration."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.interpolate import interp1d
from scipy.stats import norm

from snowmap.checkpoints.provenance import windows_of
from snowmap.distribution import DEVIATES, Distribution
from snowmap.evaluation.scoring import score_model
from snowmap.maps.calibration import calibrate, calibrate_checkpoint, conformal_factors
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
    assert sigma.min() > 0.5 * LEAST_SIGMA * spread  # half of it lies below zero where the map is bare
    assert sigma.max() < 10 * spread
    assert maps["swe_sigma"].attrs["units"] == maps["swe_q05"].attrs["units"] == "mm"
    assert maps["swe_sigma"].attrs["lower_bound"] == 0
    layers = np.stack([maps[name].values[inside] for name in [*QUANTILES[:2], "swe", *QUANTILES[2:]]])
    assert (np.diff(layers, axis=0) > 0).all()
    # beside it stands σ of the same distribution: of values of all its levels, none below zero
    z, edges = norm.ppf((np.arange(2000) + 0.5) / 2000), norm.ppf([0.05, 0.25, 0.5, 0.75, 0.95])
    for pixel in range(0, len(sigma), 97):
        drawn = np.maximum(interp1d(edges, layers[:, pixel], fill_value="extrapolate")(z), 0)
        assert sigma[pixel] == pytest.approx(drawn.std(), rel=0.01)


def test_the_two_targets_have_each_their_own(tmp_path):
    cube = make_cube()
    task = fit(cube, tmp_path, "target=both", "head=gaussian", "trainer.max_epochs=1")
    with torch.no_grad():
        task.net.head.bias.copy_(torch.tensor([0.0, 2.0, 0.0, -2.0]))  # hs: unsure, swe: sure
        task.net.head.weight.zero_()
    maps = task.predict(cube)
    for name, std, raw in zip(("hs", "swe"), task.head.std.tolist(), (2.0, -2.0), strict=True):
        half = (maps[f"{name}_q95"] - maps[f"{name}_q05"]) / (2 * 1.6449)
        assert float(half.max()) == pytest.approx(std * (np.log1p(np.exp(raw)) + LEAST_SIGMA), rel=1e-4)


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
    spread = np.maximum(members.std(axis=0), LEAST_SIGMA * task.head.std.item())
    np.testing.assert_allclose((maps["swe_q95"] - maps["swe"]) / 1.64485, spread, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [5, 20, 399])
def test_a_factor_is_the_least_that_holds_its_share(count):
    errors = np.random.default_rng(count).normal(0, 3, count)
    stated = Distribution(torch.tensor(DEVIATES, dtype=torch.float64)[:, None].expand(-1, count))
    for share, factor in zip((0.5, 0.9), conformal_factors(stated, torch.from_numpy(errors)).values(), strict=True):
        rank = min(count, math.ceil((count + 1) * share))  # Lei et al. 2018, section 2.2
        assert factor * norm.ppf((1 + share) / 2) == pytest.approx(np.sort(np.abs(errors))[rank - 1])


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
    found = score_model(calibrated, [cube], path, subset="validation", out=tmp_path / "scores")["target"]["swe"]
    assert found["uncertainty"]["snow"]["coverage_50"] == pytest.approx(0.5, abs=0.005)
    assert found["uncertainty"]["snow"]["coverage_90"] == pytest.approx(0.9, abs=0.005)
    before = plain.predict(cube, validation)
    np.testing.assert_array_equal(before["swe"], maps["swe"])
    factor = maps["swe_q95"].attrs["conformal_factor"]
    wider = (maps["swe_q95"] - maps["swe"]) / (before["swe_q95"] - before["swe"])
    assert wider.values[np.isfinite(wider.values)] == pytest.approx(factor, rel=1e-3)
    scores_are_those_of_the_file(tmp_path / "scores", found["uncertainty"])
    # what other windows hold plays no part
    other = cube.copy(deep=True)
    rest = [window for window in range(40) if window not in validation]
    other["swe"].values[rest] += 50
    assert calibrate(plain, [(other, validation, None)]) == calibrate(plain, [(cube, validation, None)])


def scores_are_those_of_the_file(folder: Path, scores: dict) -> None:
    """What metrics.json says, from the layers of predictions.nc by a sample of values at equal steps of probability."""
    with xr.open_dataset(folder / "predictions.nc") as file:
        layers = np.stack([file[name].values for name in [*QUANTILES[:2], "swe", *QUANTILES[2:]]]).astype(np.float64)
        sigma, observed = file["swe_sigma"].values, file["swe_observed"].values.astype(np.float64)
    both = np.isfinite(layers[2]) & np.isfinite(observed)
    layers, sigma, observed = layers[:, both], sigma[both], observed[both]
    levels = (np.arange(1000) + 0.5) / 1000
    drawn = interp1d(norm.ppf([0.05, 0.25, 0.5, 0.75, 0.95]), layers, axis=0, fill_value="extrapolate")
    drawn = np.maximum(drawn(norm.ppf(levels)), 0)
    spread = 2 * np.mean((2 * levels - 1)[:, None] * drawn, axis=0)  # E|X − X'|
    assert scores["crps"] == pytest.approx(np.mean(np.abs(drawn - observed).mean(axis=0) - spread / 2), rel=2e-3)
    assert sigma == pytest.approx(drawn.std(axis=0), rel=0.03)
    # no snow is observed: of the values that are zero, the share with a level inside the interval
    levels_inside, bare = (levels > 0.05) & (levels < 0.95), drawn <= 0
    part = (bare & levels_inside[:, None]).sum(axis=0) / np.maximum(bare.sum(axis=0), 1)
    inside = np.where(observed > 0, (layers[0] <= observed) & (observed <= layers[-1]), part)
    assert scores["coverage_90"] == pytest.approx(inside.mean(), abs=1e-3)
    assert scores["width_90"] == pytest.approx(np.mean(np.maximum(layers[-1], 0) - np.maximum(layers[0], 0)))


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
