"""The spatial split from end to end: nothing of the held-out area is learnt, nothing else is scored."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from snowmap.checkpoints.provenance import area_of, windows_of
from snowmap.data.splits.areas import areas
from snowmap.errors import SnowmapError
from snowmap.evaluation.metrics import scores
from snowmap.evaluation.scoring import load_with_archives, score_model, scores_of
from snowmap.runs.training import make_trainer
from snowmap.sources.trentino import open_archive
from tests.archives import write_foreign_archive
from tests.cubes import make_cube
from tests.tasks.test_pixel import fit, parts, same_weights

SPATIAL = ("split=spatial", "split.buffer=2", "split.fold=1", "trainer.max_epochs=2")


@pytest.fixture(scope="module")
def areas_of_the_cube():
    return areas((12, 17), 2, 2, fold=1, buffer=2)


def test_targets_outside_the_training_area_change_no_weight_and_no_statistic(tmp_path, areas_of_the_cube):
    cube, (train, held) = make_cube(), areas_of_the_cube
    clean = fit(cube, tmp_path / "a", *SPATIAL)
    planted = cube.copy(deep=True)
    planted["swe"].values[:, ~train] = 1e4
    other = fit(planted, tmp_path / "b", *SPATIAL)
    assert same_weights(clean, other)
    torch.testing.assert_close(
        clean.preprocessor.normalizer.state_dict(), other.preprocessor.normalizer.state_dict(), rtol=0, atol=0
    )
    known = cube["swe"].values[:13][:, cube["mask"].values & train].astype(np.float64)
    assert clean.head.mean.item() == pytest.approx(np.nanmean(known), rel=1e-5)
    known = cube["features"].sel(band="intensity").values[:13][:, cube["mask"].values & train].astype(np.float64)
    index = clean.preprocessor.bands.index("intensity")
    assert clean.preprocessor.normalizer.band_mean[index].item() == pytest.approx(np.nanmean(known), rel=1e-5)
    inside = cube.copy(deep=True)
    inside["swe"].values[:, train] += 1
    assert not same_weights(clean, fit(inside, tmp_path / "c", *SPATIAL))
    assert not (train & held).any()


def test_validation_looks_at_the_held_out_area_alone(tmp_path, areas_of_the_cube):
    cube, (_, held) = make_cube(), areas_of_the_cube
    config, task, datamodule = parts(cube, *SPATIAL)
    (logged,) = make_trainer(config, tmp_path).validate(task, datamodule, verbose=False)
    windows = windows_of(task.metadata, "validation", cube)
    error = task.predict(cube, windows)["swe"].values - cube["swe"].values[windows]
    error = error[:, held & cube["mask"].values].astype(np.float64)
    assert logged["validation/swe_rmse_cm"] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-5)


def test_an_area_outside_the_study_area_is_named():
    cube = make_cube()
    cube["mask"].values[:6] = False
    with pytest.raises(SnowmapError, match="inside the study area, as far as it is the split's validation area"):
        parts(cube, *SPATIAL)


def test_another_fold_of_the_map_is_no_run_to_go_on_with(tmp_path):
    cube = make_cube()
    fit(cube, tmp_path, *SPATIAL)
    with pytest.raises(SnowmapError, match="options of the split changed"):
        fit(cube, tmp_path, *SPATIAL, "split.fold=2", ckpt=tmp_path / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("spatial")
    write_foreign_archive(folder / "archive", windows=20, shape=(16, 24))
    cube = open_archive(folder / "archive")
    task = fit(cube, folder / "run", *SPATIAL, f"data.root={folder}/archive")
    return cube, task, folder


@pytest.mark.parametrize("subset", ["validation", "test", "train"])
def test_the_checkpoint_remembers_where_it_may_be_scored(run, subset, tmp_path):
    cube, task, folder = run
    train, held = areas((16, 24), 2, 2, fold=1, buffer=2)
    area = train if subset == "train" else held
    np.testing.assert_array_equal(area_of(task.metadata, subset, cube), area)
    area = area & cube["mask"].values
    last = folder / "run" / "checkpoints" / "last.ckpt"
    model, cubes = load_with_archives(last)
    windows = list(range(13, 20) if subset == "test" else range(13))
    observed = np.where(area, cube["swe"].values[windows], np.nan)
    known = scores(task.predict(cube, windows)["swe"].values, observed)
    pooled = scores_of(model, cubes, subset)["swe"]
    assert {key: pooled[key] for key in known} == pytest.approx(known, rel=1e-5)
    if subset == "validation":  # the same area as that of the test, whose files will do
        return
    result = score_model(model, cubes, last, subset=subset, out=tmp_path)
    assert result["target"]["swe"]["model"] == pytest.approx(known, rel=1e-5)
    with xr.open_dataset(tmp_path / "predictions.nc") as maps:
        assert not np.isfinite(maps["swe"].values[:, ~area]).any()
    baselines = result["target"]["swe"]["baselines"]
    pixels = {name: entry["pixels"] for name, entry in baselines.items()}
    assert pixels["boosted_trees"] == known["pixels"]
    assert (pixels["climatology"] == 0) == (subset != "train")  # it knows its own pixels alone
