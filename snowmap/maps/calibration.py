"""How far a net's intervals must be widened, from the validation windows alone (split conformal prediction)."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from snowmap.checkpoints.files import save_whole
from snowmap.checkpoints.provenance import areas_of, windows_of
from snowmap.data.cube import narrowed
from snowmap.data.splits import Area
from snowmap.maps.correlation import correlation_length_m, pixel_spacing_m
from snowmap.maps.tiles import map_windows
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.point_head import LEAST_SIGMA
from snowmap.units import INTERVALS

logger = logging.getLogger(__name__)


def calibrate(
    task: SnowRegression, validation: Sequence[tuple[xr.Dataset, Sequence[int], Area | None]]
) -> dict[str, dict[str, float]]:
    """Fit the factors by which the distances of the quantiles from the map are multiplied.

    Split conformal prediction with the normalised score of Lei et al. (2018, section 5.2), each side by its own
    quantile (Romano et al. 2019): a pixel's score is the factor that would just make its interval hold the truth, and
    the factor is their quantile at ⌈(n + 1)·share⌉/n. What it promises holds for pixels exchangeable with those of
    the validation windows; another winter is not. Only pixels where the map shows snow count: in autumn most are bare,
    and mapped so exactly that no interval would be left for the others.

    Args:
        task: A task whose maps have uncertainty.
        validation: Cubes, the indices of the validation windows of each, and the area where they validate; None for
            the whole study area.

    Returns:
        For each target ``factor_50`` and ``factor_90``, and the length over which errors ÷ σ are alike,
        ``correlation_length_m``, if there is one (of several Cubes the longest, which makes no sum too certain);
        nothing for a target without such a pixel.
    """
    kept, task.head.calibration = task.head.calibration, {}
    mapped = [(map_windows(task, cube, windows), narrowed(cube, area), windows) for cube, windows, area in validation]
    task.head.calibration = kept
    calibration = {}
    for index, target in enumerate(task.targets):
        scores: dict[int, list[np.ndarray]] = {share: [] for share in INTERVALS}
        lengths = []
        for maps, cube, windows in mapped:
            snow = maps[target].values > LEAST_SIGMA * float(task.head.std[index])
            observed = cube[target].values[list(windows)]
            valid = np.isfinite(observed) & cube["mask"].values & snow
            y, m = observed[valid].astype(np.float64), maps[target].values[valid].astype(np.float64)
            for share, (low, high) in INTERVALS.items():
                below, above = (np.abs(maps[f"{target}_{name}"].values[valid] - m) for name in (low, high))
                scores[share].append((y - m) / np.where(y < m, below, above))
            errors = np.where(valid, (maps[target].values - observed) / maps[f"{target}_sigma"].values, np.nan)
            lengths.append(correlation_length_m(errors, pixel_spacing_m(maps)))
        pooled = {share: np.concatenate(of_cubes) for share, of_cubes in scores.items()}
        if not all(errors.size for errors in pooled.values()):
            logger.warning("the maps of the validation windows show no snow: intervals of %s are as predicted", target)
            continue
        calibration[target] = {
            f"factor_{share}": conformal_factor(errors, share / 100) for share, errors in pooled.items()
        }
        if length := max(filter(None, lengths), default=None):
            calibration[target]["correlation_length_m"] = length
    return calibration


def conformal_factor(errors: Float[np.ndarray, " pixel"], share: float) -> float:
    """The ⌈(n + 1)·share⌉-th smallest of the absolute errors, or their largest.

    Args:
        errors: Errors in half-widths of the interval.
        share: Share of the truth that the interval is to hold.
    """
    scores = np.abs(errors)
    rank = min(len(scores), math.ceil((len(scores) + 1) * share))
    return float(np.partition(scores, rank - 1)[rank - 1])


def calibrate_checkpoint(
    path: Path, task: SnowRegression, cubes: Sequence[xr.Dataset], validated: SnowRegression
) -> None:
    """Calibrate a task's intervals on its validation windows and write them into its checkpoint, too.

    A task whose maps have no uncertainty is left as it is.

    Args:
        path: The checkpoint; it is replaced whole or not at all.
        task: The task that it holds.
        cubes: The Cubes that it was trained on.
        validated: The task whose maps of the validation windows are looked at: itself, or, where a final fit trained on
            them, that of the fit before.
    """
    if not task.head.uncertain:
        return
    metadata = validated.metadata
    calibration = calibrate(
        validated,
        [(cube, windows_of(metadata, "validation", cube), areas_of(metadata, cube)[1]) for cube in cubes],
    )
    stored = torch.load(path, weights_only=True)
    stored["hyper_parameters"]["calibration"] = calibration
    save_whole(stored, path)
    task.head.calibration = calibration
    for target, factors in calibration.items():
        widening = ", ".join(f"{share} % × {factors[f'factor_{share}']:.2f}" for share in INTERVALS)
        logger.warning("intervals of %s, calibrated on the validation windows: %s", target, widening)
