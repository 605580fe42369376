"""Every file of conf/ becomes what it describes: a fitted baseline, or net, data and Trainer that take a step."""

from pathlib import Path

import pytest
import torch

from snowmap.baselines import BASELINES
from snowmap.data.splits import split_cubes
from snowmap.errors import SnowmapError
from snowmap.runs.launchers import LAUNCHERS
from snowmap.runs.loggers import make_logger
from snowmap.runs.training import finishing, make_trainer
from snowmap.tasks.build import fit_baseline, make_parts
from tests.config.test_checking import FILES, checked
from tests.cubes import make_cube

FAST = ("trainer.enable_progress_bar=false", "evaluate=none")
WINDOWS = 70
"""Two winters and more, as some splits need."""


@pytest.fixture(scope="module")
def cube():
    return make_cube(WINDOWS, shape=(16, 24))


def build(config: dict, cube, folder: Path):
    splits = split_cubes([cube], config["split"])
    if config["model"]["name"] in BASELINES:
        return fit_baseline(config, [cube], splits), None
    task, datamodule = make_parts(config, [cube], splits)
    logger = make_logger(config, folder)
    with finishing(logger):
        make_trainer(config, folder, logger)
    return task, datamodule


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_file_can_be_built(file, cube, tmp_path):
    group, choice = file.parent.name, file.stem
    config = checked(*FAST, f"{group}={choice}")
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
