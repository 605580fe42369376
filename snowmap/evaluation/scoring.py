"""From a checkpoint to a scored map: what `evaluate.py` does, and `train.py` at its end."""

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from snowmap.baselines import Baseline, baseline_maps
from snowmap.checkpoints.provenance import archive_of, area_of, check_fit, entry_of, windows_of
from snowmap.config.schema import Scoring
from snowmap.data.cube import archive_names, narrowed, with_targets_inside
from snowmap.data.plausibility import unlike_training
from snowmap.errors import SnowmapError
from snowmap.evaluation.kinds import kind_of
from snowmap.evaluation.map_scores import ScoredMaps
from snowmap.evaluation.output import evaluate_maps, write_together
from snowmap.maps.tiles import map_windows
from snowmap.sources import open_cubes
from snowmap.tables import listed
from snowmap.tasks.load import load_model, pick_device
from snowmap.tasks.pixel import SnowRegression

OF_THE_RUN = ("versions", "git_revision", "config")
"""What an evaluation keeps of a checkpoint's metadata beside the archive and its split."""

logger = logging.getLogger(__name__)


def load_with_archives(
    checkpoint: str | Path, *, root: str | Sequence[str] | None = None, device: str = "cpu"
) -> tuple[SnowRegression | Baseline, list[xr.Dataset]]:
    """The model of a checkpoint and the Cubes that it can be scored on.

    Args:
        checkpoint: Path of the checkpoint; everything but the archives is in it.
        root: The archive, or several; by default what the checkpoint was trained on.
        device: Torch device that predicts.

    Raises:
        SnowmapError: When there is no such device, or the checkpoint cannot be read or does not fit an archive.
    """
    picked = pick_device(device)
    model = load_model(checkpoint).to(picked)
    # the bands of the run, though the model may read fewer: the baselines beside it need them
    archives = root or [entry["archive"] for entry in model.metadata["archives"]]
    cubes = open_cubes({**model.metadata["config"]["data"], "root": archives}, list(model.targets))
    for cube in cubes:
        check_fit(model.metadata, model.archive_bands, model.targets, cube)
        if cube.attrs["fingerprint"] != entry_of(model.metadata, cube)["fingerprint"]:
            logger.warning("the archive's content is not that which the checkpoint was trained on")
    return model, cubes


