"""Simple kriging of what is visible: what continuity alone says of masked cells, without learning."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

KERNELS: tuple[tuple[tuple[float, ...], float], ...] = (((32.0,), 0.0005), ((32.0, 12.0), 0.05))
"""A smooth covariance, as of elevation, and a rough one, as of backscatter: ranges in pixels of Matérn functions
(ν = 3/2) that are averaged, and nugget. Tried out on synthetic patches; the net learns how far to trust each."""


@torch.no_grad()
def kriged(
    values: Float[Tensor, "image channel rows columns"], visible: Bool[Tensor, "image 1 rows columns"], cell: int
) -> Float[Tensor, "kernel image channel rows columns"]:
    """The best linear prediction of all cells by each of `KERNELS` (Cressie 1993, Statistics for Spatial Data).

    Args:
        values: Of the cells, relative to their expectation, where they are visible.
        visible: True where they are; all channels of an image share their places, and so their weights.
        cell: Pixels along a side of a cell.
    """
    rows, columns = values.shape[-2:]
    shown = visible.flatten(1)
    most = int(shown.sum(dim=1).max().clamp(min=1))
    known, places = shown.byte().sort(dim=1, descending=True, stable=True)
    known, places = known[:, :most].bool(), places[:, :most]
    with torch.autocast(values.device.type, enabled=False):
        given = values.float().flatten(2).gather(2, places[:, None].expand(-1, values.shape[1], -1)) * known[:, None]
        predictions = []
        for ranges, nugget in KERNELS:
            covariance = _covariance(rows, columns, cell, ranges, values.device)
            to_known = covariance[:, places].transpose(0, 1) * known[:, None]  # image, cell, known
            among = to_known.gather(1, places[:, :, None].expand(-1, -1, most)) * known[:, :, None]
            among.diagonal(dim1=1, dim2=2).add_(nugget + (~known).float())  # a place that fills up stands alone
            weights = torch.cholesky_solve(given.transpose(1, 2), torch.linalg.cholesky(among))
            predictions.append((to_known @ weights).transpose(1, 2).unflatten(2, (rows, columns)))
    return torch.stack(predictions)


def _covariance(
    rows: int, columns: int, cell: int, ranges: Sequence[float], device: torch.device
) -> Float[Tensor, "cell cell"]:
    row, column = (torch.arange(size, device=device, dtype=torch.float32) * cell for size in (rows, columns))
    places = torch.cartesian_prod(row, column)
    scaled = [math.sqrt(3) / extent * torch.cdist(places, places) for extent in ranges]
    return torch.stack([(1 + distance) * torch.exp(-distance) for distance in scaled]).mean(dim=0)
