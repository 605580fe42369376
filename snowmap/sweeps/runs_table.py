"""The table of all runs below a folder: on the screen, as ``runs.csv``, ``runs.md`` and ``runs.png``."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from rich.text import Text

from snowmap.files import as_png, whole_folder, write_whole
from snowmap.sweeps.comparison import Comparison, compare_scores, parse_score
from snowmap.sweeps.output import (
    Panel,
    as_markdown,
    bar_figure,
    number,
    print_frame,
    print_notes,
    shortened,
)
from snowmap.sweeps.runs import SYNTHETIC, UNKNOWN, VALIDATION, find_runs
from snowmap.tables import as_csv, plain_console
from snowmap.units import IN_UNITS

SHOWN_METADATA: dict[str, tuple[str, Callable[[float], str]]] = {
    "epochs": ("epochs", "{:.0f}".format),
    "parameters": ("weights", "{:,.0f}".format),
    "wall_s": ("time", lambda seconds: str(timedelta(seconds=round(seconds)))),
}
"""What `RECORD_KEYS` are called, and how they are shown."""

LONGEST_VALUE, LONGEST_NAME = 18, 44
"""Characters of a setting in the table, and of all of them in the figure."""

MOST_ROWS = 40
"""Configurations in the figure; of more, the best."""


def compare_runs(folder: Path, by: str = "rmse", each: bool = False, out: Path | None = None) -> list[Comparison]:
    """Print the table of all runs below a folder and write ``runs.csv``, ``runs.md`` and ``runs.png``.

    Args:
        folder: Runs may lie in it at any depth.
        by: A validation score, as ``rmse`` (of each target that is a run's first) or ``swe.mae``.
        each: Whether runs that differ in their seed alone stay apart.
        out: Where the files go; by default into `folder`.

    Returns:
        One comparison for each target; a run of several targets stands in that of each. One alone where `by` names a
        target, or all runs have the same first one.

    Raises:
        SnowmapError: When there is no run, a file cannot be written, or `by` is no validation score.
    """
    folder, out = Path(folder), Path(out or folder)
    runs = find_runs(folder)
    targets, score = parse_score(by, runs)
    comparisons = []
    for target in targets:
        mapping = runs if len(targets) == 1 else [run for run in runs if target in (run.targets or targets[:1])]
        comparisons.append(compare_scores(mapping, target, score, each, folder))
    frames = [
        frame.assign(target=one.target) for one in comparisons for frame in (one.rows, one.excluded) if len(frame)
    ]
    table = pd.concat(frames).drop(columns="run", errors="ignore").set_index("target").reset_index()
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "runs.csv", as_csv(table))
        lines = [f"# Runs in {folder.absolute().name}", "", *map(_markdown, comparisons)]
        write_whole(unfinished / "runs.md", "\n".join(lines))
        write_whole(unfinished / "runs.png", as_png(bar_figure([[_panel(comparison)] for comparison in comparisons])))
    for comparison in comparisons:
        _print(comparison)
    print(f"runs.csv, runs.md and runs.png lie in {out}")
    return comparisons


def _shown(comparison: Comparison) -> pd.DataFrame:
    """The rows in words: the keys that distinguish them, validation scores, metadata, and known test scores."""
    rows, digits = comparison.rows, 2 if comparison.score in IN_UNITS else 3
    names = [key.rpartition(".")[2] for key in comparison.keys]
    columns = {}
    for key, name in zip(comparison.keys, names, strict=True):
        head = key.removesuffix(f".{name}") if name in ("name", "names") else name if names.count(name) == 1 else key
        columns[head] = [shortened(value, LONGEST_VALUE) for value in rows[key]]
    if comparison.has_seeds:
        columns["seeds"] = rows["runs"].astype(str).tolist()
    for subset in (VALIDATION, "test"):
        for target in sorted(comparison.targets, key=lambda target: target != comparison.target):
            column = comparison.column(subset, target)
            if pd.Series(rows[column]).count():
                scores = zip(rows[column], rows[f"{column}_std"], strict=True)
                columns[f"{subset}\n{comparison.label(target)}"] = [number(*score, digits) for score in scores]
        if subset == VALIDATION:
            columns |= {head: cells for head, cells in _shown_metadata(rows).items() if {*cells} != {UNKNOWN}}
    return pd.DataFrame(columns, index=rows.index)


def _shown_metadata(rows: pd.DataFrame) -> dict[str, list[str]]:
    return {
        head: [UNKNOWN if pd.isna(value) else form(value) for value in rows[key]]
        for key, (head, form) in SHOWN_METADATA.items()
    }


def _shown_excluded(comparison: Comparison) -> pd.DataFrame:
    rows = comparison.excluded
    return pd.DataFrame({**rows[["run", "state"]], **_shown_metadata(rows), "reason": rows["reason"]})


def _markdown(comparison: Comparison) -> str:
    lines = [comparison.order, ""]
    if len(comparison.rows):
        frame = _shown(comparison)
        lines += as_markdown(frame, frame.columns[: len(comparison.keys)])
    if count := len(comparison.excluded):
        lines += ["", f"Not in the means: {count}.", "", *as_markdown(_shown_excluded(comparison), _TEXT)]
    return "\n".join([*lines, "", *(f"- {note}" for note in comparison.notes), ""])


_TEXT = ("run", "state", "reason")


def _print(comparison: Comparison) -> None:
    """Print the table, the runs that enter no mean, and what has to be said of both."""
    console = plain_console()
    console.print(Text(f"\n{comparison.order}", style="bold"))
    if len(comparison.rows):
        _print_rows(_shown(comparison), len(comparison.keys), console.width)
    if count := len(comparison.excluded):
        print_frame(_shown_excluded(comparison), f"\nnot in the means: {count}", _TEXT)
    print_notes(comparison.notes)


def _print_rows(frame: pd.DataFrame, keys: int, width: int) -> None:
    """Print the rows, the test scores behind a rule, without the columns for which there is no room."""
    for column in [column for column in frame if column.startswith("test\n")][:1]:
        frame[column] = "│ " + frame[column].str.rjust(frame[column].str.len().max())
        frame = frame.rename(columns={column: "│ " + column.replace("\n", "\n│ ")})
    text = [*frame.columns[:keys], *(column for column in frame if column.startswith("│"))]
    optional, left_out = [column for column in frame if "\n" not in column][1:], []
    while optional and sum(_width(column, cells) + 2 for column, cells in frame.items()) > width:
        left_out.insert(0, optional.pop())
        frame = frame.drop(columns=left_out[0])
    print_frame(frame, text=text)
    if left_out:
        plain_console().print(f"more in runs.csv: {', '.join(left_out)}")


def _width(column: Any, cells: Iterable[str]) -> int:
    return max(map(len, [*str(column).split("\n"), *cells]))


def _panel(comparison: Comparison) -> Panel:
    rows = comparison.rows.head(MOST_ROWS)
    names = [
        f"{place}. {shortened(', '.join(row[key] for key in comparison.keys), LONGEST_NAME)}"
        for place, row in enumerate(rows.to_dict("records"), 1)
    ]
    columns = [comparison.column(subset) for subset in (VALIDATION, "test")]
    values, errors = (
        rows.reindex(columns=[f"{column}{end}" for column in columns]).set_axis(names).set_axis(columns, axis=1)
        for end in ("", "_std")
    )
    title = [f"the best {MOST_ROWS} of {len(comparison.rows)} configurations"] * (len(comparison.rows) > MOST_ROWS)
    title += [SYNTHETIC] * (SYNTHETIC in comparison.notes)
    label = f"{VALIDATION} {comparison.label()}; pale: test, for information"
    return Panel(" · ".join(title), label, values, errors)
