"""What watches a training: its progress bar, and the guard against a loss that is no number."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar, WeightAveraging
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from snowmap.batch import Batch
from snowmap.errors import SnowmapError

OUTLYING = 100.0
"""Standard deviations beyond which a value is taken for the cause of a loss that is no number."""


class EpochBar(TQDMProgressBar):
    """One bar, that of the epoch; validation is short and shows in its scores."""

    def init_validation_tqdm(self) -> Tqdm:
        """A bar that shows nothing."""
        return Tqdm(disable=True)


class RunningMean(WeightAveraging):
    """Validates and saves an exponential running mean of the weights.

    Lightning's own rounds anew in each step, so that frozen weights and the statistics would drift; this one leaves
    what stays the same as it is, to the last bit.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def state_key(self) -> str:
        """As in the checkpoints of version 0.1.0."""
        return "EMAWeightAveraging"


class FiniteLoss(Callback):
    """Stops the training before a checkpoint of a net whose loss became NaN or infinite is written.

    A step's loss is looked at one step later, when it has long been computed: the accelerator need not wait.
    """

    def __init__(self) -> None:
        self.step: tuple[Tensor, Batch] | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Look at the step before."""
        self._look(trainer, pl_module)
        self.step = outputs["loss"].detach(), batch

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last step of the epoch."""
        self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last step of an epoch without validation."""
        self._look(trainer, pl_module)

    def _look(self, trainer: pl.Trainer, task: Any) -> None:
        if self.step is None:
            return
        (loss, batch), self.step = self.step, None
        if not loss.isfinite():
            saved = next((each.best_model_path for each in reversed(trainer.checkpoint_callbacks)), "")  # type: ignore
            kept = f"the last good checkpoint is {saved}" if saved else "no checkpoint had been written yet"
            names = trainer.datamodule.names  # type: ignore[attr-defined]
            raise SnowmapError(
                f"the training loss became {loss.item()} in epoch {trainer.current_epoch}: "
                f"{suspect(batch, task, names)}; {kept}"
            )


def suspect(batch: Batch, task: Any, names: list[str]) -> str:
    """The window and band (or target) of a Batch that lie farthest from what the Normalizer knows, in words."""
    scales = task.normalizer
    bands = _distance(batch.x, scales.band_mean, scales.band_std, batch.x_valid)
    targets = _distance(batch.y, scales.target_mean, scales.target_std, batch.y_valid)
    kind, found, known = max(
        (("band", bands, task.bands), ("target", targets, list(task.targets))), key=lambda entry: entry[1].max().item()
    )
    sample, step, index = (int(i) for i in torch.unravel_index(found.argmax(), found.shape))
    window = int(batch.window[sample]) - (found.shape[1] - 1 - step)
    distance = found.max().item()
    where = f"{kind} '{known[index]}' of window {names[window]}"
    if distance > OUTLYING:
        return f"{where} lies {distance:.3g} standard deviations off; mend the raster or leave the window out"
    told = ", ".join(names[int(window)] for window in batch.window)
    return (
        f"no value of the windows {told} stands out (farthest: {where}, {distance:.1f} standard deviations); lower "
        "optimizer.learning_rate or trainer.gradient_clip_val"
    )


def _distance(values: Tensor, mean: Tensor, std: Tensor, valid: Tensor) -> Tensor:
    """Largest distance from the mean in standard deviations, ``(batch, step, band)``."""
    scaled = ((values - mean[:, None, None]) / std[:, None, None]).abs()
    return torch.where(valid, scaled, 0).double().amax(dim=(-2, -1))
