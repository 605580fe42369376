"""The data module: Batches of a Cube that lies in memory, split by split."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial

import pytorch_lightning as pl
import torch
import xarray as xr
from torch.utils.data import DataLoader, DistributedSampler

from snowmap.augment import AUGMENTATIONS, crop
from snowmap.batch import Batch, Windows
from snowmap.cube import BANDS, window_names
from snowmap.errors import SnowmapError
from snowmap.sequences import SEASON, Sample, samples
from snowmap.splits import Split

logger = logging.getLogger(__name__)

RESIDENT_SHARE = 0.5
"""Of the accelerator's free memory that the Cube may fill; the rest is for the net."""


class SnowDataModule(pl.LightningDataModule):
    """Feeds training and validation sequences; no raster is opened once the Cube is there.

    The Cube moves to the accelerator where it fits; where it does not, Batches are gathered in memory (or from the
    memory map of the cache) and copied one by one.

    The order of the training sequences follows from seed and epoch alone, and what a step draws from seed and step,
    so a resumed run sees what an uninterrupted one would.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        split: Split,
        targets: Sequence[str],
        *,
        time: int | str = 1,
        every_step: bool = False,
        supervise: str = "last",
        batch_size: int = 4,
        augment: str = "none",
        crop_size: Sequence[int] | None = None,
        resident_share: float = RESIDENT_SHARE,
        seed: int = 0,
    ) -> None:
        """Hold the Cube.

        Args:
            cube: The Cube.
            split: Which windows train and validate, and in which areas.
            targets: Targets to learn.
            time: Windows in a sequence, or ``season``.
            every_step: Whether the net maps every step of a sequence.
            supervise: ``last`` or ``every``: the windows of a training sequence whose targets the loss sees. Never
                those of a window outside the training part.
            batch_size: Sequences in each step.
            augment: A key of `snowmap.augment.AUGMENTATIONS`.
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
        bands = [str(name) for name in cube["band"].values]
        self.windows = Windows.of(cube, bands, targets)
        self.train_area, self.held_area = (
            None if area is None else torch.from_numpy(area) for area in (split.train_area, split.held_area)
        )
        train = self._with_target(split.train, "training", targets, self.train_area)
        validation = self._with_target(split.validation, "validation", targets, self.held_area)
        end = cube["end"].values
        every = supervise == "every"
        self.train = samples(end, train, time, every_step=every, allowed=train)
        self.validation = samples(end, validation, time, every_step=every_step and time == SEASON)
        # the day of the year is always known: a window shows something if the archive does
        self._refuse_empty([*self.train, *self.validation], [i for i, band in enumerate(bands) if band in BANDS])

    def setup(self, stage: str) -> None:
        """Move the windows to the device that trains, once, if they fit."""
        if self.trainer:
            device = self.trainer.strategy.root_device
            if fits(self.windows.nbytes, device, self.resident_share):
                self.windows = self.windows.to(device)
            else:
                logger.warning("the Cube does not fit on %s; its windows stay in memory and are copied there", device)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Training sequences in an order of their own each epoch, determined by (seed, epoch)."""
        processes, rank = self._processes()
        order = _Order(self.train, processes, rank, seed=self.seed)  # type: ignore[arg-type]
        if self.trainer:  # Lightning restores how many steps the epoch had, but begins with the first of them again
            order.seen = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready * self.batch_size
        return self._loader(self.train, self.train_area, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation sequences by date; among several processes each is scored once."""
        processes, rank = self._processes()
        # as many for each process, so that all take part in each exchange; no target of the filled-up ones counts
        missing = -len(self.validation) % processes
        first = self.validation[0]
        filled = [*self.validation, *[first._replace(supervised=(False,) * len(first.supervised))] * missing]
        return self._loader(filled[rank::processes], self.held_area)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Seed what the step draws (crops, flips, dropout) by its number: Lightning does not restore generators."""
        if self.trainer and self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.total_batch_idx
            torch.manual_seed(hash((self.seed, step, self.trainer.global_rank)))
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Crop and augment training batches, on the device."""
        if self.trainer and self.trainer.training:
            batch = crop(batch, self.crop_size) if self.crop_size else batch
            return self.augment(batch) if self.augment else batch
        return batch

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(
        self, found: list[Sample], area: torch.Tensor | None, sampler: DistributedSampler | None = None
    ) -> DataLoader[Batch]:
        return DataLoader(
            found,  # type: ignore[arg-type]
            self.batch_size,
            sampler=sampler,
            collate_fn=partial(self.windows.gather, area=area),
        )

    def _with_target(
        self, windows: list[int], part: str, targets: Sequence[str], area: torch.Tensor | None
    ) -> list[int]:
        seen = self.windows.inside if area is None else self.windows.inside & area
        known = [window for window in windows if any((y[window].isfinite() & seen).any() for y in self.windows.y)]
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

    def _refuse_empty(self, found: list[Sample], bands: list[int]) -> None:
        used = sorted({step for sample in found for step in sample.steps})
        seen = {step for step in used if (self.windows.x[step][bands].isfinite() & self.windows.inside).any()}
        for sample in found:
            if not seen.intersection(sample.steps):
                names = ", ".join(self.names[step] for step in sample.steps)
                raise SnowmapError(
                    f"no band has a value inside the study area in any window of the sequence of "
                    f"{self.names[sample.steps[-1]]} ({names}); mend the rasters or leave the windows out"
                )


class _Order(DistributedSampler):
    """The training sequences in the order of the epoch, the first time without those that were `seen` in it."""

    seen = 0

    def __iter__(self) -> Iterator[int]:
        order = list(super().__iter__())
        seen, self.seen = self.seen, 0
        return iter(order[seen:] or order)  # at the end of an epoch comes the next one, from its beginning


def fits(nbytes: int, device: torch.device, share: float = RESIDENT_SHARE) -> bool:
    """Whether so many bytes may lie on the device; memory that it shares with the processor always has room."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= share * free
