"""What does InSAR add? Runs that differ in the bands that the net sees, each against the run that sees all of them."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from snowmap.config.schema import Scoring
from snowmap.data.ablation import WORDS
from snowmap.errors import SnowmapError
from snowmap.evaluation.intervals import score_intervals
from snowmap.evaluation.metrics import scores
from snowmap.sweeps.importance import permutation_importance
from snowmap.sweeps.output import Result, Section
from snowmap.sweeps.runs import (
    FOLD,
    OPTIMISTIC,
    differing_settings,
    synthetic_note,
    validation_maps,
    validation_scores,
)

if TYPE_CHECKING:
    import xarray as xr

LEVEL = Scoring().level
UNTOUCHED = "everything is on validation windows; the test windows were not touched"
COLUMNS = ["target", "unit", "kind", "name", "rmse", "difference", "low", "high", "std"]


def ablation_table(runs: pd.DataFrame) -> Result:
    """The table of an ablation.

    Runs of several folds or seeds are pooled; each is compared with the run of the same fold and seed that saw all
    bands.

    Args:
        runs: Finished ones, of `read_runs`.

    Returns:
        Its table has one row for each target and ablation (``kind`` is ``ablation``) with ``rmse``, and the
        ``difference`` from that of ``all`` with the ends ``low`` and ``high`` of its interval; one for each target and
        permuted band (``kind`` is ``permutation``): mean ``difference`` over runs and repeats, and its ``std``.

    Raises:
        SnowmapError: When no run saw all bands, runs differ in more than bands, fold and seed, or one is missing.
    """
    cases = pair_cases(runs)
    units = validation_scores(runs).groupby("target", sort=False)["unit"].first()  # where there are no maps, makes them
    rows = []
    for target, name in product(units.index, cases):
        maps = validation_maps(cases[name], target)
        rmse = scores(maps["predicted"].values, maps["observed"].values)["rmse"]
        difference = {} if name == "all" else rmse_difference(maps, validation_maps(cases["all"], target))
        rows.append({"target": target, "kind": "ablation", "name": name, "rmse": rmse, **difference})
    increases = pd.concat(permutation_importance(folder / "checkpoints" / "best.ckpt") for folder in cases["all"])
    groups = increases.groupby(["target", "name"], sort=False)["difference"]
    permuted = groups.agg(difference="mean", std="std").reset_index().assign(kind="permutation")
    table = pd.concat([pd.DataFrame(rows), permuted], ignore_index=True)
    table["unit"] = table["target"].map(units)
    return Result("ablation", table[COLUMNS], sections_of(table), [*synthetic_note(runs), UNTOUCHED, OPTIMISTIC])


def pair_cases(runs: pd.DataFrame) -> pd.DataFrame:
    """The folders of the runs: a column for each ablation, a row for each fold and seed.

    Raises:
        SnowmapError: As `ablation_table`.
    """
    if other := {*differing_settings(runs)} - {"ablation", FOLD, "seed"}:
        raise SnowmapError(
            f"the runs differ in {', '.join(sorted(other))}, too; an ablation compares runs that differ in ablation, "
            "split.fold and seed alone"
        )
    name = runs["settings"].map(lambda settings: settings["ablation"])
    place = runs["settings"].map(lambda settings: f"split.fold={settings.get(FOLD)} seed={settings['seed']}")
    cases = runs["folder"].groupby([place, name]).last().unstack()
    if "all" not in cases:
        raise SnowmapError(f"no run with ablation=all to compare with; there are {', '.join(cases)}")
    for name in cases:
        if single := cases.index[cases[name].isna() != cases["all"].isna()].tolist():
            raise SnowmapError(
                f"ablation={name} and ablation=all are not of the same folds and seeds: only one has "
                f"{', '.join(single)}"
            )
    return cases[sorted(cases, key=lambda name: WORDS.index(name) if name in WORDS else len(WORDS))]


def rmse_difference(case: "xr.Dataset", reference: "xr.Dataset") -> dict[str, float | None]:
    """RMSE of `case` less that of `reference`, with the interval of `snowmap.evaluation.intervals`.

    Args:
        case: ``predicted`` and ``observed`` ``(time, y, x)`` of one model, in one unit; NaN where there is none.
        reference: Maps of the other, of the same windows in the same order; several runs may map a window.

    Returns:
        ``difference``, ``low`` and ``high``, in the unit of the maps.
    """
    predicted, observed, other = case["predicted"].values, case["observed"].values, reference["predicted"].values
    valid = np.isfinite(observed) & np.isfinite(predicted) & np.isfinite(other)
    same_window = np.unique(case["time"].values, return_inverse=True)[1]
    columns = {"model": predicted[valid], "all": other[valid]}
    return score_intervals(columns, observed[valid], valid, LEVEL, same_window)["differences"]["all"]["rmse"]


def sections_of(table: pd.DataFrame) -> list[Section]:
    """Of each target what every ablation adds to the RMSE, then the permutation importance of each band."""
    sections = []
    for (target, unit), rows in table.groupby(["target", "unit"], sort=False):
        rmse, more = f"RMSE {unit}", f"RMSE {unit} less that of all"
        frame = rows.rename(columns={"name": "bands", "rmse": rmse, "difference": more})
        frame[f"{more} ±"] = frame["std"].fillna(frame["high"] - frame[more])
        ablated = frame.loc[(rows["kind"] == "ablation"), ["bands", rmse, more, f"{more} ±"]]
        permuted = frame.loc[rows["kind"] == "permutation", ["bands", more, f"{more} ±"]]
        title = f"{target.upper()}: the net sees these bands; ± is the {LEVEL:.0%} interval"
        sections.append(Section(title, ablated, [more]))
        title = f"{target.upper()}: one band comes from other windows; ± is the standard deviation over orders"
        sections.append(Section(title, permuted, [more]))
    return sections
