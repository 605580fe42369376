"""What a net states of its uncertainty, mended by the validation windows alone."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from snowmap.checkpoints.files import save_whole
from snowmap.checkpoints.provenance import area_of, windows_of
from snowmap.data.classes import Classes
from snowmap.data.cube import narrowed
from snowmap.data.splits.split import Area
from snowmap.distribution import NAMES, Distribution, distribution_of, shows_snow, widened
from snowmap.maps.class_calibration import calibrate_classes
from snowmap.maps.correlation import correlation_length_m, pixel_spacing_m
from snowmap.maps.tiles import map_windows
from snowmap.tasks.pixel import SnowRegression
from snowmap.units import INTERVALS

WIDEST, HALVINGS = math.log(1000), 26
"""Of the factors: the greatest, as a logarithm (its inverse is the least), and steps of the search by bisection."""

logger = logging.getLogger(__name__)


Mapped = tuple[xr.Dataset, xr.Dataset, Sequence[int]]
"""Maps of some windows, their Cube with the area where they are looked at as its study area, and the windows."""


def calibrate(
    task: SnowRegression, validation: Sequence[tuple[xr.Dataset, Sequence[int], Area | None]]
) -> dict[str, dict[str, float]]:
    """Mend what the maps state of their uncertainty: quantiles of a quantity, probabilities of classes.

    Args:
        task: A task whose maps have uncertainty.
        validation: Cubes, the indices of the validation windows of each, and the area where they validate; None for
            the whole study area.

    Returns:
        For each target what `widening_of` or `snowmap.maps.class_calibration.calibrate_classes` gives; nothing for a
        target without a valid pixel.
    """
    kept, task.head.calibration = task.head.calibration, {}
    mapped = [(map_windows(task, cube, windows), narrowed(cube, area), windows) for cube, windows, area in validation]
    task.head.calibration = kept
    calibrations = {
        target: calibrate_classes(Classes.of(target, attributes), mapped)
        if "flag_values" in attributes
        else widening_of(target, mapped)
        for target, attributes in task.head.targets.items()
    }
    return {target: calibration for target, calibration in calibrations.items() if calibration}


def widening_of(target: str, mapped: Sequence[Mapped]) -> dict[str, float]:
    """The factors by which the distances of the quantiles from the map are multiplied.

    Split conformal prediction with the normalised score of Lei et al. (2018, section 5.2): each factor is the least
    that makes its interval hold its share of the truth, as the scores count it (`Distribution.inside`), over the pixels
    of `shows_snow`. What it promises holds for pixels exchangeable with those of the validation windows; another
    winter is not.

    Returns:
        ``factor_50`` and ``factor_90``, and the length over which errors ÷ σ are alike, ``correlation_length_m``, if
        there is one (of several Cubes the longest, which makes no sum too certain); nothing where there is no pixel.
    """
    stated, truth, lengths = [], [], []
    for maps, cube, windows in mapped:
        observed = np.where(cube["mask"].values, cube[target][list(windows)].values, np.nan)
        valid = np.isfinite(observed) & shows_snow(maps, target)
        stated.append(distribution_of(maps, target, valid))
        truth.append(torch.from_numpy(observed[valid].astype(np.float64)))
        errors = np.where(valid, (maps[target].values - observed) / maps[f"{target}_sigma"].values, np.nan)
        lengths.append(correlation_length_m(errors, pixel_spacing_m(maps)))
    observed = torch.cat(truth)
    if not len(observed):
        logger.warning("the maps of the validation windows show no snow: intervals of %s are as predicted", target)
        return {}
    quantiles = torch.cat([distribution.quantiles for distribution in stated], dim=1)
    factors = conformal_factors(Distribution(quantiles, stated[0].least), observed)
    widening = ", ".join(f"{share} % × {factors[f'factor_{share}']:.2f}" for share in INTERVALS)
    logger.warning("intervals of %s, calibrated on the validation windows: %s", target, widening)
    if length := max(filter(None, lengths), default=None):
        factors["correlation_length_m"] = length
    return factors


def conformal_factors(stated: Distribution, observed: Float[torch.Tensor, " pixel"]) -> dict[str, float]:
    """The least ``factor_50`` and ``factor_90`` with which ⌈(n + 1)·share⌉ of n values lie inside their intervals.

    Args:
        stated: The distribution of each pixel as the net predicts it.
        observed: The truth, in the same unit.
    """
    count, factors = len(observed), torch.ones(len(NAMES), 1, dtype=torch.float64)
    conformal = {}
    for share, ends in INTERVALS.items():  # the inner one first: the outer one lies beyond it
        rows = [NAMES.index(name) for name in ends]
        wanted = min(count, math.ceil((count + 1) * share / 100))
        low, high = -WIDEST, WIDEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            factors[rows] = math.exp(middle)
            moved = Distribution(widened(stated.quantiles, factors), stated.least)
            enough = float(moved.inside(observed, share / 100).sum()) >= wanted
            low, high = (low, middle) if enough else (middle, high)
        factors[rows] = conformal[f"factor_{share}"] = math.exp(high)
    return conformal


def calibrate_checkpoint(
    path: Path, task: SnowRegression, cubes: Sequence[xr.Dataset], validated: SnowRegression
) -> None:
    """Calibrate a task on its validation windows and write what was found into its checkpoint, too.

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
        [
            (cube, windows, area_of(metadata, "validation", cube))
            for cube in cubes
            if (windows := windows_of(metadata, "validation", cube))
        ],
    )
    stored = torch.load(path, weights_only=True)
    stored["hyper_parameters"]["calibration"] = calibration
    save_whole(stored, path)
    task.head.calibration = calibration
