"""What watches a pre-training: reconstructions of fixed patches, and linear probes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from snowmap.data.batch import Batch
from snowmap.evaluation.probes import probe
from snowmap.evaluation.reconstruction_figure import reconstruction_figure
from snowmap.files import as_png, write_whole
from snowmap.runs.loggers import log_figure

FOLDER = "reconstructions"
"""In the run folder, with a folder for each view and a picture for each validation in it."""


class Reconstructions(Callback):
    """Draws the first validation views that hold values, as they are, masked, reconstructed and off, each validation.

    The masks follow from seed and view alone, so the pictures differ by the weights and nothing else. It comes before a
    running mean of the weights, which then is what is drawn.
    """

    def __init__(self, folder: Path, views: int, seed: int) -> None:
        self.folder, self.views, self.seed = folder, views, seed
        self.shown: Batch | None = None

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the views of the first batch: validation has them in the same order each time."""
        if batch_idx == 0 and self.shown is None and trainer.is_global_zero:
            chosen = batch.x_valid.flatten(1).any(dim=1).nonzero()[:, 0][: self.views]
            self.shown = Batch(*(tensor[chosen] for tensor in batch))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if self.shown is None or not len(self.shown.window):
            return
        for name, figure in figures(pl_module, self.shown, self.seed, trainer.datamodule.names):  # type: ignore
            path = self.folder / FOLDER / name / f"epoch_{trainer.current_epoch + 1:04d}.png"
            write_whole(path, as_png(figure))
            if trainer.logger:
                log_figure(trainer.logger, f"{FOLDER}/{name}", figure, trainer.global_step)


class Probes(Callback):
    """Logs the scores of the linear probes each validation, as ``validation/probe_<name>``.

    Args:
        training: Views of the training ground, of `snowmap.evaluation.probes.STEPS` steps.
        held_out: Of held-out ground.
    """

    def __init__(self, training: Sequence[Batch], held_out: Sequence[Batch]) -> None:
        self.training, self.held_out = training, held_out

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score, in the first process."""
        if not trainer.is_global_zero:
            return
        for name, score in probe(pl_module, self.training, self.held_out).items():
            if math.isfinite(score):
                pl_module.log(f"validation/probe_{name}", score, rank_zero_only=True)
