"""A run on several archives of different grids, sizes and dates, as a user types it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from pytorch_lightning.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from snowmap.checkpoints.provenance import windows_of
from snowmap.data.datamodule import _Batches
from snowmap.data.pieces import random_pieces
from snowmap.data.splits import split_cubes
from snowmap.distribution import distribution_of, shows_snow
from snowmap.runs.training import make_trainer
from snowmap.sources import open_cubes
from snowmap.tasks.build import make_parts
from snowmap.tasks.pixel import SnowRegression
from tests.archives import write_foreign_archive
from tests.commands import SMALL, fail, succeed
from tests.config.test_checking import checked

pytestmark = pytest.mark.slow

FAST = ("trainer.max_epochs=1", "evaluate=none", "logger=none")


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("archives")
    write_foreign_archive(folder / "north" / "Dataset", windows=20, shape=(16, 24))
    write_foreign_archive(folder / "south" / "Dataset", windows=24, shape=(20, 18), seed=5, corner=(11.2, 45.9))
    return [folder / "north" / "Dataset", folder / "south" / "Dataset"]


@pytest.fixture(scope="module")
def trained(roots, tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("several") / "run"
    options = ("head=gaussian", "trainer.max_epochs=2", "logger=none", "evaluate=validation")
    return folder, succeed("train.py", *words(roots, folder), *options)


@pytest.fixture
def run(trained) -> Path:
    return trained[0]


def words(roots: list[Path], run: Path) -> list[str]:
    return [f"data.root=[{','.join(map(str, roots))}]", f"hydra.run.dir={run}", *SMALL]


def best(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"


def cubes_of(roots: list[Path], *overrides: str) -> tuple[dict, list[xr.Dataset]]:
    config = checked(f"data.root=[{','.join(map(str, roots))}]", *SMALL, "logger=none", *overrides)
    return config, open_cubes(config["data"], config["target"]["names"])


def parts(roots: list[Path], *overrides: str) -> tuple:
    config, cubes = cubes_of(roots, *overrides)
    return config, *make_parts(config, cubes, split_cubes(cubes, config["split"]))


def states(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_statistics_are_those_of_the_training_pixels_of_all_archives(run, roots):
    task, (_, cubes) = SnowRegression.load_from_checkpoint(best(run)), cubes_of(roots)

    def pixels(maps) -> np.ndarray:
        values = [maps(cube)[windows_of(task.metadata, "train", cube)][:, cube["mask"].values] for cube in cubes]
        return np.concatenate([each.ravel() for each in values]).astype(np.float64)

    swe = pixels(lambda cube: cube["swe"].values)
    assert task.head.mean.item() == pytest.approx(np.nanmean(swe), rel=1e-5)
    assert task.head.std.item() == pytest.approx(np.nanstd(swe), rel=1e-5)
    normalizer, position = task.preprocessor.normalizer, task.preprocessor.bands.index("intensity")
    intensity = pixels(lambda cube: cube["features"].sel(band="intensity").values)
    assert normalizer.band_mean[position].item() == pytest.approx(np.nanmean(intensity), rel=1e-5)
    assert normalizer.band_std[position].item() == pytest.approx(np.nanstd(intensity), rel=1e-5)


def test_scores_of_each_archive_are_those_of_it_alone_and_all_are_pooled_over_their_pixels(trained, roots):
    run, said = trained
    out, names = run / "evaluation" / "validation", ("north/Dataset", "south/Dataset")
    together = json.loads((out / "metrics.json").read_text())
    assert {path.name for path in out.iterdir()} == {"metrics.json", "metrics.csv", "north", "south"}
    swe, maps = together["target"]["swe"], []
    for name in names:
        alone = json.loads((out / name / "metrics.json").read_text())["target"]["swe"]
        assert together["archives"][name]["target"]["swe"] == {
            key: alone[key] for key in ("unit", "model", "baselines")
        }
        with xr.open_dataset(out / name / "predictions.nc") as file:
            maps.append((file["swe"].values, file["swe_observed"].values))
    error = np.concatenate([(predicted - observed).ravel() for predicted, observed in maps]).astype(np.float64)
    assert swe["model"]["rmse"] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-6)
    assert swe["model"]["pixels"] == np.isfinite(error).sum()
    assert "elevation" in swe["baselines"]
    assert json.loads((run / "run.json").read_text())["validation"]["swe"] == {"unit": "cm", **swe["model"]}
    assert [words for words in (*names, "all archives", f"{out}/{names[0]}/report.html") if words not in said] == []
    before = json.loads((out / names[1] / "metrics.json").read_text())["target"]
    succeed("evaluate.py", f"ckpt={best(run)}", f"data.root={roots[1]}", "split=validation")
    assert json.loads((out / names[1] / "metrics.json").read_text())["target"] == before


def test_intervals_are_calibrated_on_the_validation_windows_of_all(run, roots):
    task, (_, cubes) = SnowRegression.load_from_checkpoint(best(run)), cubes_of(roots)
    inside = []
    for cube in cubes:
        windows = windows_of(task.metadata, "validation", cube)
        maps, observed = task.predict(cube, windows), cube["swe"].values[windows]
        counted = np.isfinite(observed) & shows_snow(maps, "swe")
        inside.append(distribution_of(maps, "swe", counted).inside(torch.from_numpy(observed[counted]).double(), 0.9))
    assert torch.cat(inside).mean().item() == pytest.approx(0.9, abs=0.005)


def test_a_list_of_one_archive_gives_the_weights_of_that_archive(roots, tmp_path):
    succeed("train.py", *words(roots[:1], tmp_path / "list"), *FAST)
    succeed("train.py", f"data.root={roots[0]}", f"hydra.run.dir={tmp_path}/text", *SMALL, *FAST)
    assert same(states(tmp_path / "list", "last.ckpt"), states(tmp_path / "text", "last.ckpt"))


def test_a_region_that_is_held_out_tests_and_nothing_of_it_trains(roots, tmp_path):
    """Not its statistics, nor its phase, nor the calibration: with other values there, the training is the same."""
    options = ("split=regions", "head=gaussian", "trainer.max_epochs=2", "logger=none", "model.channels=[8]")
    options = (*options, "trainer.enable_progress_bar=false", "trainer.limit_train_batches=2")
    root = f"data.root=[{','.join(map(str, roots))}]"
    said = succeed(
        "train.py", "-m", root, f"hydra.sweep.dir={tmp_path}/sweep", "split.holdout=0,south/Dataset", *options
    )
    table = pd.read_csv(tmp_path / "sweep" / "cross_validation.csv").query("map == 'model'").set_index("over")
    assert "SWE cm, 2 regions, test windows" in said
    assert {*table.index} == {"region 0", "region south/Dataset", "pooled", "mean"}
    regions = table["pixels"][["region 0", "region south/Dataset"]]
    assert table["pixels"]["pooled"] == regions.sum() > 0
    (run,) = (
        path.parent
        for path in (tmp_path / "sweep").rglob("config.yaml")
        if "holdout: south/Dataset" in path.read_text() and (path.parent / "run.json").is_file()
    )
    metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())
    assert metrics["target"]["swe"]["model"]["pixels"] == regions["region south/Dataset"]
    assert {"climatology", "persistence"}.isdisjoint(metrics["target"]["swe"]["baselines"])
    assert "degree_day" in metrics["target"]["swe"]["baselines"]

    shutil.copytree(roots[0], tmp_path / "north" / "Dataset")
    write_foreign_archive(tmp_path / "south" / "Dataset", windows=24, shape=(20, 18), seed=77, corner=(11.2, 45.9))
    others = f"data.root=[{tmp_path}/north/Dataset,{tmp_path}/south/Dataset]"
    succeed("train.py", others, f"hydra.run.dir={tmp_path}/other", "evaluate=none", *options)
    one, other = (torch.load(best(path), weights_only=True) for path in (run, tmp_path / "other"))
    assert same(one["state_dict"], other["state_dict"])
    for key in ("calibration", "preprocessing", "time"):
        assert one["hyper_parameters"][key] == other["hyper_parameters"][key]


def test_a_region_that_cannot_be_held_out_is_one_line(roots, tmp_path):
    options = (f"hydra.run.dir={tmp_path}", "split=regions", "logger=none")
    assert "give data.root=[one,another]" in fail("train.py", f"data.root={roots[0]}", *options)
    both = f"data.root=[{','.join(map(str, roots))}]"
    said = fail("train.py", both, *options, "split.holdout=2")
    assert (
        "split.holdout=2 is none of the archives of data.root; there are 0 (north/Dataset), 1 (south/Dataset)" in said
    )


class SaveInTheMidst(Callback):
    """A checkpoint between two steps of the second epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.current_epoch == 1 and batch_idx == 3:
            trainer.save_checkpoint(self.path)


