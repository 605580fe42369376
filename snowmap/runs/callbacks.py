"""What watches a training: progress bar, speed, maps, signals, and losses and scores that are not finite."""

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import xarray as xr
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.loggers import Logger
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from snowmap.data.batch import Batch
from snowmap.data.cube import archive_names, narrowed, window_names
from snowmap.data.splits.split import Split
from snowmap.errors import Interrupted, SnowmapError
from snowmap.evaluation.figures import maps_figure, spaced
from snowmap.maps.tiles import map_windows
from snowmap.runs.loggers import draws, log_figure
from snowmap.runs.signals import StopSignal

OUTLYING = 100.0
"""Standard deviations beyond which a value is taken for the cause of a loss that is not finite."""


GENTLER = "lower optimizer.learning_rate or trainer.gradient_clip_val"


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


class Earliest(Callback):
    """Lets the validation choose no epoch before one: of those up to it, the last one validated alone counts.

    Args:
        epoch: Counted from 1.
        best: The checkpoint of the best epoch; a run that ends before `epoch` has that of its last validation.
        patience: What ends the training; it begins to count at `epoch`.
    """

    def __init__(self, epoch: int, best: ModelCheckpoint, patience: EarlyStopping | None) -> None:
        self.epoch, self.best, self.patience = epoch, best, patience

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the scores before."""
        if trainer.current_epoch >= self.epoch:
            return
        self.best.best_k_models.clear()
        if self.patience:
            self.patience.wait_count = 0
            self.patience.best_score = torch.tensor(torch.inf if self.patience.mode == "min" else -torch.inf)


class FiniteLoss(Callback):
    """Ends a run as failed, before a checkpoint is written, when its loss or its monitored score is not finite.

    Lightning's early stopping would end such a run as finished. A step's loss is looked at one step later, when it has
    long been computed: the accelerator need not wait.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.step: tuple[Tensor, Batch] | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Look at the step before."""
        self._look(trainer, pl_module)
        self.step = outputs["loss"].detach(), batch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the last step, also before a validation."""
        self._look(trainer, pl_module)

    on_validation_start = on_train_epoch_end

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the score that chooses the checkpoint."""
        if not (score := trainer.callback_metrics[self.monitor]).isfinite():
            self._refuse(trainer, f"the validation score ({self.monitor})", score, "lower optimizer.learning_rate")

    def _look(self, trainer: pl.Trainer, task: Any) -> None:
        if self.step is None:
            return
        (loss, batch), self.step = self.step, None
        if not loss.isfinite():
            # patches are cut off at fixed ranges: no value of theirs is far off
            advice = suspect(batch, task, trainer.datamodule.names) if hasattr(task, "head") else GENTLER  # type: ignore
            self._refuse(trainer, "the training loss", loss, advice)

    @staticmethod
    def _refuse(trainer: pl.Trainer, name: str, value: Tensor, advice: str) -> None:
        saved = next((each.best_model_path for each in reversed(trainer.checkpoint_callbacks)), "")  # type: ignore
        kept = f"the last good checkpoint is {saved}" if saved else "no checkpoint had been written yet"
        raise SnowmapError(f"{name} became {value.item()} in epoch {trainer.current_epoch}: {advice}; {kept}")


class StopBetweenSteps(Callback):
    """Ends the training between two steps when a signal asks for it, with a checkpoint of the last one."""

    def __init__(self, stop: StopSignal, checkpoint: Path) -> None:
        self.stop, self.checkpoint = stop, checkpoint

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back from Lightning, which would end the run without a checkpoint.

        And end at once where the run had lost its patience when it was killed: one more epoch would be one too many.
        """
        self.stop.install()
        patience = trainer.early_stopping_callback
        if patience and patience.wait_count >= patience.patience:
            trainer.should_stop = True

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back where a checkpoint is scored, too."""
        self.stop.install()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The checkpoint of the epoch before is the one to resume from."""
        if trainer.current_epoch and self._requested(trainer):
            raise Interrupted(self.stop.received or signal.SIGTERM)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Save in the midst of an epoch; its end saves by itself, and gradients that are summed up are not saved."""
        done = batch_idx + 1
        between_steps = done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches
        if not (between_steps and self._requested(trainer)):
            return
        if outputs["loss"].isfinite():
            trainer.save_checkpoint(self.checkpoint)
        raise Interrupted(self.stop.received or signal.SIGTERM)

    def _requested(self, trainer: pl.Trainer) -> bool:
        requested = self.stop.received is not None
        return trainer.strategy.reduce_boolean_decision(requested, all=False) if trainer.world_size > 1 else requested


class ValidationAtLastStep(Callback):
    """Validates after ``trainer.max_steps``, also in the midst of an epoch: without it no checkpoint is chosen."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Lightning validates before it stops early."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop, trainer.check_val_every_n_epoch = True, 1


