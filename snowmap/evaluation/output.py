"""An evaluation on disk (metrics.json, metrics.csv, predictions.nc, maps.png, report.html) and on the screen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from snowmap.baselines import label_of
from snowmap.config.schema import Scoring
from snowmap.evaluation.kinds import kind_of
from snowmap.evaluation.map_scores import ScoredMaps, by_map
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
    """Score maps beside the baselines and write the files; those of an earlier evaluation there are replaced.

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
    options, kind = asdict(Scoring()) if scoring is None else scoring, kind_of(scene.cube[targets[0]].attrs)
    result = {**kind.score(scene, targets, options), "provenance": {**provenance, "scoring": dict(options)}}
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "metrics.json", json.dumps(result, indent=2))
        write_whole(unfinished / "metrics.csv", as_csv(as_frame(result)))
        write_predictions(scene.maps, scene.cube, list(scene.windows), unfinished / "predictions.nc", provenance)
        kind.write(result, scene, unfinished)
    return result


def write_together(
    scenes: Mapping[str, ScoredMaps],
    targets: Sequence[str],
    out: Path,
    provenance: Mapping[str, Any],
    scoring: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Score the maps of several archives one by one and together, and write ``metrics.json`` and ``metrics.csv``.

    Args:
        scenes: What `evaluate_maps` takes, by the name of the archive.
        targets: Names of the targets.
        out: Folder for the files.
        provenance: Kept in ``metrics.json``.
        scoring: As `evaluate_maps` takes it.

    Returns:
        What ``metrics.json`` holds: ``target`` with the scores over the pixels of all archives, ``archives`` with the
        same of each by itself, and ``provenance``.
    """
    options = asdict(Scoring()) if scoring is None else scoring
    kind = kind_of(next(iter(scenes.values())).cube[targets[0]].attrs)
    result = {"target": kind.score_together([*scenes.values()], targets, options)}
    result["archives"] = {
        name: {"target": kind.score_together([scene], targets, options)} for name, scene in scenes.items()
    }
    result["provenance"] = dict(provenance)
    rows = [
        {"archive": archive, "target": target, **_unit(entry), "map": name, **of_map}
        for archive, scored in {ALL: result, **result["archives"]}.items()
        for target, entry in scored["target"].items()
        for name, of_map in by_map(entry).items()
    ]
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "metrics.json", json.dumps(result, indent=2))
        write_whole(unfinished / "metrics.csv", as_csv(pd.DataFrame(rows)))
    return result


def as_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """The scores of every map, one row for each target, map, window and class of pixels.

    ``all`` stands for the pooled windows and for no grouping. ``unit``, of quantities, is that of rmse, mae, bias,
    median_error and nmad.
    """
    everywhere = {"window": ALL, "grouping": ALL, "class": ALL}
    places = [
        (target, everywhere | place, of_place)
        for target, entry in result["target"].items()
        for place, of_place in [({}, entry), *kind_of(entry).parts(entry)]
    ]
    places += [(entry["target"], everywhere | {"window": entry["window"]}, entry) for entry in result["windows"]]
    return pd.DataFrame(
        [
            {"target": target, **_unit(result["target"][target]), "map": name, **place, **of_map}
            for target, place, entry in places
            for name, of_map in by_map(entry).items()
        ]
    )


def _unit(entry: Mapping[str, Any]) -> dict[str, str]:
    return {"unit": entry["unit"]} if "unit" in entry else {}


def print_table(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the pooled scores of each target, the model above the baselines; no wider than 100 columns.

    Args:
        result: Of `evaluate_maps`, or of `write_together`: then each archive has its rows, and all of them together.
        console: Where to print.
    """
    provenance = result["provenance"]
    synthetic = f" · {SYNTHETIC}" if provenance["scored_archive"]["origin"].startswith("synthetic") else ""
    for target, pooled in result["target"].items():
        level, (main, *others) = pooled.get("intervals", {}).get("level"), kind_of(pooled).columns
        archives = {name: each["target"][target] for name, each in result.get("archives", {}).items()}
        title = f"{target.upper()}, {provenance['subset']} windows{synthetic}"
        note = "The last-seen map needs a known past." if "persistence" in pooled["baselines"] else None
        table = Table(title=title, title_justify="left", caption=note, caption_justify="left")
        table.add_column("map", no_wrap=True)
        level = [f"{level:.0%}".replace("%", " %")] if level else []
        heads = [column.head.format(pooled.get("unit")) for column in (main, *others)]
        for head in (heads[0], *level, *heads[1:], "pixels"):
            table.add_column(head, justify="right")
        for archive, entry in {**archives, "all archives": pooled}.items():
            if archives:
                table.add_section()
                table.add_row(archive, style="italic")
            for name, scored in by_map(entry).items():
                ends = [by_map(entry["intervals"])[name][main.score] or []] if level else []
                form = partial(number, digits=main.digits)
                interval = ("–".join(map(form, both)) or number(None) for both in ends)
                rest = (number(scored[column.score], column.digits) for column in others)
                style = "bold" if name == "model" else ""
                cells = (form(scored[main.score]), *interval, *rest, number(scored["pixels"]))
                table.add_row(label_of(name), *cells, style=style)
        (console or plain_console()).print(table)
