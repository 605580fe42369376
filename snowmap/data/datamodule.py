"""The data module: Batches of Cubes that lie in memory, split by split."""

import logging
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xarray as xr
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from snowmap.data.augment import AUGMENTATIONS
from snowmap.data.batch import Batch, CubeTensors
from snowmap.data.classes import observed
from snowmap.data.cube import archive_names, window_names
from snowmap.data.lazy import LazyTensors
from snowmap.data.pieces import around, class_centres, random_pieces, tiled
from snowmap.data.sequences import SEASON, Sample, jittered, samples
from snowmap.data.splits.split import Split
from snowmap.errors import SnowmapError

logger = logging.getLogger(__name__)

RESIDENT_SHARE = 0.5
"""Of the accelerator's free memory that the Cube may fill; the rest is for the net."""


class SnowDataModule(pl.LightningDataModule):
    """Feeds training and validation sequences; no raster is opened once the Cubes are there.

    The Cubes move to the accelerator where they fit; where they do not, Batches are gathered in memory (or from the
    memory map of the cache) and copied one by one. A piece of a map is chosen before it is gathered: nothing else of a
    Cube that is larger than the memory is read. Scenes larger than a tile are validated by tiles.

    Cubes may differ in grid, size and dates: all sequences of a Batch are of one Cube.

    The order of the training sequences follows from seed and epoch alone, and what a step draws from seed and step,
    so a resumed run sees what an uninterrupted one would.

    Attributes:
        train: Training sequences, Cube by Cube.
        tiles: Validation sequences, or their tiles, Cube by Cube.
        names: Name of every window, Cube by Cube; ``Batch.window`` is an index in it.
    """

    def __init__(
        self,
        cubes: Sequence[xr.Dataset],
        tensors: Sequence[CubeTensors | LazyTensors],
        splits: Sequence[Split],
        targets: Sequence[str],
        *,
        time: int | str = 1,
        maps_every_step: bool = False,
        supervise: str = "last",
        batch_size: int = 4,
        augment: str = "none",
        crop_size: Sequence[int] | None = None,
        patches: int = 1,
        class_share: float | None = None,
        time_jitter: int = 0,
        resident_share: float = RESIDENT_SHARE,
        seed: int = 0,
    ) -> None:
        """Hold the Cubes.

        Args:
            cubes: The Cubes.
            tensors: Of each its bands, derived features among them, and targets.
            splits: Which windows of each train and validate, and in which areas.
            targets: Targets to learn.
            time: Windows in a sequence, or ``season``.
            maps_every_step: Whether the net maps every step of a sequence.
            supervise: ``last`` or ``every``: the windows of a training sequence whose targets the loss sees. Never
                those of a window outside the training subset.
            batch_size: Sequences in each step.
            augment: A key of `snowmap.data.augment.AUGMENTATIONS`.
            crop_size: Height and width of the pieces to train on; None for whole maps.
            patches: Pieces of each sequence in an epoch.
            class_share: Share of the pieces that are drawn around a pixel of the class that fewest training pixels
                have, as far as their map holds it; the others may hold it, too.
            time_jitter: Windows by which each step of a training sequence but the last may move.
            resident_share: Of the accelerator's free memory that the Cubes may fill.
            seed: Of the order of the training sequences and of everything that a training step draws.

        Raises:
            SnowmapError: When no validation window has a valid target, or all windows of a sequence are empty.
        """
        super().__init__()
        self.batch_size, self.augment, self.crop_size = batch_size, AUGMENTATIONS[augment], crop_size
        self.class_share, self.time_jitter = class_share, time_jitter
        self.resident_share, self.seed = resident_share, seed
        self.tensors = list(tensors)
        self.train_areas, self.validation_areas = (
            [None if area is None else torch.from_numpy(area) for area in areas]
            for areas in zip(*((split.train_area, split.validation_area) for split in splits), strict=True)
        )
        self.names: list[str] = []
        self.first_windows: list[int] = []
        self.train: list[Sample] = []
        self.tiles: list[Sample] = []
        archives, every = archive_names([cube.attrs for cube in cubes]), supervise == "every"
        for index, (archive, cube, split) in enumerate(zip(archives, cubes, splits, strict=True)):
            maps, end = self.tensors[index], cube["end"].values
            names = [f"{window} of {archive}" if archive else window for window in window_names(cube)]
            known = [cube[target] for target in targets if target in cube]
            train, chosen = split.train, split.validation  # a scene may serve one of them, a final fit only trains
            if train:
                train = _with_target(maps, known, names, train, "training", targets, self.train_areas[index])
            if chosen:
                area = self.validation_areas[index]
                chosen = _with_target(maps, known, names, chosen, "validation", targets, area)
            training = samples(end, train, time, maps_every_step=every, allowed=train)
            validation = samples(end, chosen, time, maps_every_step=maps_every_step and time == SEASON)
            _refuse_empty(maps, names, [*training, *validation], cube["features"])
            self.first_windows.append(len(self.names))
            self.names += names
            self.train += [sample._replace(cube=index) for sample in training for _ in range(patches)]
            if crop_size and any(side < wanted for side, wanted in zip(maps.inside.shape, crop_size, strict=True)):
                size, wanted = (" × ".join(map(str, sides)) for sides in (maps.inside.shape, crop_size))
                logger.warning(
                    "%s is %s px, smaller than the pieces of data.crop, %s px: a shorter side stays whole; "
                    "give a smaller data.crop, or larger scenes",
                    *(cube.attrs["archive"], size, wanted),
                )
            tiles = (tile for sample in validation for tile in tiled(sample, tuple(maps.inside.shape)))
            self.tiles += [tile for tile in (tile._replace(cube=index) for tile in tiles) if self._any_target(tile)]
        ends = dict.fromkeys((sample.cube, sample.steps[-1]) for sample in self.train)
        self.centres = class_centres({end: self._observed(*end) for end in ends}) if class_share else {}

    def setup(self, stage: str) -> None:
        """Move the windows to the device that trains, once, if they fit."""
        if self.trainer:
            device = self.trainer.strategy.root_device
            if fits(sum(tensors.nbytes for tensors in self.tensors), device, self.resident_share):
                self.tensors = [tensors.to(device) for tensors in self.tensors]
            else:
                logger.warning("the Cube does not fit on %s; its windows stay in memory and are copied there", device)

    def train_dataloader(self) -> DataLoader[list[Sample]]:
        """Training sequences in an order of their own each epoch, determined by (seed, epoch)."""
        shuffle = not (self.trainer and self.trainer.overfit_batches)  # type: ignore[attr-defined]
        batches = _Batches(self.train, self.batch_size, *self._processes(), shuffle=shuffle, seed=self.seed)
        if self.trainer:  # Lightning restores how many steps the epoch had, but begins with the first of them again
            batches.passed = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return DataLoader(self.train, batch_sampler=batches, collate_fn=list)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[list[Sample]] | list[Sample]:
        """Validation sequences by date, as tiles of large scenes; among several processes each is scored once."""
        processes, rank = self._processes()
        if not self.tiles:
            return []
        batches = []
        for _, of_cube in groupby(self.tiles, lambda tile: tile.cube):
            first, *others = of_cube
            # as many for each process, so that all take part in each exchange; no target of the filled-up ones counts
            unseen = first._replace(supervised=(False,) * len(first.supervised))
            filled = [first, *others, *[unseen] * (-(1 + len(others)) % processes)]
            size = 1 if first.margin else self.batch_size  # tiles at the edges of a scene are smaller
            batches += _chunks(filled[rank::processes], size)
        return DataLoader(batches, batch_size=None, collate_fn=list)  # type: ignore[arg-type]

    def on_before_batch_transfer(self, batch: list[Sample], dataloader_idx: int) -> Batch:
        """Gather the sequences, of a training step random pieces of them with ``data.crop``.

        What a training step draws (pieces, flips, dropout) is seeded by its number: Lightning does not restore
        generators.
        """
        assert self.trainer
        if self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.total_batch_idx
            torch.manual_seed(hash((self.seed, step, self.trainer.global_rank)))
            if self.time_jitter:
                batch = [jittered(sample, self.time_jitter) for sample in batch]
            if self.crop_size:
                batch = self._pieces(batch, self.crop_size)
        areas = self.train_areas if self.trainer.training else self.validation_areas
        return self.trainer.precision_plugin.convert_input(self.collate(batch, areas))

    def _pieces(self, batch: list[Sample], size: Sequence[int]) -> list[Sample]:
        """Random pieces of sequences of one Cube, of which `class_share` are drawn around the rarest class."""
        maps = self.tensors[batch[0].cube]
        extent = maps.inside.shape
        pieces = random_pieces(batch, size, extent, maps.chunk)
        if not self.class_share:
            return pieces
        chosen = torch.rand(len(pieces)) < self.class_share
        return [
            around(piece, self.centres[piece.cube, piece.steps[-1]], extent) if wanted else piece
            for piece, wanted in zip(pieces, chosen.tolist(), strict=True)
        ]

    def _observed(self, cube: int, window: int) -> torch.Tensor:
        """The first target of a window ``(y, x)`` as far as the loss may see it, NaN elsewhere."""
        tensors, area = self.tensors[cube].targets_alone(), self.train_areas[cube]
        batch = tensors.collate([Sample((window,), (True,))], area)
        return torch.where(batch.y_valid, batch.y, torch.nan)[0, 0, 0]

    def collate(self, batch: Sequence[Sample], areas: Sequence[torch.Tensor | None] = ()) -> Batch:
        """The Batch of some sequences of one Cube.

        Args:
            batch: The sequences.
            areas: Of each Cube where targets may be looked at; everywhere in the study areas by default.
        """
        cube = batch[0].cube
        gathered = self.tensors[cube].collate(batch, areas[cube] if areas else None)
        return gathered._replace(window=gathered.window + self.first_windows[cube])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment training batches, on the device."""
        return self.augment(batch) if self.augment and self.trainer and self.trainer.training else batch

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _any_target(self, sample: Sample) -> bool:
        """Whether a target has a value in the sequence's piece."""
        tensors, area = self.tensors[sample.cube], self.validation_areas[sample.cube]
        return bool(tensors.targets_alone().collate([sample], area).y_valid.any())