class Throughput(Callback):
    """Logs how long the training part of an epoch took, and how many target windows it saw in a second.

    It comes after `FiniteLoss`, which waits for the accelerator.
    """

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The clock starts."""
        self.began, self.seconds, self.windows = time.monotonic(), 0.0, 0

    on_train_start = on_train_epoch_start  # a run that is resumed within an epoch begins with none

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Every supervised step of a sequence is a window."""
        self.windows += batch.y.shape[0] * batch.y.shape[1]

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validation follows the last step, and does not count."""
        self.seconds = time.monotonic() - self.began

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All processes together."""
        seconds = self.seconds or time.monotonic() - self.began
        pl_module.log("throughput/seconds_per_epoch", seconds, sync_dist=True)
        pl_module.log("throughput/windows_per_second", self.windows / seconds, sync_dist=True, reduce_fx="sum")


class ValidationMaps(Callback):
    """Draws observed, predicted and difference maps of fixed validation windows: one figure for each window.

    It comes before a running mean of the weights, which then is what is drawn. `every` so many epochs at least:
    validation may be rarer.
    """

    def __init__(
        self, cube: xr.Dataset, split: Split, windows: Sequence[int], every: int, folder: str = "maps"
    ) -> None:
        self.cube, self.shown = cube, narrowed(cube, split.validation_area)
        self.windows, self.every, self.folder = list(windows), every, folder

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from the epoch from which the run is resumed."""
        self.epoch, self.step = trainer.current_epoch, trainer.global_step

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, when it is time."""
        if trainer.current_epoch + 1 >= self.epoch + self.every:
            self._draw(trainer, pl_module)
            self.epoch = trainer.current_epoch + 1

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the end."""
        if trainer.global_step > self.step:
            self._draw(trainer, pl_module)

    def _draw(self, trainer: pl.Trainer, task: Any) -> None:
        self.step = trainer.global_step
        if not trainer.is_global_zero or trainer.logger is None:
            return
        maps = map_windows(task, self.cube, self.windows).where(self.shown["mask"])
        names = window_names(self.cube)
        for position, window in enumerate(self.windows):
            figure = maps_figure(maps, self.shown, self.windows, list(task.targets), [position])
            log_figure(trainer.logger, f"{self.folder}/{names[window]}", figure, self.step)


def validation_maps(
    config: Mapping[str, Any], logger: Logger | None, cubes: Sequence[xr.Dataset], splits: Sequence[Split]
) -> list[ValidationMaps]:
    """For each Cube the callback that draws as the configuration's ``logger`` group says.

    None for a logger that shows no figures.
    """
    options = config["logger"]
    if not (draws(logger) and options["maps"]):
        return []
    callbacks = []
    for name, cube, split in zip(archive_names([cube.attrs for cube in cubes]), cubes, splits, strict=True):
        if not split.train:
            continue
        windows = [split.validation[position] for position in spaced(len(split.validation), options["maps"])]
        callbacks.append(ValidationMaps(cube, split, windows, options["maps_every"], str(Path("maps") / name)))
    return callbacks


def suspect(batch: Batch, task: Any, names: list[str]) -> str:
    """The window and band (or target) of a Batch that lie farthest from what the Normalizer knows, in words."""
    bands = _distance(task.preprocessor.normalizer.unusual(batch.x), batch.x_valid)
    targets = _distance(task.head.unusual(batch.y), batch.y_valid)
    kind, distances, variables = max(
        (("band", bands, task.preprocessor.bands), ("target", targets, list(task.targets))),
        key=lambda entry: entry[1].max().item(),
    )
    sample, step, index = (int(i) for i in torch.unravel_index(distances.argmax(), distances.shape))
    window = int(batch.window[sample]) - (distances.shape[1] - 1 - step)
    distance = distances.max().item()
    where = f"{kind} '{variables[index]}' of window {names[window]}"
    if distance > OUTLYING:
        return f"{where} lies {distance:.3g} standard deviations off; mend the raster or leave the window out"
    windows = ", ".join(names[int(window)] for window in batch.window)
    return (
        f"no value of the windows {windows} stands out (farthest: {where}, {distance:.1f} standard deviations); "
        f"{GENTLER}"
    )


def _distance(unusual: Tensor, valid: Tensor) -> Tensor:
    """Largest distance from the mean in standard deviations, ``(batch, step, band)``."""
    return torch.where(valid, unusual, 0).double().amax(dim=(-2, -1))
