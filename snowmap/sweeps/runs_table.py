"""The table of all runs below a folder, the best validation score first; test scores sort nothing."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

from datetime import timedelta
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from snowmap.errors import SnowmapError
from snowmap.runs.configuration import within
from snowmap.sweeps.output import Result, Section, mean_and_std
from snowmap.sweeps.runs import (
    NUMBERS,
    UNIT,
    VALIDATION,
    column,
    differing_settings,
    distinguishing_keys,
    read_runs,
    synthetic_note,
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
"""What each score of a quantity is called, and which of its values is the best."""

OF_CLASSES = {
    "iou": ("IoU", "largest"),
    "f1": ("F1", "largest"),
    "precision": ("precision", "largest"),
    "recall": ("recall", "largest"),
    "accuracy": ("accuracy", "largest"),
}
"""The same of classes."""

OF_PRETRAINING = {"loss": ("loss", "smallest")}
"""The same of masked pixels."""

ALL = SCORES | OF_CLASSES | OF_PRETRAINING

SORT_KEYS = {"smallest": np.positive, "nearest to 0": np.abs, "largest": np.negative}
LONGEST_VALUE = 18
"""Characters of a setting that are shown."""


def runs_table(folder: Path, by: str | None = None, each: bool = False) -> Result:
    """The table of all runs below a folder, at any depth.

    Args:
        folder: The folder.
        by: A validation score, as ``mae`` (of each target) or ``swe.mae``; by default ``rmse``, of classes ``iou``.
        each: Whether runs that differ in their seed alone stay apart.

    Returns:
        Its table has a row for each configuration: the settings in which the runs differ, and mean and standard
        deviation of every score over seeds. Then one for each run that enters no mean, with the reason.

    Raises:
        SnowmapError: When there is no run, or `by` is no validation score.
    """
    runs = read_runs(folder)
    tasks = set(runs["settings"].map(lambda settings: settings.get("task")))
    usual = {"segmentation": "iou", "pretraining": "loss"}.get(*tasks, "rmse") if len(tasks) == 1 else "rmse"
    targets, score = parse_score(by or usual, runs)
    places = [column(VALIDATION, target, score) for target in targets]
    scored = runs["scores"].map(lambda scores: any(place in scores for place in places))
    ranked = runs[scored & (runs["state"] == "finished")].sort_values("seed", kind="stable")
    settings = _settings(ranked, each)
    known = next(scores for scores in (OF_CLASSES, OF_PRETRAINING, SCORES) if score in scores)
    rows = _means(ranked, settings, [column(*place) for place in product((VALIDATION, "test"), targets, known)], each)
    rows = rows.sort_values(places[0], key=SORT_KEYS[ALL[score][1]], kind="stable")
    keys = distinguishing_keys(settings)
    shown = [target for target, place in zip(targets, places, strict=True) if rows[place].count()]
    sections = [_section(rows, target, score, keys) for target in shown]
    excluded = runs.drop(ranked.index)
    excluded["reason"] = excluded["reason"].replace("", f"no validation {score} of {' or '.join(targets)}")
    if len(excluded):
        names = [str(path.relative_to(folder)) for path in excluded["folder"]]
        frame = excluded[["state", "reason"]]
        frame.insert(0, "run", names)
        sections.append(Section(f"not in the means: {len(names)}", frame))
    others = excluded[["state", "reason", *NUMBERS]].assign(runs=1, folders=excluded["folder"].astype(str))
    return Result("runs", pd.concat([rows, others]), sections, _notes(runs, ranked, settings, each))


def parse_score(by: str, runs: pd.DataFrame) -> tuple[list[str], str]:
    """Targets and score that `by` names; without a target, all that a run has scores of.

    Raises:
        SnowmapError: When it is a test score, or none.
    """
    if by.startswith("test"):
        raise SnowmapError(
            f"--by {by}: runs are never put in order by a test score. What was chosen on the test windows is no longer "
            f"tested by them; choose a validation score, as --by rmse"
        )
    *target, score = by.removeprefix(f"{VALIDATION}.").split(".")
    known = sorted({*runs["targets"].sum()} or {"swe"})
    if len(target) > 1 or score not in ALL or not {*target} <= {*known}:
        raise SnowmapError(
            f"--by {by} is no validation score; choose {' | '.join(SCORES)}, of classes "
            f"{' | '.join(OF_CLASSES)}, of one target alone with its name before "
            f"it, as {known[-1]}.{score if score in ALL else 'rmse'} (targets here: {', '.join(known)})"
        )
    return target or known, score


def _settings(runs: pd.DataFrame, each: bool) -> pd.DataFrame:
    """Settings that make runs different rows; one archive may lie at several places."""
    archives = {*runs["fingerprint"]}
    dropped = ["seed"] * (not each) + ["data.root"] * (len(archives) == 1 and "" not in archives)
    return differing_settings(runs).drop(columns=dropped, errors="ignore")


def _means(runs: pd.DataFrame, settings: pd.DataFrame, places: list[str], each: bool) -> pd.DataFrame:
    """One row for the runs of one configuration: no mean of a score that one of them lacks."""
    scores = pd.DataFrame([*runs["scores"]], runs.index, places, dtype=float)
    texts = runs[["folder", "seed"]].astype(str).set_axis(["folders", "seeds"], axis=1)
    table = pd.concat([settings, texts, runs[["state", *NUMBERS]], scores], axis=1)
    groups = table.groupby([*settings, *["folders"] * each, "state"])
    rows = groups.agg(runs=("seeds", "size"), seeds=("seeds", " ".join), **{key: (key, "mean") for key in NUMBERS})
    rows = rows.join(mean_and_std(groups[[*scores]]))
    return (rows if each else rows.assign(folders=groups["folders"].agg(" ".join))).reset_index()


def _section(rows: pd.DataFrame, target: str, score: str, keys: list[str]) -> Section:
    """What is shown of one target: the keys that distinguish the rows, scores, numbers, and test scores."""
    name, best = ALL[score]
    label = f"{target.upper()} {name}" + (f" {UNIT}" if score in IN_UNITS else "")
    order, test = column(VALIDATION, target, score), column("test", target, score)
    rows = rows.dropna(subset=order).sort_values(order, key=SORT_KEYS[best], kind="stable")
    short = [key.removesuffix(".name").removesuffix(".names").rpartition(".")[2] for key in keys]
    distinct = len({*short, "time"}) == len(keys) + 1  # the wall time has a column, too
    frame = rows[keys].set_axis(short if distinct else keys, axis=1)
    frame = frame.apply(lambda values: values.str.slice(stop=LONGEST_VALUE))
    title = f"Sorted by {VALIDATION} {label}, {best} first"
    if rows["runs"].max() > 1:
        title += "; ± is the standard deviation over seeds"
        frame["seeds"] = rows["runs"]
    frame[[f"{VALIDATION}\n{label}", f"{VALIDATION}\n{label} ±"]] = rows[[order, f"{order}_std"]]
    frame[["epochs", "weights"]] = rows[["epochs", "parameters"]].round().astype("Int64")
    frame["time"] = rows["wall_s"].map(lambda seconds: str(timedelta(seconds=round(seconds))), na_action="ignore")
    frame[[f"test\n{label}", f"test\n{label} ±"]] = rows[[test, f"{test}_std"]]
    frame = frame.dropna(axis=1, how="all")
    return Section(title, frame, [head for head in frame if head.endswith(f"\n{label}")])


def _notes(runs: pd.DataFrame, ranked: pd.DataFrame, settings: pd.DataFrame, each: bool) -> list[str]:
    """That data are synthetic, and what makes scores incomparable or counts twice."""
    notes = synthetic_note(runs)
    if len({*ranked["fingerprint"]} - {""}) > 1:
        notes.append("the runs saw different archives: their scores are not of the same pixels")
    if any(within(key, ["split"]) for key in settings):
        notes.append("the runs have different splits or folds: their scores are not of the same windows")
    repeated = settings.assign(seed=ranked["seed"]).duplicated(keep=False)
    if repeated.any() and not each:
        folders = ", ".join(map(str, ranked.loc[repeated, "folder"]))
        notes.append(f"runs of one configuration and seed count each: {folders}")
    return notes
