"""A fitted model from its file, be it a net or a baseline."""

from pathlib import Path

import torch

from snowmap.baselines import Baseline, restore_baseline
from snowmap.provenance import reading
from snowmap.task import SnowRegression


def load_model(path: str | Path) -> SnowRegression | Baseline:
    """The model that a checkpoint holds.

    Both kinds answer to `targets`, `facts`, `archive_bands`, ``predict(cube, windows)`` and ``to(device)``.

    Args:
        path: A ``best.ckpt`` or ``last.ckpt``.

    Raises:
        SnowmapError: When the file is missing, cut short, or no checkpoint of snowmap.
    """
    with reading(Path(path)):
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if "baseline" in content:
            return restore_baseline(content)
    return SnowRegression.load_from_checkpoint(path)
