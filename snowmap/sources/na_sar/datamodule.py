"""The data module: patches that are streamed from their shards, split by split."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch

from snowmap.data.batch import Batch
from snowmap.sources.na_sar.index import Patches
from snowmap.sources.na_sar.loader import Feeding, PatchLoader
from snowmap.sources.na_sar.reading import Members
from snowmap.sources.na_sar.stream import Fault

logger = logging.getLogger(__name__)


class PatchDataModule(pl.LightningDataModule):
    """Feeds training and validation patches; see `PatchLoader` for their order.

    What a training step draws is seeded by its number, as in `snowmap.data.datamodule.SnowDataModule`.

    Attributes:
        subsets: Samples by name of their subset, ``train``, ``validation`` and ``test``.
        faults: What is wrong with members that were read, by key of the sample.
    """

    def __init__(self, subsets: Mapping[str, Patches], feeding: Feeding, workers: int = 0) -> None:
        """Hold the samples.

        Args:
            subsets: From `split_patches`.
            feeding: What Batches are made of.
            workers: Processes that read, for each process that trains.
        """
        super().__init__()
        self.subsets, self.feeding, self.workers = dict(subsets), feeding, workers
        self.batch_size = feeding.batch_size
        self.faults: dict[str, str] = {}
        self.broken: set[tuple[str, str]] = set()

    def loader(self, subset: str, *, shuffle: bool = False) -> PatchLoader:
        """The Batches of a subset that are this process's."""
        patches, processes = self.subsets[subset], self._processes()
        return PatchLoader(patches, self.feeding, self.workers, processes, shuffle=shuffle, name=subset)

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint remembers: the faults that were named, and who read."""
        return {"faults": dict(self.faults), "processes": self._processes()[0], "workers": self.workers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take that of a checkpoint; other readers get other pieces of its epoch, which is said."""
        self.faults |= state_dict["faults"]
        before, now = (state_dict["processes"], state_dict["workers"]), (self._processes()[0], self.workers)
        if before != now:
            logger.warning(
                "the checkpoint was written with %d processes × %d workers, and is resumed with %d × %d: some patches "
                "of its epoch are read twice, and others not at all",
                *(*before, *now),
            )

    def train_dataloader(self) -> PatchLoader:
        """Training patches in an order of their own each epoch, determined by (seed, epoch)."""
        in_order = bool(self.trainer and self.trainer.overfit_batches)  # type: ignore[attr-defined]
        loader = self.loader("train", shuffle=not in_order)
        if self.trainer:  # Lightning restores how many steps the epoch had, but begins with the first of them again
            loader.passed = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return loader

    def val_dataloader(self) -> PatchLoader:
        """Validation patches, shard by shard."""
        return self.loader("validation")

    def on_before_batch_transfer(self, batch: Members, dataloader_idx: int) -> Members:
        """Note the faults, and seed what a training step draws: Lightning does not restore generators."""
        assert self.trainer
        self.note(batch.faults)
        if self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.total_batch_idx
            torch.manual_seed(hash((self.feeding.seed, step, self.trainer.global_rank)))
        return batch._replace(faults=[])

    def on_after_batch_transfer(self, batch: Members, dataloader_idx: int) -> Batch:
        """Make bands of what was read, on the device."""
        return batch.batch()

    def note(self, faults: Sequence[Fault]) -> None:
        """Name each fault once, and count it."""
        for fault in faults:
            if fault.key in self.faults:
                continue
            self.faults[fault.key] = f"{fault.shard} {fault.words}" if fault.of_shard else fault.words
            if not fault.of_shard:
                logger.warning("%s: %s %s", fault.shard, fault.key, fault.words)
            elif (fault.shard, fault.words) not in self.broken:
                self.broken.add((fault.shard, fault.words))
                logger.warning("%s %s: %s and those behind it are missing", fault.shard, fault.words, fault.key)
