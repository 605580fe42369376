"""Maps of any size as few pixels as a page can hold: blocks of pixels become one, values become codes."""

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr

MOST_VALUES = 4_000_000
"""Of one explorer: pixels × windows × maps, each at most 2.7 bytes of the file. Of more, blocks become pixels."""

MISSING = 65_535
"""The code of no value; the others are even steps from a map's least value in all windows to its greatest."""

STRIP_ROWS = 1024
"""Read at once, of one window and all layers."""

logger = logging.getLogger(__name__)


def mean_of_blocks(values: xr.DataArray, block: int) -> xr.DataArray:
    """The mean over the pixels of each block that have a value; the grid's last blocks may be cut."""
    return values.coarsen(y=block, x=block, boundary="pad").mean()


def angle_of_blocks(values: xr.DataArray, block: int) -> xr.DataArray:
    """The direction of the mean of unit vectors, for angles in rad whose ends are neighbours."""
    sine, cosine = (mean_of_blocks(xr.apply_ufunc(part, values), block) for part in (np.sin, np.cos))
    return xr.apply_ufunc(np.arctan2, sine, cosine)


def pixel_of_blocks(values: xr.DataArray, block: int) -> xr.DataArray:
    """The first pixel of each block, for classes, which have no mean."""
    return values[..., ::block, ::block]


class Layer(NamedTuple):
    """What has a value in every pixel and window.

    Attributes:
        values: ``(window, y, x)`` with ``start``, ``end`` and the grid; NaN = missing. It may be a dask array.
        unit: Of the values.
        blocks: How a block of pixels becomes one.
    """

    values: xr.DataArray
    unit: str
    blocks: Callable[[xr.DataArray, int], xr.DataArray] = mean_of_blocks


class Pixels(NamedTuple):
    """Layers of one grid, their first row in the south and their first column in the west.

    Attributes:
        maps: ``(window, row, column)`` float32 by name; NaN = missing.
        inside: Of the pixels, counted row by row, those that have a value anywhere.
        corner: x and y of the south-western one.
        size: Of a pixel along x and y; pixels of the last blocks may reach beyond the grid.
        block: Of how many pixels on a side one was made.
    """

    maps: dict[str, np.ndarray]
    inside: np.ndarray
    corner: tuple[float, float]
    size: tuple[float, float]
    block: int

    def codes(self, name: str) -> tuple[np.ndarray, float, float]:
        """Codes ``(window · pixel)`` of the pixels inside, the value of the code 0, and the step from code to code."""
        values = self.maps[name].reshape(len(self.maps[name]), -1)[:, self.inside].ravel()
        finite = np.isfinite(values)
        least, greatest = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
        step = (greatest - least) / (MISSING - 1) or 1.0
        codes = np.full(values.shape, MISSING, np.uint16)
        codes[finite] = np.rint((values[finite] - least) / step)
        return codes, least, step

    def middle(self, row: int, column: int) -> tuple[float, float]:
        """The middle of a pixel, x and y."""
        return self.corner[0] + (column + 0.5) * self.size[0], self.corner[1] + (row + 0.5) * self.size[1]

    def typical(self) -> int:
        """The position in `inside` of a pixel with much, but not the most, of the first layer."""
        total = np.nan_to_num(next(iter(self.maps.values()))).sum(axis=0).ravel()[self.inside]
        return int(np.argsort(total)[int(0.9 * len(total))]) if len(total) else 0


def as_pixels(layers: Mapping[str, Layer]) -> Pixels:
    """Layers of one grid and the same windows as no more than `MOST_VALUES` values, read piece by piece."""
    first = next(iter(layers.values())).values
    block = max(1, int(np.ceil(np.sqrt(first.size * len(layers) / MOST_VALUES))))
    if block > 1:
        logger.warning("each pixel to explore is %d × %d pixels, to bound the file's size", block, block)
    transform, (_, height, width) = first.rio.transform(), first.shape
    across, along = transform.a * block, transform.e * block
    ends = transform.c + across * -(-width // block), transform.f + along * -(-height // block)
    strip = block * -(-STRIP_ROWS // block)
    tops = range(0, height, strip)
    windows = [[_read(layers, each, slice(top, top + strip), block) for top in tops] for each in range(len(first))]
    upright = (slice(None), slice(None, None, int(np.sign(along))), slice(None, None, int(np.sign(across))))
    maps = {
        name: np.concatenate([np.concatenate([rows[name] for rows in window], axis=1) for window in windows])[upright]
        for name in layers
    }
    inside = np.flatnonzero(np.logical_or.reduce([np.isfinite(values).any(axis=0) for values in maps.values()]))
    corner = min(transform.c, ends[0]), min(transform.f, ends[1])
    return Pixels(maps, inside.astype(np.int32), corner, (abs(across), abs(along)), block)


def _read(layers: Mapping[str, Layer], window: int, rows: slice, block: int) -> dict[str, np.ndarray]:
    """Blocks of some rows of one window; what several layers are made of is read once."""
    pieces = {name: layer.values.isel(window=[window], y=rows).variable for name, layer in layers.items()}
    read = xr.Dataset(pieces).load()
    return {name: layer.blocks(read[name], block).values.astype(np.float32) for name, layer in layers.items()}
