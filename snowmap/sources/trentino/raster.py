"""One raster: its grid, its values with NaN for "no value"."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import MaskFlags
from rasterio.env import hasenv
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.physics import SENTINEL_1_WAVELENGTH
from snowmap.sources.trentino.layout import SIDECARS

SENTINEL = -9000.0
"""This value and everything below it means missing, in every raster."""
ZERO_IS_DATA_TAG = "ZERO_IS_DATA"
"""GeoTIFF tag of an INSAR/ raster whose zeros are measurements; `write_archive` sets it where there are zeros."""
ORIGIN_TAG = "ORIGIN"
BANDS_TAG, SIGN_TAG = "BANDS", "PHASE_SIGN"
"""Tags of the mask of an archive that `snowmap build` wrote: its bands, and +1 where the phase grows with snow."""
WAVELENGTH_TAG = "WAVELENGTH_METRES"
"""GeoTIFF tag of the unwrapped phase: the wavelength of the radar."""
SAME_WAVELENGTH = 0.01
"""Relative difference up to which two wavelengths are one: the same radar is rounded differently."""

# Otherwise GDAL lists the whole folder at every opening, a third of the time; `opened` undoes it for sidecars.
GDAL_OPTIONS: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
PIECE_ROWS = 256
"""Rows that are read at once of a raster that is larger than the memory; strips of GeoTIFF span its full width."""
_FLOAT32 = np.finfo(np.float32)


@contextmanager
def opened(path: str | Path) -> Iterator[DatasetReader]:
    """Open a GeoTIFF of real numbers, with what lies in the sidecars beside it.

    Raises:
        SnowmapError: When the file cannot be opened or, within the context, read; when its values are complex.
    """
    beside = any(os.path.exists(f"{path}{ending}") for ending in SIDECARS)  # noqa: PTH110  Path takes three times as long
    options: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE"} if beside else GDAL_OPTIONS
    try:
        # rasterio.open ends in DatasetReader too, after as much time again in looking at its arguments
        with (
            rasterio.Env(**options) if beside or not hasenv() else nullcontext(),  # GDAL knows no driver without one
            DatasetReader(str(path), driver="GTiff") as raster,
        ):
            if raster.dtypes[0].startswith("complex"):
                raise SnowmapError(
                    f"{path}: holds complex values ({raster.dtypes[0]}); expected real ones: write the phase (rad) or "
                    "the intensity (dB) of them"
                )
            yield raster
    except RasterioError as error:
        raise SnowmapError(
            f"{path}: not readable as GeoTIFF, truncated or damaged ({error.__cause__ or error}); "
            "fetch or write the file again"
        ) from error


def grid_of(raster: DatasetReader) -> Grid:
    """The grid of an open raster."""
    return Grid(raster.shape, raster.transform, raster.crs)


def read_cleaned(
    raster: DatasetReader, out: np.ndarray, zero_is_missing: bool, piece: Window | None = None
) -> np.ndarray:
    """Read the first band of an open raster in physical units, and set what stands for "no value" to NaN.

    No value is, as the file says: its nodata and what its mask (internal, alpha or beside it) leaves out. Then scale
    and offset of the file apply. And of what results: not finite, `SENTINEL` or below, 0 where `zero_is_missing`.

    Args:
        raster: An open raster.
        out: Where the values go, (y, x) float32.
        zero_is_missing: Whether 0 means no value, unless the raster's tag says that its zeros are data.
        piece: Rows and columns to read; all by default.

    Returns:
        Where the raster has values, (y, x) bool.
    """
    raster.read(1, out=out, window=piece)
    known, nodata = np.True_, raster.nodata
    if nodata is not None and nodata == nodata:
        # a nodata of a float64 raster may lie beyond float32, where reading clips it
        known = out != np.float32(np.clip(nodata, _FLOAT32.min, _FLOAT32.max))
    if MaskFlags.per_dataset in raster.mask_flag_enums[0]:
        known = known & (raster.read_masks(1, window=piece) != 0)
    if (raster.scales[0], raster.offsets[0]) != (1, 0):
        out *= raster.scales[0]
        out += raster.offsets[0]
    valid = (out > SENTINEL) & (out < np.inf) & known
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
    """The study area of an open mask raster, (y, x) bool: where it has a value, and a positive one.

    Raises:
        SnowmapError: When no pixel is inside.
    """
    values = np.empty(raster.shape, np.float32)
    mask = read_cleaned(raster, values, zero_is_missing=False) & (values > 0)
    if not mask.any():
        raise SnowmapError(
            f"{raster.name}: the study area is empty, every pixel is 0 or nodata; expected 1 inside, 0 outside"
        )
    return mask


def choose_wavelength(root: Path, tag: float | None, given: float | None) -> float:
    """The wavelength of an archive's radar in m.

    Args:
        root: The archive.
        tag: What the rasters say; None where they say nothing.
        given: What the user says; None where nothing.

    Returns:
        The tag's, else the user's, else that of Sentinel-1.

    Raises:
        SnowmapError: When the two contradict each other.
    """
    if tag and given and abs(tag / given - 1) > SAME_WAVELENGTH:
        raise SnowmapError(
            f"data.wavelength_m={given:g}, but the rasters of {root} have the tag {WAVELENGTH_TAG}={tag:g}; leave the "
            "key out, or mend the tag"
        )
    return tag or given or SENTINEL_1_WAVELENGTH
