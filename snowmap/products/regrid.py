"""From a product's grid to that of the region, right by kind: every pixel is the mean of what lies in it.

All layers of one grid are carried over in one warp, as sums of values and of weights. So a mean is that of the valid
pixels alone, each weighted by how much of it lies in the cell, and the sums of several scenes add up.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject, transform

from snowmap.data.grid import Grid, moved
from snowmap.products.pairs import ANGLE, CLASS, POWER, WRAPPED
from snowmap.products.rasters import Raster

MARGIN_PIXELS = 2
"""Of the source around the target grid, beyond what one target pixel covers: slopes and bilinear weights need them."""


class Sums(NamedTuple):
    """What the pixels of a layer add up to in each cell of a grid, ``(y, x)``.

    Attributes:
        parts: Weighted sums of the values, or of the components of unit vectors; of a class the majority's.
        weight: Sum of the weights.
        covered: Share of the cell that has values.
    """

    parts: list[np.ndarray]
    weight: np.ndarray
    covered: np.ndarray

    def plus(self, other: "Sums", kind: str) -> "Sums":
        """Those of two scenes together; a class is that of the first where it has one."""
        covered = np.maximum(self.covered, other.covered)
        if kind == CLASS:
            return Sums([np.where(self.covered > 0, self.parts[0], other.parts[0])], covered, covered)
        parts = [one + another for one, another in zip(self.parts, other.parts, strict=True)]
        return Sums(parts, self.weight + other.weight, covered)

    def mean(self, kind: str, coverage: float) -> np.ndarray:
        """What they stand for, where that share of a cell is covered, float32; NaN = missing."""
        if kind == CLASS:
            return self.parts[0]
        divisor = np.where((self.covered >= coverage - 1e-4) & (self.weight > 0), self.weight, np.nan)
        means = [part / divisor for part in self.parts]
        if kind == POWER:
            return 10 * np.log10(np.where(means[0] > 0, means[0], np.nan))
        if kind in (ANGLE, WRAPPED):
            angle = np.arctan2(means[1], means[0])
            return np.degrees(angle) if kind == ANGLE else angle
        return means[0]


def regrid(
    layers: Mapping[str, Raster], kinds: Mapping[str, str], grid: Grid, coverage: float = 0.5
) -> dict[str, np.ndarray]:
    """Layers on another grid.

    Where a cell is larger than the pixels of a layer, its value is their mean, else it is interpolated bilinearly;
    classes are those of the majority, or of the nearest pixel.

    Args:
        layers: Rasters, read here as far as they reach into the grid.
        kinds: Of each layer, as in `snowmap.products.pairs`. A wrapped phase is weighted by the layer ``coherence``
            where that is on the same grid, and becomes the phase of the mean; power becomes dB.
        grid: The target grid.
        coverage: Share of a cell that has to have a value; with less it has none.

    Returns:
        Each layer, ``(y, x)`` float32, NaN = missing.
    """
    return {name: of.mean(kinds[name], coverage) for name, of in sums(layers, kinds, grid).items()}


def sums(layers: Mapping[str, Raster], kinds: Mapping[str, str], grid: Grid) -> dict[str, Sums]:
    """What `regrid` makes the mean of, for those who add several scenes."""
    out: dict[str, Sums] = {}
    for names in _same_grid(layers):
        source = layers[names[0]].grid
        pixels = pixels_per_cell(source, grid)
        rim = int(np.ceil(pixels)) + MARGIN_PIXELS
        if (part := reach(source, grid, rim)) is None:
            out |= {name: _nothing(kinds[name], grid) for name in names}
            continue
        rows, columns = part
        read = {name: layers[name].read(rows, columns) for name in names}
        shape = rows.stop - rows.start, columns.stop - columns.start
        place = Grid(shape, moved(source.transform, columns.start, rows.start), source.crs)
        out |= _sums(read, kinds, place, rim, grid, Resampling.average if pixels > 1 else Resampling.bilinear)
        for name in read.keys() - out.keys():
            way = Resampling.mode if pixels > 1 else Resampling.nearest
            classes = _warped(read[name][None], place, grid, way, nodata=np.nan)[0]
            known = np.isfinite(classes).astype(np.float32)
            out[name] = Sums([classes], known, known)
    return {name: out[name] for name in layers}


@functools.lru_cache(maxsize=64)
def pixels_per_cell(source: Grid, grid: Grid) -> float:
    """How many pixels of a layer's grid lie side by side in a cell of another grid, in its middle."""
    row, column = (size / 2 for size in grid.shape)
    columns, rows = _pixels(source, grid, column + np.array([0, 1, 0]), row + np.array([0, 0, 1]))
    return float(np.hypot(columns[1:] - columns[0], rows[1:] - rows[0]).max())