def test_a_run_that_is_resumed_within_an_epoch_has_the_weights_of_one_that_was_not(roots, tmp_path):
    overrides = ("trainer.max_epochs=3", "data.crop=[12,12]", "data.augment=flip", "model.dropout=0.3")
    finals = []
    for name, resumed in (("straight", None), ("resumed", tmp_path / "midst.ckpt")):
        config, task, datamodule = parts(roots, *overrides)
        assert len(datamodule.train_dataloader()) > 5
        trainer = make_trainer(config, tmp_path / name)
        if not resumed:  # after the callbacks that belong to the step
            trainer.callbacks.append(SaveInTheMidst(tmp_path / "midst.ckpt"))
        trainer.fit(task, datamodule, ckpt_path=resumed, weights_only=True)
        finals.append(task.state_dict())
    assert same(*finals)


def test_batches_are_of_one_archive_and_all_processes_take_as_many_of_each(roots):
    _, _, datamodule = parts(roots)
    sequences = datamodule.train
    orders = []
    for rank in range(3):
        batches = _Batches(sequences, 2, 3, rank, shuffle=True, seed=0)
        assert len(list(batches)) == len(batches)
        orders.append(list(batches))
        batches.set_epoch(1)
        assert list(batches) != orders[-1]
    cubes = [[{sequences[index].cube for index in batch} for batch in order] for order in orders]
    assert cubes[0] == cubes[1] == cubes[2]
    assert all(len(of_batch) == 1 for of_batch in cubes[0])
    assert {index for order in orders for batch in order for index in batch} == {*range(len(sequences))}
    assert cubes[0][0] != cubes[0][1]


