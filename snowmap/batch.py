"""The Batch: what a network trains on, as tensors with their shapes in the type."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """Windows stacked for the network, in physical units; the last step of `time` is the target window.

    Attributes:
        x: Bands, in the units of the Cube; anything where `x_valid` is false.
        x_valid: True inside the study area where the band has a value: what lies outside has no influence.
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

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        return Batch(*(tensor.to(device) for tensor in self))


class Windows(NamedTuple):
    """A whole Cube as tensors, from which Batches are gathered without reading a file.

    Attributes:
        x: Bands, NaN = missing.
        x_valid: True inside the study area where the band has a value.
        y: Targets, NaN = missing or not in the Cube.
        y_valid: True inside the study area where the target has a value.
        day_of_year: Day of the year of the end of each window.
    """

    x: Float[Tensor, "window band height width"]
    x_valid: Bool[Tensor, "window band height width"]
    y: Float[Tensor, "window target height width"]
    y_valid: Bool[Tensor, "window target height width"]
    day_of_year: Float[Tensor, " window"]

    @staticmethod
    def of(cube: xr.Dataset, bands: Sequence[str], targets: Sequence[str]) -> "Windows":
        """The Cube's `bands` and `targets`; a target that the Cube does not hold is missing everywhere."""
        names = [str(name) for name in cube["band"].values]
        values = cube["features"].values
        if names != list(bands):
            values = values[:, [names.index(band) for band in bands]]
        x = torch.from_numpy(values)
        shape = cube["features"].isel(band=0, drop=True).shape
        missing = np.full(shape, np.nan, np.float32)
        y = torch.from_numpy(np.stack([cube[name].values if name in cube else missing for name in targets], axis=1))
        inside = torch.from_numpy(cube["mask"].values)
        day_of_year = torch.from_numpy(cube["end"].dt.dayofyear.values.astype(np.float32))
        return Windows(x, x.isfinite() & inside, y, y.isfinite() & inside, day_of_year)

    def gather(self, indices: Sequence[int]) -> Batch:
        """The Batch of the windows at `indices`, each as a sequence of one step."""
        window = torch.as_tensor(indices, device=self.x.device)
        day_of_year = self.day_of_year[window, None]
        return Batch(
            x=self.x[window, None],
            x_valid=self.x_valid[window, None],
            step_valid=torch.ones_like(day_of_year, dtype=torch.bool),
            days=torch.zeros_like(day_of_year),
            day_of_year=day_of_year,
            y=self.y[window],
            y_valid=self.y_valid[window],
            window=window,
        )

    def to(self, device: torch.device) -> "Windows":
        """The same on `device`."""
        return Windows(*(tensor.to(device) for tensor in self))
