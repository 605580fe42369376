"""The table of all runs below a folder, sorted by a validation score; test scores stand beside it and sort nothing."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.text import Text

from snowmap.errors import SnowmapError
from snowmap.sweeps.output import (
    NO_BARS,
    Panel,
    as_markdown,
    bar_figure,
    error_bars,
    make_console,
    number,
    print_frame,
    shortened,
    write_file,
)
from snowmap.sweeps.runs import (
    FINISHED,
    PART,
    SYNTHETIC,
    UNIT,
    UNKNOWN,
    Run,
    differing_settings,
    distinguishing_keys,
    find_runs,
)
from snowmap.units import IN_UNITS

SCORES = {
    "rmse": ("RMSE", "smallest"),
    "mae": ("MAE", "smallest"),
    "nmad": ("NMAD", "smallest"),
    "bias": ("bias", "nearest to 0"),
    "median_error": ("median error", "nearest to 0"),
    "r2": ("R²", "largest"),
    "pearson_r": ("Pearson r", "largest"),
    "spearman_r": ("Spearman r", "largest"),
    "nse": ("NSE", "largest"),
}
"""What each score is called, and which of its values is the best."""

SORT_KEYS = {"smallest": np.positive, "nearest to 0": np.abs, "largest": np.negative}
FACTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "epochs": ("epochs", "{:.0f}".format),
    "parameters": ("weights", "{:,.0f}".format),
    "wall_s": ("time", lambda seconds: str(timedelta(seconds=round(seconds)))),
}
"""Entries of ``run.json`` beside the scores: what they are called, and how they are shown."""

LONGEST_VALUE, LONGEST_NAME = 18, 44
"""Characters of a setting in the table, and of all of them in the figure."""

MOST_ROWS = 40
"""Configurations in the figure; of more, the best."""


class Comparison(NamedTuple):
    """The runs that are compared by one score of one target.

    Attributes:
        target: Whose score it is.
        targets: All that are scored.
        score: A key of `SCORES`.
        keys: Keys of the configuration that distinguish the rows.
        rows: Each configuration, the best first: its settings, and mean and standard deviation of every score.
        excluded: Runs that enter no mean: unfinished, unreadable, or without a validation score.
        notes: What has to be known to read the table.
        synthetic: Whether an archive is synthetic.
    """

    target: str
    targets: Sequence[str]
    score: str
    keys: Sequence[str]
    rows: pd.DataFrame
    excluded: pd.DataFrame
    notes: Sequence[str]
    synthetic: bool

    def column(self, part: str, target: str | None = None) -> str:
        """Name of a column of `rows` and `values` with the score, e.g. ``validation/swe_rmse_cm``."""
        return column_name(part, target or self.target, self.score)

    def label(self, target: str | None = None) -> str:
        """The score in words, with its unit: ``SWE RMSE cm``."""
        unit = f" {UNIT}" if self.score in IN_UNITS else ""
        return f"{(target or self.target).upper()} {SCORES[self.score][0]}{unit}"

    @property
    def order(self) -> str:
        """By what the rows are sorted, in words."""
        several = "; ± is the standard deviation over seeds" if len(self.rows) and (self.rows["runs"] > 1).any() else ""
        return f"Sorted by {PART} {self.label()}, {SCORES[self.score][1]} first{several}"


def compare_runs(
    folder: Path, by: str = "rmse", each: bool = False, out: Path | None = None, console: Console | None = None
) -> list[Comparison]:
    """Print the table of all runs below a folder and write ``runs.csv``, ``runs.md`` and ``runs.png``.

    Args:
        folder: Runs may lie in it at any depth.
        by: A validation score, as ``rmse`` (of each target that is a run's first) or ``swe.mae``.
        each: Whether runs that differ in their seed alone stay apart.
        out: Where the files go; by default into `folder`.
        console: Where the table is printed.

    Returns:
        One comparison for each target; a run of several targets stands in that of each. One alone where `by` names a
        target, or all runs have the same first one.

    Raises:
        SnowmapError: When there is no run, a file cannot be written, or `by` is no validation score.
    """
    folder, out, console = Path(folder), Path(out or folder), console or make_console()
    runs = find_runs(folder)
    targets, score = parse_score(by, runs)
    comparisons = []
    for target in targets:
        mapping = runs if len(targets) == 1 else [run for run in runs if target in (run.targets or targets[:1])]
        comparisons.append(compare_scores(mapping, target, score, each, folder))
    table = pd.concat([part.assign(target=one.target) for one in comparisons for part in (one.rows, one.excluded)])
    write_file(out / "runs.csv", table.set_index("target").to_csv())
    write_file(out / "runs.md", "\n".join([f"# Runs in {folder.absolute().name}", "", *map(_markdown, comparisons)]))
    write_file(out / "runs.png", bar_figure([[_panel(comparison)] for comparison in comparisons]))
    for comparison in comparisons:
        _print(comparison, console)
    print(f"runs.csv, runs.md and runs.png lie in {out}")
    return comparisons


def parse_score(by: str, runs: Sequence[Run]) -> tuple[list[str], str]:
    """Targets and score that `by` names; without a target, those that are the first of a run.

    Raises:
        SnowmapError: When it is a test score, or none.
    """
    if by.startswith("test"):
        raise SnowmapError(
            f"--by {by}: runs are never put in order by a test score. What was chosen on the test windows is no longer "
            f"tested by them; choose a validation score, as --by rmse"
        )
    words = by.removeprefix(f"{PART}.").split(".")
    known = sorted({name for run in runs for name in run.targets} or {"swe"})
    first = sorted({run.targets[0] for run in runs if run.targets} or {"swe"})
    targets, score = (words[:1], words[1]) if len(words) == 2 else (first, words[0])
    if len(words) > 2 or score not in SCORES or not {*targets} <= {*known}:
        raise SnowmapError(
            f"--by {by} is no validation score; choose {' | '.join(SCORES)}, of one target alone with its name before "
            f"it, as {known[-1]}.{score if score in SCORES else 'rmse'} (targets here: {', '.join(known)})"
        )
    return targets, score


def compare_scores(runs: Sequence[Run], target: str, score: str, each: bool, folder: Path) -> Comparison:
    """Compare runs by one score of one target; see `compare_runs`."""
    ranked = [run for run in runs if run.state in FINISHED and run.score(PART, target, score) is not None]
    ranked.sort(key=lambda run: run.config.get("seed") or 0)
    settings = differing_settings(ranked)
    fingerprints = {run.archive.get("fingerprint") for run in ranked}
    one_archive = len(fingerprints) == 1 and None not in fingerprints  # be it at several places
    dropped = ["seed"] * (not each) + ["data.root"] * one_archive
    settings = settings.drop(columns=dropped, errors="ignore")
    named = distinguishing_keys(settings)
    settings = settings[[*named, *settings.columns.difference(named)]]
    targets = sorted({name for run in ranked for name in run.scores[PART]})
    values = settings.join(pd.DataFrame([_record(run, targets) for run in ranked], dtype=object))
    notes, rows = _notes(ranked), pd.DataFrame()
    if ranked:
        values["row"] = settings.agg(", ".join, axis=1) if len(settings.columns) else ""
        if each:
            values["row"] += values["folders"]
        twice = values[values.duplicated(["row", "seeds"], keep=False)]
        if len(twice):
            notes.append(f"runs of one configuration and seed count each: {', '.join(twice['folders'])}")
        rows = pd.DataFrame([_summary(group, list(settings)) for _, group in values.groupby("row")], dtype=object)
        rank = SORT_KEYS[SCORES[score][1]](rows[column_name(PART, target, score)].astype(float))
        rows = rows.loc[rank.sort_values(kind="stable").index]
    return Comparison(
        target=target,
        targets=targets,
        score=score,
        keys=named,
        rows=rows,
        excluded=pd.DataFrame([_excluded(run, target, score, folder) for run in runs if run not in ranked]),
        notes=notes,
        synthetic=any(run.archive.get("origin", "").startswith("synthetic") for run in runs),
    )


def _record(run: Run, targets: Sequence[str]) -> dict[str, Any]:
    places = [(part, target, score) for part in (PART, "test") for target in targets for score in SCORES]
    return {column_name(*place): run.score(*place) for place in places} | _facts(run)


def _facts(run: Run, reason: str = "") -> dict[str, Any]:
    facts = {"runs": 1, "seeds": str(run.config.get("seed")), "state": run.state, "reason": reason}
    return facts | {key: run.record.get(key) for key in FACTS} | {"folders": str(run.folder)}


def _summary(group: pd.DataFrame, settings: Sequence[str]) -> dict[str, Any]:
    """The runs of one configuration as a row of `Comparison.rows`: no mean of a score that one of them lacks."""
    scores = group[[column for column in group if "/" in column]].astype(float)
    mean, std = scores.mean(skipna=False), scores.std(skipna=False)
    row = {key: group[key].iloc[0] for key in settings}
    row |= {"runs": len(group), "seeds": " ".join(group["seeds"]), "state": " ".join(group["state"].unique())}
    row |= {"reason": "", **group[[*FACTS]].astype(float).mean()}
    for column in scores:
        row |= {column: mean[column], f"{column}_std": std[column]}
    return row | {"folders": " ".join(group["folders"])}


def _excluded(run: Run, target: str, score: str, folder: Path) -> dict[str, Any]:
    """A run that enters no mean as a row of `Comparison.excluded`, with the reason and what can be done."""
    if run.state not in FINISHED:
        reason = run.record.get("error") or ("no process works there any more" if run.state == "killed" else "")
    elif not run.scores[PART]:
        reason = f"no validation score; python evaluate.py ckpt={run.checkpoint} split={PART}"
    else:
        reason = f"no validation {score} of {target}"
    return {"run": str(run.folder.relative_to(folder)), **_facts(run, reason)}


def column_name(part: str, target: str, score: str) -> str:
    """Name of a score's column, e.g. ``validation/swe_rmse_cm``."""
    return f"{part}/{target}_{score}" + (f"_{UNIT}" if score in IN_UNITS else "")


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    if len({run.archive["fingerprint"] for run in runs if run.archive.get("fingerprint")}) > 1:
        notes.append("the runs saw different archives: their scores are not of the same pixels")
    if len({str(run.config.get("split")) for run in runs}) > 1:
        notes.append("the runs have different splits or folds: their scores are not of the same windows")
    return notes


def _shown(comparison: Comparison) -> pd.DataFrame:
    """The rows in words: the keys that distinguish them, validation scores, facts, and test scores as far as known."""
    rows, digits = comparison.rows, 2 if comparison.score in IN_UNITS else 3
    names = [key.rpartition(".")[2] for key in comparison.keys]
    columns = {}
    for key, name in zip(comparison.keys, names, strict=True):
        head = key.removesuffix(f".{name}") if name in ("name", "names") else name if names.count(name) == 1 else key
        columns[head] = [shortened(value, LONGEST_VALUE) for value in rows[key]]
    if (rows["runs"] > 1).any():
        columns["seeds"] = rows["runs"].astype(str).tolist()
    for part in (PART, "test"):
        for target in sorted(comparison.targets, key=lambda target: target != comparison.target):
            column = comparison.column(part, target)
            if rows[column].notna().any():
                scores = zip(rows[column], rows[f"{column}_std"], strict=True)
                columns[f"{part}\n{comparison.label(target)}"] = [number(*score, digits) for score in scores]
        if part == PART:
            columns |= {head: cells for head, cells in _shown_facts(rows).items() if {*cells} != {UNKNOWN}}
    return pd.DataFrame(columns, index=rows.index)


def _shown_facts(rows: pd.DataFrame) -> dict[str, list[str]]:
    return {
        head: [UNKNOWN if pd.isna(value) else form(value) for value in rows[key]] for key, (head, form) in FACTS.items()
    }


def _shown_excluded(comparison: Comparison) -> pd.DataFrame:
    rows = comparison.excluded
    return pd.DataFrame({**rows[["run", "state"]], **_shown_facts(rows), "reason": rows["reason"]})


def _markdown(comparison: Comparison) -> str:
    lines = [comparison.order, "", *([f"**{SYNTHETIC}**", ""] if comparison.synthetic else [])]
    if len(comparison.rows):
        lines += as_markdown(_shown(comparison), _TEXT + tuple(comparison.keys))
    if count := len(comparison.excluded):
        lines += ["", f"Not in the means: {count}.", "", *as_markdown(_shown_excluded(comparison), _TEXT)]
    return "\n".join([*lines, "", *(f"- {note}" for note in comparison.notes), ""])


_TEXT = ("run", "state", "reason")


def _print(comparison: Comparison, console: Console) -> None:
    """Print the table, the runs that enter no mean, and what has to be said of both."""
    console.print(Text(f"\n{comparison.order}", style="bold"))
    if comparison.synthetic:
        console.print(SYNTHETIC)
    if len(comparison.rows):
        _print_rows(_shown(comparison), len(comparison.keys), console)
    if count := len(comparison.excluded):
        print_frame(_shown_excluded(comparison), console, f"\nnot in the means: {count}", _TEXT)
    for note in comparison.notes:
        console.print(f"note: {note}")


def _print_rows(frame: pd.DataFrame, keys: int, console: Console) -> None:
    """Print the rows, the test scores behind a rule, without the columns for which there is no room."""
    for column in [column for column in frame if column.startswith("test\n")][:1]:
        width = frame[column].str.len().max()
        frame[column] = "│ " + frame[column].str.rjust(width)
        frame = frame.rename(columns={column: "│ " + column.replace("\n", "\n│ ")})
    text = [*frame.columns[:keys], *(column for column in frame if column.startswith("│"))]
    optional, left_out = [column for column in frame if "\n" not in column][1:], []
    while optional and sum(_width(frame[column]) + 2 for column in frame) > console.width:
        left_out.insert(0, optional.pop())
        frame = frame.drop(columns=left_out[0])
    print_frame(frame, console, text=text)
    if left_out:
        console.print(f"more in runs.csv: {', '.join(left_out)}")


def _width(column: pd.Series) -> int:
    return max(map(len, [*str(column.name).split("\n"), *column]))


def _panel(comparison: Comparison) -> Panel:
    rows = comparison.rows[:MOST_ROWS]
    names = [
        f"{place + 1}. {shortened(', '.join(rows[key].iloc[place] for key in comparison.keys), LONGEST_NAME)}"
        for place in range(len(rows))
    ]
    bars = {}
    for part in (PART, "test") if len(rows) else ():
        column = comparison.column(part)
        bars[part] = error_bars(names, rows[column], rows[f"{column}_std"])
    title = [f"the best {MOST_ROWS} of {len(comparison.rows)} configurations"] * (len(comparison.rows) > MOST_ROWS)
    title += [SYNTHETIC] * comparison.synthetic
    label = f"{PART} {comparison.label()}; pale: test, for information"
    return Panel(" · ".join(title), label, bars.get(PART, NO_BARS), bars.get("test", NO_BARS))