def test_a_piece_is_gathered_without_a_copy_of_a_whole_map(roots):
    _, _, datamodule = parts(roots)
    whole = [maps for tensors in datamodule.tensors for maps in (*tensors.x, *tensors.y, tensors.inside)]
    known = {maps.untyped_storage().data_ptr() for maps in whole}
    made_bytes = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and (storage := made.untyped_storage()).data_ptr() not in known:
                made_bytes.append(storage.nbytes())
            return made

    for index in (0, -1):
        sample = datamodule.train[index]
        pieces = random_pieces([sample], (4, 5), datamodule.tensors[sample.cube].inside.shape)
        with Watching():
            batch = datamodule.collate(pieces)
        assert batch.x.shape[-2:] == (4, 5)
        assert datamodule.names[int(batch.window)].endswith(("north/Dataset", "south/Dataset")[index])
        assert max(made_bytes) == batch.x.nbytes < min(maps.nbytes for maps in datamodule.tensors[index].y)


class TestRefusals:
    def test_swe_in_other_units(self, roots, tmp_path):
        write_foreign_archive(tmp_path / "mm", windows=20, shape=(16, 24), seed=6, swe_unit="mm")
        told = fail("train.py", *words([roots[0], tmp_path / "mm"], tmp_path / "run"))
        assert f"'swe' is in 'cm' in {roots[0]}, in 'mm' in {tmp_path}/mm" in told
        assert "data.swe_unit=…" in told

    def test_the_same_archive_twice(self, roots, tmp_path):
        shutil.copytree(roots[0], tmp_path / "copy")
        told = fail("train.py", *words([roots[0], tmp_path / "copy"], tmp_path / "run"))
        assert f"two of {roots[0]}, {tmp_path}/copy hold the same data; name each archive once" in told
        for value in ("[a,a]", "[]", "[a,null]"):
            assert "expected a text, or a list of texts" in fail("train.py", f"data.root={value}")

    def test_one_that_cannot_be_split(self, roots, tmp_path):
        write_foreign_archive(tmp_path / "short", windows=6, shape=(16, 24), seed=7)
        told = fail("train.py", *words([roots[0], tmp_path / "short"], tmp_path / "run"))
        assert f"{tmp_path}/short: split=rolling needs at least 9 windows" in told

    def test_a_baseline(self, roots, tmp_path):
        told = fail("train.py", words(roots, tmp_path / "run")[0], "model=elevation")
        assert "model=elevation is a baseline, which is of one grid; give data.root=… one archive" in told

    def test_to_resume_on_another_list(self, run, roots):
        told = fail("train.py", f"ckpt={run}/checkpoints/last.ckpt", f"data.root=[{roots[1]},{roots[0]}]")
        assert "the run cannot be resumed: grid, split, content of the archive changed" in told
