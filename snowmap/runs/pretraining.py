"""The run ``task=pretraining``: from patches to an encoder that ``init_from=`` takes, and its scores on held-out ground."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from snowmap.files import write_whole
from snowmap.runs.folder import RunFolder, working_in
from snowmap.runs.loggers import log_results, make_logger, wandb_id_of
from snowmap.runs.pretraining_callbacks import FOLDER, Probes, Reconstructions
from snowmap.runs.training import finishing, fit_once, make_trainer
from snowmap.tables import as_csv, print_table

SCORED = "masked pixels"
"""What the scores in ``run.json`` and ``metrics.json`` are of, where runs of maps name their target."""


def pretrain(config: dict[str, Any], folder: Path, callbacks: Sequence[Callback] = ()) -> None:
    """Run one pre-training into `folder`, or resume the one that lies there.

    Args:
        config: The checked configuration, with ``task=pretraining``.
        folder: The run folder.
        callbacks: More than those of every run.
    """
    with working_in(folder, config) as run:
        if run.finished:
            print(f"the run in {folder} is finished; nothing is left to do")
            print_files(folder)
            return
        patches = split_patches(open_patches(config["data"]), config["split"])
        run.update(archive=...)
        print_patches(patches)
        task, datamodule = make_parts(config, patches)
        logger = make_logger(config, run.path, run.record["wandb_id"])
        with finishing(logger):
            run.update(wandb_id=wandb_id_of(logger) or run.record["wandb_id"])
            if run.record["stage"] == "training":
                watching = watchers(config, run, patches)
                epochs = fit_once(config, run, run.path, (task, datamodule), logger, [*callbacks, *watching])
                weights = sum(weight.numel() for weight in task.parameters() if weight.requires_grad)
                run.update(stage="scoring", epochs=epochs, parameters=weights)
            conclude(config, run, task, datamodule, logger)