@functools.lru_cache(maxsize=64)
def reach(source: Grid, grid: Grid, margin: int = MARGIN_PIXELS) -> tuple[slice, slice] | None:
    """Rows and columns of a layer's grid that another grid needs, with a margin; None where the two do not meet."""
    edge, (height, width) = np.linspace(0, 1, 65), grid.shape
    sides = [(edge, 0 * edge), (edge, 0 * edge + 1), (0 * edge, edge), (0 * edge + 1, edge)]
    across, down = np.concatenate([np.stack(side) for side in sides], axis=1)
    columns, rows = _pixels(source, grid, across * width, down * height)
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return None
    down, across = (
        slice(max(0, int(np.floor(places.min())) - margin), min(size, int(np.ceil(places.max())) + margin))
        for places, size in zip((rows, columns), source.shape, strict=True)
    )
    return None if down.start >= down.stop or across.start >= across.stop else (down, across)


def _same_grid(layers: Mapping[str, Raster]) -> Iterator[list[str]]:
    by_grid: dict[Grid, list[str]] = {}
    for name, layer in layers.items():
        by_grid.setdefault(layer.grid, []).append(name)
    yield from by_grid.values()


def _pixels(source: Grid, grid: Grid, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in a layer's grid of those of another grid; infinite where there is no such place."""
    x, y = transform(grid.crs, source.crs, *_applied(grid.transform, columns, rows))[:2]
    return _applied(~source.transform, np.array(x), np.array(y))


def _applied(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _nothing(kind: str, grid: Grid) -> Sums:
    """Of a layer that does not reach into the grid."""
    zero = np.zeros(grid.shape, np.float32)
    parts = [zero + np.nan] if kind == CLASS else [zero] * (2 if kind in (ANGLE, WRAPPED) else 1)
    return Sums(parts, zero, zero)


class _Planes:
    """What is warped at once, with a rim of nothing: a cell at the product's edge is covered in part."""

    def __init__(self, most: int, shape: tuple[int, int], rim: int) -> None:
        height, width = shape
        self.stack = np.zeros(
            (most, height + 2 * rim, width + 2 * rim), np.float32
        )  # a plane without values costs nothing
        self.inner = self.stack[:, rim : rim + height, rim : rim + width]
        self.count = 0

    def add(self, values: np.ndarray | float, where: np.ndarray) -> int:
        """The number of a new plane, which is 0 elsewhere."""
        np.copyto(self.inner[self.count], values, where=where)
        self.count += 1
        return self.count - 1


def _sums(
    read: Mapping[str, np.ndarray], kinds: Mapping[str, str], place: Grid, rim: int, grid: Grid, way: Resampling
) -> dict[str, Sums]:
    """Those of all layers but classes."""
    names = sorted((name for name in read if kinds[name] != CLASS), key=lambda name: kinds[name] == WRAPPED)
    planes = _Planes(4 * len(names), place.shape, rim)
    masks: dict[int, np.ndarray] = {}
    numbers: dict[str, tuple[list[int], int, int]] = {}
    for name in names:
        values, valid = read[name], np.isfinite(read[name])
        covered = next((number for number, mask in masks.items() if np.array_equal(mask, valid)), None)
        if covered is None:  # layers with the same valid pixels share them
            covered = planes.add(1, valid)
            masks[covered] = valid
        weight, factor = covered, None
        if kinds[name] == WRAPPED and "coherence" in numbers:
            parts, _, same = numbers["coherence"]
            factor, valid = read["coherence"], valid & masks[same]
            weight = parts[0] if same == covered else planes.add(factor, valid)
        parts = [planes.add(part if factor is None else part * factor, valid) for part in _parts(values, kinds[name])]
        numbers[name] = parts, weight, covered
    if not names:
        return {}
    around = Grid(planes.stack.shape[1:], moved(place.transform, -rim, -rim), place.crs)
    warped = _warped(planes.stack[: planes.count], around, grid, way)
    return {
        name: Sums([warped[part] for part in parts], warped[weight], warped[covered])
        for name, (parts, weight, covered) in numbers.items()
    }


def _parts(values: np.ndarray, kind: str) -> list[np.ndarray]:
    if kind not in (ANGLE, WRAPPED):
        return [values]
    with np.errstate(invalid="ignore"):
        angle = np.radians(values) if kind == ANGLE else values
        return [np.cos(angle), np.sin(angle)]


def _warped(stack: np.ndarray, place: Grid, grid: Grid, way: Resampling, nodata: float | None = None) -> np.ndarray:
    out = np.full((len(stack), *grid.shape), 0 if nodata is None else nodata, np.float32)
    reproject(
        stack, out, src_transform=place.transform, src_crs=place.crs, dst_transform=grid.transform, dst_crs=grid.crs,
        resampling=way, src_nodata=nodata, dst_nodata=nodata,
    )  # fmt: skip
    return out
