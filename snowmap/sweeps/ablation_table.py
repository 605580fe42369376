"""What does InSAR add? Runs that differ in the bands that the net sees, each against the run that sees all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snowmap.config.schema import Scoring
from snowmap.data.ablation import WORDS
from snowmap.errors import SnowmapError
from snowmap.evaluation.intervals import score_intervals
from snowmap.files import as_png, write_whole
from snowmap.sweeps.importance import permutation_importance
from snowmap.sweeps.output import (
    Panel,
    bar_figure,
    number,
    print_frame,
    print_notes,
    write_result,
)
from snowmap.sweeps.runs import (
    OPTIMISTIC,
    SYNTHETIC,
    VALIDATION,
    Maps,
    Run,
    differing_settings,
    validation_maps,
    validation_metrics,
)

LEVEL = Scoring().level
UNTOUCHED = "everything is on validation windows; the test windows were not touched"


def compare_ablations(folder: Path, runs: Sequence[Run]) -> pd.DataFrame:
    """Make the table and the figure of an ablation, print the table and write ``ablation.json``, ``.csv`` and ``.png``.

    Runs of several folds or seeds are pooled; each is compared with the run of the same fold and seed that saw all
    bands.

    Args:
        folder: Where the files go.
        runs: The runs.

    Returns:
        One row for each target and ablation (``kind`` is ``ablation``) with ``rmse``, and the ``difference`` from that
        of ``all`` with the ends ``low`` and ``high`` of its interval; one for each target and permuted band (``kind``
        is ``permutation``): mean ``difference`` over runs and repeats, and its ``std``.

    Raises:
        SnowmapError: When no run saw all bands, runs differ in more than bands, fold and seed, or one is missing.
    """
    cases = pair_cases(runs)
    metrics = [validation_metrics(run) for run in runs]
    importances = [permutation_importance(run) for run in cases["all"]]
    about = {
        "part": VALIDATION,
        "notes": [UNTOUCHED, OPTIMISTIC],
        "origin": metrics[0]["provenance"]["scored_archive"]["origin"],
        "level": LEVEL,
    }
    rows = []
    for target, entry in metrics[0]["target"].items():
        place = {"target": target, "unit": entry["unit"]}
        maps = {name: _joined([validation_maps(run, target) for run in case]) for name, case in cases.items()}
        for name, case in maps.items():
            difference = {} if name == "all" else rmse_difference(case, maps["all"])
            rows.append({**place, "kind": "ablation", "name": name, "rmse": _rmse(case), **difference})
        for band in importances[0][target]:
            increases = [increase for run in importances for increase in run[target][band]]
            means = {"difference": np.mean(increases), "std": np.std(increases, ddof=1)}
            rows.append({**place, "kind": "permutation", "name": band, **means})
    table = pd.DataFrame(rows, columns=["target", "unit", "kind", "name", "rmse", "difference", "low", "high", "std"])
    write_ablation(folder, table, about)
    return table


def pair_cases(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each ablation, in one order of fold and seed.

    Raises:
        SnowmapError: As `compare_ablations`.
    """
    if other := {*differing_settings(runs)} - {"ablation", "split.fold", "seed"}:
        raise SnowmapError(
            f"the runs differ in {', '.join(sorted(other))}, too; an ablation compares runs that differ in ablation, "
            "split.fold and seed alone"
        )
    cases: dict[str, dict[tuple, Run]] = {}
    for run in runs:
        cases.setdefault(run.config["ablation"], {})[(run.fold, run.config["seed"])] = run
    if "all" not in cases:
        raise SnowmapError(f"no run with ablation=all to compare with; there are {', '.join(cases)}")
    for name, case in cases.items():
        if single := [f"split.fold={fold} seed={seed}" for fold, seed in cases["all"].keys() ^ case.keys()]:
            raise SnowmapError(
                f"ablation={name} and ablation=all are not of the same folds and seeds: only one has "
                f"{', '.join(sorted(single))}"
            )
    ordered = [*(name for name in WORDS if name in cases), *(name for name in cases if name not in WORDS)]
    return {name: [cases[name][key] for key in cases["all"]] for name in ordered}


def rmse_difference(case: Maps, reference: Maps) -> dict[str, float | None]:
    """RMSE of `case` less that of `reference`, with the interval of `snowmap.evaluation.intervals`.

    Args:
        case: Maps of one model.
        reference: Maps of the other, of the same windows in the same order; several runs may map a window.

    Returns:
        ``difference``, ``low`` and ``high``, in the unit of the maps.
    """
    valid = np.isfinite(case.observed) & np.isfinite(case.predicted) & np.isfinite(reference.predicted)
    columns = {"model": case.predicted[valid], "all": reference.predicted[valid]}
    same_window = np.unique(case.window, return_inverse=True)[1]
    intervals = score_intervals(columns, case.observed[valid], valid, LEVEL, same_window)
    return intervals["differences"]["all"]["rmse"]


def write_ablation(folder: Path, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Write the table and its figure, and print it with what has to be said of it."""
    synthetic = f" · {SYNTHETIC}" * about["origin"].startswith("synthetic")
    write_result(folder, "ablation", about, table)
    panels = []
    for _, rows in table.groupby(["target", "unit"], sort=False):
        target, unit = rows.iloc[0][["target", "unit"]]
        panels.append(_panels(target, unit, rows))
        heads = ["the net sees", f"RMSE {unit}", f"less that of all {unit}", f"{about['level']:.0%} interval or std"]
        title = f"{target.upper()}, what the bands add, {about['part']} windows{synthetic}"
        print_frame(pd.DataFrame(map(_cells, rows.itertuples()), columns=heads), title, heads[:1])
    print_notes(about["notes"])
    write_whole(folder / "ablation.png", as_png(bar_figure(panels, f"{about['part']} windows{synthetic}")))
    print(f"ablation.json, ablation.csv and ablation.png lie in {folder}")


def _cells(row: Any) -> tuple[str, ...]:
    difference = "" if row.name == "all" else f"{row.difference:+.2f}"
    if row.kind == "permutation":
        return f"all, {row.name} permuted", "", difference, f"± {number(row.std)}"
    interval = "" if pd.isna(row.low) else f"{row.low:+.2f} … {row.high:+.2f}"
    return row.name, number(row.rmse), difference, interval


def _panels(target: str, unit: str, rows: pd.DataFrame) -> list[Panel]:
    """What each ablation adds to the RMSE, and the permutation importance of each band beside it."""
    panels = []
    for kind, title in (("ablation", "seen by the net"), ("permutation", "all bands, one permuted between windows")):
        bars = rows[(rows["kind"] == kind) & (rows["name"] != "all")].set_index("name")
        reach = [bars["difference"] - bars["low"], bars["high"] - bars["difference"]]
        errors = np.array([reach if kind == "ablation" else [bars["std"], bars["std"]]], float)
        title = f"{target.upper()}: {title}"
        panels.append(Panel(title, f"RMSE less that of all bands, {unit}", bars["difference"].to_frame(), errors))
    return panels


def _joined(maps: Sequence[Maps]) -> Maps:
    return Maps(*(np.concatenate(parts) for parts in zip(*maps, strict=True)))


def _rmse(maps: Maps) -> float:
    return float(np.sqrt(np.nanmean((maps.predicted.astype(np.float64) - maps.observed) ** 2)))
