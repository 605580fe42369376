"""What does InSAR add? Runs that differ in the bands that the net sees, each against the run that sees all of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from snowmap.ablation import LEFT_OUT
from snowmap.errors import SnowmapError
from snowmap.evaluation.bootstrap import score_intervals
from snowmap.files import as_png, write_whole
from snowmap.schema import Scoring
from snowmap.sweeps.figures import ablation_figure
from snowmap.sweeps.importance import permutation_importance
from snowmap.sweeps.jobs import (
    OPTIMISTIC,
    PART,
    Job,
    Maps,
    differing_keys,
    validation_maps,
    validation_scores,
)

OPTIONS = asdict(Scoring())
UNTOUCHED = "everything is on validation windows; the test windows were not touched"


def compare_ablations(folder: Path, jobs: Sequence[Job], console: Console | None = None) -> dict[str, Any]:
    """Make the table and the figure of an ablation, print the table and write ``ablation.json``, ``.csv`` and ``.png``.

    Runs of several folds or seeds are pooled; each is compared with the run of the same fold and seed that saw all
    bands.

    Args:
        folder: Where the files go.
        jobs: The runs.
        console: Where the table is printed.

    Returns:
        What ``ablation.json`` holds: ``{"part", "notes", "origin", "level", "target": {name: {"unit", "cases": {word:
        {"rmse", "difference", "low", "high"}}, "importance": {band: {"mean", "spread"}}}}}``. Differences are the RMSE
        less that of ``all``; ``all`` itself has none.

    Raises:
        SnowmapError: When no run saw all bands, runs differ in more than bands, fold and seed, or one is lacking.
    """
    cases = _cases(jobs)
    judged = validation_scores(cases["all"][0])
    for job in jobs:
        validation_scores(job)
    importances = [permutation_importance(job) for job in cases["all"]]
    result: dict[str, Any] = {
        "part": PART,
        "notes": [UNTOUCHED, OPTIMISTIC],
        "origin": judged["provenance"]["scored_archive"]["origin"],
        "level": OPTIONS["level"],
        "target": {
            target: {
                "unit": entry["unit"],
                "cases": _compare(cases, target),
                "importance": _over_runs([own[target] for own in importances]),
            }
            for target, entry in judged["target"].items()
        },
    }
    write_whole(folder / "ablation.json", json.dumps(result, indent=2))
    write_whole(folder / "ablation.csv", as_frame(result).to_csv(index=False))
    write_whole(folder / "ablation.png", as_png(ablation_figure(result)))
    print_ablation(result, console or Console())
    print(f"ablation.json, ablation.csv and ablation.png lie in {folder}")
    return result


def _cases(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The runs of each ablation, in one order of fold and seed."""
    if other := differing_keys(jobs) - {"ablation", "split.fold", "seed"}:
        raise SnowmapError(
            f"the runs differ in {', '.join(sorted(other))}, too; an ablation compares runs that differ in ablation, "
            "split.fold and seed alone"
        )
    runs: dict[str, dict[tuple, Job]] = {}
    for job in jobs:
        runs.setdefault(job.config["ablation"], {})[(job.fold, job.config["seed"])] = job
    if "all" not in runs:
        raise SnowmapError(f"no run with ablation=all to compare with; there are {', '.join(runs)}")
    for name, own in runs.items():
        if lacking := [f"split.fold={fold} seed={seed}" for fold, seed in runs["all"].keys() ^ own.keys()]:
            raise SnowmapError(
                f"ablation={name} and ablation=all are not of the same folds and seeds: only one has "
                f"{', '.join(sorted(lacking))}"
            )
    return {name: [runs[name][key] for key in runs["all"]] for name in LEFT_OUT if name in runs}


def _compare(cases: Mapping[str, Sequence[Job]], target: str) -> dict[str, Any]:
    maps = {name: _joined([validation_maps(job, target) for job in jobs]) for name, jobs in cases.items()}
    return {
        name: {"rmse": _rmse(own), **(dict.fromkeys(("difference", "low", "high")) if name == "all" else {})}
        | ({} if name == "all" else rmse_difference(own, maps["all"]))
        for name, own in maps.items()
    }


def _joined(maps: Sequence[Maps]) -> Maps:
    return Maps(*(np.concatenate(parts) for parts in zip(*maps, strict=True)))


def _rmse(maps: Maps) -> float:
    return float(np.sqrt(np.nanmean((maps.predicted.astype(np.float64) - maps.observed) ** 2)))


def rmse_difference(case: Maps, reference: Maps) -> dict[str, float | None]:
    """RMSE of `case` less that of `reference`, with the interval of `snowmap.evaluation.bootstrap`.

    Args:
        case: Maps of one model.
        reference: Maps of the other, of the same windows in the same order; several runs may map a window.

    Returns:
        ``difference``, ``low`` and ``high``, in the unit of the maps.
    """
    valid = np.isfinite(case.observed) & np.isfinite(case.predicted) & np.isfinite(reference.predicted)
    columns = {"model": case.predicted[valid], "all": reference.predicted[valid]}
    same = np.unique(case.window, return_inverse=True)[1]
    found = score_intervals(columns, case.observed[valid], valid, OPTIONS, same)
    return found["differences"]["all"]["rmse"]


def _over_runs(found: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, dict[str, float]]:
    """Mean and spread of the importances over runs and repeats."""
    together = {band: [value for own in found for value in own[band]] for band in found[0]}
    return {
        band: {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1))}
        for band, values in together.items()
    }


def as_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each target and ablation, or target and permuted band."""
    rows: list[dict[str, Any]] = []
    for target, entry in result["target"].items():
        place = {"target": target, "unit": entry["unit"]}
        rows += [{**place, "kind": "ablation", "name": name, **found} for name, found in entry["cases"].items()]
        rows += [
            {**place, "kind": "permutation", "name": band, "difference": found["mean"], "spread": found["spread"]}
            for band, found in entry["importance"].items()
        ]
    return pd.DataFrame(rows)


def print_ablation(result: Mapping[str, Any], console: Console) -> None:
    """Print the table of each target, and what has to be said of it."""
    synthetic = " · SYNTHETIC data, no measure of skill" if result["origin"].startswith("synthetic") else ""
    for target, entry in result["target"].items():
        unit = entry["unit"]
        title = f"{target.upper()}, what the bands add, {result['part']} windows{synthetic}"
        table = Table("the net sees", title=title, title_justify="left")
        for head in (f"RMSE {unit}", f"less that of all {unit}", f"{result['level']:.0%} interval"):
            table.add_column(head, justify="right", no_wrap=True)
        for name, found in entry["cases"].items():
            if name == "all":
                table.add_row(name, f"{found['rmse']:.2f}", "", "", style="bold")
            else:
                interval = "–" if found["low"] is None else f"{found['low']:+.2f} … {found['high']:+.2f}"
                table.add_row(name, f"{found['rmse']:.2f}", f"{found['difference']:+.2f}", interval)
        table.add_section()
        table.add_row("all, once trained, with", "", "", "spread")
        for band, found in entry["importance"].items():
            table.add_row(f"{band} permuted", "", f"{found['mean']:+.2f}", f"± {found['spread']:.2f}")
        console.print(table)
    for note in result["notes"]:
        console.print(f"note: {note}")
