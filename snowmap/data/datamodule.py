"""The data module: Batches of a Cube that lies in memory, split by split."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
import xarray as xr
from torch.utils.data import DataLoader, DistributedSampler

from snowmap.data.augment import AUGMENTATIONS
from snowmap.data.batch import Batch, CubeTensors
from snowmap.data.cube import window_names
from snowmap.data.pieces import random_pieces, tiled
from snowmap.data.sequences import SEASON, Sample, samples
from snowmap.data.splits import Split
from snowmap.errors import SnowmapError

logger = logging.getLogger(__name__)

RESIDENT_SHARE = 0.5
"""Of the accelerator's free memory that the Cube may fill; the rest is for the net."""


class SnowDataModule(pl.LightningDataModule):
    """Feeds training and validation sequences; no raster is opened once the Cube is there.

    The Cube moves to the accelerator where it fits; where it does not, Batches are gathered in memory (or from the
    memory map of the cache) and copied one by one. A piece of a map is chosen before it is gathered: nothing else of a
    Cube that is larger than the memory is read. Scenes larger than a tile are validated by tiles.

    The order of the training sequences follows from seed and epoch alone, and what a step draws from seed and step,
    so a resumed run sees what an uninterrupted one would.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        windows: CubeTensors,
        split: Split,
        targets: Sequence[str],
        *,
        time: int | str = 1,
        maps_every_step: bool = False,
        supervise: str = "last",
        batch_size: int = 4,
        augment: str = "none",
        crop_size: Sequence[int] | None = None,
        resident_share: float = RESIDENT_SHARE,
        seed: int = 0,
    ) -> None:
        """Hold the Cube.

        Args:
            cube: The Cube that `windows` are of.
            windows: Its bands, derived features among them, and targets.
            split: Which windows train and validate, and in which areas.
            targets: Targets to learn.
            time: Windows in a sequence, or ``season``.
            maps_every_step: Whether the net maps every step of a sequence.
            supervise: ``last`` or ``every``: the windows of a training sequence whose targets the loss sees. Never
                those of a window outside the training part.
            batch_size: Sequences in each step.
            augment: A key of `snowmap.data.augment.AUGMENTATIONS`.
            crop_size: Height and width of the pieces to train on; None for whole maps.
            resident_share: Of the accelerator's free memory that the Cube may fill.
            seed: Of the order of the training sequences and of everything that a training step draws.

        Raises:
            SnowmapError: When no validation window has a valid target, or all windows of a sequence are empty.
        """
        super().__init__()
        self.split = split
        self.batch_size, self.augment, self.crop_size = batch_size, AUGMENTATIONS[augment], crop_size
        self.resident_share, self.seed = resident_share, seed
        self.names = window_names(cube)
        self.windows = windows
        self.train_area, self.validation_area = (
            None if area is None else torch.from_numpy(area) for area in (split.train_area, split.validation_area)
        )
        train = self._with_target(split.train, "training", targets, self.train_area)
        validation = split.validation  # none of a final fit
        if validation:
            validation = self._with_target(validation, "validation", targets, self.validation_area)
        end = cube["end"].values
        every = supervise == "every"
        self.train = samples(end, train, time, maps_every_step=every, allowed=train)
        self.validation = samples(end, validation, time, maps_every_step=maps_every_step and time == SEASON)
        self._refuse_empty([*self.train, *self.validation], cube["features"].values)
        size = tuple(windows.inside.shape)
        self.tiles = [tile for sample in self.validation for tile in tiled(sample, size) if self._any_target(tile)]

    def setup(self, stage: str) -> None:
        """Move the windows to the device that trains, once, if they fit."""
        if self.trainer:
            device = self.trainer.strategy.root_device
            if fits(self.windows.nbytes, device, self.resident_share):
                self.windows = self.windows.to(device)
            else:
                logger.warning("the Cube does not fit on %s; its windows stay in memory and are copied there", device)

    def train_dataloader(self) -> DataLoader[list[Sample]]:
        """Training sequences in an order of their own each epoch, determined by (seed, epoch)."""
        processes, rank = self._processes()
        order = _Order(self.train, processes, rank, seed=self.seed)  # type: ignore[arg-type]
        if self.trainer:  # Lightning restores how many steps the epoch had, but begins with the first of them again
            order.passed = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready * self.batch_size
        return self._loader(self.train, self.batch_size, order)

    def val_dataloader(self) -> DataLoader[list[Sample]] | list[Sample]:
        """Validation sequences by date, as tiles of large scenes; among several processes each is scored once."""
        processes, rank = self._processes()
        if not self.tiles:
            return []
        # as many for each process, so that all take part in each exchange; no target of the filled-up ones counts
        missing = -len(self.tiles) % processes
        first = self.tiles[0]
        filled = [*self.tiles, *[first._replace(supervised=(False,) * len(first.supervised))] * missing]
        # tiles at the edges of a scene are smaller
        return self._loader(filled[rank::processes], 1 if first.margin else self.batch_size)

    def on_before_batch_transfer(self, batch: list[Sample], dataloader_idx: int) -> Batch:
        """Gather the sequences, of a training step random pieces of them with ``data.crop``.

        What a training step draws (pieces, flips, dropout) is seeded by its number: Lightning does not restore
        generators.
        """
        assert self.trainer
        if self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.total_batch_idx
            torch.manual_seed(hash((self.seed, step, self.trainer.global_rank)))
            if self.crop_size:
                batch = random_pieces(batch, self.crop_size, self.windows.inside.shape)
        gathered = self.windows.collate(batch, self.train_area if self.trainer.training else self.validation_area)
        return self.trainer.precision_plugin.convert_input(gathered)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches, on the device."""
        return self.augment(batch) if self.augment and self.trainer and self.trainer.training else batch

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(
        self, samples: list[Sample], batch_size: int, sampler: DistributedSampler | None = None
    ) -> DataLoader[list[Sample]]:
        return DataLoader(samples, batch_size, sampler=sampler, collate_fn=list)  # type: ignore[arg-type]

    def _any_target(self, sample: Sample) -> bool:
        """Whether a target has a value in the sequence's piece."""
        return bool(self.windows._replace(x=()).collate([sample], self.validation_area).y_valid.any())

    def _with_target(
        self, windows: list[int], part: str, targets: Sequence[str], area: torch.Tensor | None
    ) -> list[int]:
        visible = self.windows.inside if area is None else self.windows.inside & area
        known = [window for window in windows if any((y[window].isfinite() & visible).any() for y in self.windows.y)]
        if not known:
            where = "the study area" + (f", as far as it is the split's {part} area" if area is not None else "")
            raise SnowmapError(f"no {part} window has a valid pixel of {', '.join(targets)} inside {where}")
        if empty := [self.names[window] for window in windows if window not in known]:
            logger.warning(
                "no valid pixel of %s inside the study area in the %s windows %s: they are left out",
                ", ".join(targets),
                part,
                ", ".join(empty),
            )
        return known

    def _refuse_empty(self, sequences: list[Sample], features: np.ndarray) -> None:
        used = sorted({step for sample in sequences for step in sample.steps})
        inside = self.windows.inside.numpy()
        filled = {step for step in used if any((np.isfinite(band) & inside).any() for band in features[step])}
        for sample in sequences:
            if not filled.intersection(sample.steps):
                names = ", ".join(self.names[step] for step in sample.steps)
                raise SnowmapError(
                    f"no band has a value inside the study area in any window of the sequence of "
                    f"{self.names[sample.steps[-1]]} ({names}); mend the rasters or leave the windows out"
                )


class _Order(DistributedSampler):
    """The training sequences in the order of the epoch, the first time without those that were `passed` in it."""

    passed = 0

    def __iter__(self) -> Iterator[int]:
        order = list(super().__iter__())
        passed, self.passed = self.passed, 0
        return iter(order[passed:] or order)  # at the end of an epoch comes the next one, from its beginning


def fits(nbytes: int, device: torch.device, share: float = RESIDENT_SHARE) -> bool:
    """Whether so many bytes may lie on the device; memory that it shares with the processor always has room."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= share * free
