"""How the learning rate falls."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any


def learning_rate_factor(step: int, steps_per_epoch: int, options: Mapping[str, Any]) -> float:
    """By what the learning rate is multiplied in a step.

    It rises linearly over ``warmup_steps``, and with the ``schedule`` of the options

    - ``half_life`` it halves every ``half_life_steps``,
    - ``cosine_restarts`` it falls to 0 along a cosine between one of the epochs ``restarts`` and the next, and begins
      anew (Loshchilov & Hutter 2017, arXiv:1608.03983); the last such cycle is repeated.

    Args:
        step: From 0.
        steps_per_epoch: Of the optimiser.
        options: What `snowmap.config.training.Optimizer` describes.
    """
    rise = min(1.0, (step + 1) / max(1, options["warmup_steps"]))
    if options["schedule"] == "half_life":
        return rise * 0.5 ** (step / options["half_life_steps"])
    *_, (last, end) = cycles = list(pairwise([0, *options["restarts"]]))
    epoch = step / steps_per_epoch
    if epoch >= end:
        epoch = last + (epoch - end) % (end - last)
    start, stop = next(cycle for cycle in cycles if epoch < cycle[1])
    return rise * 0.5 * (1 + math.cos(math.pi * (epoch - start) / (stop - start)))
