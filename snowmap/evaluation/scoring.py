"""From a checkpoint to a scored map: what `evaluate.py` does, and `train.py` at its end."""

import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from snowmap.baselines import Baseline
from snowmap.checkpoints.provenance import archive_of, areas_of, check_fit, windows_of
from snowmap.data.cube import narrowed, with_targets_inside
from snowmap.errors import SnowmapError
from snowmap.evaluation.metrics import scores
from snowmap.evaluation.output import evaluate_maps
from snowmap.maps.tiles import map_windows
from snowmap.sources import open_cube
from snowmap.tasks.load import load_model, pick_device
from snowmap.tasks.pixel import SnowRegression

logger = logging.getLogger(__name__)


def load_with_archive(
    checkpoint: str | Path, *, root: str | None = None, device: str = "cpu"
) -> tuple[SnowRegression | Baseline, xr.Dataset]:
    """The model of a checkpoint and the Cube that it can be scored on; the arguments are those of `score_checkpoint`.

    Raises:
        SnowmapError: When there is no such device, or the checkpoint cannot be read or does not fit the archive.
    """
    picked = pick_device(device)
    model = load_model(checkpoint).to(picked)
    # the bands of the run, though the model may read fewer: the baselines beside it need them
    data = {**model.metadata["config"]["data"], "root": root or model.metadata["archive"]["archive"]}
    cube = open_cube(data, list(model.targets))
    check_fit(model.metadata, model.archive_bands, model.targets, cube)
    if cube.attrs["fingerprint"] != model.metadata["archive"]["fingerprint"]:
        logger.warning("the archive's content is not that which the checkpoint was trained on")
    return model, cube


def score_checkpoint(
    checkpoint: str | Path,
    *,
    part: str = "test",
    root: str | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    scoring: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score a checkpoint beside the baselines on one part of its split, and write the files.

    Args:
        checkpoint: Path of the checkpoint; everything but the archive is in it.
        part: ``train``, ``validation`` or ``test``.
        root: The archive; by default the one that the checkpoint was trained on.
        out: Folder for the files; by default ``evaluation/<part>`` in the run folder.
        device: Torch device that predicts.
        scoring: The group of the configuration, as `snowmap.config.schema.Scoring` describes it; its defaults if None.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        SnowmapError: When the checkpoint cannot be read or does not fit the archive, or `out` cannot be written.
    """
    model, cube = load_with_archive(checkpoint, root=root, device=device)
    return score_model(model, cube, checkpoint, part=part, out=out, scoring=scoring)


def score_model(
    model: SnowRegression | Baseline,
    cube: xr.Dataset,
    checkpoint: str | Path,
    *,
    part: str = "test",
    out: str | Path | None = None,
    scoring: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """As `score_checkpoint`, of a model and a Cube in memory; the other arguments are the same."""
    windows = windows_of(model.metadata, part, cube)
    if not windows:
        raise SnowmapError(
            f"the checkpoint's {part} windows trained in its final fit; choose split=test, or score the checkpoint in "
            "selection/checkpoints of its run"
        )
    train_area, validation_area = areas_of(model.metadata)
    scored = narrowed(cube, train_area if part == "train" else validation_area)
    return evaluate_maps(
        map_windows(model, cube, windows).where(scored["mask"]),
        scored,
        windows,
        windows_of(model.metadata, "train", cube),
        list(model.targets),
        Path(out) if out else evaluation_folder(checkpoint, part),
        {"checkpoint": str(checkpoint), "part": part, **provenance_of(model.metadata, cube)},
        scoring,
        known=with_targets_inside(cube, train_area),
    )


def validation_of(model: SnowRegression | Baseline, cube: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Scores of a model on its validation windows, pooled over their pixels.

    Args:
        model: The model.
        cube: The Cube that it was trained on.

    Returns:
        For each target its ``unit`` and what `snowmap.evaluation.metrics.scores` gives.
    """
    windows, (_, validation_area) = windows_of(model.metadata, "validation", cube), areas_of(model.metadata)
    maps, inside = map_windows(model, cube, windows), narrowed(cube, validation_area)["mask"].values
    return {
        name: {"unit": unit, **scores(maps[name].values, np.where(inside, cube[name].values[windows], np.nan))}
        for name, unit in model.targets.items()
    }


def evaluation_folder(checkpoint: str | Path, part: str) -> Path:
    """Where the evaluation of a checkpoint lies by default: ``evaluation/<part>`` in its run folder."""
    return Path(checkpoint).absolute().parent.parent / "evaluation" / part


def provenance_of(metadata: Mapping[str, Any], cube: xr.Dataset) -> dict[str, Any]:
    """What the files of an evaluation say of the model and of the archive that it was scored on."""
    kept = {key: metadata[key] for key in ("archive", "split", "versions", "git_revision", "config")}
    kept["chosen_by"] = metadata.get("chosen_by", "")
    kept["command"] = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return kept | {"scored_archive": archive_of(cube)}
