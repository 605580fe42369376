"""A fitted model from its file, be it a net or a baseline."""

from pathlib import Path

import torch

from snowmap.baselines import Baseline, restore_baseline
from snowmap.checkpoints.provenance import is_pretraining, read_checkpoint, reading
from snowmap.errors import SnowmapError, shown
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.pretraining import Pretraining


def load_source(path: str | Path) -> SnowRegression | Pretraining | Baseline:
    """What a checkpoint holds whose weights a new run begins with: what `load_model` gives, or a pre-training.

    Raises:
        SnowmapError: As `load_model`, except of a pre-training.
    """
    content = read_checkpoint(Path(path))
    return Pretraining.restore(content, Path(path)) if is_pretraining(content) else load_model(path)


def load_model(path: str | Path) -> SnowRegression | Baseline:
    """The model that a checkpoint holds.

    Both kinds answer to `targets`, `metadata`, `archive_bands`, ``predict(cube, windows)`` and ``to(device)``.

    Args:
        path: A ``best.ckpt`` or ``last.ckpt``.

    Raises:
        SnowmapError: When the file is missing, cut short, no checkpoint of snowmap, or of a newer version, or holds a
            pre-training, which maps nothing.
    """
    path = Path(path)
    content = read_checkpoint(path)
    if "baseline" not in content:
        return SnowRegression.restore(content, path)
    with reading(path):
        return restore_baseline(content)


def pick_device(name: str) -> torch.device:
    """The torch device called `name`.

    Raises:
        SnowmapError: When this machine has no such device, or it cannot compute.
    """
    try:
        torch.zeros(1, device=name).item()
    except Exception as error:  # each back end has its own
        reason = shown(str(error).splitlines()[0])
        raise SnowmapError(
            f"the device {shown(name)} is not on this machine ({reason}); choose cpu, or another"
        ) from error
    return torch.device(name)
