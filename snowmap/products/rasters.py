"""GeoTIFFs and other rasters that GDAL reads, as arrays with CRS and transform that are read when looked at."""

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import rasterio
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from dask.array.core import normalize_chunks
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

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
        with rasterio.open(path) as raster:
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
    array = as_raster(lazily((height, width), np.float32, partial(_read, str(path), nodata)), transform, stated)
    return array if convert is None else placed(convert(array), transform, stated)


def _read(path: str, nodata: float | None, rows: slice, columns: slice) -> np.ndarray:
    try:
        with rasterio.open(path) as raster:
            window = Window.from_slices(rows, columns)
            values = raster.read(1, window=window, masked=True).astype(np.float32).filled(np.nan)
            scale, offset = raster.scales[0], raster.offsets[0]
    except (RasterioError, OSError) as error:
        raise SnowmapError(f"{path}: not readable as a raster ({error}); fetch it again") from error
    if nodata is not None:
        values[values == nodata] = np.nan
    return values if (scale, offset) == (1, 0) else values * np.float32(scale) + np.float32(offset)


def as_raster(values: "np.ndarray | da.Array", transform: Affine, crs: CRS) -> xr.DataArray:
    """An array ``(y, x)``, of NumPy or dask, with CRS and transform."""
    height, width = values.shape
    y = transform.f + transform.e * (np.arange(height) + 0.5)
    x = transform.c + transform.a * (np.arange(width) + 0.5)
    return placed(xr.DataArray(values, {"y": y, "x": x}, ("y", "x")), transform, crs)


def placed(array: xr.DataArray, transform: Affine, crs: CRS) -> xr.DataArray:
    """The array with CRS and transform as rioxarray keeps them, whose own way takes milliseconds for each raster."""
    wkt = crs.to_wkt()
    attributes = {"crs_wkt": wkt, "spatial_ref": wkt, "GeoTransform": " ".join(map(repr, transform.to_gdal()))}
    return array.assign_coords(spatial_ref=((), 0, attributes))


def place_of(array: xr.DataArray) -> tuple[Affine, CRS]:
    """Transform and CRS of a raster, without looking at its coordinates if it states them."""
    stated = array.coords["spatial_ref"].attrs if "spatial_ref" in array.coords else {}
    if "GeoTransform" in stated and "crs_wkt" in stated:
        return Affine.from_gdal(*map(float, stated["GeoTransform"].split())), _crs(stated["crs_wkt"])
    return array.rio.transform(), array.rio.crs


@functools.lru_cache(maxsize=64)
def _crs(wkt: str) -> CRS:
    return CRS.from_wkt(wkt)


def lazily(shape: tuple[int, int], dtype: Any, read: Callable[[slice, slice], np.ndarray]) -> da.Array:
    """A dask array whose blocks `read` gives for rows and columns.

    `read` opens the file itself, so that none stays open in between and blocks can be read by other processes.
    """
    chunks = normalize_chunks(_BLOCK, shape)
    return da.map_blocks(_block, read, chunks=chunks, dtype=dtype, meta=np.empty((0, 0), dtype))


def _block(read: Callable[[slice, slice], np.ndarray], block_info: Any = None) -> np.ndarray:
    rows, columns = block_info[None]["array-location"]
    return read(slice(*rows), slice(*columns))
