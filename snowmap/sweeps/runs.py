"""The runs below a folder: in what they differ, how they ended, and their scores.

Imports torch only where a checkpoint has to be scored: a table of runs is there at once.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from snowmap.errors import SnowmapError
from snowmap.runs.configuration import KEYS_WITHOUT_EFFECT, flat, read_config, within
from snowmap.runs.record import NEW_RECORD, read_record
from snowmap.tables import SYNTHETIC as SYNTHETIC  # for the other modules of this folder
from snowmap.units import IN_UNITS, METRES, metres_per

VALIDATION = "validation"
UNIT = "cm"
"""In which runs of archives in cm and mm are compared."""

FINISHED = ("finished", "unknown")
"""States of runs that can be compared; ``unknown`` is a run folder without ``run.json``."""

WITHOUT_EFFECT = (*KEYS_WITHOUT_EFFECT, "evaluate", "scoring")
"""Keys, or groups of keys, in which runs may differ and be the same."""

OPTIMISTIC = "the validation windows also chose each checkpoint, so these scores are optimistic"
UNKNOWN = "–"


class Run(NamedTuple):
    """One run.

    Attributes:
        folder: Its run folder.
        config: What its ``config.yaml`` holds; empty for a job whose configuration was refused.
        record: What its ``run.json`` holds; ``status`` is ``unknown`` without one, ``unreadable`` where a file is
            damaged, which ``error`` names.
        scores: By subset of the split (``validation``, ``test``) and target, as far as known; lengths in `UNIT`.
        archive: Path, origin and fingerprint of its archive; empty where nothing says so.
    """

    folder: Path
    config: Mapping[str, Any] = MappingProxyType({})
    record: Mapping[str, Any] = NEW_RECORD
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    archive: Mapping[str, str] = MappingProxyType({})

    @property
    def checkpoint(self) -> Path:
        """Its best checkpoint."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def state(self) -> str:
        """How it ended."""
        return self.record["status"]

    @property
    def fold(self) -> int | None:
        """The fold that it validates; None where its split has no folds."""
        return self.config["split"].get("fold")

    def score(self, subset: str, target: str, name: str) -> float | None:
        """A score of one target in a subset of the split; None if it is not known."""
        return self.scores.get(subset, {}).get(target, {}).get(name)

    @property
    def targets(self) -> list[str]:
        """What it maps."""
        return list(self.scores.get(VALIDATION, {})) or (self.config.get("target") or {}).get("names", [])


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


