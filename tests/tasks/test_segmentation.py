"""Classes with the real Trainer, on a small scene: learning, resuming, transfer, ensembles, export."""

import numpy as np
import pytest
import torch
import xarray as xr

from snowmap.checkpoints.provenance import windows_of
from snowmap.config.checking import check_config
from snowmap.config.schema import TrainConfig
from snowmap.data.splits.split import Split
from snowmap.errors import SnowmapError
from snowmap.maps.calibration import calibrate_checkpoint
from snowmap.runs.training import make_trainer
from snowmap.tasks.build import make_parts
from snowmap.tasks.export import export_program, program_inputs
from snowmap.tasks.load import load_model
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.schedules import learning_rate_factor
from snowmap.tasks.transfer import transfer
from tests.class_cubes import glacier_cube
from tests.config.test_checking import composed
from tests.tasks.test_pixel import same_weights

SMALL = (
    *("task=segmentation", "target.names=[glacier]", "model=unet3d", "model.channels=[4,8]", "model.collapse=max"),
    *(
        "model.dropout=0.2",
        "data.derived=[]",
        "data.time=3",
        "data.crop=[24,24]",
        "data.patches=24",
        "data.batch_size=2",
    ),
    *("data.class_share=0.5", "data.augment=turn", "data.time_jitter=1", "data.clip_percentiles=[1,99]", "loss=focal"),
    *("head.label_smoothing=0.1", "optimizer.name=adam", "optimizer.schedule=cosine_restarts"),
    *("optimizer.restarts=[2,6]", "optimizer.learning_rate=0.02", "optimizer.warmup_steps=0", "logger=none"),
    *("trainer.enable_progress_bar=false", "callbacks.patience=null"),
)


def halves(cube: xr.Dataset) -> Split:
    """The left of the last date trains, the right validates."""
    left = np.zeros(cube["mask"].shape, bool)
    left[:, :32] = True
    last = cube.sizes["window"] - 1
    return Split([last], [last], [], left, ~left)


def parts(cube: xr.Dataset, *overrides: str):
    config = check_config(composed(*SMALL, *overrides), TrainConfig)
    return config, *make_parts(config, [cube], [halves(cube)])


def fit(cube: xr.Dataset, folder, *overrides: str, ckpt=None) -> SnowRegression:
    config, task, datamodule = parts(cube, *overrides)
    make_trainer(config, folder).fit(task, datamodule, ckpt_path=ckpt, weights_only=True)
    return task


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    cube, folder = glacier_cube(), tmp_path_factory.mktemp("run")
    return cube, fit(cube, folder, "trainer.max_epochs=6"), folder / "checkpoints"


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(trained, tmp_path):
    cube, straight, _ = trained
    half = fit(cube, tmp_path, "trainer.max_epochs=3")
    assert not same_weights(straight, half)
    again = fit(cube, tmp_path, "trainer.max_epochs=6", ckpt=tmp_path / "checkpoints" / "last.ckpt")
    assert same_weights(straight, again)


def test_the_epoch_of_the_greatest_iou_is_kept(trained):
    _, _, folder = trained
    content = torch.load(folder / "last.ckpt", weights_only=True)
    (state,) = (state for name, state in content["callbacks"].items() if "'monitor': 'validation/iou'" in name)
    assert "'mode': 'max'" in str(content["callbacks"].keys())
    assert state["best_model_score"] > 0.5
    assert state["best_model_score"] >= state["current_score"]


