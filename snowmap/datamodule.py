"""The data module: Batches of a Cube that lies in memory, split by split."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
import xarray as xr
from torch.utils.data import DataLoader, DistributedSampler

from snowmap.augment import AUGMENTATIONS
from snowmap.batch import Batch, Windows
from snowmap.errors import SnowmapError
from snowmap.splits import Split


class SnowDataModule(pl.LightningDataModule):
    """Feeds training and validation windows; no raster is opened once the Cube is there.

    The order of the training windows follows from seed and epoch alone, and what a step draws from seed and step, so a
    resumed run sees what an uninterrupted one would.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        split: Split,
        targets: Sequence[str],
        *,
        batch_size: int = 4,
        augment: str = "none",
        seed: int = 0,
    ) -> None:
        """Hold the Cube.

        Args:
            cube: The Cube.
            split: Which windows train and validate.
            targets: Targets to learn.
            batch_size: Windows in each step.
            augment: A key of `snowmap.augment.AUGMENTATIONS`.
            seed: Of the order of the training windows and of everything that a training step draws.

        Raises:
            SnowmapError: When no validation window has a valid target.
        """
        super().__init__()
        self.split = split
        self.batch_size = batch_size
        self.augment = AUGMENTATIONS[augment]
        self.seed = seed
        self.windows = Windows.of(cube, [str(name) for name in cube["band"].values], targets)
        if not self.windows.y_valid[split.validation].any():
            raise SnowmapError(f"no validation window has a valid pixel of {', '.join(targets)} inside the study area")

    def setup(self, stage: str) -> None:
        """Move the windows to the device that trains, once."""
        if self.trainer:
            self.windows = self.windows.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training windows in an order of their own each epoch."""
        return self._loader(self.split.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation windows by date."""
        return self._loader(self.split.validation, shuffle=False)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Seed what the step draws (augmentation, dropout) by its number: Lightning does not restore generators."""
        if self.trainer and self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.total_batch_idx
            torch.manual_seed(hash((self.seed, step, self.trainer.global_rank)))
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches."""
        if self.augment and self.trainer and self.trainer.training:
            return self.augment(batch)
        return batch

    def _loader(self, windows: list[int], shuffle: bool) -> DataLoader[Batch]:
        # the sampler's order depends on (seed, epoch); Lightning tells it the epoch
        processes, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        sampler = DistributedSampler(windows, processes, rank, shuffle=shuffle, seed=self.seed)  # type: ignore[arg-type]
        return DataLoader(windows, self.batch_size, sampler=sampler, collate_fn=self.windows.gather)  # type: ignore[arg-type]
