"""Simple kriging of what is visible: what continuity alone says of masked cells, without learning."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from snowmap.models.masking import visible_cells

CELL = 4
"""Height and width of the cells that are predicted, px; between their centres a prediction is linear."""


class Kernel(NamedTuple):
    """A covariance of distance, and the visible cells that a prediction is made from.

    Attributes:
        ranges: Of Matérn functions (ν = 3/2) that are averaged, px.
        nugget: Variance of noise, relative to that of the values.
        cell: Height and width of the visible cells, px; divides a masked patch.
        rim: Only visible cells so close to a masked one are used, in cells; None: all.
    """

    ranges: tuple[float, ...]
    nugget: float
    cell: int
    rim: int | None


KERNELS = (Kernel((48.0,), 1e-4, cell=2, rim=2), Kernel((32.0, 12.0), 0.05, cell=4, rim=None))
"""A smooth one, as of elevation, of which value and gradient at the rim of a gap say all, so that fine cells pay there;
and a rough one, as of backscatter, for which the mean of many pixels does. Tried out on synthetic training ground, with
75 % masked: the smooth one is as good as biharmonic inpainting of relief. The net learns how far to trust each."""


@torch.no_grad()
def kriged(
    values: Float[Tensor, "image channel height width"],
    weights: Float[Tensor, "image channel height width"],
    keep: Bool[Tensor, "image 1 height width"],
) -> Float[Tensor, "kernel image channel height width"]:
    """The best linear prediction of all pixels by each of `KERNELS` (Cressie 1993, Statistics for Spatial Data).

    Args:
        values: Relative to their expectation; anything finite where the weight is 0.
        weights: By which pixels count in the mean of a cell; a cell without weight counts as expected.
        keep: False at masked pixels, which are not looked at. All channels of an image share their places. Of an image
            without a masked pixel nothing is asked: it is as expected.
    """
    maps, masked = values.new_zeros(len(KERNELS), *values.shape), ~keep.flatten(1).all(dim=1)
    if not masked.any():
        return maps
    values, weights, keep = values[masked].float(), weights[masked].float(), keep[masked]
    with torch.autocast(values.device.type, enabled=False):
        cells = [_predicted(values, weights, keep, kernel) for kernel in KERNELS]
    for of_kernel, each in zip(maps, cells, strict=True):
        of_kernel[masked] = functional.interpolate(each, scale_factor=float(CELL), mode="bilinear").to(maps.dtype)
    return maps


def _predicted(values: Tensor, weights: Tensor, keep: Tensor, kernel: Kernel) -> Tensor:
    """Of cells of `CELL` × `CELL` px, by one kernel."""
    height, width = values.shape[-2:]
    of_cell = functional.avg_pool2d(weights, kernel.cell)
    means = functional.avg_pool2d(weights * values, kernel.cell) / of_cell.clamp(min=1e-6)
    visible = visible_cells(keep, kernel.cell)
    if kernel.rim is not None:
        visible &= functional.max_pool2d((~visible).float(), 2 * kernel.rim + 1, 1, kernel.rim) > 0
    shown = visible.flatten(1)
    most = int(shown.sum(dim=1).max().clamp(min=1))
    known, places = shown.byte().sort(dim=1, descending=True, stable=True)
    known, places = known[:, :most].bool(), places[:, :most]
    given = means.flatten(2).gather(2, places[:, None].expand(-1, means.shape[1], -1)) * known[:, None]
    at_known = _centres(height, width, kernel.cell, values.device)[places]
    among = _covariance(at_known, at_known, kernel.ranges) * known[:, :, None] * known[:, None]
    among.diagonal(dim1=1, dim2=2).add_(kernel.nugget + (~known).float())  # a place that fills up stands alone
    solved = torch.cholesky_solve(given.transpose(1, 2), torch.linalg.cholesky(among))
    from_known = _table(height, width, kernel, values.device)[places]
    return (solved.transpose(1, 2) @ from_known).unflatten(2, (height // CELL, width // CELL))


@lru_cache(maxsize=8)
def _table(height: int, width: int, kernel: Kernel, device: torch.device) -> Float[Tensor, "source target"]:
    """Covariances of visible cells and those that are predicted: of few kernels and one size of patch, 16 MB each."""
    sources, targets = (_centres(height, width, cell, device) for cell in (kernel.cell, CELL))
    return _covariance(sources, targets, kernel.ranges)


def _centres(height: int, width: int, cell: int, device: torch.device) -> Float[Tensor, "cell 2"]:
    return torch.cartesian_prod(*(torch.arange(cell / 2, size, cell, device=device) for size in (height, width)))


def _covariance(
    one: Float[Tensor, "*image one 2"], other: Float[Tensor, "*image other 2"], ranges: Sequence[float]
) -> Float[Tensor, "*image one other"]:
    distance = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
    total = torch.zeros((), device=distance.device)
    for scaled in (math.sqrt(3) / extent * distance for extent in ranges):
        total = total + (1 + scaled) * torch.exp(-scaled)
    return total / len(ranges)
