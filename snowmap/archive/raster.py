"""One raster: its grid, its values with NaN for "no value"."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.windows import Window

SENTINEL = -9000.0
"""This value and everything below it means missing, in every raster."""
ZERO_IS_DATA_TAG = "ZERO_IS_DATA"
"""GeoTIFF tag of an INSAR/ raster whose zeros are measurements; `write_archive` sets it where there are zeros."""
ORIGIN_TAG = "ORIGIN"

# Otherwise GDAL lists the whole folder at every opening, a third of the time. The price: no .aux.xml file is looked at.
GDAL_OPTIONS: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
PIECE_ROWS = 256
"""Rows that are read at once of a raster that is larger than the memory; strips of GeoTIFF span its full width."""
_FLOAT32 = np.finfo(np.float32)


class Grid(NamedTuple):
    """Where the pixels lie."""

    shape: tuple[int, int]
    transform: Affine
    crs: CRS | None

    def __str__(self) -> str:
        height, width = self.shape
        corner = f"({self.transform.c:.10g}, {self.transform.f:.10g})"
        step = f"({self.transform.a:.10g}, {self.transform.e:.10g})"
        return f"{height} × {width} px, corner {corner}, step {step}, {self.crs.to_string() if self.crs else 'no CRS'}"

    def same(self, other: "Grid") -> bool:
        """Whether pixels fall on each other to a thousandth of a pixel, which forgives floating-point noise."""
        if self.shape != other.shape or self.crs != other.crs:
            return False
        return self.transform == other.transform or self._nearly(other)

    def _nearly(self, other: "Grid") -> bool:
        height, width = self.shape
        a, b, c, d, e, f = (mine - theirs for mine, theirs in zip(self.transform[:6], other.transform[:6], strict=True))
        shift = max(abs(c), abs(f), abs(c + a * width + b * height), abs(f + d * width + e * height))
        step = min(abs(self.transform.a) + abs(self.transform.b), abs(self.transform.d) + abs(self.transform.e))
        return shift <= 1e-3 * step


def grid_of(raster: DatasetReader) -> Grid:
    """The grid of an open raster."""
    return Grid(raster.shape, raster.transform, raster.crs)


def read_cleaned(
    raster: DatasetReader, out: np.ndarray, zero_is_missing: bool, piece: Window | None = None
) -> np.ndarray:
    """Read the first band of an open raster and set what stands for "no value" to NaN.

    No value is: not finite, `SENTINEL` or below, the raster's own nodata, and 0 where `zero_is_missing` says so.

    Args:
        raster: An open raster.
        out: Where the values go, (y, x) float32.
        zero_is_missing: Whether 0 means no value, unless the raster's tag says that its zeros are data.
        piece: Rows and columns to read; all by default.

    Returns:
        Where the raster has values, (y, x) bool.
    """
    raster.read(1, out=out, window=piece)
    valid = (out > SENTINEL) & (out < np.inf)
    nodata = raster.nodata
    if nodata is not None and nodata > SENTINEL:
        # a nodata of a float64 raster may lie beyond float32, where reading clips it
        valid &= out != np.float32(min(nodata, _FLOAT32.max))
    if zero_is_missing and not out.all() and ZERO_IS_DATA_TAG not in raster.tags():
        valid &= out != 0
    np.copyto(out, np.nan, where=~valid)
    return valid


def any_value(raster: DatasetReader, mask: np.ndarray, zero_is_missing: bool) -> bool:
    """Whether an open raster has a value inside the study area; it is read only until the first one."""
    height, width = mask.shape
    for first in range(0, height, PIECE_ROWS):
        rows = min(PIECE_ROWS, height - first)
        inside = mask[first : first + rows]
        out = np.empty((rows, width), np.float32)
        if inside.any() and (read_cleaned(raster, out, zero_is_missing, Window(0, first, width, rows)) & inside).any():  # type: ignore[call-arg]
            return True
    return False


def mask_of(raster: DatasetReader) -> np.ndarray:
    """The study area of an open mask raster, (y, x) bool: positive and not the raster's nodata."""
    values = raster.read(1)
    inside = values > 0
    return inside if raster.nodata is None else inside & (values != raster.nodata)


def unreadable(path: Path, error: Exception) -> str:
    """The sentence for a file that GDAL cannot read."""
    cause = error.__cause__ or error
    return f"{path}: not readable as GeoTIFF, truncated or damaged ({cause}); fetch or write the file again"