class _Batches(Sampler[list[int]]):
    """Batches of training sequences in the order of the epoch, each of one Cube; the Cubes take turns.

    All processes take as many, of the same Cubes.

    Attributes:
        passed: Batches that the epoch has had already; the first iteration leaves them out.
    """

    passed = 0

    def __init__(self, sequences: Sequence[Sample], batch_size: int, *processes: int, shuffle: bool, seed: int) -> None:
        of_cubes = groupby(range(len(sequences)), lambda index: sequences[index].cube)
        self.batch_size = batch_size
        self.orders = [
            DistributedSampler(list(indices), *processes, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
            for _, indices in of_cubes
        ]

    @property
    def sampler(self) -> "_Batches":
        """Itself: where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Of which the order comes next."""
        for order in self.orders:
            order.set_epoch(epoch)

    def __len__(self) -> int:
        return sum(-(-len(order) // self.batch_size) for order in self.orders)

    def __iter__(self) -> Iterator[list[int]]:
        # a generator, as PyTorch's own: Lightning tells the epoch after it has asked for the iterator
        turns: list[tuple[float, list[int]]] = []
        for order in self.orders:
            batches = _chunks([order.dataset[index] for index in order], self.batch_size)
            turns += [((number + 0.5) / len(batches), batch) for number, batch in enumerate(batches)]
        batches = [batch for _, batch in sorted(turns, key=lambda turn: turn[0])]
        passed, self.passed = self.passed, 0
        yield from batches[passed:] or batches  # at the end of an epoch comes the next one, from its beginning


def _chunks(values: list[Any], size: int) -> list[list[Any]]:
    return [values[first : first + size] for first in range(0, len(values), size)]


def _with_target(
    tensors: CubeTensors | LazyTensors,
    of_targets: Sequence[xr.DataArray],
    names: Sequence[str],
    windows: Sequence[int],
    subset: str,
    targets: Sequence[str],
    area: torch.Tensor | None,
) -> list[int]:
    visible = tensors.inside if area is None else tensors.inside & area
    known = [window for window in windows if any(_any_value(maps[window], visible) for maps in of_targets)]
    if not known:
        where = "the study area" + (f", as far as it is the split's {subset} area" if area is not None else "")
        raise SnowmapError(f"no {subset} window has a valid pixel of {', '.join(targets)} inside {where}")
    if empty := [names[window] for window in windows if window not in known]:
        logger.warning(
            "no valid pixel of %s inside the study area in the %s windows %s: they are left out",
            ", ".join(targets),
            subset,
            ", ".join(empty),
        )
    return known


def _any_value(maps: xr.DataArray, inside: torch.Tensor) -> bool:
    """Whether maps (…, y, x) have a value somewhere inside; those of a store are read only until one is found."""
    height = max(maps.variable.chunksizes.get("y", (len(inside),)))
    for row in range(0, len(inside), height):
        rows = slice(row, row + height)
        if (np.isfinite(observed(maps[..., rows, :])) & inside[rows].numpy()).any():
            return True
    return False


def _refuse_empty(
    tensors: CubeTensors | LazyTensors, names: Sequence[str], sequences: Sequence[Sample], features: xr.DataArray
) -> None:
    used = sorted({step for sample in sequences for step in sample.steps})
    filled = {step for step in used if _any_value(features[step], tensors.inside)}
    for sample in sequences:
        if not filled.intersection(sample.steps):
            steps = ", ".join(names[step] for step in sample.steps)
            raise SnowmapError(
                f"no band has a value inside the study area in any window of the sequence of "
                f"{names[sample.steps[-1]]} ({steps}); mend the rasters or leave the windows out"
            )


def fits(nbytes: int, device: torch.device, share: float = RESIDENT_SHARE) -> bool:
    """Whether so many bytes may lie on the device; memory that it shares with the processor always has room."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= share * free
