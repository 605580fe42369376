"""Heads: what a net's outputs mean for each target, how they are trained, scored and turned into maps.

`Gaussian` and `Quantile` add uncertainty to what `snowmap.tasks.point_head.Point` does; `ClassHead` maps classes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from snowmap.distribution import LEVELS
from snowmap.tasks.class_head import ClassHead
from snowmap.tasks.head import Head
from snowmap.tasks.point_head import (
    LEAST_SIGMA,
    Members,
    Parameters,
    ParametersOfMembers,
    Point,
    Quantiles,
    Targets,
)


class Gaussian(Point):
    """Mean and standard deviation, trained by the negative log-likelihood of the normal distribution.

    `beta` weighs each pixel by its variance to this power (β-NLL, Seitzer et al. 2022, arXiv:2203.09168, eq. 5): 0 is
    the likelihood itself, under which pixels that are hard to fit are soon given up; 1 trains the mean as `mse` does.
    """

    parameters_per_target = 2

    def __init__(
        self, targets: Mapping[str, Mapping[str, Any]] = MappingProxyType({}), *, beta: float = 0.5, **options: Any
    ) -> None:
        """Make it; further arguments are those of `Point`."""
        super().__init__(targets, **options)
        self.beta = beta

    def losses(self, parameters: Parameters, observed: Targets) -> Targets:
        """Pixel by pixel."""
        variance = self.variance(parameters)
        loss = 0.5 * (variance.log() + (observed - parameters.select(-3, 0)) ** 2 / variance)
        return loss * variance.detach() ** self.beta

    def variance(self, parameters: Parameters) -> Targets:
        """Normalised variance."""
        return (functional.softplus(parameters.select(-3, 1)) + LEAST_SIGMA) ** 2


class Quantile(Point):
    """Median and the quantiles beside it, trained by the pinball loss (Koenker & Bassett 1978).

    The distances between neighbouring quantiles are positive by construction, so quantiles never cross.
    """

    parameters_per_target = len(LEVELS)

    def losses(self, parameters: Parameters, observed: Targets) -> Targets:
        """Pixel by pixel, the mean over the quantiles."""
        quantiles = parameters.select(-3, 0).unsqueeze(-3) + self._offsets(parameters)
        error = observed.unsqueeze(-3) - quantiles
        levels = error.new_tensor([*LEVELS.values()])[:, None, None]
        return torch.maximum(levels * error, (levels - 1) * error).mean(dim=-3)

    def offsets(self, location: Members, parameters: ParametersOfMembers, scale: Tensor) -> Quantiles:
        """The same from the mean of each quantile over the members."""
        quantiles = location.unsqueeze(-3) + self._offsets(parameters) * scale[:, None]
        return (quantiles - location.mean(dim=0).unsqueeze(-3)).mean(dim=0)

    def _offsets(self, parameters: Parameters) -> Quantiles:
        steps = functional.softplus(parameters[..., 1:, :, :]) + LEAST_SIGMA
        below, near_below, near_above, above = steps.unbind(-3)
        none = torch.zeros_like(below)
        return torch.stack([-near_below - below, -near_below, none, near_above, near_above + above], dim=-3)


HEADS: dict[str, type[Head]] = {"point": Point, "gaussian": Gaussian, "quantile": Quantile, "classes": ClassHead}
"""Every head under the name that users type (``head=gaussian``)."""


def build_head(head: Mapping[str, Any], targets: Mapping[str, Mapping[str, Any]], **options: Any) -> Head:
    """The head that `head` describes.

    Args:
        head: ``name``, a key of `HEADS`, and the keyword arguments of that head.
        targets: Attributes of each target, by name.
        options: ``members``, ``calibration`` and ``loss``.
    """
    arguments = dict(head)
    return HEADS[arguments.pop("name")](targets, **options, **arguments)  # type: ignore[call-arg]
