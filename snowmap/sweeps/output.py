"""How every result of a sweep is written and shown: tables on the screen and in files, and one kind of figure."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from snowmap.files import write_whole
from snowmap.sweeps.runs import UNKNOWN
from snowmap.tables import as_csv, plain_console


def write_result(folder: Path, name: str, about: Mapping[str, Any], table: pd.DataFrame) -> None:
    """Write a table as ``<name>.csv``, and as ``rows`` beside what has to be said of it as ``<name>.json``."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    write_whole(folder / f"{name}.json", json.dumps({**about, "rows": rows}, indent=2))
    write_whole(folder / f"{name}.csv", as_csv(table))


def print_frame(frame: pd.DataFrame, title: str | None = None, text: Collection[str] = ()) -> None:
    """Print a table of words; the columns `text` are aligned to the left and folded where there is no room."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in frame:
        left = column in text
        table.add_column(Text(str(column)), justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for cells in frame.itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in cells))
    plain_console().print(table)


def print_notes(notes: Iterable[str]) -> None:
    """Print what has to be said of a table."""
    for note in notes:
        plain_console().print(f"note: {note}")


def as_markdown(frame: pd.DataFrame, text: Collection[str] = ()) -> list[str]:
    """The lines of a table of words in Markdown."""
    rule = ["---" if column in text else "---:" for column in frame]
    rows = frame.astype(str).replace(r"\|", r"\\|", regex=True).values.tolist()
    heads = [str(column).replace("\n", " ") for column in frame]
    return ["| " + " | ".join(cells) + " |" for cells in [heads, rule, *rows]]


def number(value: float | None, std: float | None = None, digits: int = 2) -> str:
    """``4.21``, or ``4.21 ± 0.13`` with a standard deviation; a dash for what is unknown."""
    if value is None or np.isnan(value):
        return UNKNOWN
    return f"{value:.{digits}f}" + ("" if std is None or np.isnan(std) else f" ± {std:.{digits}f}")


def shortened(text: str, length: int) -> str:
    """A text, cut where it is too long."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


class Panel(NamedTuple):
    """One panel of a figure.

    Attributes:
        title: Above it.
        label: Of the values' axis.
        values: A row for each place, from top to bottom, with a bar for each column.
        errors: How far the error bars reach: standard deviations in a frame as `values`, or both sides in an array
            ``(column, side, row)``; NaN where there is none.
    """

    title: str
    label: str
    values: pd.DataFrame
    errors: pd.DataFrame | Float[np.ndarray, "column 2 row"]


def bar_figure(rows: Sequence[Sequence[Panel]], title: str = "") -> Figure:
    """Panels in rows: horizontal bars with their errors."""
    heights = [1.2 + 0.4 * max(1, *(len(panel.values) for panel in row)) for row in rows]
    columns = max(map(len, rows))
    figure = Figure(figsize=(6 * columns + 2, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axis, panel in zip(axes.flat, (panel for row in rows for panel in row), strict=True):
        if len(panel.values):
            look = {"color": ["#0072B2", "#A9C9E0"], "ecolor": "0.2", "capsize": 3, "width": 0.6, "fontsize": 8}
            panel.values.plot.barh(ax=axis, xerr=panel.errors, legend=False, **look)
            axis.invert_yaxis()
        axis.axvline(0, color="0.2", linewidth=0.8)
        axis.set_title(panel.title, fontsize=9)
        axis.set_xlabel(panel.label, fontsize=9)
        axis.set_ylabel("")
    return figure
