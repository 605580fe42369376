"""The table of a cross-validation: each fold, their mean and standard deviation, and all predictions scored at once."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import pandas as pd

from snowmap.baselines import label_of
from snowmap.evaluation.metrics import SCORES, scores
from snowmap.sweeps.output import Result, Section, mean_and_std
from snowmap.sweeps.runs import (
    FOLD,
    HOLDOUT,
    OPTIMISTIC,
    VALIDATION,
    configurations,
    synthetic_note,
    validation_maps,
    validation_scores,
)

POOLED = (
    "pooled: the validation maps of all folds, scored once; a pixel of a window that several runs validate counts once "
    "for each of them"
)
OF_REGIONS = "each fold is a region of which no window trained, chose a checkpoint or set a statistic"
SHOWN = {"rmse": "RMSE", "mae": "MAE", "bias": "bias", "r2": "R²"}
"""What is shown; the table holds every score."""

PLACE = ["configuration", "target", "unit", "map"]


def folds_table(runs: pd.DataFrame) -> Result:
    """The table of a sweep over folds.

    The maps that are pooled are each made by the net that did not train on their windows (or pixels). Mean and standard
    deviation (n − 1) are over folds, NaN unless every fold has the score.

    Args:
        runs: Finished ones, of `read_runs`; those that differ in more than ``split.fold`` or ``split.holdout`` are kept
            apart. Of ``split=regions`` the windows of the region that is held out are scored.

    Returns:
        Its table has a row for each configuration, target, map (``model`` or a baseline) and ``over``, which is
        ``fold 0`` …, ``pooled`` or ``mean``; a column for each score and, of means, for its standard deviation.

    Raises:
        SnowmapError: When a checkpoint cannot be scored.
    """
    regions = {settings.get("split.name") for settings in runs["settings"]} == {"regions"}
    key, word, subset = (HOLDOUT, "region", "test") if regions else (FOLD, "fold", VALIDATION)
    names, fold = configurations(runs), runs["settings"].map(lambda settings: settings.get(key))
    folds = validation_scores(runs, subset).assign(configuration=names, over=f"{word} " + fold.astype(str))
    in_all = folds.groupby(PLACE)["over"].transform("size") == folds["configuration"].map(names.value_counts())
    folds = folds.loc[in_all, [*PLACE, "over", *SCORES]].astype(dict.fromkeys(SCORES, float))
    pooled = []
    for place, rows in folds[folds["map"] == "model"].groupby(PLACE, sort=False):
        maps = validation_maps(runs["folder"][rows.index], rows["target"].iloc[0], subset)
        scored = scores(maps["predicted"].values, maps["observed"].values)
        pooled.append(dict(zip(PLACE, place, strict=True)) | {"over": "pooled"} | scored)
    means = mean_and_std(folds.groupby(PLACE, sort=False)[[*SCORES]]).reset_index().assign(over="mean")
    table = pd.concat([folds, pd.DataFrame(pooled), means], ignore_index=True)
    sections = [_section(rows, word, subset) for _, rows in table.groupby(PLACE[:3], sort=False)]
    notes = [OF_REGIONS] if regions else [OPTIMISTIC, POOLED]
    return Result("cross_validation", table, sections, [*synthetic_note(runs), *notes])


def _section(rows: pd.DataFrame, word: str, subset: str) -> Section:
    """What is shown of one configuration and target: the model in each fold, and the means of all maps."""
    configuration, target, unit = rows.iloc[0][PLACE[:3]]
    rows = rows.query("map == 'model' or over == 'mean'")
    count = rows["over"].str.startswith(word).sum()
    title = f"{target.upper()} {unit}, {count} {word}s, {subset} windows"
    heads = SHOWN | {f"{score}_std": f"{head} ±" for score, head in SHOWN.items()}
    frame = rows[[*heads]].rename(columns=heads)
    frame.insert(0, "map", rows["map"].map(label_of) + ", " + rows["over"].replace("mean", "mean ± std"))
    return Section(title + f" · {configuration}" * bool(configuration), frame, ["RMSE"])
