"""Temperature and threshold of class probabilities, from the validation windows alone."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from snowmap.data.classes import Classes, places_of
from snowmap.data.threshold import BestThreshold
from snowmap.tasks.calibration_error import CalibrationError

logger = logging.getLogger(__name__)

LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.05, 20.0

MOST_PIXELS = 2**20
"""That the temperature is fitted to, evenly among all."""


def calibrate_classes(
    classes: Classes, mapped: Sequence[tuple[xr.Dataset, xr.Dataset, Sequence[int]]]
) -> dict[str, float]:
    """Temperature and threshold of a target's probabilities.

    Args:
        classes: Of the target.
        mapped: Maps of some windows, the Cube whose study area is where they are looked at, and the windows.

    Returns:
        ``temperature`` and, of two classes, ``threshold``; nothing where no pixel has a class.
    """
    stated, truths = [], []
    for maps, cube, windows in mapped:
        places = places_of(cube[classes.target].values[list(windows)], classes)
        valid = (places >= 0) & cube["mask"].values
        stated.append(torch.from_numpy(np.stack([maps[name].values[valid] for name in classes.probabilities])))
        truths.append(torch.from_numpy(places[valid].astype(np.int64)))
    probability, truth = torch.cat(stated, dim=1), torch.cat(truths)
    if not len(truth):
        logger.warning("no validation pixel has a class: probabilities of %s are as predicted", classes.target)
        return {}
    log_probability = probability.clamp(min=torch.finfo(torch.float32).tiny).log()
    calibration = {"temperature": temperature_of(log_probability, truth)}
    calibrated = (log_probability / calibration["temperature"]).softmax(dim=0)
    words = f"temperature {calibration['temperature']:.2f}"
    if classes.named is not None:
        best = BestThreshold()
        best.update(calibrated[classes.named], truth == classes.named)
        calibration["threshold"] = best.threshold()
        words += f", threshold of '{classes.meanings[classes.named]}' {calibration['threshold']:.3f}"
    before, after = (_calibration_error(each, truth) for each in (probability, calibrated))
    logger.warning(
        "probabilities of %s, calibrated on the validation windows: %s; calibration error there %.3f, before %.3f",
        *(classes.target, words, after, before),
    )
    return calibration


def temperature_of(log_probability: Float[Tensor, "class pixel"], truth: Int[Tensor, " pixel"]) -> float:
    """The temperature under which the truth is likeliest (Guo et al. 2017, arXiv:1706.04599, section 4.2).

    Args:
        log_probability: Natural logarithm of each class's probability.
        truth: Index of the true class.
    """
    step = max(1, -(-len(truth) // MOST_PIXELS))
    logits, truth = log_probability[:, ::step].double().T, truth[::step]

    def nll(logarithm: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / math.exp(logarithm), truth))

    bounds = math.log(LEAST_TEMPERATURE), math.log(GREATEST_TEMPERATURE)
    return math.exp(minimize_scalar(nll, bounds=bounds, method="bounded").x)


def _calibration_error(probability: Float[Tensor, "class pixel"], truth: Int[Tensor, " pixel"]) -> float:
    error = CalibrationError()
    confidence, likeliest = probability.max(dim=0)
    error.update(confidence, likeliest == truth)
    return float(error.compute())
