"""How every result of a sweep is shown and written: one form of table, on the screen and in files, and of figure."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from snowmap.files import as_png, whole_folder, write_whole
from snowmap.tables import SYNTHETIC, as_csv, plain_console

UNKNOWN = "–"
MOST_BARS, LONGEST_NAME = 40, 44
"""Bars in a panel, of more the first; characters of a bar's name."""


class Section(NamedTuple):
    """A part of a result as people read it.

    Attributes:
        title: Above it.
        frame: Text, and numbers; those of a column ``x`` are shown with their errors, which are in the column ``x ±``.
        bars: Columns that are drawn, beside the text that stands before them; a second one is drawn paler.
    """

    title: str
    frame: pd.DataFrame
    bars: Sequence[str] = ()


class Result(NamedTuple):
    """What the runs of a sweep give.

    Attributes:
        name: Of its files.
        table: Every number.
        sections: What of it is shown.
        notes: What has to be known to read it; `SYNTHETIC` where the data are.
    """

    name: str
    table: pd.DataFrame
    sections: Sequence[Section]
    notes: Sequence[str]


def publish(result: Result, folder: Path) -> None:
    """Print a result and write it as ``<name>.csv`` and ``.json`` (every number), ``.md`` and ``.png``.

    Raises:
        SnowmapError: When the files cannot be written; older ones are then as before.
    """
    rows = result.table.astype(object).where(result.table.notna(), None).to_dict("records")
    contents = {
        "csv": as_csv(result.table),
        "json": json.dumps({"notes": result.notes, "rows": rows}, indent=2),
        "md": _markdown(result),
        "png": as_png(_figure(result)),
    }
    with whole_folder(folder) as unfinished:
        for ending, content in contents.items():
            write_whole(unfinished / f"{result.name}.{ending}", content)
    for section in result.sections:
        _print(section, f"{result.name}.csv")
    for note in result.notes:
        plain_console().print(f"note: {note}")
    print(f"{', '.join(f'{result.name}.{ending}' for ending in contents)} lie in {folder}")


def mean_and_std(groups: Any) -> pd.DataFrame:
    """Mean of grouped columns and standard deviation (n − 1) as ``<column>_std``, NaN where one of a group lacks it."""
    mean, std = (groups.agg(lambda values, of=of: of(values, skipna=False)) for of in (pd.Series.mean, pd.Series.std))
    return mean.join(std.add_suffix("_std"))


def _words(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The frame as text, ``4.21`` or ``4.21 ± 0.13`` with an error and a dash for what is unknown; its text columns."""
    words, numbers = frame.astype(object).fillna(UNKNOWN), frame.select_dtypes("number")
    for head in numbers:
        unknown, form = ("", " ± {:.2f}") if head.endswith(" ±") else (UNKNOWN, "{:.2f}")
        form = "{:,}" if pd.api.types.is_integer_dtype(numbers[head]) else form
        words[head] = [unknown if pd.isna(value) else form.format(value) for value in numbers[head]]
    for head in [head for head in numbers if f"{head} ±" in numbers]:
        words[head] += words.pop(f"{head} ±")
    return words, [head for head in words if head not in numbers]


def _print(section: Section, file: str) -> None:
    """Print a section, test scores behind a rule; columns for which there is no room beside scores stand in `file`."""
    (words, text), console, left_out = _words(section.frame), plain_console(), []
    for head in [head for head in words if head.startswith("test\n")]:
        words.insert([*words].index(head), "│\n│", "│")
    width = {head: max(map(len, [*head.split("\n"), *words[head]])) + 2 for head in words}
    optional = [head for head in words if "\n" not in head][1:] if section.bars else []
    while optional and sum(width[head] for head in words) > console.width:
        left_out.insert(0, optional.pop())
        words = words.drop(columns=left_out[0])
    table = Table(title=f"\n{section.title}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in words:
        table.add_column(head, justify="left" if head in text else "right", no_wrap=head not in text, overflow="fold")
    for cells in words.itertuples(index=False):
        table.add_row(*cells)
    console.print(table)
    if left_out:
        console.print(f"more in {file}: {', '.join(left_out)}")


def _markdown(result: Result) -> str:
    lines = [f"# {result.name.replace('_', ' ').capitalize()}", ""]
    for section in result.sections:
        words, text = _words(section.frame)
        heads = [head.replace("\n", " ") for head in words]
        rule = ["---" if head in text else "---:" for head in words]
        rows = words.replace(r"\|", r"\\|", regex=True).to_numpy()
        lines += [section.title, "", *(f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows]), ""]
    return "\n".join([*lines, *(f"- {note}" for note in result.notes), ""])


def _figure(result: Result) -> Figure:
    """A panel of horizontal bars with their errors for each section that has any."""
    drawn = [section for section in result.sections if section.bars]
    heights = [1.2 + 0.4 * min(len(section.frame), MOST_BARS) for section in drawn] or [1.0]
    figure = Figure(figsize=(8, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(SYNTHETIC if SYNTHETIC in result.notes else "", fontsize=10)
    axes = figure.subplots(len(heights), squeeze=False, height_ratios=heights)
    look = {"color": ["#0072B2", "#A9C9E0"], "ecolor": "0.2", "capsize": 3, "width": 0.6, "fontsize": 8}
    for axis, section in zip(axes.flat, drawn, strict=False):
        frame, bars = section.frame.head(MOST_BARS), [*section.bars]
        errors = frame.reindex(columns=[f"{head} ±" for head in bars]).set_axis(bars, axis=1)
        frame[bars].plot.barh(ax=axis, xerr=errors, legend=False, **look)
        text = frame.loc[:, : bars[0]].select_dtypes(exclude="number")
        axis.set_yticklabels([", ".join(cells)[:LONGEST_NAME] for cells in text.to_numpy()])
        axis.set_xlabel("; pale: ".join(bars).replace("\n", " "), fontsize=9)
        axis.invert_yaxis()
        axis.axvline(0, color="0.2", linewidth=0.8)
        axis.set_title(section.title, fontsize=9)
    return figure