def test_classes_are_learnt_mapped_and_calibrated_on_what_validates(trained, tmp_path):
    cube, _, folder = trained
    path = tmp_path / "best.ckpt"
    path.write_bytes((folder / "best.ckpt").read_bytes())
    task = load_model(path)
    assert isinstance(task, SnowRegression)
    task.metadata["config"]["split"] = {"name": "rolling"}
    assert windows_of(task.metadata, "validation", cube) == [3]
    calibrate_checkpoint(path, task, [cube], task)
    loaded = load_model(path)
    found = loaded.head.calibration["glacier"]
    assert found == task.head.calibration["glacier"]
    assert 0 < found["threshold"] < 1
    maps = loaded.predict(cube, [3])
    inside = cube["mask"].values
    probability = maps["glacier_probability_glacier"].values[0][inside]
    assert np.isnan(maps["glacier"].values[0][~inside]).all()
    np.testing.assert_array_equal(maps["glacier"].values[0][inside], probability >= np.float32(found["threshold"]))
    total = probability + maps["glacier_probability_other"].values[0][inside]
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert maps["glacier"].attrs["flag_values"] == [0, 1]
    observed = np.where(cube["glacier"].values[3] == 1, 1, 0)[inside]
    mapped = maps["glacier"].values[0][inside]
    assert ((mapped == 1) & (observed == 1)).sum() / ((mapped == 1) | (observed == 1)).sum() > 0.6


def test_a_hidden_label_changes_no_weight(trained, tmp_path):
    cube, straight, _ = trained
    planted = cube.copy(deep=True)
    planted["glacier"].values[:, :, 32:] = 1
    assert same_weights(straight, fit(planted, tmp_path, "trainer.max_epochs=6"))


def test_an_ensemble_exports_and_the_file_maps_what_it_maps(tmp_path):
    cube = glacier_cube()
    _, task, _ = parts(cube, "ensemble=2", "model.channels=[4]")  # each level takes long to trace
    task.hparams["calibration"] = {"glacier": {"temperature": 1.7, "threshold": 0.4}}
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, tmp_path / "net.ckpt")
    loaded = SnowRegression.load_from_checkpoint(tmp_path / "net.ckpt")
    program = torch.export.load(export_program(tmp_path / "net.ckpt", tmp_path / "net.pt2")).module()
    other = glacier_cube(shape=(37, 51), seed=3)
    given = [torch.from_numpy(values) for values in program_inputs(loaded, other, 3).values()]
    maps, known = program(*given)[-1].detach().numpy(), loaded.predict(other, [3])
    inside = other["mask"].values
    for layer, name in zip(maps, loaded.layers, strict=True):
        np.testing.assert_allclose(layer[inside], known[name].values[0][inside], atol=1e-5)


def test_weights_of_other_classes_are_built_anew():
    cube = glacier_cube()
    source = parts(cube)[1]
    renamed = cube.assign(glacier=cube["glacier"].assign_attrs(flag_meanings="glacier other"))
    three = cube.assign(glacier=cube["glacier"].assign_attrs(flag_values=[0, 1, 2], flag_meanings="other glacier lake"))
    three["glacier"] = three["glacier"].copy(data=three["glacier"].values.copy())
    three["glacier"].values[:, 10:14, 20:24] = 2
    for target, note in ((cube, ""), (renamed, "other glacier"), (three, "other glacier")):
        task = parts(target, "seed=1")[1]
        rows = {row.part: row for row in transfer(source, task)}
        assert rows["encoder 1"].new == 0
        assert (rows["head"].new > 0) == bool(note)
        assert note in "".join(rows["head"].notes)


def test_what_the_series_cannot_give_is_one_line():
    cube = glacier_cube()
    with pytest.raises(SnowmapError, match=r"data\.time=15 is longer than the series, which has 4 dates"):
        parts(cube, "data.time=15")
    with pytest.raises(SnowmapError, match=r"data\.time_jitter=… moves the windows .* data\.supervise=last"):
        parts(cube, "data.supervise=every")


def test_the_learning_rate_begins_anew_at_the_restarts():
    options = {"schedule": "cosine_restarts", "restarts": [10, 30, 70, 150], "warmup_steps": 0}

    def at(epoch: float) -> float:
        return learning_rate_factor(round(epoch * 4), 4, options)

    for start, stop in ((0, 10), (10, 30), (30, 70), (70, 150), (150, 230)):
        assert at(start) == 1
        assert at((start + stop) / 2) == pytest.approx(0.5)
        assert at(stop - 0.25) < 0.01
    assert learning_rate_factor(0, 4, {**options, "warmup_steps": 4}) == 0.25
    assert learning_rate_factor(400, 4, {"schedule": "half_life", "half_life_steps": 200, "warmup_steps": 0}) == 0.25
