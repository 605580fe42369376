"""Losses over valid pixels only."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

LOSSES = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}
"""Every loss under the name that users type (``loss=mse``).

`huber` turns linear beyond one standard deviation of the target.
"""


def masked_loss(
    name: str,
    predicted: Float[Tensor, "*dims"],
    observed: Float[Tensor, "*dims"],
    valid: Bool[Tensor, "*dims"],
) -> Float[Tensor, ""]:
    """Mean loss over the valid pixels.

    The selection comes before the difference: NaN × 0 is NaN, and so is its gradient.

    Args:
        name: A key of `LOSSES`.
        predicted: In network units.
        observed: In network units; any value, also NaN, where `valid` is false.
        valid: True where the target counts.

    Returns:
        The mean over valid pixels; 0, still attached to the graph, where there are none.
    """
    without_gap = torch.where(valid, observed, predicted.detach())
    return LOSSES[name](predicted, without_gap, reduction="sum") / valid.sum().clamp(min=1)
