"""From a product's grid to that of the region, right by kind: every pixel is the mean of what lies in it.

All layers of one grid are carried over in one warp, as sums of values and of weights, so a mean is that of the valid
pixels alone, each weighted by how much of it lies in the cell.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject, transform

from snowmap.data.grid import Grid, moved
from snowmap.products.pairs import ANGLE, CLASS, POWER, WRAPPED

MARGIN_PIXELS = 2
"""Of the source around the target grid, beyond what one target pixel covers: slopes and bilinear weights need them."""


class _Sums(NamedTuple):
    """What is averaged of one layer: `parts` weighted by `weight`; `valid` is where it has a value."""

    parts: list[np.ndarray]
    weight: np.ndarray
    valid: np.ndarray


def regrid(
    layers: Mapping[str, xr.DataArray], kinds: Mapping[str, str], grid: Grid, coverage: float = 0.5
) -> dict[str, np.ndarray]:
    """Layers on another grid.

    Where a cell is larger than the pixels of a layer, its value is their mean, else it is interpolated bilinearly;
    classes are those of the majority, or of the nearest pixel.

    Args:
        layers: Rasters ``(y, x)`` with CRS and transform, NaN = missing; read here, as far as they reach into the grid.
        kinds: Of each layer, as in `snowmap.products.pairs`. A wrapped phase is weighted by the layer ``coherence``
            where that is on the same grid, and becomes the phase of the mean; power becomes dB.
        grid: The target grid.
        coverage: Share of a cell that has to have a value; with less it has none.

    Returns:
        Each layer, ``(y, x)`` float32, NaN = missing.
    """
    out: dict[str, np.ndarray] = {}
    for names in _same_grid(layers):
        crs, pixels = layers[names[0]].rio.crs, pixels_per_cell(layers[names[0]], grid)
        pieces = {name: _read(layers[name], grid, pixels) for name in names}
        read = {name: piece[0] for name, piece in pieces.items() if piece is not None}
        if not read:
            out |= {name: np.full(grid.shape, np.nan, np.float32) for name in names}
            continue
        affine = next(piece[1] for piece in pieces.values() if piece is not None)
        sums = {name: _sums(name, kinds[name], read) for name in names if kinds[name] != CLASS}
        out |= _means(
            sums, kinds, (affine, crs), grid, coverage, Resampling.average if pixels > 1 else Resampling.bilinear
        )
        for name in read.keys() - sums.keys():
            way = Resampling.mode if pixels > 1 else Resampling.nearest
            out[name] = _warped(read[name][None], (affine, crs), grid, way, nodata=np.nan)[0]
    return {name: out[name] for name in layers}


def pixels_per_cell(layer: xr.DataArray, grid: Grid) -> float:
    """How many pixels of a layer lie side by side in a cell of the grid, in its middle."""
    row, column = (size / 2 for size in grid.shape)
    columns, rows = _pixels(layer, grid, column + np.array([0, 1, 0]), row + np.array([0, 0, 1]))
    return float(np.hypot(columns[1:] - columns[0], rows[1:] - rows[0]).max())


def clipped(layer: xr.DataArray, grid: Grid, margin: int = MARGIN_PIXELS) -> xr.DataArray | None:
    """The part of a layer that the grid needs, with a margin in its own pixels; None where it does not reach it."""
    edge, (height, width) = np.linspace(0, 1, 65), grid.shape
    sides = [(edge, 0 * edge), (edge, 0 * edge + 1), (0 * edge, edge), (0 * edge + 1, edge)]
    across, down = np.concatenate([np.stack(side) for side in sides], axis=1)
    columns, rows = _pixels(layer, grid, across * width, down * height)
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return None
    spans = [
        slice(max(0, int(np.floor(places.min())) - margin), min(size, int(np.ceil(places.max())) + margin))
        for places, size in zip((rows, columns), layer.shape, strict=True)
    ]
    if any(span.start >= span.stop for span in spans):
        return None
    piece = layer.isel(y=spans[0], x=spans[1])
    return piece.rio.write_transform(moved(layer.rio.transform(), spans[1].start, spans[0].start))


def _same_grid(layers: Mapping[str, xr.DataArray]) -> Iterator[list[str]]:
    by_grid: dict[object, list[str]] = {}
    for name, layer in layers.items():
        by_grid.setdefault((layer.shape, tuple(layer.rio.transform()), layer.rio.crs.to_wkt()), []).append(name)
    yield from by_grid.values()


def _pixels(layer: xr.DataArray, grid: Grid, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in a layer of those of the grid; infinite where there is no such place."""
    x, y = transform(grid.crs, layer.rio.crs, *_applied(grid.transform, columns, rows))[:2]
    return _applied(~layer.rio.transform(), np.array(x), np.array(y))


