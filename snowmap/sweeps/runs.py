"""The runs below a folder as a table: how they ended, in what they differ, and their scores.

Imports torch only where a checkpoint has to be scored: a table of runs is there at once.
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from snowmap.errors import SnowmapError
from snowmap.runs.configuration import KEYS_WITHOUT_EFFECT, flat, read_config, within
from snowmap.runs.record import read_record
from snowmap.sweeps.output import UNKNOWN
from snowmap.tables import SYNTHETIC
from snowmap.units import IN_UNITS, unit_factor

if TYPE_CHECKING:
    import xarray as xr

VALIDATION = "validation"
UNIT = "cm"
"""In which runs of archives in cm and mm are compared."""

FOLD, HOLDOUT = "split.fold", "split.holdout"
"""What the runs of a cross-validation differ in: which windows or pixels, or which region, does not train."""

NUMBERS = ("epochs", "parameters", "wall_s")
"""Entries of ``run.json`` beside the scores."""

WITHOUT_EFFECT = (*KEYS_WITHOUT_EFFECT, "evaluate", "scoring")
"""Keys, or groups of keys, in which runs may differ and be the same."""

OPTIMISTIC = "where the validation windows also chose the checkpoints, these scores are optimistic"


def read_runs(folder: Path) -> pd.DataFrame:
    """The runs in `folder` and below it, in whatever state, in the order of their folders' names (2 before 10).

    Returns:
        A row for each run: ``folder``, ``state`` (``unreadable`` with a damaged file), ``reason``, ``targets``, the
        `NUMBERS`, ``origin`` and ``fingerprint`` of the archive, ``settings`` (by key in dots, as text) and ``scores``
        of the best checkpoint (by `column`, lengths in `UNIT`; NaN is unknown).

    Raises:
        SnowmapError: When there is none.
    """
    folders = [path.parent for path in folder.rglob("run.json")]
    if not folders:
        raise SnowmapError(
            f"{folder} holds no run; expected folders with run.json, as `python train.py` writes them below outputs/"
        )
    folders.sort(key=lambda path: [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", str(path))])
    return pd.DataFrame(map(_read_run, folders))


def column(subset: str, target: str, score: str) -> str:
    """Name of the column of a score in a subset of the split, e.g. ``validation/swe_rmse_cm``."""
    return f"{subset}/{target}_{score}" + (f"_{UNIT}" if score in IN_UNITS else "")


def differing_settings(runs: pd.DataFrame) -> pd.DataFrame:
    """What may change the result and is not the same in all runs: a row for each run, a column for each key in dots."""
    settings = pd.DataFrame([*runs["settings"]], index=runs.index, dtype=object).fillna(UNKNOWN)
    keys = [key for key in sorted(settings) if not within(key, WITHOUT_EFFECT) and settings[key].nunique() > 1]
    return settings[keys]


def distinguishing_keys(settings: pd.DataFrame) -> list[str]:
    """Of the keys, names (of models, splits, …) first, then those that do not follow from the names.

    Each model brings a dozen settings of its own, which follow from its name.
    """
    names = [key for key in settings if key.endswith((".name", ".names"))]
    counts = settings.groupby(names or (lambda _: 0)).nunique().max()
    return names + [key for key in settings if key not in names and counts[key] > 1]


def configurations(runs: pd.DataFrame) -> pd.Series:
    """Names under which runs differ in nothing but `FOLD` or `HOLDOUT`: `distinguishing_keys`, e.g. ``loss=mae``."""
    settings = differing_settings(runs).drop(columns=[FOLD, HOLDOUT], errors="ignore")
    named = settings[distinguishing_keys(settings)].apply(lambda values: f"{values.name}=" + values)
    return named.agg(", ".join, axis=1) if len(named.columns) else pd.Series("", index=runs.index)


def synthetic_note(runs: pd.DataFrame) -> list[str]:
    """The note that data are synthetic, if those of any run are."""
    return [SYNTHETIC] * any(origin.startswith("synthetic") for origin in runs["origin"])


def validation_scores(runs: pd.DataFrame, subset: str = VALIDATION) -> pd.DataFrame:
    """What ``metrics.json`` says of the validation windows, which are scored and mapped now if a run did not.

    Args:
        runs: Of `read_runs`.
        subset: Others of the split; of runs that hold a region out, the ``test`` windows are those of that region.

    Returns:
        A row for each run (the index is that of `runs`), ``target`` and ``map``, which is ``model`` or a baseline: its
        ``unit`` and scores.
    """
    from snowmap.evaluation.scoring import load_with_archives, score_model

    rows = []
    for run, folder in runs["folder"].items():
        best = folder / "checkpoints" / "best.ckpt"
        metrics = _metrics(folder, subset)
        metrics = metrics or score_model(*load_with_archives(best), best, subset=subset)["target"]
        for target, entry in metrics.items():
            for name, scored in {"model": entry["model"], **entry["baselines"]}.items():
                rows.append({"run": run, "target": target, "unit": entry["unit"], "map": name, **scored})
    return pd.DataFrame(rows).set_index("run")


def validation_maps(folders: Iterable[Path], target: str, subset: str = VALIDATION) -> "xr.Dataset":
    """The maps that `validation_scores` are of, of one run after the other: ``predicted`` and ``observed``.

    Those of one grid; of several, the values alone, in a row (pixel).

    Raises:
        SnowmapError: When they are not there: those of several archives lie in folders of their own.
    """
    import xarray as xr

    names = {target: "predicted", f"{target}_observed": "observed"}
    paths = [folder / "evaluation" / subset / "predictions.nc" for folder in folders]
    if missing := [path for path in paths if not path.is_file()]:
        raise SnowmapError(f"{missing[0]} is not there; this table is of runs that were trained on one archive each")
    files = [xr.load_dataset(path)[[*names]].rename(names) for path in paths]
    if subset != VALIDATION:
        return xr.concat([file.stack(pixel=[...]).reset_index("pixel", drop=True) for file in files], "pixel")
    return xr.concat(files, "time", join="exact")


def _read_run(folder: Path) -> dict[str, Any]:
    """A row of `read_runs`, as far as it can be read: a damaged file costs its own run, not the table."""
    row = {"folder": folder, "seed": 0, "targets": [], "origin": "", "fingerprint": "", "settings": {}, "scores": {}}
    try:
        record = read_record(folder) or {}
        config = read_config(folder) if (folder / "config.yaml").is_file() else {}  # none where it was refused
        validation, archive = record["validation"] or {}, record["archive"] or {}
        killed = "no process works there any more" if record["status"] == "killed" else ""
        return row | {
            **{"state": record["status"], "reason": record["error"] or killed, "targets": [*validation]},
            **{key: float("nan") if record[key] is None else round(record[key]) for key in NUMBERS},
            "seed": int(config.get("seed", 0)),
            **{key: str(archive.get(key) or "") for key in ("origin", "fingerprint")},
            "settings": {key: str(value) for key, value in flat(config).items() if value is not None},
            "scores": _scores(VALIDATION, validation) | _scores("test", _metrics(folder, "test")),
        }
    except Exception as error:  # whatever a damaged or foreign file leads to
        return row | {"state": "unreadable", "reason": str(error), **dict.fromkeys(NUMBERS, float("nan"))}


def _scores(subset: str, targets: Mapping[str, Any]) -> dict[str, float]:
    """The known scores of each target by `column`, with lengths in `UNIT`."""
    scores = {}
    for target, entry in targets.items():
        factor = 1.0 if "unit" not in entry else unit_factor(entry["unit"], UNIT, target, "its scores")
        for name, value in entry.get("model", entry).items():
            if name != "unit" and value is not None and not isinstance(value, list | dict):
                scores[column(subset, target, name)] = float(value) * (factor if name in IN_UNITS else 1)
    return scores


def _metrics(folder: Path, subset: str) -> dict[str, Any]:
    """By target, what ``metrics.json`` says of a subset of the split; empty if there is none of this checkpoint."""
    file, checkpoint = folder / "evaluation" / subset / "metrics.json", folder / "checkpoints" / "best.ckpt"
    if not file.is_file() or (checkpoint.is_file() and file.stat().st_mtime < checkpoint.stat().st_mtime):
        return {}
    return json.loads(file.read_text())["target"]
