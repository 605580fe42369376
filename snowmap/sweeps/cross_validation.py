"""Scores over the folds of a split: each fold by itself, their mean and spread, and all predictions scored at once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from snowmap.evaluation.printing import label_of
from snowmap.files import write_whole
from snowmap.metrics import scores
from snowmap.sweeps.jobs import (
    OPTIMISTIC,
    PART,
    Job,
    configurations,
    mean_of,
    spread_of,
    validation_maps,
    validation_scores,
)

POOLED = (
    "pooled: the validation maps of all folds, scored once; a pixel of a window that several runs validate counts once "
    "for each of them"
)
HEADS = {"rmse": "RMSE", "mae": "MAE", "bias": "bias", "r2": "R²"}
"""What is printed; the files hold every score."""


def cross_validate(folder: Path, jobs: Sequence[Job], console: Console | None = None) -> dict[str, Any]:
    """Make the table of a sweep over folds, print it and write ``cross_validation.json`` and ``.csv``.

    The maps that are pooled are each made by the net that did not train on their windows (or pixels). Mean and spread
    (standard deviation, n − 1) are over folds, None unless every fold has the score.

    Args:
        folder: Where the files go.
        jobs: The runs; those that differ in more than ``split.fold`` are kept apart.
        console: Where the table is printed.

    Returns:
        What ``cross_validation.json`` holds: ``{"part", "notes", "origin", "configurations": [{"name", "folds":
        [{"fold", "folder", "target": {name: {"unit", "model": SCORES, "baselines"}}}], "target": {name: {"unit",
        "mean": {map: SCORES}, "spread": {map: SCORES}, "pooled": SCORES}}}]}``.

    Raises:
        SnowmapError: When a checkpoint cannot be scored, or a file cannot be written.
    """
    judged = {job.folder: validation_scores(job) for job in jobs}
    origin = next(iter(judged.values()))["provenance"]["scored_archive"]["origin"]
    result = {
        "part": PART,
        "notes": [OPTIMISTIC, POOLED],
        "origin": origin,
        "configurations": [
            {"name": name, **_over_folds(group, judged)} for name, group in configurations(jobs).items()
        ],
    }
    write_whole(folder / "cross_validation.json", json.dumps(result, indent=2))
    write_whole(folder / "cross_validation.csv", as_frame(result).to_csv(index=False))
    print_cross_validation(result, console or Console())
    print(f"cross_validation.json and cross_validation.csv lie in {folder}")
    return result


def _over_folds(jobs: Sequence[Job], judged: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    folds = [
        {
            "fold": job.fold,
            "folder": job.folder.name,
            "target": {
                target: {key: entry[key] for key in ("unit", "model", "baselines")}
                for target, entry in judged[job.folder]["target"].items()
            },
        }
        for job in jobs
    ]
    summary: dict[str, Any] = {}
    for target, entry in folds[0]["target"].items():
        found = [{"model": fold["target"][target]["model"], **fold["target"][target]["baselines"]} for fold in folds]
        named = [name for name in found[0] if all(name in maps for maps in found)]
        maps = [validation_maps(job, target) for job in jobs]
        summary[target] = {
            "unit": entry["unit"],
            "mean": {name: _each_score([maps[name] for maps in found], mean_of) for name in named},
            "spread": {name: _each_score([maps[name] for maps in found], spread_of) for name in named},
            "pooled": scores(
                np.concatenate([own.predicted.ravel() for own in maps]),
                np.concatenate([own.observed.ravel() for own in maps]),
            ),
        }
    return {"folds": folds, "target": summary}


def _each_score(found: Sequence[Mapping[str, Any]], reduce: Any) -> dict[str, float | None]:
    return {key: reduce([entry[key] for entry in found]) for key in found[0] if key != "pixels"}


def as_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each configuration, target, map and fold, ``mean``, ``spread`` or ``pooled``."""
    return pd.DataFrame(_rows(result))


def _rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for configuration in result["configurations"]:
        for target, entry in configuration["target"].items():
            place = {"configuration": configuration["name"], "target": target, "unit": entry["unit"]}
            for fold in configuration["folds"]:
                own = fold["target"][target]
                for name, found in {"model": own["model"], **own["baselines"]}.items():
                    yield {**place, "map": name, "over": f"fold {fold['fold']}", **found}
            for over in ("mean", "spread"):
                for name, found in entry[over].items():
                    yield {**place, "map": name, "over": over, **found}
            yield {**place, "map": "model", "over": "pooled", **entry["pooled"]}


def print_cross_validation(result: Mapping[str, Any], console: Console) -> None:
    """Print the table of each configuration and target, and what has to be said of it."""
    synthetic = " · SYNTHETIC data, no measure of skill" if result["origin"].startswith("synthetic") else ""
    for configuration in result["configurations"]:
        folds = configuration["folds"]
        for target, entry in configuration["target"].items():
            name = f" · {configuration['name']}" if configuration["name"] else ""
            title = f"{target.upper()} {entry['unit']}, {len(folds)} folds, {result['part']} windows{name}{synthetic}"
            table = Table(title=title, title_justify="left")
            table.add_column("map", no_wrap=True)
            for head in HEADS.values():
                table.add_column(head, justify="right", no_wrap=True)
            for fold in folds:
                own = fold["target"][target]["model"]
                table.add_row(f"model, fold {fold['fold']}", *(_number(own[key]) for key in HEADS))
            pooled = entry["pooled"]
            table.add_row("model, pooled", *(_number(pooled[key]) for key in HEADS), style="bold")
            table.add_section()
            table.add_row("mean ± spread:", *[""] * len(HEADS))
            for own in entry["mean"]:
                mean, spread = entry["mean"][own], entry["spread"][own]
                cells = [_with_spread(mean[key], spread[key]) for key in HEADS]
                table.add_row(label_of(own), *cells, style="bold" if own == "model" else "")
            console.print(table)
    for note in result["notes"]:
        console.print(f"note: {note}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _with_spread(mean: float | None, spread: float | None) -> str:
    return "–" if mean is None else f"{_number(mean)} ± {_number(spread)}"
