"""Scores as a long table and on the screen."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from snowmap.tables import plain_console

LABELS = {"persistence": "last-seen map", "insar_swe": "summed InSAR ΔSWE", "degree_day": "degree-day model"}
"""What a map is called where its own name says too little."""

ALL = "all"


def label_of(name: str) -> str:
    """What the map called `name` is called in tables and charts."""
    return LABELS.get(name, name.replace("_", " "))


def as_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """The scores of `snowmap.evaluation.metrics.scores`, one row for each target, map, window and class.

    ``all`` stands for the pooled windows and for no grouping; the grouping ``snow`` has the classes ``snow-free`` and
    ``snow-covered``. ``unit`` is that of rmse, mae, bias, median_error and nmad.
    """
    rows = [
        {
            "target": target,
            "unit": result["target"][target]["unit"],
            "map": name,
            "window": window,
            "grouping": grouping,
            "class": label,
            **found,
        }
        for target, window, grouping, label, entry in _entries(result)
        for name, found in {"model": entry["model"], **entry["baselines"]}.items()
    ]
    return pd.DataFrame(rows)


def _entries(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, Mapping[str, Any]]]:
    for target, entry in result["target"].items():
        yield target, ALL, ALL, ALL, entry
        yield target, ALL, "snow", "snow-free", entry["snow_free"]
        yield target, ALL, "snow", "snow-covered", entry["snow_covered"]
        for grouping, classes in entry["classes"].items():
            for own in classes:
                yield target, ALL, grouping, own["class"], own
    for entry in result["windows"]:
        yield entry["target"], entry["window"], ALL, ALL, entry


def print_table(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the pooled scores of each target, the model above the baselines; no wider than 100 columns."""
    console = console or plain_console()
    provenance = result["provenance"]
    origin = provenance["scored_archive"]["origin"]
    for target, entry in result["target"].items():
        unit, intervals = entry["unit"], entry["intervals"]
        title = f"{target.upper()}, {provenance['part']} windows"
        if origin.startswith("synthetic"):
            title += " · SYNTHETIC data, no measure of skill"
        note = "The last-seen map needs a known past."
        table = Table(title=title, title_justify="left", caption=note, caption_justify="left")
        table.add_column("map", no_wrap=True)
        share = f"{intervals['level']:.0%}".replace("%", " %")
        for head in (f"RMSE {unit}", share, f"MAE {unit}", f"bias {unit}", "R²", "Pearson r", "pixels"):
            table.add_column(head, justify="right")
        for name, found in {"model": entry["model"], **entry["baselines"]}.items():
            reach = intervals["model"] if name == "model" else intervals["baselines"][name]
            numbers = [_number(found[key]) for key in ("rmse", "mae", "bias", "r2", "pearson_r", "pixels")]
            numbers.insert(1, "–" if reach["rmse"] is None else "–".join(_number(end) for end in reach["rmse"]))
            style = "bold" if name == "model" else ""
            table.add_row(label_of(name), *numbers, style=style)
        console.print(table)


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
