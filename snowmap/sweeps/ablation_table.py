"""What does InSAR add? Runs that differ in the bands that the net sees, each against the run that sees all of them."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t as student

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
    read_runs,
    synthetic_note,
    validation_maps,
    validation_scores,
)

if TYPE_CHECKING:
    import xarray as xr

LEVEL = Scoring().level
UNTOUCHED = "everything is on validation windows; the test windows were not touched"
MODEL = "model.name"
COLUMNS = ["target", "unit", "kind", "name", "rmse", "difference", "low", "high", "chance", "std"]


def ablation_table(runs: pd.DataFrame) -> Result:
    """The table of an ablation.

    Runs of several folds or seeds are pooled; each is compared with the run of the same fold and seed that saw all
    bands. Of several models it is of the one that `best_model` names.

    Args:
        runs: Finished ones, of `read_runs`.

    Returns:
        Its table has one row for each target and ablation (``kind`` is ``ablation``) with ``rmse``, and the
        ``difference`` from that of ``all`` with the ends ``low`` and ``high`` of its interval, and what `chance` would
        make of it; one for each target and permuted band (``kind`` is ``permutation``): mean ``difference`` over runs
        and repeats, and its ``std``.

    Raises:
        SnowmapError: When no run saw all bands, runs differ in more than bands, fold and seed, or one is missing.
    """
    scored = _scored(runs)
    model, notes = best_model(scored)
    chosen = runs[runs["settings"].map(lambda settings: settings[MODEL]) == model]
    cases, scored = pair_cases(chosen), scored.loc[chosen.index]
    units = scored.groupby("target", sort=False)["unit"].first()
    rows = []
    for target, name in product(units.index, cases):
        maps = validation_maps(cases[name], target)
        rmse = scores(maps["predicted"].values, maps["observed"].values)["rmse"]
        row = {"target": target, "kind": "ablation", "name": name, "rmse": rmse}
        if name != "all":
            row |= rmse_difference(maps, validation_maps(cases["all"], target))
            row["chance"] = chance(scored[scored["target"] == target])
        rows.append(row)
    increases = pd.concat(permutation_importance(folder / "checkpoints" / "best.ckpt") for folder in cases["all"])
    groups = increases.groupby(["target", "name"], sort=False)["difference"]
    permuted = groups.agg(difference="mean", std="std").reset_index().assign(kind="permutation")
    table = pd.concat([pd.DataFrame(rows), permuted], ignore_index=True)
    table["unit"] = table["target"].map(units)
    if table["chance"].isna().all():
        notes = [*notes, "one seed: how far trainings differ by chance is unknown; give several, e.g. seed=0,1"]
    notes = [*synthetic_note(runs), *notes, UNTOUCHED, OPTIMISTIC]
    return Result("ablation", table.reindex(columns=COLUMNS), sections_of(table), notes)


def chosen_model(folder: Path) -> str | None:
    """What `best_model` names of the finished runs in a folder; None if there is none with all bands."""
    runs = read_runs(folder).query("state == 'finished'")
    whole = runs[runs["settings"].map(lambda settings: settings.get("ablation") == "all")]
    return None if whole.empty else best_model(_scored(whole))[0]


def _scored(runs: pd.DataFrame) -> pd.DataFrame:
    """Validation scores of the runs' own maps, with what tells the runs apart; where there are no maps, makes them."""
    scored = validation_scores(runs).query("map == 'model'").copy()
    for key in ("ablation", MODEL, FOLD, "seed"):
        scored[key] = runs["settings"].map(lambda settings, key=key: settings.get(key, ""))
    return scored


def best_model(scored: pd.DataFrame) -> tuple[str, list[str]]:
    """The model whose runs with all bands have the lowest RMSE on the validation windows.

    Args:
        scored: ``rmse`` of every run and ``target``, with ``ablation``, ``model.name``, ``split.fold`` and ``seed``.

    Returns:
        Its name, and a note where there are several: the mean over targets of the RMSE relative to the lowest decides,
        over the folds and seeds that all of them have.

    Raises:
        SnowmapError: When no run saw all bands, or the models have no fold and seed in common.
    """
    whole = scored[scored["ablation"] == "all"]
    if whole.empty:
        raise SnowmapError(f"no run with ablation=all to compare with; there are {', '.join(set(scored['ablation']))}")
    errors = whole.pivot_table(index=MODEL, columns=["target", FOLD, "seed"], values="rmse", sort=False)
    errors = errors.dropna(axis="columns").T.groupby(level="target", sort=False).mean().T
    if errors.empty:
        models = ", ".join(errors.index)
        raise SnowmapError(f"the runs of {models} with ablation=all have no split.fold and seed in common")
    model = str((errors / errors.min()).mean(axis=1).idxmin())
    if len(errors) == 1:
        return model, []
    means = errors.mean(axis=1).map("{:.3g}".format)
    listed = ", ".join(f"{name} {mean}" for name, mean in means.items())
    return model, [f"of {model}, which the validation windows choose (RMSE with all bands: {listed})"]


def chance(scored: pd.DataFrame) -> float:
    """By how much two trainings that differ in their seeds alone differ in RMSE, at most in `LEVEL` of all cases.

    The standard deviation over seeds, pooled over ablations and folds, by Student's t.

    Args:
        scored: ``rmse`` of every run of one target, with ``ablation`` and ``split.fold``.

    Returns:
        In the unit of the RMSE, for means over as many runs as an ablation has; NaN where each has one seed.
    """
    groups = scored.groupby(["ablation", FOLD])["rmse"]
    degrees = groups.count() - 1
    if not (total := degrees.sum()):
        return float("nan")
    variance = (groups.var().fillna(0) * degrees).sum() / total
    runs = len(scored) / scored["ablation"].nunique()
    return float(student.ppf((1 + LEVEL) / 2, total) * np.sqrt(2 * variance / runs))


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
        rmse, more, luck = f"RMSE {unit}", f"RMSE {unit} less that of all", "by chance (seeds) ±"
        frame = rows.rename(columns={"name": "bands", "rmse": rmse, "difference": more, "chance": luck})
        frame[f"{more} ±"] = frame["std"].fillna(frame["high"] - frame[more])
        ablated = frame.loc[(rows["kind"] == "ablation"), ["bands", rmse, more, f"{more} ±", luck]]
        permuted = frame.loc[rows["kind"] == "permutation", ["bands", more, f"{more} ±"]]
        title = f"{target.upper()}: the net sees these bands; ± is the {LEVEL:.0%} interval"
        sections.append(Section(title, ablated, [more]))
        title = f"{target.upper()}: one band comes from other windows; ± is the standard deviation over orders"
        sections.append(Section(title, permuted, [more]))
    return sections
