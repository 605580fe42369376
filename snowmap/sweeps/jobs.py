"""Runs that lie below a folder: where, in what they differ, and what they say of their validation windows.

Imports torch only where a checkpoint has to be scored: a table of runs is there at once.
"""

import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snowmap.errors import SnowmapError
from snowmap.run_config import OF_NO_ACCOUNT, flat, within
from snowmap.run_folder import read_record

PART = "validation"
WITHOUT_EFFECT = (*OF_NO_ACCOUNT, "evaluate", "scoring")
"""Keys, or groups of keys, in which runs may differ and be the same."""

OPTIMISTIC = "the validation windows also chose each checkpoint, so these scores are optimistic"


class Job(NamedTuple):
    """One run.

    Attributes:
        folder: Its run folder.
        config: What its ``config.yaml`` holds.
        record: What its ``run.json`` holds; None where there is none.
    """

    folder: Path
    config: dict[str, Any]
    record: dict[str, Any] | None = None

    @property
    def checkpoint(self) -> Path:
        """Its best checkpoint."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def fold(self) -> int | None:
        """The fold that it validates; None where its split has no folds."""
        return self.config["split"].get("fold")


class Maps(NamedTuple):
    """Predicted and observed maps of one target in the validation windows of a run.

    Attributes:
        predicted: In the target's unit, NaN where there is none.
        observed: In the same unit, NaN where there is none.
        window: When each window ended.
    """

    predicted: Float[np.ndarray, "window y x"]
    observed: Float[np.ndarray, "window y x"]
    window: Shaped[np.ndarray, " window"]


def find_runs(folder: Path) -> list[Job]:
    """The runs in `folder` and below it, in whatever state, in the order of their folders' names (2 before 10).

    Raises:
        SnowmapError: When there is none, or a ``config.yaml`` or ``run.json`` cannot be read.
    """
    found: list[Path] = []
    for place, inner, files in os.walk(folder):
        if {"config.yaml", "run.json"} & {*files}:
            found.append(Path(place))
            inner.clear()  # what lies in a run folder is no run, though loggers write a config.yaml there
        inner[:] = [name for name in inner if not name.startswith(".")]
    found.sort(key=lambda path: [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", str(path))])
    jobs = [Job(path, _read_config(path), read_record(path)) for path in found]
    jobs = [job for job in jobs if job.record or "split" in job.config]  # a config.yaml may also be another program's
    if not jobs:
        raise SnowmapError(
            f"{folder} holds no run; expected folders with config.yaml, as `python train.py` writes them below outputs/"
        )
    return jobs


def find_jobs(folder: Path) -> list[Job]:
    """Of `find_runs`, those that are through and have a checkpoint, as far as can be known.

    Raises:
        SnowmapError: When there is none.
    """
    jobs = [
        job
        for job in find_runs(folder)
        if job.checkpoint.is_file() and (job.record is None or job.record["status"] == "finished")
    ]
    if not jobs:
        raise SnowmapError(
            f"{folder} holds no finished run of a sweep; expected folders with config.yaml and checkpoints/best.ckpt, "
            "as `python train.py -m split=winters split.fold=0,1` writes them"
        )
    return jobs


def configurations(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The runs that differ in nothing but ``split.fold``, under a name that tells them from the others.

    The name holds the `telling_keys`, e.g. ``model.name=unet``; it is empty where all runs are of one configuration.
    """
    keys = differing_keys(jobs) - {"split.fold"}
    told = telling_keys(jobs, keys)
    return {", ".join(f"{key}={flat(own[0].config).get(key)}" for key in told): own for own in grouped(jobs, keys)}


def grouped(jobs: Sequence[Job], keys: Collection[str]) -> list[list[Job]]:
    """The runs that agree in all `keys`, together."""
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        config = flat(job.config)
        groups.setdefault(tuple(str(config.get(key)) for key in sorted(keys)), []).append(job)
    return list(groups.values())


def differing_keys(jobs: Sequence[Job]) -> set[str]:
    """Keys of the configuration, in dots, that have not the same value in all runs and may change what comes about."""
    configs = [flat(job.config) for job in jobs]
    return {
        key
        for key in set().union(*configs)
        if len({str(config.get(key)) for config in configs}) > 1 and not within(key, WITHOUT_EFFECT)
    }


def telling_keys(jobs: Sequence[Job], keys: Collection[str]) -> list[str]:
    """Of `keys`, names (of models, splits, …) first, then those that do not follow from the names.

    Each model brings a dozen settings of its own; its name tells them all.
    """
    names = sorted(key for key in keys if key.endswith((".name", ".names")))
    configs = [[flat(job.config) for job in own] for own in grouped(jobs, names)]
    others = (key for key in keys if key not in names)
    return names + sorted(key for key in others if any(len({str(c.get(key)) for c in own}) > 1 for own in configs))


def evaluation_of(job: Job, part: str) -> dict[str, Any] | None:
    """What ``metrics.json`` says of one part of the split; None where there is none of the checkpoint as it is now."""
    file = job.folder / "evaluation" / part / "metrics.json"
    if not file.is_file():
        return None
    if job.checkpoint.is_file() and file.stat().st_mtime < job.checkpoint.stat().st_mtime:
        return None
    return json.loads(file.read_text())


def validation_scores(job: Job) -> dict[str, Any]:
    """What ``metrics.json`` says of the validation windows; they are scored now if the run did not."""
    from snowmap.scoring import score_checkpoint

    return evaluation_of(job, PART) or score_checkpoint(job.checkpoint, part=PART)


def validation_maps(job: Job, target: str) -> Maps:
    """The maps that `validation_scores` judged."""
    import xarray as xr

    with xr.open_dataset(job.folder / "evaluation" / PART / "predictions.nc") as file:
        return Maps(file[target].values, file[f"{target}_observed"].values, file["time"].values)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is unknown."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def spread_of(values: Sequence[float | None]) -> float | None:
    """The standard deviation (n − 1); None where a value is unknown, or there is but one."""
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) == len(values) > 1 else None


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.yaml"
    if not file.is_file():
        return {}  # a job of a multirun whose configuration was refused
    try:
        config = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise SnowmapError(f"{file} cannot be read ({error}); move the folder away") from error
    return config if isinstance(config, dict) else {}  # type: ignore[return-value]
