"""Who reads which samples in which order: what follows from the metadata, seed and epoch alone."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np
import torch
from torch.multiprocessing import get_sharing_strategy
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from snowmap.errors import SnowmapError
from snowmap.sources.na_sar.index import Patches
from snowmap.sources.na_sar.layout import BANDS, CHANNELS, SIDE, VIEWS
from snowmap.sources.na_sar.reading import MemberError, Members, fault_of, keys_of, read_member, relief
from snowmap.sources.na_sar.stream import Fault, Opening, is_remote

logger = logging.getLogger(__name__)

Item = tuple[int, bytes | Fault | None]
"""Position of a sample among the patches, and its member; −1 and None for an item that fills a batch up."""


class Feeding(NamedTuple):
    """What the items of a Batch are made of, and in which order.

    Attributes:
        bands: Keys of `snowmap.sources.na_sar.layout.BANDS`.
        time: Dates of an item: 2, or 1 for the secondary one alone.
        batch_size: Items in a Batch; a sample gives two, one for each view.
        shuffle: Members whose order is drawn anew; a reader holds so many of them, undecoded.
        seed: Of every order.
        opening: How shards are opened.
    """

    bands: tuple[str, ...] = tuple(BANDS)
    time: int = 2
    batch_size: int = 64
    shuffle: int = 128
    seed: int = 0
    opening: Opening = Opening()


class PatchLoader:
    """Batches of one subset, of which each sample is in one: those of one process, as `Members`.

    The samples of an epoch stand in one sequence: shard by shard, the shards in an order of (seed, epoch), the samples
    in that of their members. The readers, which are the workers of all processes, take equal pieces of it, and draw the
    order within groups of `Feeding.shuffle` members. All of this follows from the metadata alone: a member that cannot
    be used keeps its place, as an item without a valid pixel. Items of that kind fill up the last Batches, so that all
    processes take as many steps.

    Attributes:
        sizes: Items in each Batch of a reader; all have as many.
        passed: Batches that the epoch has had already; the first iteration leaves them out. Shards and groups that they
            were made of are not read again.
    """

    passed = 0
    batch_sampler = None  # Lightning asks for it where there is a sampler

    def __init__(
        self,
        patches: Patches,
        feeding: Feeding,
        workers: int = 0,
        processes: tuple[int, int] = (1, 0),
        *,
        shuffle: bool = False,
        name: str = "",
    ) -> None:
        """Deal the samples out.

        Args:
            patches: The samples.
            feeding: What Batches are made of.
            workers: Processes that read for this one; 0: it reads by itself.
            processes: How many train together, and which of them this one is.
            shuffle: Whether the order is drawn.
            name: Of the subset, for messages.

        Raises:
            SnowmapError: When there are fewer samples than processes.
        """
        world, self.rank = processes
        if len(patches) < world:
            raise SnowmapError(
                f"{name or 'the subset'} has {len(patches)} samples for {world} processes; use fewer trainer.devices, "
                "or more samples"
            )
        most = len(patches) // world
        if workers > most:
            logger.warning("%s: %d samples are too few for %d workers; %d read them", name, len(patches), workers, most)
        self.patches, self.feeding, self.workers = patches, feeding, min(workers, most)
        self.shuffle, self.epoch = shuffle, 0
        self.readers_each = max(1, self.workers)
        self.readers = world * self.readers_each
        items = len(VIEWS) * -(-len(patches) // self.readers)
        self.sizes = [min(feeding.batch_size, items - first) for first in range(0, items, feeding.batch_size)]
        shards = patches.table["shard"].unique()
        if len(shards) < self.readers and shuffle:
            remote = any(is_remote(patches.shards[shard]) for shard in shards) and not feeding.opening.cache_gb
            logger.warning(
                "%s: %d readers share %d shards%s",
                *(name, self.readers, len(shards)),
                ", of which each fetches what lies before its part, too; set data.cache_gb" if remote else "",
            )

    @property
    def sampler(self) -> "PatchLoader":
        """Itself: where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Of which the order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sizes) * self.readers_each

    def __iter__(self) -> Iterator[Members]:
        # a generator: Lightning tells the epoch after it has asked for the iterator
        passed, self.passed = self.passed % len(self), 0  # at the end of an epoch comes the next one
        yield from DataLoader(
            _Stream(self, self.epoch, passed),
            batch_size=None,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
        )