def score_model(
    model: SnowRegression | Baseline,
    cubes: Sequence[xr.Dataset],
    checkpoint: str | Path,
    *,
    subset: str = "test",
    out: str | Path | None = None,
    scoring: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score a model beside the baselines on one subset of its split, and write the files.

    The files of one Cube lie in the folder itself. Those of each of several lie in folders of their own in it, beside
    the scores of all of them together.

    Args:
        model: The model.
        cubes: As `load_with_archives` gives them.
        checkpoint: Path of the model's checkpoint.
        subset: ``train``, ``validation`` or ``test``.
        out: Folder for the files; by default `evaluation_folder`.
        scoring: The group of the configuration, as `snowmap.config.schema.Scoring` describes it; its defaults if None.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        SnowmapError: When `out` cannot be written.
    """
    targets, about = list(model.targets), {"checkpoint": str(checkpoint), "subset": subset}
    folder = Path(out or evaluation_folder(checkpoint, subset, model.metadata, cubes))
    scenes, results = {}, []
    names, scored = archive_names([cube.attrs for cube in cubes]), _with_windows(model, cubes, subset)
    for name, cube in zip(names, cubes, strict=True):
        if not any(cube is other for other in scored):
            continue
        scenes[name] = _scene(model, cube, subset, cubes)
        provenance = {**about, **provenance_of(model.metadata, cube)}
        place = folder / name if len(scored) > 1 else folder
        results.append(evaluate_maps(scenes[name], targets, place, provenance, scoring))
    if len(scored) == 1:
        return results[0]
    provenance = about | {
        key: results[0]["provenance"][key] for key in (*OF_THE_RUN, "chosen_by", "command", "scoring")
    }
    provenance["scored_archive"] = archive_of(*(cube.attrs for cube in scored))
    return write_together(scenes, targets, folder, provenance, scoring)


def _with_windows(model: SnowRegression | Baseline, cubes: Sequence[xr.Dataset], subset: str) -> list[xr.Dataset]:
    """The Cubes that have windows in a subset of the split."""
    scored = [cube for cube in cubes if windows_of(model.metadata, subset, cube)]
    if not scored:
        reason = "trained in its final fit" if subset == "validation" else "are of other archives"
        raise SnowmapError(
            f"the checkpoint's {subset} windows {reason}; choose another split=, all of its archives, or the "
            "checkpoint in selection/checkpoints of its run"
        )
    return scored


def _scene(
    model: SnowRegression | Baseline, cube: xr.Dataset, subset: str, others: Sequence[xr.Dataset] = ()
) -> ScoredMaps:
    """Maps of one subset of the split, and the Cube with the area where it is scored.

    Args:
        model: The model.
        cube: The Cube to map.
        subset: Of the split.
        others: Cubes that baselines may be fitted on; none without baselines. Those that learn from one alone are
            fitted on the Cube itself, or, where it has no training window, on the one that has most.
    """
    windows = windows_of(model.metadata, subset, cube)
    scored = narrowed(cube, area_of(model.metadata, subset, cube))
    maps = map_windows(model, cube, windows).where(scored["mask"])
    if not others:
        return ScoredMaps(maps, {}, scored, windows)
    training = [(other, train) for other in others if (train := windows_of(model.metadata, "train", other))]
    training.sort(key=lambda pair: (pair[0] is not cube, -len(pair[1])))
    if not training or training[0][0] is not cube:
        for doubt in unlike_training(cube, windows, model.preprocessor):
            logger.warning("%s: %s", cube.attrs["archive"], doubt)
        if not training:
            logger.warning("no baselines: none of the archives trained; give all of the checkpoint's as data.root")
            return ScoredMaps(maps, {}, scored, windows)
        first, *more = (other.attrs["archive"] for other, _ in training)
        words = f"; those that learn from several, on {listed(more)}, too" if more else ""
        logger.warning("the baselines are fitted on %s%s", first, words)
    if training[0][0]["features"].chunks:
        logger.warning(
            "no baselines: %s is larger than data.in_memory allows, and they read it whole",
            training[0][0].attrs["archive"],
        )
        return ScoredMaps(maps, {}, scored, windows)
    phase = model.preprocessor.phase._replace(sign=None)  # which each estimates
    (known, train), *rest = (
        (with_targets_inside(other, area_of(model.metadata, "train", other)), train) for other, train in training
    )
    another = None if training[0][0] is cube else cube
    fitted = baseline_maps(known, train, windows, list(model.targets), phase, another, rest)
    return ScoredMaps(maps, fitted, scored, windows)


def scores_of(
    model: SnowRegression | Baseline, cubes: Sequence[xr.Dataset], subset: str = "validation"
) -> dict[str, dict[str, Any]]:
    """Scores of a model alone on one subset of its split, pooled over their pixels.

    Args:
        model: The model.
        cubes: The Cubes that it was trained on.
        subset: ``train``, ``validation`` or ``test``.

    Returns:
        For each target the scores of the model that ``metrics.json`` holds, and what they are of: its ``unit``, or its
        ``classes`` and ``flag_values``.
    """
    scenes = [_scene(model, cube, subset) for cube in _with_windows(model, cubes, subset)]
    targets, options = list(model.targets), asdict(Scoring())
    scored = kind_of(scenes[0].cube[targets[0]].attrs).score_together(scenes, targets, options)
    about = ("unit", "classes", "flag_values")
    return {
        name: {**{key: entry[key] for key in about if key in entry}, **entry["model"]} for name, entry in scored.items()
    }


def evaluation_folder(
    checkpoint: str | Path, subset: str, metadata: Mapping[str, Any], cubes: Sequence[xr.Dataset]
) -> Path:
    """Where the evaluation of a checkpoint lies by default: ``evaluation/<subset>`` in its run folder.

    That of one of several archives that it was trained on lies where it does when all of them are scored.
    """
    folder, archives = Path(checkpoint).absolute().parent.parent / "evaluation" / subset, metadata["archives"]
    if len(cubes) > 1 or sum(bool(entry["split"][subset]) for entry in archives) == 1:
        return folder
    return folder / archive_names(archives)[archives.index(entry_of(metadata, cubes[0]))]


def provenance_of(metadata: Mapping[str, Any], cube: xr.Dataset) -> dict[str, Any]:
    """What the files of an evaluation say of the model and of the archive that it was scored on."""
    entry = entry_of(metadata, cube)
    kept = {"archive": archive_of(entry), **{key: entry[key] for key in ("split", "split_note")}}
    kept |= {key: metadata[key] for key in OF_THE_RUN}
    kept["chosen_by"] = metadata.get("chosen_by", "")
    kept["command"] = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return kept | {"scored_archive": archive_of(cube.attrs)}
