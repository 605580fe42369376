"""The table of runs on the screen, as ``runs.csv``, ``runs.md`` and ``runs.png``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snowmap.files import as_png, write_whole
from snowmap.sweeps.comparison import BEST, Comparison, Row, Run, compare, reason
from snowmap.sweeps.figures import runs_figure
from snowmap.sweeps.jobs import PART, mean_of
from snowmap.sweeps.sheet import Column, columns, columns_apart, label
from snowmap.units import IN_UNITS

WIDTH = 100
"""Columns of the printed table where there is no terminal to ask."""

RULE = "│\n│"
"""Heading of the column that parts the test scores from the others."""

SYNTHETIC = "SYNTHETIC data, no measure of skill"


def compare_runs(
    folder: Path, by: str = "rmse", each: bool = False, out: Path | None = None, console: Console | None = None
) -> list[Comparison]:
    """Print the table of all runs below a folder and write ``runs.csv``, ``runs.md`` and ``runs.png``.

    Args:
        folder: Runs may lie in it at any depth.
        by: The validation score that sorts, as ``rmse`` (of each target) or ``swe.mae``.
        each: Whether runs that differ in their seed alone stay apart.
        out: Where the files go; by default into `folder`.
        console: Where the table is printed.

    Returns:
        What is compared, target by target.

    Raises:
        SnowmapError: When there is no run, a file cannot be read or written, or `by` is no validation score.
    """
    folder, out = Path(folder), Path(out or folder)
    found = compare(folder, by, each)
    write_whole(out / "runs.csv", as_frame(found).to_csv(index=False))
    write_whole(out / "runs.md", as_markdown(found, folder))
    write_whole(out / "runs.png", as_png(runs_figure(found)))
    console = console or Console(width=None if sys.stdout.isatty() else WIDTH)
    for number, comparison in enumerate(found):
        if number:
            console.print()
        print_runs(comparison, folder, console)
    print(f"runs.csv, runs.md and runs.png lie in {out}")
    return found


def as_frame(found: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each configuration, the best first, then one for each run that enters no mean; every score."""
    rows = [
        {"target": each.target, **row}
        for each in found
        for row in [_of_row(each, row) for row in each.rows] + [_of_run(each, run) for run in each.apart]
    ]
    return pd.DataFrame(rows)


def _of_row(found: Comparison, row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {
        **{key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in row.settings.items()},
        **{"runs": len(row.runs), "seeds": " ".join(str(run.job.config.get("seed")) for run in row.runs)},
        **{"state": " ".join(sorted({run.state for run in row.runs})), "reason": ""},
        **{key: mean_of(row.of_record(key)) for key in ("epochs", "parameters", "wall_s")},
    }
    for part in (PART, "test"):
        for target, unit in found.units.items():
            for score in BEST:
                name = f"{part}/{target}_{score}" + (f"_{unit}" if score in IN_UNITS else "")
                record[name], record[f"{name}_spread"] = row.mean(part, target, score, unit)
    return record | {"folders": " ".join(str(run.job.folder) for run in row.runs)}


def _of_run(found: Comparison, run: Run) -> dict[str, Any]:
    return {
        **{"runs": 1, "seeds": str(run.job.config.get("seed")), "state": run.state},
        "reason": reason(run, found.target, found.score),
        **{key: (run.job.record or {}).get(key) for key in ("epochs", "parameters", "wall_s")},
        "folders": str(run.job.folder),
    }


def as_markdown(found: Sequence[Comparison], folder: Path) -> str:
    """The tables in Markdown, with what has to be said of them."""
    return "\n".join([f"# Runs in {folder.absolute().name}", "", *(_section(each, folder) for each in found)])


def _section(found: Comparison, folder: Path) -> str:
    lines = [_order(found), ""]
    lines += [f"**{SYNTHETIC}**", ""] if found.synthetic else []
    lines += _markdown(columns(found))
    if found.apart:
        lines += ["", f"Not in the means: {len(found.apart)}.", "", *_markdown(columns_apart(found, folder))]
    return "\n".join([*lines, "", *(f"- {note}" for note in found.notes), ""])


def _markdown(table: Sequence[Column]) -> list[str]:
    heads = [("" if column.kind == "key" else " ").join(column.heads) for column in table]
    rule = ["---" if column.kind == "key" else "---:" for column in table]
    rows = zip(*([cell.replace("|", "\\|") for cell in column.cells] for column in table), strict=True)
    return ["| " + " | ".join(line) + " |" for line in [heads, rule, *rows]]


def print_runs(found: Comparison, folder: Path, console: Console) -> None:
    """Print the table, the runs that enter no mean, and what has to be said of both."""
    table = columns(found)
    # where there is no room for all of them, facts go first, then the last keys
    spare = [column for kind in ("key", "fact") for column in table if column.kind == kind][1:]
    left_out: list[Column] = []
    while spare and sum(column.width + 2 for column in table) + len(RULE) > console.width:
        left_out.insert(0, spare.pop())
        table = [column for column in table if column is not left_out[0]]
    console.print(Text(_order(found), style="bold"))
    if found.synthetic:
        console.print(SYNTHETIC)
    if found.rows:
        console.print(_on_screen(table))
    if left_out:
        console.print(f"more in runs.csv: {', '.join(''.join(column.heads) for column in left_out)}")
    if found.apart:
        console.print()
        console.print(_on_screen(columns_apart(found, folder), f"not in the means: {len(found.apart)}"))
    for note in found.notes:
        console.print(f"note: {note}")


def _on_screen(table: Sequence[Column], title: str | None = None) -> Table:
    """The columns, the test scores behind a rule."""
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    cells: list[Sequence[str]] = []
    for column in table:
        if column.kind == "test" and RULE not in [known.header for known in shown.columns]:
            shown.add_column(RULE, style="dim")
            cells.append(["│"] * len(column.cells))
        style, numeric = "dim" if column.kind == "test" else "", column.kind != "key"
        justify = "right" if numeric else "left"
        shown.add_column("\n".join(column.heads), justify=justify, no_wrap=numeric, overflow="fold", style=style)
        cells.append(column.cells)
    for row in zip(*cells, strict=True):
        shown.add_row(*map(Text, row))
    return shown


def _order(found: Comparison) -> str:
    said = label(found.target, found.score, found.units.get(found.target, "")).strip()
    several = "; ± is the spread over seeds" if any(len(row.runs) > 1 for row in found.rows) else ""
    return f"Sorted by {PART} {said}, {BEST[found.score]} first{several}"
