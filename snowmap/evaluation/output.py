"""An evaluation on disk (metrics.json, metrics.csv, predictions.nc, maps.png, report.html) and on the screen."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from snowmap.baselines import label_of
from snowmap.config.schema import Scoring
from snowmap.evaluation.figures import map_pictures, stacked
from snowmap.evaluation.map_scores import ScoredMaps, by_map, score_maps, score_together
from snowmap.evaluation.report import write_report
from snowmap.files import whole_folder, write_whole
from snowmap.maps.netcdf import write_predictions
from snowmap.tables import SYNTHETIC, as_csv, number, plain_console

ALL = "all"


def evaluate_maps(
    scene: ScoredMaps,
    targets: Sequence[str],
    out: Path,
    provenance: Mapping[str, Any],
    scoring: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score maps beside the baselines and write the five files; files of an earlier evaluation there are replaced.

    Args:
        scene: The maps, those of the baselines, and the Cube that was mapped.
        targets: Names of the targets.
        out: Folder for the files.
        provenance: Kept in the files; ``subset`` and ``scored_archive`` are shown.
        scoring: Thresholds, classes and level, of `snowmap.config.schema.Scoring`; its defaults if None.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        SnowmapError: When there is no valid pixel to score, or `out` cannot be written.
    """
    options = asdict(Scoring()) if scoring is None else scoring
    maps, baselines, cube, windows = scene
    scored = score_maps(maps, baselines, cube, windows, targets, options)
    result = {**scored, "provenance": {**provenance, "scoring": dict(options)}}
    pictures = {target: map_pictures(maps, cube, windows, target) for target in targets}
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "metrics.json", json.dumps(result, indent=2))
        write_whole(unfinished / "metrics.csv", as_csv(as_frame(result)))
        write_predictions(maps, cube, list(windows), unfinished / "predictions.nc", provenance)
        write_whole(unfinished / "maps.png", stacked([*chain.from_iterable(pictures.values())]))
        write_report(result, maps, cube, windows, pictures, unfinished / "report.html")
    return result


def write_together(
    scenes: Mapping[str, ScoredMaps], targets: Sequence[str], out: Path, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Score the maps of several archives one by one and together, and write ``metrics.json`` and ``metrics.csv``.

    Args:
        scenes: What `evaluate_maps` takes, by the name of the archive.
        targets: Names of the targets.
        out: Folder for the files.
        provenance: Kept in ``metrics.json``.

    Returns:
        What ``metrics.json`` holds: ``target`` with the scores over the pixels of all archives, as `score_together`
        gives them, ``archives`` with the same of each by itself, and ``provenance``.
    """
    result = {"target": score_together([*scenes.values()], targets)}
    result["archives"] = {name: {"target": score_together([scene], targets)} for name, scene in scenes.items()}
    result["provenance"] = dict(provenance)
    rows = [
        {"archive": archive, "target": target, "unit": entry["unit"], "map": name, **of_map}
        for archive, scored in {ALL: result, **result["archives"]}.items()
        for target, entry in scored["target"].items()
        for name, of_map in by_map(entry).items()
    ]
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "metrics.json", json.dumps(result, indent=2))
        write_whole(unfinished / "metrics.csv", as_csv(pd.DataFrame(rows)))
    return result


def as_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """The scores of `snowmap.evaluation.metrics.scores`, one row for each target, map, window and class.

    ``all`` stands for the pooled windows and for no grouping; the grouping ``snow`` has the classes ``snow-free`` and
    ``snow-covered``. ``unit`` is that of rmse, mae, bias, median_error and nmad.
    """
    rows = [
        {"target": target, "unit": result["target"][target]["unit"], "map": name, **place, **of_map}
        for target, place, entry in _entries(result)
        for name, of_map in by_map(entry).items()
    ]
    return pd.DataFrame(rows)


def _entries(result: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str], Mapping[str, Any]]]:
    """Of everything that has scores its target, its place in the table, and the scores of each map."""
    everywhere = {"window": ALL, "grouping": ALL, "class": ALL}
    for target, entry in result["target"].items():
        yield target, everywhere, entry
        for label in ("snow-free", "snow-covered"):
            yield target, everywhere | {"grouping": "snow", "class": label}, entry[label.replace("-", "_")]
        for grouping, classes in entry["classes"].items():
            for of_class in classes:
                yield target, everywhere | {"grouping": grouping, "class": of_class["class"]}, of_class
    for entry in result["windows"]:
        yield entry["target"], everywhere | {"window": entry["window"]}, entry


def print_table(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the pooled scores of each target, the model above the baselines; no wider than 100 columns.

    Args:
        result: Of `evaluate_maps`, or of `write_together`: then each archive has its rows, and all of them together.
        console: Where to print.
    """
    provenance = result["provenance"]
    synthetic = f" · {SYNTHETIC}" if provenance["scored_archive"]["origin"].startswith("synthetic") else ""
    for target, pooled in result["target"].items():
        unit, intervals = pooled["unit"], pooled.get("intervals")
        archives = {name: each["target"][target] for name, each in result.get("archives", {}).items()}
        title = f"{target.upper()}, {provenance['subset']} windows{synthetic}"
        note = "The last-seen map needs a known past." if "persistence" in pooled["baselines"] else None
        table = Table(title=title, title_justify="left", caption=note, caption_justify="left")
        table.add_column("map", no_wrap=True)
        level = [f"{intervals['level']:.0%}".replace("%", " %")] if intervals else []
        for head in (f"RMSE {unit}", *level, f"MAE {unit}", f"bias {unit}", "R²", "Pearson r", "pixels"):
            table.add_column(head, justify="right")
        for archive, entry in {**archives, "all archives": pooled}.items():
            if archives:
                table.add_section()
                table.add_row(archive, style="italic")
            for name, scored in by_map(entry).items():
                ends = [by_map(intervals)[name]["rmse"] or []] if intervals else []
                interval = ("–".join(map(number, both)) or number(None) for both in ends)
                others = (number(scored[key]) for key in ("mae", "bias", "r2", "pearson_r", "pixels"))
                style = "bold" if name == "model" else ""
                table.add_row(label_of(name), number(scored["rmse"]), *interval, *others, style=style)
        (console or plain_console()).print(table)
