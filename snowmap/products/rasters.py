"""GeoTIFFs and other rasters that GDAL reads, as arrays with CRS and transform that are read when looked at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import rioxarray
import xarray as xr
from dask.array.core import normalize_chunks
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from snowmap.errors import SnowmapError

_BLOCK = (1024, 1024)
"""Rows and columns that are read at once."""


def open_raster(
    path: str | Path,
    *,
    nodata: float | None = None,
    crs: CRS | None = None,
    convert: Callable[[xr.DataArray], xr.DataArray] | None = None,
) -> xr.DataArray:
    """The first band of a raster, float32, NaN = missing.

    Args:
        path: A file, or a path of GDAL's such as ``/vsizip/a.zip/b.tif``.
        nodata: A further value that means missing, beside the one that the raster states.
        crs: Of a raster that states none.
        convert: Applied to the values, e.g. a change of unit or sign; must keep them lazy.

    Raises:
        SnowmapError: When it cannot be opened, or has no CRS, or one that cannot be.
    """
    try:
        opened = rioxarray.open_rasterio(path, masked=True, chunks={}, lock=False)
    except (RasterioError, OSError) as error:
        raise SnowmapError(f"{path}: not readable as a raster ({error}); fetch it again") from error
    assert isinstance(opened, xr.DataArray)
    array = opened.isel(band=0, drop=True).astype(np.float32)
    array.set_close(opened.close)
    if array.rio.crs is None and crs is not None:
        array = array.rio.write_crs(crs)
    if array.rio.crs is None:
        raise SnowmapError(f"{path}: no CRS; expected one, e.g. by gdal_edit.py -a_srs EPSG:32632")
    if abs(meridian := float(array.rio.crs.to_dict().get("lon_0", 0))) > 180:
        raise SnowmapError(
            f"{path}: the CRS is broken: its central meridian is {meridian:g}°, expected −180 … 180; "
            "write the right one with gdal_edit.py -a_srs EPSG:…"
        )
    if nodata is not None:
        array = _kept(array, array.where(array != nodata))
    return array if convert is None else _kept(array, convert(array))


def as_raster(values: "np.ndarray | object", transform: Affine, crs: CRS) -> xr.DataArray:
    """An array ``(y, x)``, of NumPy or dask, with CRS and transform."""
    array = xr.DataArray(values, dims=("y", "x"))
    height, width = array.shape
    array = array.assign_coords(
        y=transform.f + transform.e * (np.arange(height) + 0.5),
        x=transform.c + transform.a * (np.arange(width) + 0.5),
    )
    return array.rio.write_crs(crs).rio.write_transform(transform)


def lazily(shape: tuple[int, int], dtype: Any, read: Callable[[slice, slice], np.ndarray]) -> da.Array:
    """A dask array whose blocks `read` gives for rows and columns.

    `read` opens the file itself, so that none stays open in between and blocks can be read by other processes.
    """
    chunks = normalize_chunks(_BLOCK, shape)
    return da.map_blocks(_block, read, chunks=chunks, dtype=dtype, meta=np.empty((0, 0), dtype))


def _block(read: Callable[[slice, slice], np.ndarray], block_info: Any = None) -> np.ndarray:
    rows, columns = block_info[None]["array-location"]
    return read(slice(*rows), slice(*columns))


def _kept(before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """`after` with the CRS, transform and file of `before`."""
    after = after.rio.write_crs(before.rio.crs).rio.write_transform(before.rio.transform())
    after.set_close(before.close)
    return after
