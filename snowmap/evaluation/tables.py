"""Score tables: of the model and every baseline, pooled and window by window."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import Console
from rich.table import Table

from snowmap.baselines import baseline_maps
from snowmap.cube import window_names
from snowmap.errors import SnowmapError
from snowmap.metrics import SCORES, scores

LABELS = {
    "model": "model",
    "climatology": "climatology",
    "elevation": "elevation",
    "persistence": "last-seen map",
    "summed_phase": "summed phase",
    "boosted_trees": "boosted trees",
}


def score_maps(
    maps: xr.Dataset,
    cube: xr.Dataset,
    windows: Sequence[int],
    train: Sequence[int],
    targets: Sequence[str],
    *,
    known: xr.Dataset | None = None,
) -> dict[str, Any]:
    """Score the model and the baselines inside the study area, over valid pixels.

    Args:
        maps: Predictions ``(window, y, x)``, one variable for each target.
        cube: The Cube that was mapped.
        windows: Index in the Cube of each window of `maps`.
        train: Indices of the training windows, from which the baselines are made.
        targets: Names of the targets to score.
        known: The Cube whose targets the baselines may see, if not all of those of `cube`.

    Returns:
        ``{"target": {name: {"unit", "model": {…}, "baselines": {name: {…}}}}, "windows": [{"window", "target", "model",
        "baselines"}, …]}`` with the scores of `snowmap.metrics.scores`.

    Raises:
        SnowmapError: When a target has no valid pixel in any of the windows.
    """
    names = [window_names(cube)[index] for index in windows]
    result: dict[str, Any] = {"target": {}, "windows": []}
    for target in targets:
        observed = np.where(cube["mask"].values, cube[target].values[list(windows)], np.float32(np.nan))
        if not np.isfinite(observed).any():
            raise SnowmapError(
                f"no valid pixel of '{target}' inside the study area in {', '.join(names)}: nothing to score"
            )
        model, baselines = maps[target].values, baseline_maps(cube if known is None else known, train, windows, target)
        result["target"][target] = {"unit": maps[target].attrs["units"], **_side_by_side(model, baselines, observed)}
        for index, name in enumerate(names):
            own = {key: values[index] for key, values in baselines.items()}
            result["windows"].append(
                {"window": name, "target": target, **_side_by_side(model[index], own, observed[index])}
            )
    return result


def _side_by_side(model: np.ndarray, baselines: Mapping[str, np.ndarray], observed: np.ndarray) -> dict[str, Any]:
    return {
        "model": scores(model, observed),
        "baselines": {name: scores(values, observed) for name, values in baselines.items()},
    }


def as_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each target, map and window (``all`` for the pooled scores), with the unit of rmse, mae and bias."""
    entries = [("all", target, entry) for target, entry in result["target"].items()]
    entries += [(entry["window"], entry["target"], entry) for entry in result["windows"]]
    rows = [
        {"target": target, "unit": result["target"][target]["unit"], "map": name, "window": window, **found}
        for window, target, entry in entries
        for name, found in {"model": entry["model"], **entry["baselines"]}.items()
    ]
    return pd.DataFrame(rows)


def print_table(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the pooled scores of each target, the model above the baselines."""
    console = console or Console()
    provenance = result["provenance"]
    origin = provenance["scored_archive"]["origin"]
    for target, entry in result["target"].items():
        unit = entry["unit"]
        title = f"{target.upper()}, {provenance['part']} windows"
        if origin.startswith("synthetic"):
            title += " · SYNTHETIC data, no measure of skill"
        table = Table(title=title, title_justify="left")
        table.add_column("map", no_wrap=True)
        for head in (f"RMSE {unit}", f"MAE {unit}", f"bias {unit}", "R²", "Pearson r", "pixels"):
            table.add_column(head, justify="right", no_wrap=True)
        for name, found in {"model": entry["model"], **entry["baselines"]}.items():
            table.add_row(
                LABELS[name], *(_number(found[key]) for key in SCORES), style="bold" if name == "model" else ""
            )
        console.print(table)


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
