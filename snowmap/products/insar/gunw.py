"""Geocoded unwrapped interferograms in HDF5: what the products of NISAR and ARIA have in common.

Coordinates are the dimension scales of a variable, its CRS is the one that ``grid_mapping`` names. Look vectors are
cubes over height above the ellipsoid, and are taken at the height of a DEM, as neither product has one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from scipy.ndimage import map_coordinates

from snowmap.config.fields import choice
from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.rasters import Raster, in_blocks
from snowmap.products.reader import Insar, file

RADIANS = ("rad", "radian", "radians")
DEGREES = ("degree", "degrees", "deg")


@dataclass
class Gunw(Insar):
    """Keys of products without a DEM of their own."""

    dem: str = file("???")  # raster of elevation in m
    ionosphere: str = choice("subtract", "keep")  # the product's estimate, taken off the unwrapped phase or not


def open_file(path: str | Path) -> h5py.File:
    """An HDF5 file, which NetCDF 4 is too.

    Raises:
        SnowmapError: When it cannot be opened, e.g. as it is cut short.
    """
    try:
        return h5py.File(path)
    except OSError as error:
        raise SnowmapError(f"{path}: not readable as HDF5 ({error}); fetch it again") from error


def variable(file: h5py.File, name: str, units: Sequence[str] = ()) -> h5py.Dataset:
    """A variable of an open file.

    Raises:
        SnowmapError: When it is not there, or is in none of these units.
    """
    stored: Any = file.get(name)
    if not isinstance(stored, h5py.Dataset):
        group: Any = file
        for part in name.strip("/").split("/"):
            inner = group.get(part)
            if not isinstance(inner, h5py.Group):
                break
            group = inner
        raise SnowmapError(f"{file.filename}: no layer {name}; {group.name} has {', '.join(group) or 'nothing'}")
    unit = text(stored.attrs.get("units", ""))
    if units and unit.lower() not in units:
        raise SnowmapError(f"{file.filename}: {name} has the units '{unit}'; expected {' or '.join(units)}")
    return stored


def text(value: Any) -> str:
    """Text as HDF5 keeps it: bytes, str, or an array of one of them."""
    value = np.asarray(value).reshape(-1)[0] if np.size(value) else ""
    return value.decode() if isinstance(value, bytes) else str(value)


def sign_of(reference: np.datetime64, secondary: np.datetime64) -> int:
    """From the phase of reference × conj(secondary), as ISCE forms it, to that of `snowmap.products.pairs.LAYERS`.

    It grows where the path gets longer from the reference to the secondary acquisition.
    """
    return 1 if reference < secondary else -1


def open_layer(
    path: Path,
    name: str,
    *,
    units: Sequence[str] = (),
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Raster:
    """A layer, north up.

    Args:
        path: Of the file.
        name: Of the variable ``(y, x)``.
        units: That it may have; none: any.
        convert: Applied to its values, complex or float with NaN = missing.
    """
    with open_file(path) as file:
        stored = variable(file, name, units)
        y, x = (_axis(stored, number) for number in (0, 1))
        crs = _crs_of(stored)
    x = x - 360 if crs.is_geographic and x.min() >= 180 else x
    turned = len(y) > 1 and y[0] < y[-1]
    transform = _transform(path, name, y[::-1] if turned else y, x)

    def read(rows: slice, columns: slice) -> np.ndarray:
        if turned:
            rows = slice(len(y) - rows.stop, len(y) - rows.start)
        with open_file(path) as file:
            values = convert(_values(file[name], (rows, columns))).astype(np.float32)
        return values[::-1] if turned else values

    return Raster(Grid((len(y), len(x)), transform, crs), read)


def at_ground(
    path: Path, names: Sequence[str], combine: Callable[..., np.ndarray], like: Grid, dem: str | None = None
) -> Raster:
    """Coarse fields ``(y, x)`` or cubes ``(height, y, x)``, linearly interpolated at the pixels of a layer.

    Args:
        path: Of the file.
        names: Variables on one grid, in the CRS of `like`.
        combine: Makes one field of them, before it is interpolated.
        like: The grid of a layer, whose pixels are meant.
        dem: Raster of elevation in m, of cubes.

    Returns:
        NaN outside of the field and where the DEM has none. Heights above or below a cube are taken at its end.
    """
    assert like.crs is not None
    geographic, (y, x) = like.crs.is_geographic, like.axes

    def read(rows: slice, columns: slice) -> np.ndarray:
        with open_file(path) as file:
            fields = [variable(file, name) for name in names]
            axes = [_axis(fields[0], number) for number in range(fields[0].ndim)]
            field = combine(*(_values(stored, ...) for stored in fields))
        if geographic and axes[-1].min() >= 180:
            axes[-1] = axes[-1] - 360
        at = list(np.meshgrid(y[rows], x[columns], indexing="ij"))
        if field.ndim == 3:
            at.insert(0, _heights(dem, like, rows, columns))
        indices = [_index(axis, position) for axis, position in zip(axes, at, strict=True)]
        outside = _beyond(axes[-2], at[-2]) | _beyond(axes[-1], at[-1]) | np.isnan(indices[0])
        values = map_coordinates(field, np.nan_to_num(indices), order=1, mode="nearest")
        return np.where(outside, np.nan, values).astype(np.float32)

    return Raster(like, in_blocks(read))


def open_phase(path: Path, name: str, sign: int, screen: str = "") -> Raster:
    """An unwrapped phase as `snowmap.products.pairs.LAYERS` wants it.

    Args:
        path: Of the file.
        name: Of the phase.
        sign: What it is multiplied by; see `sign_of`.
        screen: Name of the product's own estimate of a part of it, of the same sign, on the same grid or a coarser
            one, which is taken off; empty: none. Where the estimate has no value, nor has the difference; an estimate
            without any value is passed over.
    """
    phase = open_layer(path, name, units=RADIANS, convert=lambda values: sign * values)
    if not screen:
        return phase
    with open_file(path) as file:
        stored = variable(file, screen, RADIANS)
        same_grid = stored.shape == phase.grid.shape
        known = any(np.isfinite(_values(stored, np.s_[row : row + 1024])).any() for row in range(0, len(stored), 1024))
    if not known:
        return phase
    part = open_layer(path, screen) if same_grid else at_ground(path, [screen], np.asarray, phase.grid)
    return Raster(phase.grid, lambda rows, columns: phase.read(rows, columns) - sign * part.read(rows, columns))


def _axis(stored: h5py.Dataset, number: int) -> np.ndarray:
    if not len(stored.dims[number]):
        raise SnowmapError(f"{stored.file.filename}: {stored.name} has no coordinates; expected the product as it came")
    return np.asarray(stored.dims[number][0][()], np.float64)


def _values(stored: Any, part: Any) -> np.ndarray:
    """Values as float or complex, NaN = missing; of unsigned integers the greatest is missing, too."""
    try:
        values = stored[part]
    except OSError as error:
        raise SnowmapError(
            f"{stored.file.filename}: {stored.name} is not readable ({error}); fetch it again"
        ) from error
    missing = np.zeros(values.shape, bool)
    if values.dtype.kind == "u":
        missing |= values == np.iinfo(values.dtype).max
    if "_FillValue" in stored.attrs:
        missing |= values == np.asarray(stored.attrs["_FillValue"]).reshape(-1)[0]
    kind = np.complex64 if values.dtype.kind == "c" else np.float64 if values.dtype.itemsize == 8 else np.float32
    return np.where(missing, np.nan, values).astype(kind)


def _crs_of(stored: h5py.Dataset) -> CRS:
    """The CRS of a variable, by its ``grid_mapping``."""
    group: Any = stored.parent
    mapping = group.get(text(stored.attrs.get("grid_mapping", "-")))
    if isinstance(mapping, h5py.Dataset):
        words = {key: text(value) for key, value in mapping.attrs.items()}
        code = words.get("epsg_code") or (
            str(int(mapping[()])) if mapping.dtype.kind in "iu" and not mapping.shape else ""
        )
        try:
            if code.isdecimal() and int(code) > 1000:
                return CRS.from_epsg(int(code))
            if wkt := words.get("crs_wkt") or words.get("spatial_ref"):
                return CRS.from_wkt(wkt)
        except CRSError as error:
            raise SnowmapError(f"{stored.file.filename}: CRS of {stored.name} is not readable ({error})") from error
        if words.get("grid_mapping_name") == "latitude_longitude":
            return CRS.from_epsg(4326)
    raise SnowmapError(f"{stored.file.filename}: {stored.name} has no CRS; expected a grid_mapping with an EPSG code")


def _transform(path: Path, name: str, y: np.ndarray, x: np.ndarray) -> Affine:
    (dy, dx), even = (_step(axis) for axis in (y, x)), True
    for axis, step in ((y, dy), (x, dx)):
        even &= step != 0 and np.allclose(np.diff(axis), step, rtol=1e-3, atol=0)
    if not even:
        raise SnowmapError(f"{path}: coordinates of {name} are not evenly spaced; expected a regular grid")
    return Affine(dx, 0, x[0] - dx / 2, 0, dy, y[0] - dy / 2)


def _step(axis: np.ndarray) -> float:
    return float(axis[-1] - axis[0]) / max(1, len(axis) - 1)


def _index(axis: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Where positions lie along an axis that rises or falls, in fractions of its index; NaN stays NaN."""
    numbers = np.arange(len(axis), dtype=float)
    if axis[0] > axis[-1]:
        axis, numbers = axis[::-1], numbers[::-1]
    return np.interp(position, axis, numbers)


def _beyond(axis: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Whether positions lie farther beyond the ends of an axis than its steps are wide."""
    margin = abs(_step(axis))
    return (position < axis.min() - margin) | (position > axis.max() + margin)


def _heights(dem: str | None, like: Grid, rows: slice, columns: slice) -> np.ndarray:
    """The DEM at pixels of a layer, m, NaN = missing."""
    height, width = like.shape
    grid = {"crs": like.crs, "transform": like.transform, "height": height, "width": width}
    try:
        with (
            rasterio.open(dem) as raster,
            WarpedVRT(raster, resampling=Resampling.bilinear, dtype="float32", nodata=np.nan, **grid) as warped,
        ):
            return warped.read(1, window=Window.from_slices(rows, columns)).astype(np.float64)
    except (RasterioError, OSError) as error:
        raise SnowmapError(f"{dem}: not readable as a raster ({error}); expected elevation in m") from error