def _applied(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _read(layer: xr.DataArray, grid: Grid, pixels: float) -> tuple[np.ndarray, Affine] | None:
    """Values around the grid, with a rim of NaN: a cell at the product's edge is covered in part."""
    rim = int(np.ceil(pixels)) + MARGIN_PIXELS
    piece = clipped(layer, grid, rim)
    if piece is None:
        return None
    values = np.pad(np.asarray(piece.values, np.float32), rim, constant_values=np.nan)
    return values, moved(piece.rio.transform(), -rim, -rim)


def _sums(name: str, kind: str, layers: Mapping[str, np.ndarray]) -> _Sums:
    values = layers[name]
    valid = np.isfinite(values)
    filled, weight = np.where(valid, values, 0), valid.astype(np.float32)
    if kind == ANGLE:
        filled = np.radians(filled)
    if kind == WRAPPED and "coherence" in layers:
        weight = np.nan_to_num(layers["coherence"]) * weight
    return _Sums([np.cos(filled), np.sin(filled)] if kind in (ANGLE, WRAPPED) else [filled], weight, valid)


def _means(
    sums: Mapping[str, _Sums],
    kinds: Mapping[str, str],
    place: tuple[Affine, CRS],
    grid: Grid,
    coverage: float,
    way: Resampling,
) -> dict[str, np.ndarray]:
    """The mean of each layer where enough of the cell is covered."""
    planes: list[np.ndarray] = []

    def plane(values: np.ndarray) -> int:
        """Its number in the stack; layers with the same valid pixels share their weights."""
        found = next((i for i, known in enumerate(planes) if np.array_equal(known, values)), None)
        planes.extend([values] if found is None else [])
        return len(planes) - 1 if found is None else found

    numbers = {
        name: ([plane(part * each.weight) for part in each.parts], plane(each.weight), plane(each.valid))
        for name, each in sums.items()
    }
    if not planes:
        return {}
    warped = _warped(np.stack(planes).astype(np.float32), place, grid, way)
    out = {}
    for name, (parts, weight, valid) in numbers.items():
        covered = (warped[valid] >= coverage - 1e-4) & (warped[weight] > 0)
        divisor = np.where(covered, warped[weight], np.nan)
        out[name] = _joined([warped[part] / divisor for part in parts], kinds[name])
    return out


def _joined(means: list[np.ndarray], kind: str) -> np.ndarray:
    """The value that the means of a layer's parts stand for."""
    if kind == POWER:
        return 10 * np.log10(np.where(means[0] > 0, means[0], np.nan))
    if kind in (ANGLE, WRAPPED):
        angle = np.arctan2(means[1], means[0])
        return np.degrees(angle) if kind == ANGLE else angle
    return means[0]


def _warped(
    stack: np.ndarray, place: tuple[Affine, CRS], grid: Grid, way: Resampling, nodata: float | None = None
) -> np.ndarray:
    out = np.full((len(stack), *grid.shape), 0 if nodata is None else nodata, np.float32)
    reproject(
        stack, out, src_transform=place[0], src_crs=place[1], dst_transform=grid.transform, dst_crs=grid.crs,
        resampling=way, src_nodata=nodata, dst_nodata=nodata,
    )  # fmt: skip
    return out