def find_runs(folder: Path) -> list[Run]:
    """The runs in `folder` and below it, in whatever state, in the order of their folders' names (2 before 10).

    Raises:
        SnowmapError: When there is none.
    """
    folders: list[Path] = []
    for place, inner, files in os.walk(folder):
        if {"config.yaml", "run.json"} & {*files}:
            folders.append(Path(place))
            inner.clear()  # what lies in a run folder is no run, though loggers write a config.yaml there
        inner[:] = [name for name in inner if not name.startswith(".")]
    folders.sort(key=lambda path: [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", str(path))])
    runs = [_read_run(path) for path in folders]
    # a config.yaml may also be another program's
    runs = [run for run in runs if run.state != "unknown" or "split" in run.config]
    if not runs:
        raise SnowmapError(
            f"{folder} holds no run; expected folders with config.yaml, as `python train.py` writes them below outputs/"
        )
    return runs


def find_finished_runs(folder: Path) -> list[Run]:
    """Of `find_runs`, those that are finished, as far as can be known, and have a checkpoint.

    Raises:
        SnowmapError: When there is none.
    """
    runs = [run for run in find_runs(folder) if run.checkpoint.is_file() and run.state in FINISHED]
    if not runs:
        raise SnowmapError(
            f"{folder} holds no finished run of a sweep; expected folders with config.yaml and checkpoints/best.ckpt, "
            "as `python train.py -m split=winters split.fold=0,1` writes them"
        )
    return runs


def differing_settings(runs: Sequence[Run]) -> pd.DataFrame:
    """What may change the result and is not the same in all runs: a row for each run, a column for each key in dots."""
    configs = [{key: str(value) for key, value in flat(run.config).items() if value is not None} for run in runs]
    frame = pd.DataFrame(configs, index=range(len(runs)), dtype=object).fillna(UNKNOWN)
    counts = frame.nunique().to_dict()
    keys = [key for key in sorted(counts) if counts[key] > 1 and not within(key, WITHOUT_EFFECT)]
    return frame.reindex(columns=keys)


def distinguishing_keys(settings: pd.DataFrame) -> list[str]:
    """Of the keys, names (of models, splits, …) first, then those that do not follow from the names.

    Each model brings a dozen settings of its own, which follow from its name.
    """
    names = [key for key in settings if key.endswith((".name", ".names"))]
    counts = settings.groupby(names or (lambda _: 0)).nunique().max().to_dict()
    return names + [key for key in settings if key not in names and counts[key] > 1]


def configurations(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs that differ in nothing but ``split.fold``, under a name that distinguishes them from the others.

    The name holds the `distinguishing_keys`, e.g. ``model.name=unet``; it is empty where all runs are of one
    configuration.
    """
    settings = differing_settings(runs).drop(columns="split.fold", errors="ignore")
    keys, groups = distinguishing_keys(settings), {}
    for run, (_, row) in zip(runs, settings.iterrows(), strict=True):
        groups.setdefault(", ".join(f"{key}={row[key]}" for key in keys), []).append(run)
    return groups


def validation_metrics(run: Run) -> dict[str, Any]:
    """What ``metrics.json`` says of the validation windows; they are scored now if the run did not."""
    from snowmap.evaluation.scoring import load_with_archives, score_model

    stored = _metrics(run.folder, VALIDATION)
    return stored or score_model(*load_with_archives(run.checkpoint), run.checkpoint, part=VALIDATION)


def validation_maps(run: Run, target: str) -> Maps:
    """The maps that `validation_metrics` scored.

    Raises:
        SnowmapError: When they are not there: those of several archives lie in folders of their own.
    """
    import xarray as xr

    path = run.folder / "evaluation" / VALIDATION / "predictions.nc"
    if not path.is_file():
        raise SnowmapError(f"{path} is not there; this table is of runs that were trained on one archive each")
    with xr.open_dataset(path) as file:
        return Maps(file[target].values, file[f"{target}_observed"].values, file["time"].values)


def _read_run(folder: Path) -> Run:
    """A run as far as it can be read: a damaged or foreign file costs its own row of a table, not the table."""
    config: Mapping[str, Any] = MappingProxyType({})
    try:
        if (folder / "config.yaml").is_file():  # no job of a multirun whose configuration was refused
            config = read_config(folder)
        record = read_record(folder)
        metrics = {subset: _metrics(folder, subset) or {} for subset in (VALIDATION, "test")}
        scores = {subset: _scores(content.get("target", {})) for subset, content in metrics.items()}
        if record and record["validation"]:
            scores[VALIDATION] = _scores(record["validation"])
        scored = next((content["provenance"]["scored_archive"] for content in metrics.values() if content), {})
        record = record or NEW_RECORD | {"status": "unknown"}
        run = Run(folder, config, record, scores, record["archive"] or scored)
        numbers = [config.get("seed"), *(record[key] for key in ("epochs", "parameters", "wall_s"))]
        _ = run.targets, [timedelta(seconds=float(number)) for number in numbers if number is not None]
        texts = [record["error"], *(run.archive.get(key) for key in ("origin", "fingerprint"))]
        _ = run.state + "".join(text or "" for text in texts)
        return run
    except Exception as error:  # whatever a damaged or foreign file leads to
        return Run(folder, config, NEW_RECORD | {"status": "unreadable", "error": str(error)})


def _scores(targets: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Known scores by target, with lengths in `UNIT`, of what ``run.json`` or ``metrics.json`` says of the model."""
    scores = {}
    for target, entry in targets.items():
        factor = metres_per(entry["unit"], target, "its scores") / METRES[UNIT]
        known = {name: value for name, value in entry.get("model", entry).items() if name != "unit"}
        scores[target] = {
            name: float(value) * (factor if name in IN_UNITS else 1)
            for name, value in known.items()
            if value is not None
        }
    return scores


def _metrics(folder: Path, subset: str) -> dict[str, Any] | None:
    """What ``metrics.json`` says of a subset of the split; None where there is none of the present checkpoint."""
    file, checkpoint = folder / "evaluation" / subset / "metrics.json", folder / "checkpoints" / "best.ckpt"
    if not file.is_file() or (checkpoint.is_file() and file.stat().st_mtime < checkpoint.stat().st_mtime):
        return None
    return json.loads(file.read_text())
