"""Permutation importance of a trained model: by how much its error grows when a band comes from other windows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from snowmap.baselines import Baseline
from snowmap.checkpoints.provenance import areas_of, entry_of, windows_of
from snowmap.data.ablation import ablate
from snowmap.data.cube import narrowed
from snowmap.errors import SnowmapError
from snowmap.evaluation.metrics import scores
from snowmap.evaluation.scoring import load_with_archives
from snowmap.sweeps.runs import VALIDATION, Run
from snowmap.tasks.pixel import SnowRegression

REPEATS = 3


def permutation_importance(run: Run) -> dict[str, dict[str, list[float]]]:
    """RMSE in the validation windows with one band permuted between windows, less the RMSE with the band as it is.

    Whole maps are permuted, so that each map stays as it is; windows keep to their subset of the split, and none keeps
    its own map. A band that hardly changes from window to window, as elevation, cannot show its importance so.

    Source: Breiman (2001), Random forests, section 10; with an error of the model instead of votes.

    Args:
        run: The run, of which the best checkpoint predicts.

    Returns:
        ``{target: {band: [increase, …]}}`` in the target's unit: one for each of `REPEATS` orders.
    """
    task, cubes = load_with_archives(run.checkpoint)
    if len(cubes) > 1:
        raise SnowmapError(f"{run.folder} was trained on several archives; expected runs on one archive each")
    cube = cubes[0]
    windows = windows_of(task.metadata, VALIDATION, cube)
    _, validation_area = areas_of(task.metadata, cube)
    inside = narrowed(cube, validation_area)["mask"].values
    observed = {target: np.where(inside, cube[target].values[windows], np.nan) for target in task.targets}
    usual = _rmse(task, cube, windows, observed)
    increases: dict[str, dict[str, list[float]]] = {target: {} for target in task.targets}
    subsets = [entry_of(task.metadata, cube)["split"]]
    for band in task.archive_bands:
        for repeat in range(REPEATS):
            plan = {"values": {}, "shuffled": [band], "seed": repeat, "subsets": subsets}
            rmse = _rmse(task, ablate(cube, plan), windows, observed)
            for target in task.targets:
                increases[target].setdefault(band, []).append(rmse[target] - usual[target])
    return increases


def _rmse(
    task: SnowRegression | Baseline, cube: xr.Dataset, windows: list[int], observed: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    maps = task.predict(cube, windows)
    return {target: scores(maps[target].values, known)["rmse"] for target, known in observed.items()}