class _Stream(IterableDataset[Members]):
    """The Batches of an epoch that are still to come; in a worker those that it makes."""

    def __init__(self, loader: PatchLoader, epoch: int, passed: int) -> None:
        self.loader, self.epoch, self.passed = loader, epoch, passed

    def __iter__(self) -> Iterator[Members]:
        loader, worker = self.loader, get_worker_info()
        # the loader takes a Batch from each worker in turn, the first one being that whose turn it is
        local = ((worker.id if worker else 0) + self.passed) % loader.readers_each
        passed = -(-(self.passed - local) // loader.readers_each)
        reader = loader.rank * loader.readers_each + local
        first = passed * loader.feeding.batch_size
        items = self._items(reader, first // len(VIEWS))
        views = ((*item, view) for item in chain(items, repeat((-1, None))) for view in VIEWS)
        views = islice(views, first % len(VIEWS), None)
        for size in loader.sizes[passed:]:
            yield _members_of(list(islice(views, size)), loader.patches, loader.feeding)

    def _items(self, reader: int, passed: int) -> Iterator[Item]:
        """The members of a reader's samples behind the first `passed` of them."""
        feeding = self.loader.feeding
        size = feeding.shuffle if self.loader.shuffle else 1
        group, skipped = divmod(passed, size)
        members = self._members(reader, group * size)
        while items := list(islice(members, size)):
            seeds = [feeding.seed, self.epoch, reader, group]
            order = np.random.default_rng(seeds).permutation(len(items)) if self.loader.shuffle else range(len(items))
            for index in islice(order, skipped, None):
                yield items[index]
            group, skipped = group + 1, 0

    def _members(self, reader: int, passed: int) -> Iterator[Item]:
        """The members of a reader's samples in the order of its shards; passed ones are not opened."""
        table, shards = self.loader.patches.table, self.loader.patches.shards
        count = np.bincount(table["shard"], minlength=len(shards))
        order = np.arange(len(shards))
        if self.loader.shuffle:
            order = np.random.default_rng([self.loader.feeding.seed, self.epoch]).permutation(len(shards))
        start, stop = (len(table) * end // self.loader.readers for end in (reader, reader + 1))
        begins, firsts = np.cumsum(count[order]) - count[order], np.cumsum(count) - count
        for shard, begin in zip(order, begins, strict=True):
            low, high = max(start + passed, begin) - begin, min(stop, begin + count[shard]) - begin
            if low < high:
                positions = range(firsts[shard] + low, firsts[shard] + high)
                keys = table["key"].iloc[positions.start : positions.stop].tolist()
                yield from zip(positions, self.loader.feeding.opening.members(shards[shard], keys), strict=True)


def _members_of(views: Sequence[tuple[int, bytes | Fault | None, int]], patches: Patches, feeding: Feeding) -> Members:
    """The members of some views, each one read once."""
    bands, time, faults = feeding.bands, feeding.time, []
    keys = keys_of(bands, time)
    contents = {position: content for position, content, _ in views}
    rows = patches.table.iloc[[*contents]]
    derived = ["relief"] if "relief" in bands else []
    channels = sum(CHANNELS[key] for key in keys) + len(derived)
    arrays, put = _unfilled(len(contents), channels, SIDE, SIDE)
    for number, (content, shard, key) in enumerate(zip(contents.values(), rows["shard"], rows["key"], strict=True)):
        words, parts = "", [np.full((channels, SIDE, SIDE), np.nan, np.float32)]
        if isinstance(content, bytes):
            try:
                member = read_member(content, keys)
                words = fault_of(member)
                parts = [*member.values(), *([relief(member["dem"])] if derived else [])]
            except MemberError as error:
                words = str(error)
        put(number, [np.ascontiguousarray(part, np.float32) for part in parts])
        if words or isinstance(content, Fault):
            faults.append(content if isinstance(content, Fault) else Fault(patches.shards[shard], key, words))
    index = {position: number for number, position in enumerate(contents)}
    sample = torch.tensor([index[position] for position, _, _ in views])
    window = torch.from_numpy(rows.index.to_numpy(np.int64, copy=True))[sample]
    return Members(
        arrays=arrays,
        names=keys + derived,
        sample=sample,
        view=torch.tensor([view for _, _, view in views]),
        window=window.masked_fill(torch.tensor([position < 0 for position, _, _ in views]), -1),
        dates=torch.from_numpy(rows[["days", "prime_day", "secondary_day"]].to_numpy(np.float32, copy=True))[sample],
        bands=bands,
        time=time,
        faults=faults,
    )


def _unfilled(*shape: int) -> tuple[torch.Tensor, Callable[[int, list[np.ndarray]], object]]:
    """A float32 tensor, and what puts contiguous arrays one behind the other into a row of it.

    In a worker it lies in memory that the processes share, where a copy would cost a fifth of reading. Rows are written
    there as into a file, for half of what it costs to touch each page of a mapping first.
    """
    if get_worker_info() is None:
        arrays = torch.empty(shape)
    else:
        storage = torch.UntypedStorage._new_shared(4 * math.prod(shape))  # as PyTorch's own collation
        arrays = torch.empty(0).set_(storage, 0, shape)  # type: ignore[call-overload]
        if get_sharing_strategy() == "file_descriptor":
            return arrays, partial(_write_row, storage._share_fd_cpu_()[0], 4 * math.prod(shape[1:]))
    rows = arrays.numpy()
    return arrays, lambda number, parts: np.concatenate(parts, out=rows[number])


def _write_row(descriptor: int, size: int, number: int, parts: list[np.ndarray]) -> None:
    try:
        written = os.pwritev(descriptor, [part.data for part in parts], number * size)
    except OSError:
        written = 0
    if written != size:
        raise SnowmapError("the memory that processes share is full; give fewer data.workers, or a larger /dev/shm")
