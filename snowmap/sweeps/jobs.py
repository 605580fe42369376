"""The runs of a sweep: where they lie, in what they differ, and what they say of their validation windows."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped
from omegaconf import OmegaConf

from snowmap.errors import SnowmapError
from snowmap.scoring import evaluation_folder, score_checkpoint

PART = "validation"
OPTIMISTIC = "the validation windows also chose each checkpoint, so these scores are optimistic"


class Job(NamedTuple):
    """One run of a sweep.

    Attributes:
        folder: Its run folder.
        config: What its ``config.yaml`` holds.
    """

    folder: Path
    config: dict[str, Any]

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


def find_jobs(folder: Path) -> list[Job]:
    """The finished runs in the folders of `folder`, in the order in which they were run.

    Raises:
        SnowmapError: When there is none.
    """
    found = sorted(path.parent.parent for path in Path(folder).glob("*/checkpoints/best.ckpt"))
    found.sort(key=lambda path: (not path.name.isdigit(), int(path.name) if path.name.isdigit() else 0))
    jobs = [
        Job(path, OmegaConf.to_container(OmegaConf.load(path / "config.yaml")))  # type: ignore[arg-type]
        for path in found
        if (path / "config.yaml").is_file()
    ]
    if not jobs:
        raise SnowmapError(
            f"{folder} holds no run of a sweep; expected folders with config.yaml and checkpoints/best.ckpt, as "
            "`python train.py -m split=winters split.fold=0,1` writes them"
        )
    return jobs


def configurations(jobs: list[Job]) -> dict[str, list[Job]]:
    """The runs that differ in nothing but ``split.fold``, under a name that tells them from the others.

    The name holds as few of the keys that differ as will do, e.g. ``model.name=unet``; it is empty where all runs are
    of one configuration.
    """
    keys = sorted(differing_keys(jobs) - {"split.fold"}, key=lambda key: (not key.endswith(".name"), key))
    whole = [tuple(_flat(job.config).get(key) for key in keys) for job in jobs]
    shown: list[int] = []
    for position in range(len(keys)):
        if len({tuple(row[i] for i in shown) for row in whole}) == len(set(whole)):
            break
        shown.append(position)
    groups: dict[str, list[Job]] = {}
    for job, row in zip(jobs, whole, strict=True):
        groups.setdefault(", ".join(f"{keys[i]}={row[i]}" for i in shown), []).append(job)
    return groups


def differing_keys(jobs: list[Job]) -> set[str]:
    """Keys of the configuration, in dots, that have not the same value in all runs."""
    flat = [_flat(job.config) for job in jobs]
    return {key for key in set().union(*flat) if len({config.get(key) for config in flat}) > 1}


def validation_scores(job: Job) -> dict[str, Any]:
    """What ``metrics.json`` says of the validation windows; they are scored now if the run did not."""
    file = evaluation_folder(job.checkpoint, PART) / "metrics.json"
    if file.is_file() and file.stat().st_mtime >= job.checkpoint.stat().st_mtime:
        return json.loads(file.read_text())
    return score_checkpoint(job.checkpoint, part=PART)


def validation_maps(job: Job, target: str) -> Maps:
    """The maps that `validation_scores` judged."""
    with xr.open_dataset(evaluation_folder(job.checkpoint, PART) / "predictions.nc") as file:
        return Maps(file[target].values, file[f"{target}_observed"].values, file["time"].values)


def write_whole(path: Path, text: str) -> None:
    """Write a file, or nothing.

    Raises:
        SnowmapError: When it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise SnowmapError(f"{path} cannot be written ({error})") from error


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    def leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in node.items():
            if isinstance(value, Mapping):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", str(value)

    return dict(leaves(config, ""))
