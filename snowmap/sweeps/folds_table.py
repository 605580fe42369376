"""The table of a cross-validation: each fold, their mean and standard deviation, and all predictions scored at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snowmap.baselines import label_of
from snowmap.evaluation.metrics import SCORES, scores
from snowmap.sweeps.output import number, print_frame, print_notes, write_result
from snowmap.sweeps.runs import (
    OPTIMISTIC,
    SYNTHETIC,
    VALIDATION,
    Run,
    configurations,
    validation_maps,
    validation_metrics,
)

POOLED = (
    "pooled: the validation maps of all folds, scored once; a pixel of a window that several runs validate counts once "
    "for each of them"
)
SHOWN = {"rmse": "RMSE", "mae": "MAE", "bias": "bias", "r2": "R²"}
"""What is printed; the files hold every score."""

PLACE = ["configuration", "target", "unit", "map"]


def cross_validate(folder: Path, runs: Sequence[Run]) -> pd.DataFrame:
    """Make the table of a sweep over folds, print it and write ``cross_validation.json`` and ``.csv``.

    The maps that are pooled are each made by the net that did not train on their windows (or pixels). Mean and standard
    deviation (n − 1) are over folds, NaN unless every fold has the score.

    Args:
        folder: Where the files go.
        runs: The runs; those that differ in more than ``split.fold`` are kept apart.

    Returns:
        One row for each configuration, target, map (``model`` or a baseline) and ``over``, which is ``fold 0`` …,
        ``mean``, ``std`` or ``pooled``; a column for each score.

    Raises:
        SnowmapError: When a checkpoint cannot be scored, or a file cannot be written.
    """
    metrics = {run.folder: validation_metrics(run) for run in runs}
    origin = next(iter(metrics.values()))["provenance"]["scored_archive"]["origin"]
    tables = [
        _over_folds(name, group, [metrics[run.folder]["target"] for run in group])
        for name, group in configurations(runs).items()
    ]
    table = pd.concat(tables, ignore_index=True)
    about = {"part": VALIDATION, "notes": [OPTIMISTIC, POOLED], "origin": origin}
    write_result(folder, "cross_validation", about, table)
    _print(table, about)
    print(f"cross_validation.json and cross_validation.csv lie in {folder}")
    return table


def _over_folds(configuration: str, runs: Sequence[Run], metrics: Sequence[dict[str, Any]]) -> pd.DataFrame:
    columns = [name for name in SCORES if name != "pixels"]
    tables = []
    for target, entry in metrics[0].items():
        maps = [{"model": fold[target]["model"], **fold[target]["baselines"]} for fold in metrics]
        common = [name for name in maps[0] if all(name in fold for fold in maps)]
        folds = pd.DataFrame(
            [
                {"map": name, "over": f"fold {run.fold}", **fold[name]}
                for run, fold in zip(runs, maps, strict=True)
                for name in common
            ]
        ).reindex(columns=["map", "over", *SCORES])
        groups = folds.astype(dict.fromkeys(columns, float)).groupby("map", sort=False)[columns]
        mean = groups.agg(lambda values: values.mean(skipna=False)).reset_index().assign(over="mean")
        std = groups.agg(lambda values: values.std(skipna=False)).reset_index().assign(over="std")
        predicted, observed, _ = zip(*(validation_maps(run, target) for run in runs), strict=True)
        pooled = scores(*(np.concatenate([one.ravel() for one in each]) for each in (predicted, observed)))
        frames = [folds, mean, std, pd.DataFrame([{"map": "model", "over": "pooled", **pooled}])]
        place = {"configuration": configuration, "target": target, "unit": entry["unit"]}
        tables.append(pd.concat(frames).assign(**place))
    return pd.concat(tables).reindex(columns=[*PLACE, "over", *SCORES])


def _print(table: pd.DataFrame, about: dict[str, Any]) -> None:
    """Print the table of each configuration and target, and what has to be said of it."""
    for _, group in table.groupby(PLACE[:3], sort=False):
        configuration, target, unit = group.iloc[0][PLACE[:3]]
        rows = group.to_dict("records")
        summaries = [[row for row in rows if row["over"] == over] for over in ("mean", "std")]
        model = [row for row in rows if row["map"] == "model" and row["over"] not in ("mean", "std")]
        lines = [[f"model, {row['over']}", *(number(row[key]) for key in SHOWN)] for row in model]
        for mean, std in zip(*summaries, strict=True):
            cells = [number(mean[key], std[key]) for key in SHOWN]
            lines.append([f"{label_of(mean['map'])}, mean ± std", *cells])
        title = f"{target.upper()} {unit}, {len(model) - 1} folds, {about['part']} windows"
        title += f" · {configuration}" * bool(configuration)
        title += f" · {SYNTHETIC}" * about["origin"].startswith("synthetic")
        print_frame(pd.DataFrame(lines, columns=["map", *SHOWN.values()]), title, ["map"])
    print_notes(about["notes"])
