"""What a network says of each pixel: a value alone, a normal distribution or quantiles; with the loss that trains it.

A head reads `size` parameters for each target, in network units. The first is the location (mean or median), the map
itself; the others say how far the truth may lie from it.
"""

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from snowmap.errors import SnowmapError

Parameters = Float[Tensor, "*batch size height width"]
Targets = Float[Tensor, "*batch height width"]
Members = Float[Tensor, "member *batch height width"]
ParametersOfMembers = Float[Tensor, "member *batch size height width"]
Quantiles = Float[Tensor, "*batch level height width"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}
"""Every loss of a value alone under the name that users type (``loss=mse``).

`huber` turns linear beyond one standard deviation of the target.
"""

LEVELS = (0.05, 0.25, 0.75, 0.95)
"""Quantiles that stand beside the median: the ends of the central 90 % and 50 % intervals."""

NORMAL_90 = NormalDist().inv_cdf(0.95)
"""Half the width of a normal distribution's central 90 % interval, in standard deviations."""

LEAST_SIGMA = 0.01
"""Of a target's spread: no map is surer than that, and no pixel without snow rules the loss by its certainty."""


class Point:
    """A value alone."""

    size = 1
    distribution = "normal"

    def __init__(self, loss: str = "mse") -> None:
        self.loss = LOSSES[loss]

    def losses(self, parameters: Parameters, observed: Targets) -> Targets:
        """Pixel by pixel."""
        return self.loss(parameters.select(-3, 0), observed, reduction="none")

    def variance(self, parameters: Parameters) -> Targets:
        """None within a member, in network units: what spread there is, is that between members."""
        return torch.zeros_like(parameters.select(-3, 0))

    def spread(self, location: Members, parameters: ParametersOfMembers, scale: Tensor) -> tuple[Targets, Quantiles]:
        """How far the truth may lie from the mean of the members' locations.

        The members together are a mixture, taken for normal with the mixture's variance (Lakshminarayanan et al. 2017,
        section 2.4).

        Args:
            location: Of each member, in the targets' units.
            parameters: Of each member, in network units.
            scale: Spread of each target in its unit, ``(target, 1, 1)``.

        Returns:
            Standard deviation, and the distance of the quantiles `LEVELS` from the location, in the targets' units.
        """
        variance = (self.variance(parameters) * scale**2).mean(dim=0) + location.var(dim=0, correction=0)
        sigma = torch.maximum(variance.sqrt(), LEAST_SIGMA * scale)
        z = torch.tensor([NormalDist().inv_cdf(level) for level in LEVELS], device=sigma.device)
        return sigma, z[:, None, None] * sigma.unsqueeze(-3)


class Gaussian(Point):
    """Mean and standard deviation, trained by the negative log-likelihood of the normal distribution.

    `beta` weighs each pixel by its variance to this power (β-NLL, Seitzer et al. 2022, arXiv:2203.09168, eq. 5): 0 is
    the likelihood itself, under which pixels that are hard to fit are soon given up; 1 trains the mean as `mse` does.
    """

    size = 2

    def __init__(self, beta: float = 0.5) -> None:
        self.beta = beta

    def losses(self, parameters: Parameters, observed: Targets) -> Targets:
        """Pixel by pixel."""
        variance = self.variance(parameters)
        loss = 0.5 * (variance.log() + (observed - parameters.select(-3, 0)) ** 2 / variance)
        return loss * variance.detach() ** self.beta

    def variance(self, parameters: Parameters) -> Targets:
        """Variance in network units."""
        return (functional.softplus(parameters.select(-3, 1)) + LEAST_SIGMA) ** 2


class Quantile(Point):
    """Median and the quantiles `LEVELS`, trained by the pinball loss (Koenker & Bassett 1978).

    The distances between neighbouring quantiles are positive by construction, so quantiles never cross.
    """

    size = 1 + len(LEVELS)
    distribution = "quantiles"

    def __init__(self) -> None: ...

    def losses(self, parameters: Parameters, observed: Targets) -> Targets:
        """Pixel by pixel, the mean over the quantiles."""
        median = parameters.select(-3, 0)
        offsets = self._offsets(parameters)
        total = 0.5 * (observed - median).abs()
        for index, level in enumerate(LEVELS):
            error = observed - (median + offsets.select(-3, index))
            total = total + torch.maximum(level * error, (level - 1) * error)
        return total / self.size

    def spread(self, location: Members, parameters: ParametersOfMembers, scale: Tensor) -> tuple[Targets, Quantiles]:
        """The same from the mean of each quantile over the members; σ is that of a normal 90 % interval as wide."""
        ends = location.unsqueeze(-3) + self._offsets(parameters) * scale[:, None]
        offsets = (ends - location.mean(dim=0).unsqueeze(-3)).mean(dim=0)
        return (offsets.select(-3, -1) - offsets.select(-3, 0)) / (2 * NORMAL_90), offsets

    def _offsets(self, parameters: Parameters) -> Tensor:
        steps = functional.softplus(parameters.narrow(-3, 1, len(LEVELS))) + LEAST_SIGMA
        below, near_below, near_above, above = steps.unbind(-3)
        return torch.stack([-near_below - below, -near_below, near_above, near_above + above], dim=-3)


HEADS: dict[str, type[Point]] = {"point": Point, "gaussian": Gaussian, "quantile": Quantile}
"""Every head under the name that users type (``head=gaussian``)."""


def build_head(head: Mapping[str, Any], loss: str) -> Point:
    """The head that `head` describes.

    Args:
        head: ``name`` and the keyword arguments of that head.
        loss: A key of `LOSSES`, which only the head `point` reads.

    Raises:
        SnowmapError: When no head has that name.
    """
    options = dict(head)
    name = options.pop("name")
    if name not in HEADS:
        raise SnowmapError(f"head.name={name} is unknown; known are {', '.join(HEADS)}")
    return Point(loss) if name == "point" else HEADS[name](**options)


def masked_loss(
    head: Point,
    parameters: Parameters,
    observed: Targets,
    valid: Bool[Tensor, "*batch height width"],
) -> Float[Tensor, ""]:
    """Mean loss over the valid pixels.

    The selection comes before the difference: NaN × 0 is NaN, and so is its gradient.

    Args:
        head: What the parameters mean.
        parameters: In network units.
        observed: In network units; any value, also NaN, where `valid` is false.
        valid: True where the target counts.

    Returns:
        The mean over valid pixels; 0, still attached to the graph, where there are none.
    """
    without_gap = torch.where(valid, observed, parameters.select(-3, 0).detach())
    return torch.where(valid, head.losses(parameters, without_gap), 0).sum() / valid.sum().clamp(min=1)
