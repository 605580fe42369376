"""Whether a training step fits into the memory, before the training starts."""

import contextlib
import math
import resource
from pathlib import Path

import psutil
import torch

from snowmap.data.datamodule import SnowDataModule
from snowmap.data.sequences import Sample
from snowmap.errors import SMALLER, SnowmapError
from snowmap.tasks.pixel import SnowRegression

PROBE = 64
"""Pixels: height and width of the piece of a map on which a step is measured."""

SMALL = 2**21
"""Pixels × windows of a batch up to which no step is measured: it takes a few GiB in the largest nets."""


def refuse_too_large(task: SnowRegression, datamodule: SnowDataModule, device: torch.device, precision: str) -> None:
    """Refuse a training whose steps cannot fit.

    Args:
        task: The task, on the processor.
        datamodule: What feeds it.
        device: Where it will train.
        precision: As Lightning calls it.

    Raises:
        SnowmapError: Naming what a step needs, what is free, and the keys that make it smaller.
    """

    def size_of(sample: Sample) -> list[int]:
        whole = datamodule.tensors[sample.cube].inside.shape
        return [min(pair) for pair in zip(whole, datamodule.crop_size or whole, strict=True)]

    longest = max(datamodule.train, key=lambda sample: len(sample.steps) * math.prod(size_of(sample)))
    (height, width), steps = size_of(longest), len(longest.steps)
    if datamodule.batch_size * height * width * steps <= SMALL:
        return
    probe = longest._replace(rows=slice(0, PROBE), columns=slice(0, PROBE))
    batch = datamodule.collate([probe])
    pixels = batch.x.shape[-2] * batch.x.shape[-1]
    share = 0.5 if "16" in str(precision) else 1.0
    needed = share * kept_bytes(task, batch) * datamodule.batch_size * height * width / pixels
    if needed > (free := free_bytes(device)):
        raise SnowmapError(
            f"a training step of data.batch_size={datamodule.batch_size}, each of {steps} windows of {height} × "
            f"{width} px, needs at least {needed / 2**30:.1f} GiB; {device} has {max(free, 0) / 2**30:.1f} GiB free; "
            f"give {SMALLER}"
        )


def kept_bytes(task: SnowRegression, batch: object) -> int:
    """Bytes that the forward pass of a batch keeps for the backward pass, weights left out."""
    kept: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in task.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = task(batch)
    return sum(kept.values()) + outputs.nbytes


def free_bytes(device: torch.device) -> int:
    """Bytes of memory that this process may still fill on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    used, free = psutil.Process().memory_info(), psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no control group, or one without a limit
        free = min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()) - used.rss)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return free if limit == resource.RLIM_INFINITY else min(free, limit - used.vms)
