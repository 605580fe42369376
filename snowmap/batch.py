"""The Batch: what a network trains on, as tensors with their shapes in the type."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """Windows stacked for the network, in physical units; the last step of `time` is the target window.

    Attributes:
        x: Bands, in the units of the Cube; anything where `x_valid` is false.
        x_valid: True where the band has a value.
        step_valid: True where the step is a window, false where it is padding.
        days: Days from the end of each step to the end of the target window, ≥ 0.
        day_of_year: Day of the year of the end of each step, 1 … 366.
        y: Targets, in the units of the Cube; anything where `y_valid` is false.
        y_valid: True inside the study area where the target has a value.
        window: Index of the target window in the Cube.
    """

    x: Float[Tensor, "batch time band height width"]
    x_valid: Bool[Tensor, "batch time band height width"]
    step_valid: Bool[Tensor, "batch time"]
    days: Float[Tensor, "batch time"]
    day_of_year: Float[Tensor, "batch time"]
    y: Float[Tensor, "batch target height width"]
    y_valid: Bool[Tensor, "batch target height width"]
    window: Int[Tensor, " batch"]
