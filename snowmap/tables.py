"""Tables on the screen and as CSV, whatever users have put into their names."""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

WIDTH = 100
"""Columns of a printed table where there is no terminal to ask."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet begins a formula."""

MOST_NAMED = 10

SYNTHETIC = "SYNTHETIC data, no measure of skill"
"""Said in the title of every table that comes from a synthetic archive."""


def plain_console() -> Console:
    """A console that prints text as it is: ``[red]`` in the name of a basin is no markup, ``:snowflake:`` no emoji."""
    width = None if sys.stdout.isatty() else WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


def print_table(
    title: str, columns: Mapping[str, Iterable[str]], bold: str | None = None, folded: Collection[str] = ()
) -> None:
    """Print columns of text, the first of which may be folded; the others are right-aligned.

    Args:
        title: Above the table.
        columns: By their heads.
        bold: What stands in the first column of rows that are printed in bold.
        folded: Heads of further columns that may be folded, and are left-aligned.
    """
    table = Table(title=title, title_justify="left")
    for head in columns:
        text = head in folded or not table.columns
        table.add_column(head, overflow="fold", no_wrap=not text, justify="left" if text else "right")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row, style="bold" if row[0] == bold else "")
    plain_console().print(table)


def print_findings(
    verdict: str, faults: Sequence[str], warnings: Sequence[str] = (), notes: Sequence[str] = (), origin: str = ""
) -> None:
    """Print what a check found, each on a line of its own: notes, warnings, every fault, and the verdict.

    Where the data came from stands before them, if its `origin` says that it is synthetic.
    """
    console = plain_console()
    if origin.startswith("synthetic"):
        console.print(
            f"SYNTHETIC data ({origin}): it proves the pipeline, never skill", style="bold red", soft_wrap=True
        )
    for label, style, lines in (("note", "", notes), ("warning", "yellow", warnings), ("FAULT", "bold red", faults)):
        for line in lines:
            console.print(f"{label}: {line}", style=style, soft_wrap=True)
    console.print(verdict, style="bold", soft_wrap=True)


def as_csv(table: pd.DataFrame) -> str:
    """The table as CSV; numbers stay, and text that a spreadsheet would run as a formula gets an apostrophe before it.

    Args:
        table: Its index is left out.
    """
    texts = {str(name): column.map(_inert) for name, column in table.select_dtypes(["object", "string"]).items()}
    return table.assign(**texts).rename(columns=_inert).to_csv(index=False)


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) and not _is_number(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number(value: float | int | None, digits: int = 2) -> str:
    """A score as text; integers are counts, and None is undefined."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def printable(name: object) -> str:
    """A name on one line and without control characters, which could not be drawn or would steer a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(name)).strip()


def listed(names: Iterable[str]) -> str:
    """The first `MOST_NAMED` of the names, and how many more there are."""
    every = list(dict.fromkeys(names))
    rest = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + rest
