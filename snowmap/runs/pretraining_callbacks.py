"""What watches a pre-training: reconstructions of fixed patches, and linear probes."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import Callback

from snowmap.data.batch import Batch
from snowmap.evaluation.figures import spaced
from snowmap.evaluation.probes import last_steps, probe
from snowmap.evaluation.reconstruction_figure import reconstruction_figure
from snowmap.files import as_png, write_whole
from snowmap.runs.loggers import log_figure
from snowmap.sources.na_sar.index import Patches
from snowmap.tasks.pretraining import Pretraining

FOLDER = "reconstructions"
"""In the run folder, with a folder for each patch and in it a picture for each validation."""


class Reconstructions(Callback):
    """Draws fixed patches at each validation: as they are, masked, reconstructed, and how far that is off.

    The mask of a patch is always the same, so the pictures differ by the weights and nothing else. It comes before a
    running mean of the weights, which then is what is drawn.
    """

    def __init__(self, folder: Path, views: Sequence[Batch], patches: Patches, count: int) -> None:
        """Choose them.

        Args:
            folder: The run folder.
            views: Views to choose from.
            patches: That they are of.
            count: How many are drawn.
        """
        self.folder, self.keys = folder, patches.table["key"]
        batch = Batch(*(torch.cat(parts) for parts in zip(*views, strict=True)))
        filled = batch.x_valid.flatten(1).any(dim=1)
        first = torch.tensor([True, *(batch.window[1:] != batch.window[:-1]).tolist()])  # of the views of a patch
        positions = (filled & first).nonzero()[:, 0]
        self.shown = Batch(*(part[positions[spaced(len(positions), count)]] for part in batch))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if trainer.state.fn != "fit" or not (trainer.is_global_zero and len(self.shown.x)):
            return
        for key, figure in self.figures(pl_module, trainer.current_epoch + 1):  # type: ignore[arg-type]
            write_whole(self.folder / FOLDER / key / f"epoch_{trainer.current_epoch + 1:04d}.png", as_png(figure))
            if trainer.logger:
                log_figure(trainer.logger, f"{FOLDER}/{key}", figure, trainer.global_step)

    def figures(self, task: Pretraining, epoch: int) -> list[tuple[str, Figure]]:
        """The figure of each patch, of its last date, and the patch's key."""
        batch = last_steps(self.shown, task.time).to(task.device)
        keep = task.draw_mask(batch, seed=0)
        rebuilt = task.reconstruct(batch, keep)[:, -1].cpu().numpy()
        values = torch.where(batch.x_valid, batch.x, torch.nan)[:, -1].cpu().numpy()
        units, wrapped = task.metadata["units"], task.preprocessor.normalizer.wrapped
        keys = [str(self.keys[window]) for window in batch.window.tolist()]
        parts = zip(keys, values, keep[:, 0].cpu().numpy(), rebuilt, strict=True)
        return [
            (key, reconstruction_figure(f"{key}, epoch {epoch}", units, wrapped, value, visible, guess))
            for key, value, visible, guess in parts
        ]


class Probes(Callback):
    """Logs the scores of the linear probes at each validation, as ``validation/probe_<name>``."""

    def __init__(self, training: Sequence[Batch], held_out: Sequence[Batch]) -> None:
        """Keep the views, of training and of held-out ground, that `snowmap.evaluation.probes.fixed_views` gives."""
        self.training, self.held_out = training, held_out

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        for name, score in probe(pl_module, self.training, self.held_out).items():
            if math.isfinite(score):
                pl_module.log(f"validation/probe_{name}", score, rank_zero_only=True)
