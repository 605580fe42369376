"""The task with the real Trainer, on a small Cube: learning, resuming, and what the checkpoint carries."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from hydra import compose, initialize_config_dir

from snowmap.checkpoints.provenance import check_fit, windows_of
from snowmap.config.checking import check_config
from snowmap.config.schema import TrainConfig
from snowmap.data.batch import CubeTensors
from snowmap.data.datamodule import fits
from snowmap.data.sequences import samples
from snowmap.data.splits import split_cubes
from snowmap.errors import SnowmapError
from snowmap.runs.memory import kept_bytes
from snowmap.runs.training import make_trainer
from snowmap.tasks.build import make_parts
from snowmap.tasks.pixel import SnowRegression
from tests.commands import ROOT, begin
from tests.config.test_checking import CONF
from tests.cubes import make_cube

SMALL = ["model.channels=[8,16]", "data.augment=flip", "trainer.enable_progress_bar=false", "logger=none"]
DROPOUT = "model.dropout=0.3"
SEQUENCE = ("data.augment=none", "data.time=4", "data.batch_size=4")


def parts(cube: xr.Dataset, *overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = check_config(compose("train", overrides=[*SMALL, *overrides]), TrainConfig)
    return config, *make_parts(config, [cube], split_cubes([cube], config["split"]))


def fit(cube: xr.Dataset, folder, *overrides: str, ckpt=None) -> SnowRegression:
    config, task, datamodule = parts(cube, *overrides)
    make_trainer(config, folder).fit(task, datamodule, ckpt_path=ckpt, weights_only=True)
    return task


def same_weights(a: SnowRegression, b: SnowRegression) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.net.parameters(), b.net.parameters(), strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    cube, folder = make_cube(), tmp_path_factory.mktemp("run")
    return cube, fit(cube, folder, DROPOUT, "trainer.max_epochs=6"), folder / "checkpoints"


def test_resuming_gives_the_weights_of_an_uninterrupted_run(trained, tmp_path):
    cube, straight, _ = trained
    half = fit(cube, tmp_path, DROPOUT, "trainer.max_epochs=3")
    assert not same_weights(straight, half)
    resumed = fit(cube, tmp_path, DROPOUT, "trainer.max_epochs=6", ckpt=tmp_path / "checkpoints" / "last.ckpt")
    assert same_weights(straight, resumed)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained, tmp_path):
    cube, first, _ = trained
    assert same_weights(first, fit(cube, tmp_path / "a", DROPOUT, "trainer.max_epochs=6"))
    assert not same_weights(first, fit(cube, tmp_path / "b", DROPOUT, "trainer.max_epochs=6", "seed=1"))


def test_values_of_test_windows_and_outside_the_study_area_change_nothing_in_training(trained, tmp_path):
    cube, clean, _ = trained
    planted = cube.copy(deep=True)
    test = windows_of(clean.metadata, "test", cube)
    planted["features"].values[test] = 1e4
    planted["swe"].values[test] = 1e4
    for name in ("features", "swe"):
        planted[name].values[..., ~cube["mask"].values] = -1e4
    assert same_weights(clean, fit(planted, tmp_path, DROPOUT, "trainer.max_epochs=6"))


def test_a_validation_target_changes_no_weight(trained, tmp_path):
    cube, clean, _ = trained
    planted = cube.copy(deep=True)
    planted["swe"].values[windows_of(clean.metadata, "validation", cube)] = 1e4
    assert same_weights(clean, fit(planted, tmp_path, DROPOUT, "trainer.max_epochs=6"))


def test_nan_in_the_bands_and_targets_reaches_no_gradient():
    _, task, datamodule = parts(make_cube())
    batch = datamodule.collate(datamodule.train[:3])
    assert batch.x.isnan().any()
    assert batch.y.isnan().any()
    task.head.loss(task(batch), batch.y, batch.y_valid).backward()
    assert all(torch.isfinite(p.grad).all() for p in task.net.parameters())


def test_the_checkpoint_is_whole_and_plain(trained):
    cube, task, folder = trained
    stored = torch.load(folder / "last.ckpt", weights_only=True)
    metadata = stored["hyper_parameters"]["metadata"]
    assert metadata["archives"][0]["split"]["test"][-1] == "2021-08-25_to_2021-09-06"
    assert metadata["archives"][0]["grid"]["crs"] == "EPSG:4326"
    assert {"versions", "git_revision", "config", "units"} <= set(metadata)
    loaded = SnowRegression.load_from_checkpoint(folder / "last.ckpt")
    assert same_weights(task, loaded)
    xr.testing.assert_identical(loaded.predict(cube), task.predict(cube))


def test_the_last_checkpoint_is_that_of_the_last_epoch_though_an_earlier_one_was_better(tmp_path):
    fast = ("optimizer.learning_rate=0.3", "optimizer.warmup_steps=1", "seed=2")
    task = fit(make_cube(), tmp_path, "trainer.max_epochs=5", *fast)
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    best, last = (torch.load(folder / name, weights_only=True) for name in ("best.ckpt", "last.ckpt"))
    assert best["epoch"] < last["epoch"] == 4
    assert same_weights(task, SnowRegression.load_from_checkpoint(folder / "last.ckpt"))


def test_statistics_in_the_checkpoint_are_those_of_numpy(trained):
    cube, _, folder = trained
    task = SnowRegression.load_from_checkpoint(folder / "best.ckpt")
    train = windows_of(task.metadata, "train", cube)
    values = cube["swe"].values[train][:, cube["mask"].values].astype(np.float64)
    assert task.head.mean.item() == pytest.approx(np.nanmean(values), rel=1e-5)
    assert task.head.std.item() == pytest.approx(np.nanstd(values), rel=1e-5)


def test_maps_are_on_the_grid_of_the_cube_without_negative_snow(trained):
    cube, task, _ = trained
    maps = task.predict(cube, windows=[4, 2])
    assert maps["swe"].dims == ("window", "y", "x")
    assert maps["swe"].attrs["units"] == "cm"
    assert maps.rio.crs == cube.rio.crs
    assert maps.rio.transform() == cube.rio.transform()
    np.testing.assert_array_equal(maps["start"], cube["start"][[4, 2]])
    np.testing.assert_array_equal(np.isfinite(maps["swe"][0]), cube["mask"])
    assert (maps["swe"].values[np.isfinite(maps["swe"].values)] >= 0).all()
    np.testing.assert_allclose(maps["swe"][1], task.predict(cube)["swe"][2], rtol=1e-4, atol=1e-4)


def test_another_grid_can_be_mapped_but_not_scored(trained):
    _, task, _ = trained
    other = make_cube(windows=3, shape=(9, 21))
    assert task.predict(other)["swe"].shape == (3, 9, 21)
    with pytest.raises(SnowmapError, match=r"shape of the grid is \[9, 21\]; the checkpoint was trained on \[12, 17\]"):
        check_fit(task.metadata, task.archive_bands, task.targets, other)


def test_a_cube_with_other_bands_units_or_targets_is_refused_with_all_reasons(trained):
    _, task, _ = trained
    with pytest.raises(SnowmapError, match="band 'coherence' is missing"):
        task.predict(make_cube(bands=["elevation", "pdd"]))
    cube = make_cube().drop_vars("swe")
    cube["unit"].values[:] = [
        "m" if name == "incidence" else unit
        for name, unit in zip(cube["band"].values, cube["unit"].values, strict=True)
    ]
    with pytest.raises(SnowmapError) as caught:
        check_fit(task.metadata, task.archive_bands, task.targets, cube)
    assert "band 'incidence' is in m; the checkpoint was trained on degree" in str(caught.value)
    assert "target 'swe' is missing" in str(caught.value)


def test_a_run_does_not_go_on_with_other_data(trained, tmp_path):
    cube, _, folder = trained
    changed = cube.assign_attrs(fingerprint="other")
    with pytest.raises(SnowmapError, match="content of the archive changed"):
        fit(changed, tmp_path, DROPOUT, "trainer.max_epochs=7", ckpt=folder / "last.ckpt")


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", "truncated", "foreign"])
def test_a_file_that_is_no_checkpoint_is_named(trained, tmp_path, content):
    path = tmp_path / "x.ckpt"
    if content == "truncated":
        path.write_bytes((trained[2] / "last.ckpt").read_bytes()[:5000])
    elif content == "foreign":
        torch.save({"state_dict": {}, "epoch": 3}, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(SnowmapError, match=r"x\.ckpt"):
        SnowRegression.load_from_checkpoint(path)


def test_one_batch_is_learnt_by_heart(tmp_path):
    cube = make_cube()
    overrides = ("debug=overfit", "data.augment=none", "model.channels=[16,32]")
    _, _, datamodule = parts(cube, *overrides)
    batch = datamodule.collate(datamodule.train[:4])
    task = fit(cube, tmp_path, *overrides)
    error = (task.maps(batch) - batch.y)[batch.y_valid]
    assert error.square().mean() < 0.005 * batch.y[batch.y_valid].var()


def test_both_targets_are_learnt_and_mapped_in_their_units(tmp_path):
    cube = make_cube()
    cube["swe"] = (cube["swe"] * 10).assign_attrs(units="mm")
    task = fit(cube, tmp_path, "target=both", "trainer.max_epochs=1")
    maps = task.predict(cube)
    assert {name: maps[name].attrs["units"] for name in ("hs", "swe")} == {"hs": "cm", "swe": "mm"}
    assert float(maps["swe"].mean()) > float(cube["swe"].mean()) / 5


def test_validation_without_a_valid_target_is_refused():
    cube = make_cube()
    cube["swe"].values[5::6] = np.nan
    with pytest.raises(SnowmapError, match="no validation window has a valid pixel of swe"):
        parts(cube)


def test_a_training_window_without_a_valid_target_is_left_out_and_named(caplog):
    cube = make_cube()
    cube["swe"].values[3] = np.nan
    _, task, datamodule = parts(cube)
    assert len(datamodule.train) == len(windows_of(task.metadata, "train", cube)) - 1
    assert "in the training windows 2021-02-14_to_2021-02-26: they are left out" in caplog.text


def test_a_sequence_without_any_value_is_refused():
    cube = make_cube()
    cube["features"].values[:3] = np.nan
    with pytest.raises(SnowmapError, match=r"any window of the sequence of 2021-01-09_to_2021-01-21 \(2021-01-09_to"):
        parts(cube)


@pytest.mark.parametrize("kind", ["band", "target"])
def test_a_loss_that_is_no_number_names_the_window_and_the_band_before_anything_is_saved(tmp_path, kind):
    config, task, datamodule = parts(make_cube(), "trainer.max_epochs=2", "data.augment=none")
    window = datamodule.train[6].steps[-1]
    if kind == "band":
        datamodule.tensors[0].x[3][window, 5, 6] = 3e38
    else:
        datamodule.tensors[0].y[0][window, 5, 6] = 3e38
    told = ("band 'intensity'" if kind == "band" else "target 'swe'") + f" of window {datamodule.names[window]} lies"
    with pytest.raises(SnowmapError, match=told):
        make_trainer(config, tmp_path).fit(task, datamodule)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_hidden_target_changes_no_weight_as_an_earlier_step_either(tmp_path):
    cube, overrides = (
        make_cube(),
        ("model=convlstm", "model.channels=[8,16]", "model.hidden=[8]", "trainer.max_epochs=2"),
    )
    clean = fit(cube, tmp_path / "a", *SEQUENCE, *overrides)
    planted = cube.copy(deep=True)
    for part in ("validation", "test"):
        planted["swe"].values[windows_of(clean.metadata, part, cube)] = 1e4
    assert same_weights(clean, fit(planted, tmp_path / "b", *SEQUENCE, *overrides))
    planted["swe"].values[windows_of(clean.metadata, "train", cube)[0]] += 5  # that of a training window does
    assert not same_weights(clean, fit(planted, tmp_path / "c", *SEQUENCE, *overrides))


@pytest.mark.slow
def test_two_processes_give_the_validation_scores_of_one(tmp_path):
    from tests.validate import validated  # which needs `parts` of this file

    models = ("unet", "massbalance")
    process = begin("tests/validate.py", tmp_path / "found.json", *models, PYTHONPATH=str(ROOT))
    said = process.communicate()[0]
    assert process.returncode == 0, said
    found = json.loads((tmp_path / "found.json").read_text())
    for model in models:
        known, _ = validated(model, 1, tmp_path)
        assert found[model] == pytest.approx(known, rel=1e-6)
        assert known["validation/swe_rmse_cm"] > 0


def test_a_cube_that_does_not_fit_on_the_accelerator_is_fed_from_memory():
    assert fits(10**18, torch.device("cpu"))
    if torch.cuda.is_available():
        assert not fits(10**18, torch.device("cuda"))


def test_a_cube_larger_than_the_memory_is_gathered_from_its_memory_map(tmp_path):
    cube = make_cube()
    whole = parts(cube)[2]
    stored = np.memmap(tmp_path / "features", np.float32, "w+", shape=cube["features"].shape)
    stored[:] = cube["features"].values
    mapped = parts(cube.assign(features=(cube["features"].dims, stored)))[2]
    assert mapped.tensors[0].x[0].data_ptr() == stored.ctypes.data  # nothing was copied
    day_of_year = mapped.tensors[0].x[len(cube["band"])]
    assert day_of_year.stride()[1:] == (0, 0)  # nor does the day of the year take any
    batch = mapped.collate(mapped.train[:2])
    np.testing.assert_array_equal(batch.x, whole.collate(whole.train[:2]).x)


def test_validation_scores_are_pooled_over_valid_pixels(trained, tmp_path):
    cube, task, _ = trained
    config, _, datamodule = parts(cube)
    trainer = make_trainer(config, tmp_path)
    (logged,) = trainer.validate(task, datamodule, verbose=False)
    windows = windows_of(task.metadata, "validation", cube)
    batch = CubeTensors.of(cube, task.archive_bands, ["swe"]).collate(samples(cube["end"].values, windows, 1))
    error = (task.predict(cube, windows)["swe"].values - cube["swe"].values[windows]).astype(np.float64)
    error = error[batch.y_valid[:, 0, 0].numpy()]
    assert logged["validation/swe_rmse_cm"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert logged["validation/swe_mae_cm"] == pytest.approx(np.mean(np.abs(error)), rel=1e-5)


def test_a_large_scene_validates_by_tiles_to_the_scores_of_the_whole(tmp_path, monkeypatch):
    config, task, whole = parts(make_cube(shape=(100, 150)))
    trainer = make_trainer(config, tmp_path)
    (known,) = trainer.validate(task, whole, verbose=False)
    monkeypatch.setattr("snowmap.data.pieces.TILE", 64)  # the net sees 10 px far, less than half of the overlap
    monkeypatch.setattr("snowmap.data.pieces.OVERLAP", 32)
    _, _, tiled = parts(make_cube(shape=(100, 150)))
    assert len(tiled.tiles) == 3 * 4 * len(whole.tiles)
    (found,) = trainer.validate(task, tiled, verbose=False)
    assert found == pytest.approx(known, rel=1e-5)


def test_what_a_step_keeps_for_the_backward_pass_grows_with_its_pixels():
    _, task, datamodule = parts(make_cube(shape=(64, 64)))
    whole, half = (datamodule.collate([datamodule.train[0]._replace(rows=slice(r))]) for r in (64, 32))
    assert kept_bytes(task, whole) == pytest.approx(2 * kept_bytes(task, half), rel=0.01)
    assert kept_bytes(task, whole) > 4 * whole.x.nbytes
