"""Run folders as trainings leave them, by hand: a configuration, a record, scores and maps; no checkpoint is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from snowmap.runs.record import NEW_RECORD

CONFIG = {
    "data": {"root": "data/a", "batch_size": 4},
    "split": {"name": "rolling", "test": 7},
    "target": {"names": ["swe"]},
    "model": {"name": "unet", "channels": [8, 16], "dropout": 0.0},
    "loss": "mse",
    "logger": {"name": "csv", "tags": []},
    "ablation": "all",
    "seed": 0,
}


def score(rmse: float | None, unit: str = "cm", **more: float | None) -> dict[str, Any]:
    entry = dict.fromkeys(("mae", "bias", "median_error", "nmad", "r2", "pearson_r", "spearman_r", "nse"))
    return {"unit": unit, "rmse": rmse, **entry, "pixels": 100, **more}


def config(**changes: Any) -> dict[str, Any]:
    """`CONFIG` with changes; ``model__dropout=0.1`` reaches into groups."""
    changed = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        *groups, last = key.split("__")
        node = changed
        for group in groups:
            node = node[group]
        node[last] = value
    return changed


def write_run(
    folder: Path,
    settings: dict[str, Any],
    validation: dict[str, Any] | None,
    test: dict[str, Any] | None = None,
    *,
    origin: str = "Trentino",
    fingerprint: str = "f",
    **record: Any,
) -> Path:
    """A run folder; `validation` and `test` are scores by target, `record` changes ``run.json``."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    archive = {"archive": settings["data"]["root"], "origin": origin, "fingerprint": fingerprint}
    known = {
        "status": "finished",
        "stage": "done",
        "wall_s": 60.0,
        "epochs": 10,
        "parameters": 1200,
        "archive": archive,
    }
    (folder / "run.json").write_text(json.dumps(NEW_RECORD | known | {"validation": validation} | record))
    if test is not None:
        write_metrics(folder, "test", test)
    return folder


def write_metrics(folder: Path, subset: str, scores: dict[str, Any]) -> Path:
    """An evaluation, in which climatology lacks the RMSE."""
    out = folder / "evaluation" / subset
    out.mkdir(parents=True)
    target = {
        name: {"unit": entry["unit"], "model": entry, "baselines": {"climatology": {**entry, "rmse": None}}}
        for name, entry in scores.items()
    }
    (out / "metrics.json").write_text(json.dumps({"target": target}))
    return out


def write_mapped_run(folder: Path, settings: dict[str, Any], error: float, observed: np.ndarray, **more: Any) -> None:
    """A run whose maps of SWE are wrong by `error` cm everywhere."""
    scores = {"swe": score(abs(error), mae=abs(error) / 2)}
    out = write_metrics(write_run(folder, settings, scores, **more), "validation", scores)
    maps = {"swe": observed + error, "swe_observed": observed}
    days = np.datetime64("2021-01-01", "ns") + np.arange(len(observed)) * np.timedelta64(1, "D")
    data = {name: (("time", "y", "x"), values.astype(np.float32)) for name, values in maps.items()}
    xr.Dataset(data, {"time": days}).to_netcdf(out / "predictions.nc", engine="h5netcdf")
