"""Rasters whose values are read when they are looked at: GeoTIFFs and whatever else GDAL reads, or computed ones."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.windows import Window

from snowmap.data.grid import Grid, moved
from snowmap.errors import SnowmapError

_BLOCK = 1024
"""Rows and columns that are computed at once."""
_EXACT_IN_FLOAT32 = ("uint8", "int8", "uint16", "int16", "float32")

Read = Callable[[slice, slice], np.ndarray]
"""Values of some rows and columns, ``(y, x)`` float32, NaN = missing."""


class Raster(NamedTuple):
    """A raster.

    Attributes:
        grid: Its pixels.
        read: Gives the values of rows and columns.
    """

    grid: Grid
    read: Read

    @property
    def values(self) -> np.ndarray:
        """All of them, ``(y, x)`` float32, NaN = missing."""
        height, width = self.grid.shape
        return self.read(slice(0, height), slice(0, width))

    def loaded(self, rows: slice, columns: slice) -> "Raster":
        """A part of it, in memory."""
        transform = moved(self.grid.transform, columns.start, rows.start)
        return as_raster(self.read(rows, columns).astype(np.float32, copy=False), transform, self.grid.crs)

    def with_values(self, values: np.ndarray) -> "Raster":
        """Other values on the same grid, in memory."""
        return as_raster(values.astype(np.float32, copy=False), self.grid.transform, self.grid.crs)


def as_raster(values: np.ndarray, transform: Affine, crs: CRS | None) -> Raster:
    """An array ``(y, x)`` with its place."""
    height, width = values.shape
    return Raster(Grid((height, width), transform, crs), lambda rows, columns: values[rows, columns])


def open_raster(
    path: str | Path,
    *,
    nodata: float | None = None,
    crs: CRS | None = None,
    convert: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Raster:
    """The first band of a raster; the file is open for as long as what this gives is kept.

    Args:
        path: A file, or a path of GDAL's such as ``/vsizip/a.zip/b.tif``.
        nodata: A further value that means missing, beside the one that the raster states.
        crs: Of a raster that states none.
        convert: Applied to the values, e.g. a change of unit or sign.

    Raises:
        SnowmapError: When it cannot be opened, or has no CRS, or one that cannot be.
    """
    try:
        raster = rasterio.open(path)
        (height, width), transform, stated = raster.shape, raster.transform, raster.crs or crs
    except (RasterioError, OSError) as error:
        raise SnowmapError(f"{path}: not readable as a raster ({error}); fetch it again") from error
    if stated is None:
        raise SnowmapError(f"{path}: no CRS; expected one, e.g. by gdal_edit.py -a_srs EPSG:32632")
    if abs(meridian := float(stated.to_dict().get("lon_0", 0))) > 180:
        raise SnowmapError(
            f"{path}: the CRS is broken: its central meridian is {meridian:g}°, expected −180 … 180; "
            "write the right one with gdal_edit.py -a_srs EPSG:…"
        )
    read = partial(_read, raster, nodata)
    return Raster(
        Grid((height, width), transform, stated),
        read if convert is None else lambda rows, columns: convert(read(rows, columns)),
    )


def _read(raster: DatasetReader, nodata: float | None, rows: slice, columns: slice) -> np.ndarray:
    window = Window.from_slices(rows, columns)
    try:
        values = _masked(raster, window)
    except (RasterioError, OSError) as error:
        raise SnowmapError(f"{raster.name}: not readable as a raster ({error}); fetch it again") from error
    if nodata is not None:
        values[values == nodata] = np.nan
    scale, offset = raster.scales[0], raster.offsets[0]
    return values if (scale, offset) == (1, 0) else values * np.float32(scale) + np.float32(offset)


def _masked(raster: DatasetReader, window: Window) -> np.ndarray:
    """Values as stored; NaN where the raster says that there is none."""
    flags = set(raster.mask_flag_enums[0])
    if raster.dtypes[0] not in _EXACT_IN_FLOAT32 or not flags <= {MaskFlags.all_valid, MaskFlags.nodata}:
        return raster.read(1, window=window, masked=True).astype(np.float32).filled(np.nan)
    values = raster.read(1, window=window, out_dtype="float32")  # what a mask of GDAL's would take twice as long for
    if raster.nodata is not None:
        values[values == np.float32(raster.nodata)] = np.nan
    return values


def in_blocks(read: Read) -> Read:
    """Read a block at a time what takes much more memory to compute than it takes itself."""

    def whole(rows: slice, columns: slice) -> np.ndarray:
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        for top in range(rows.start, rows.stop, _BLOCK):
            for left in range(columns.start, columns.stop, _BLOCK):
                down, right = slice(top, min(top + _BLOCK, rows.stop)), slice(left, min(left + _BLOCK, columns.stop))
                out[down.start - rows.start : down.stop - rows.start, right.start - columns.start :][
                    :, : right.stop - right.start
                ] = read(down, right)
        return out

    return whole
