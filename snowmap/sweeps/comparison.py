"""The runs below a folder, compared by a validation score; test scores stand beside it and sort nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from snowmap.errors import SnowmapError
from snowmap.sweeps.runs import FINISHED, SYNTHETIC, UNIT, VALIDATION, Run, differing_settings, distinguishing_keys
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
RECORD_KEYS = ("epochs", "parameters", "wall_s")
"""Entries of ``run.json`` beside the scores."""


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
    """

    target: str
    targets: Sequence[str]
    score: str
    keys: Sequence[str]
    rows: pd.DataFrame
    excluded: pd.DataFrame
    notes: Sequence[str]

    def column(self, subset: str, target: str | None = None) -> str:
        """Name of a column of `rows` with the score, e.g. ``validation/swe_rmse_cm``."""
        return column_name(subset, target or self.target, self.score)

    def label(self, target: str | None = None) -> str:
        """The score in words, with its unit: ``SWE RMSE cm``."""
        unit = f" {UNIT}" if self.score in IN_UNITS else ""
        return f"{(target or self.target).upper()} {SCORES[self.score][0]}{unit}"

    @property
    def has_seeds(self) -> bool:
        """Whether a row is the mean of several runs."""
        return len(self.rows) > 0 and max(self.rows["runs"]) > 1

    @property
    def order(self) -> str:
        """By what the rows are sorted, in words."""
        several = "; ± is the standard deviation over seeds" if self.has_seeds else ""
        return f"Sorted by {VALIDATION} {self.label()}, {SCORES[self.score][1]} first{several}"


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
    words = by.removeprefix(f"{VALIDATION}.").split(".")
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
    ranked = [run for run in runs if run.state in FINISHED and run.score(VALIDATION, target, score) is not None]
    ranked.sort(key=lambda run: run.config.get("seed") or 0)
    fingerprints = {run.archive.get("fingerprint") for run in ranked}
    one_archive = len(fingerprints) == 1 and None not in fingerprints  # be it at several places
    dropped = ["seed"] * (not each) + ["data.root"] * one_archive
    settings = differing_settings(ranked).drop(columns=dropped, errors="ignore")
    keys = distinguishing_keys(settings)
    settings = settings[[*keys, *settings.columns.difference(keys)]]
    targets = sorted({name for run in ranked for name in run.scores[VALIDATION]})
    notes, rows = _notes(runs, ranked), pd.DataFrame()
    if ranked:
        table = settings.join(pd.DataFrame([_metadata(run) | _scores(run, targets) for run in ranked]))
        table["row"] = settings.agg(", ".join, axis=1) if len(settings.columns) else ""
        table["row"] += table["folders"] if each else ""
        repeated = table[table.duplicated(["row", "seeds"], keep=False)]
        if len(repeated):
            notes.append(f"runs of one configuration and seed count each: {', '.join(repeated['folders'])}")
        rows = _means(table, list(settings))
        rank = SORT_KEYS[SCORES[score][1]](rows[column_name(VALIDATION, target, score)])
        rows = rows.loc[rank.sort_values(kind="stable").index]
    excluded = pd.DataFrame([_excluded(run, target, score, folder) for run in runs if run not in ranked])
    return Comparison(target, targets, score, keys, rows, excluded, notes)


def _means(table: pd.DataFrame, settings: Sequence[str]) -> pd.DataFrame:
    """One row for the runs of one configuration: no mean of a score that one of them lacks."""
    scores = [column for column in table if "/" in str(column)]
    groups = table.astype(dict.fromkeys([*RECORD_KEYS, *scores], float)).groupby("row")
    joined = {"seeds": " ".join, "state": lambda states: " ".join(states.unique()), "reason": " ".join}
    rows = groups.agg(
        {**dict.fromkeys(settings, "first"), "runs": "sum", **joined, **dict.fromkeys(RECORD_KEYS, "mean")}
    )
    mean = groups[scores].agg(lambda values: values.mean(skipna=False))
    std = groups[scores].agg(lambda values: values.std(skipna=False)).add_suffix("_std")
    return pd.concat([rows, mean, std, groups.agg({"folders": " ".join})], axis=1)


def _scores(run: Run, targets: Sequence[str]) -> dict[str, float | None]:
    places = [(subset, target, score) for subset in (VALIDATION, "test") for target in targets for score in SCORES]
    return {column_name(*place): run.score(*place) for place in places}


def _metadata(run: Run, reason: str = "") -> dict[str, Any]:
    row = {"runs": 1, "seeds": str(run.config.get("seed")), "state": run.state, "reason": reason}
    return row | {key: run.record.get(key) for key in RECORD_KEYS} | {"folders": str(run.folder)}


def _excluded(run: Run, target: str, score: str, folder: Path) -> dict[str, Any]:
    """A run that enters no mean as a row of `Comparison.excluded`, with the reason and what can be done."""
    if run.state not in FINISHED:
        reason = run.record.get("error") or ("no process works there any more" if run.state == "killed" else "")
    elif not run.scores[VALIDATION]:
        reason = f"no validation score; python evaluate.py ckpt={run.checkpoint} split={VALIDATION}"
    else:
        reason = f"no validation {score} of {target}"
    return {"run": str(run.folder.relative_to(folder)), **_metadata(run, reason)}


def column_name(subset: str, target: str, score: str) -> str:
    """Name of a score's column, e.g. ``validation/swe_rmse_cm``."""
    return f"{subset}/{target}_{score}" + (f"_{UNIT}" if score in IN_UNITS else "")


def _notes(runs: Sequence[Run], ranked: Sequence[Run]) -> list[str]:
    notes = [SYNTHETIC] * any(run.archive.get("origin", "").startswith("synthetic") for run in runs)
    if len({run.archive["fingerprint"] for run in ranked if run.archive.get("fingerprint")}) > 1:
        notes.append("the runs saw different archives: their scores are not of the same pixels")
    if len({str(run.config.get("split")) for run in ranked}) > 1:
        notes.append("the runs have different splits or folds: their scores are not of the same windows")
    return notes
