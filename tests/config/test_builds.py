"""Every file of conf/ becomes what it describes: a fitted baseline, or net, data and Trainer that take a step."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from snowmap.baselines import BASELINES
from snowmap.data.splits import split_cubes
from snowmap.errors import SnowmapError
from snowmap.runs.launchers import LAUNCHERS
from snowmap.runs.loggers import make_logger
from snowmap.runs.training import finishing, make_trainer
from snowmap.sources.na_sar.index import open_patches, split_patches
from snowmap.tasks.build import fit_baseline, make_parts, make_pretraining
from tests.class_cubes import glacier_cube
from tests.config.test_checking import FILES, checked
from tests.cubes import make_cube
from tests.shards import write_shards

FAST = ("trainer.enable_progress_bar=false", "evaluate=none")
WINDOWS = 70
"""Two winters and more, as some splits need."""


OF_SEVERAL = ("regions", "scenes")
"""Splits that hold out whole archives."""

OF_CLASSES = (
    *("glacier", "crack", "freeze_thaw", "blocks", "outlines", "segmentation", "classes", "smp"),
    *(name for name, kind in BASELINES.items() if kind.maps_classes),
)
"""Choices that go with class maps."""

OF_PATCHES = ("na_sar", "geography", "pretraining", "na_sar_pretraining")
"""Choices that go with patches without targets."""

OPTIONAL = {"smp": "segmentation_models_pytorch", "mae": "timm"}
"""Models of a library that need not be installed."""

OUTLINES = np.add.outer(np.arange(48) // 24, 2 * (np.arange(64) // 32)).astype(np.int32) + 1


@pytest.fixture(scope="module")
def cube():
    return make_cube(WINDOWS, shape=(16, 24))


def build(config: dict, cube, folder: Path):
    if config["task"] == "segmentation":
        cubes = [glacier_cube(windows=15, seed=seed, target=config["target"]["names"][0]) for seed in range(3)]
        cubes = [cube.assign_coords(outline=(("y", "x"), OUTLINES)) for cube in cubes]
    else:
        cubes = [cube.assign_attrs(archive=f"archive {number}") for number in range(3)]
        cubes = cubes if config["split"]["name"] in OF_SEVERAL else cubes[:1]
    splits = split_cubes(cubes, config["split"])
    if config["model"]["name"] in BASELINES:
        return fit_baseline(config, cubes, splits), None
    task, datamodule = make_parts(config, cubes, splits)
    logger = make_logger(config, folder)
    with finishing(logger):
        make_trainer(config, folder, logger)
    return task, datamodule


def test_what_is_of_patches_can_be_built(tmp_path):
    write_shards(tmp_path / "na_sar", 1, 20)
    for choice in OF_PATCHES[-2:]:
        group = "task" if choice == "pretraining" else "experiment"
        words = (f"data.root={tmp_path}/na_sar", "data.batch_size=2", "data.workers=0", "model.channels=[4,8]")
        config = checked(*FAST, *words, f"{group}={choice}")
        task, datamodule = make_pretraining(config, split_patches(open_patches(config["data"]), config["split"]))
        make_trainer(config, tmp_path)
        assert task.training_step(next(iter(datamodule.train_dataloader())).batch(), 0).isfinite()


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.stem not in OF_PATCHES], ids=lambda file: f"{file.parent.name}={file.stem}"
)
def test_every_file_can_be_built(file, cube, tmp_path):
    group, choice = file.parent.name, file.stem
    given = ("task=segmentation", "target=glacier", "split=blocks", "split.buffer=2") if choice in OF_CLASSES else ()
    config = checked(*FAST, *given, f"{group}={choice}")
    if choice == "last_inventory":
        with pytest.raises(SnowmapError, match="needs an older inventory"):
            build(config, cube, tmp_path)
        return
    if choice in OPTIONAL and find_spec(OPTIONAL[choice]) is None:
        with pytest.raises(SnowmapError, match="pip install"):
            build(config, cube, tmp_path)
        return
    if group == "trainer" and choice != "cpu" and not torch.cuda.is_available():
        with pytest.raises(SnowmapError, match="the trainer cannot be set up as asked"):
            build(config, cube, tmp_path)
        return
    model, datamodule = build(config, cube, tmp_path)
    assert list(model.targets) == config["target"]["names"]
    if datamodule:
        batch = datamodule.collate(next(iter(datamodule.train_dataloader())))
        assert model.training_step(batch, 0).isfinite()
    assert config["launcher"]["name"] in {"local", *LAUNCHERS}
