"""NetCDF files by the CF conventions: their axes, CRS, times and units, whatever their variables are called."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cftime
import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from pyproj.exceptions import CRSError
from rasterio.crs import CRS
from rasterio.errors import CRSError as RasterCRSError
from rasterio.transform import Affine

from snowmap.errors import SnowmapError
from snowmap.tables import listed

ENGINES = {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy"}
"""What reads a file, by its first bytes."""

AXES = {
    "y": (r"projection_y_coordinate|latitude|grid_latitude", r"degrees?_?n(?:orth)?", r"y|lat|latitude|northing"),
    "x": (r"projection_x_coordinate|longitude|grid_longitude", r"degrees?_?e(?:ast)?", r"x|lon|longitude|easting"),
}
"""Standard names, units and names of the coordinates along y and x."""

UNEVEN = 0.02
"""Part of a step by which the steps of a regular axis may differ."""


def open_netcdf(path: Path) -> xr.Dataset:
    """A NetCDF file, its variables read when they are looked at.

    Raises:
        SnowmapError: When it is none, or is damaged.
    """
    engine = _engine(path)
    times = xr.coders.CFDatetimeCoder(use_cftime=None)
    try:
        opened = xr.open_dataset(path, engine=engine, chunks={}, decode_times=times, decode_coords="all")
        if engine == "scipy":
            for name in opened.variables:  # a file cut short opens, and fails where its end should be
                opened[name].variable[(slice(-1, None),) * opened[name].ndim].load()
    except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError) as error:
        raise SnowmapError(f"{path}: not readable as NetCDF ({error}); fetch it again") from error
    return opened


def first_bytes(path: Path) -> bytes:
    """The first four, which tell the format of a file.

    Raises:
        SnowmapError: When it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise SnowmapError(f"{path} cannot be read: {error}") from error


def _engine(path: Path) -> str:
    start = first_bytes(path)
    if start.startswith(b"PK"):
        raise SnowmapError(f"{path} is a zip archive, whatever its name says; unpack it and give the files in it")
    if start not in ENGINES:
        raise SnowmapError(f"{path} is no NetCDF file (it begins with {start!r}); expected NetCDF 3 or 4")
    return ENGINES[start]


def find(dataset: xr.Dataset, source: Path, what: str, name: str | None, standard: str, names: str) -> str | None:
    """The name of a variable: the given one, else the only one with a standard name, else with a usual name.

    Args:
        dataset: Of the file.
        source: The file, for messages.
        what: In words, for messages.
        name: As the recipe gives it.
        standard: Regular expression of standard names.
        names: Regular expression of usual names, in small letters.

    Raises:
        SnowmapError: When the given one is not there, or several are alike.
    """
    variables = [str(key) for key in dataset.data_vars]
    if name is not None:
        if name not in variables:
            raise SnowmapError(f"{source} has no variable '{name}'; it has {listed(variables)}")
        return name
    by_standard = [
        key for key in variables if re.fullmatch(standard, str(dataset[key].attrs.get("standard_name", "-")))
    ]
    matching = by_standard or [key for key in variables if re.fullmatch(names, key.lower())]
    if len(matching) > 1:
        raise SnowmapError(f"{source} has several variables of {what}: {listed(matching)}; name one in the recipe")
    return matching[0] if matching else None


def unit_of(array: xr.DataArray) -> str | None:
    """The unit that a variable states; None where it states none."""
    return str(array.attrs.get("units", "")).strip() or None


def time_of(array: xr.DataArray, dataset: xr.Dataset, source: str) -> tuple[str | None, np.ndarray]:
    """The dimension of time of a variable, None for one without, and its times, datetime64[s].

    Dates of other calendars are taken by year, month and day; those that no real year has (30 February) become NaT.
    Where a time has bounds, it is their middle.

    Raises:
        SnowmapError: When it has no times.
    """
    for name, times in dataset.variables.items():
        if times.ndim < 2 and {*times.dims} <= {*array.dims} and _is_time(times) and name not in _others(dataset):
            bounds = dataset.variables.get(str(times.attrs.get("bounds", times.encoding.get("bounds", ""))))
            values = _stamps(np.atleast_1d(times.values))
            if bounds is not None and _is_time(bounds) and bounds.shape == (*times.shape, 2):
                first, last = (_stamps(np.atleast_1d(bounds[..., end].values)) for end in (0, 1))
                values = first + (last - first) // 2
            return (str(times.dims[0]) if times.ndim else None), values
    raise SnowmapError(
        f"{source} has no times; expected a coordinate with units such as 'days since 2020-01-01', which "
        f"ncatted -a units,time,o,c,'days since 2020-01-01' writes; it has {listed(map(str, dataset.variables))}"
    )


def _others(dataset: xr.Dataset) -> set[str]:
    """Times of forecasts, beside those for which they are valid."""
    return {"time", "forecast_reference_time"} if "valid_time" in dataset.variables else {"forecast_reference_time"}


def _is_time(variable: xr.Variable) -> bool:
    if variable.dtype.kind == "M":
        return True
    return variable.dtype == object and bool(variable.size) and isinstance(variable.values.flat[0], cftime.datetime)


def _stamps(times: np.ndarray) -> np.ndarray:
    if times.dtype.kind == "M":
        return times.astype("datetime64[s]")
    return np.array([_stamp(time) for time in times], dtype="datetime64[s]")


def _stamp(time: cftime.datetime) -> np.datetime64:
    try:
        return np.datetime64(time.strftime("%Y-%m-%dT%H:%M:%S"), "s")
    except ValueError:
        return np.datetime64("NaT", "s")


def on_grid(array: xr.DataArray, dataset: xr.Dataset, source: str, time: str | None = None) -> xr.DataArray:
    """A variable with dims ``(time, y, x)``, or ``(y, x)`` without a dimension of `time`, and no other coordinates.

    It has rows from north to south, a CRS and a transform.
    Longitudes from 0 to 360 become −180 to 180, unless the field lies across 180°.

    Raises:
        SnowmapError: When the CRS is not known, the grid is not regular, or there are further dimensions.
    """
    axes = {axis: _axis(array, axis, source) for axis in ("y", "x")}
    crs = _crs(array, dataset, axes["x"], source)
    array = array.reset_coords(drop=True).rename({name: axis for axis, name in axes.items()})
    extra = [str(name) for name in array.dims if name not in (time, "y", "x")]
    if any(array.sizes[name] > 1 for name in extra):
        raise SnowmapError(
            f"{source} has the further dimensions {', '.join(extra)}; expected maps with or without times"
        )
    array = array.squeeze(extra).transpose(..., "y", "x")
    y, x = (array[axis].values.astype(np.float64) for axis in ("y", "x"))
    x = _unrolled(x) if crs.is_geographic else x
    rows, columns = np.argsort(-y), np.argsort(x)
    y, x = y[rows], x[columns]
    for axis, order in (("y", rows), ("x", columns)):
        if not np.array_equal(order, np.arange(order.size)):
            backwards = np.array_equal(order, np.arange(order.size)[::-1])
            array = array.isel({axis: slice(None, None, -1) if backwards else order})
    down, right = _step(y, "y", source), _step(x, "x", source)
    down, right = down or -(right or 0), right or -(down or 0)
    if not down:
        raise SnowmapError(f"{source}: the grid has one cell, so its size is not known; expected at least two")
    transform = Affine(right, 0, x[0] - right / 2, 0, down, y[0] - down / 2)
    array = array.assign_coords(y=y[0] + down * np.arange(y.size), x=x[0] + right * np.arange(x.size))
    array.encoding = {}
    array.attrs = {}
    return array.rio.write_crs(crs).rio.write_transform(transform)


def _axis(array: xr.DataArray, axis: str, source: str) -> str:
    """The dimension along y or x."""
    standard, units, names = AXES[axis]
    for attribute, form in (("standard_name", standard), ("units", units), ("", names)):
        for dim in map(str, array.dims):
            if dim in array.coords:
                text = str(array[dim].attrs.get(attribute, "")) if attribute else dim
                if re.fullmatch(form, text.lower()):
                    return dim
    raise SnowmapError(
        f"{source} has no one-dimensional coordinate along {axis}, as regular grids have (its dimensions are "
        f"{', '.join(map(str, array.dims))}); bring it to one, e.g. with gdalwarp or cdo remapbil"
    )


def _crs(array: xr.DataArray, dataset: xr.Dataset, x: str, source: str) -> CRS:
    named = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping"))
    marks = {"grid_mapping_name", "crs_wkt", "spatial_ref"}
    mappings = [named] if named in dataset.variables else []
    mappings += [name for name in dataset.variables if marks & {*dataset[name].attrs}]
    for name in mappings:
        try:
            crs = dataset[[]].assign_coords(spatial_ref=dataset[name].variable).rio.crs
        except (CRSError, RasterCRSError, KeyError, ValueError):
            continue
        if crs is not None:
            return crs
    texts = str(array[x].attrs.get("standard_name", "")), str(array[x].attrs.get("units", "")), x
    projected = re.fullmatch(r"projection_x_coordinate|grid_longitude", texts[0])
    degrees = re.fullmatch(AXES["x"][1], texts[1].lower()) or re.fullmatch(r"lon|longitude", x.lower())
    if projected or not (degrees or texts[0] == "longitude"):
        raise SnowmapError(
            f"{source} has no CRS: no grid mapping, and its coordinate {x} is no longitude; expected a variable that "
            "grid_mapping names, e.g. written by rioxarray's write_crs"
        )
    return CRS.from_epsg(4326)


def _unrolled(x: np.ndarray) -> np.ndarray:
    """Longitudes between −180° and 180°, where they stay in one piece."""
    wrapped = (x + 180) % 360 - 180
    pieces = np.ptp(wrapped) > np.ptp(x) + 1e-6  # across 180°, as Alaska's islands
    return x if x.max() <= 180 or pieces else wrapped


def _step(values: np.ndarray, axis: str, source: str) -> float | None:
    if values.size == 1:
        return None
    steps = np.diff(values)
    if abs(steps - steps.mean()).max() > UNEVEN * abs(steps.mean()) or not steps.mean():
        raise SnowmapError(
            f"{source}: the steps along {axis} go from {steps.min():g} to {steps.max():g}; expected a regular grid"
        )
    return float(steps.mean())


def joined(parts: Sequence[xr.DataArray], sources: Sequence[str]) -> xr.DataArray:
    """Parts of one variable with dims ``(time, y, x)`` and a coordinate ``time``, in order; of equal times the first.

    Raises:
        SnowmapError: When their grids differ.
    """
    first = parts[0]
    for part, source in zip(parts, sources, strict=True):
        if part.shape[1:] != first.shape[1:] or not part.rio.transform().almost_equals(first.rio.transform(), 1e-5):
            raise SnowmapError(f"{source} lies on another grid than {sources[0]}; expected files of one grid")
    whole = xr.concat(parts, "time", coords="minimal", compat="override", join="override")
    times = whole["time"].values
    stamps, order = np.unique(times, return_index=True)
    order = order[~np.isnat(stamps)]
    return whole if np.array_equal(order, np.arange(times.size)) else whole.isel(time=order)


def per_day(array: xr.DataArray, how: str, offset_hours: float, *, a_day: int | None = None) -> xr.DataArray:
    """Means or sums of days with dims ``(day, y, x)``; a day that lacks a time is left out.

    Args:
        array: ``(time, y, x)`` in order; each value stands for what begins at its time.
        how: ``mean`` or ``sum``.
        offset_hours: Of the local time before UTC.
        a_day: Values in a day; by default as many as the usual step allows.
    """
    local = array["time"].values.astype("datetime64[s]") + np.timedelta64(round(3600 * offset_hours), "s")
    if a_day is None:
        step = np.median(np.diff(local).astype(np.int64)) if local.size > 1 else 86400
        a_day = max(1, round(86400 / step))
    days, first, count = np.unique(local.astype("datetime64[D]"), return_index=True, return_counts=True)
    whole = count == a_day
    chosen = (first[whole][:, None] + np.arange(a_day)).ravel()
    array = array.drop_vars("time") if chosen.size == local.size else array.drop_vars("time").isel(time=chosen)
    if chosen.size:  # dask does not split nothing
        steps = array.coarsen(time=a_day).construct(time=("day", "step"))
        array = steps.sum("step", skipna=False) if how == "sum" else steps.mean("step", skipna=False)
    else:
        array = array.rename(time="day")
    return array.assign_coords(day=days[whole].astype("datetime64[ns]"))


def together(fields: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Daily fields on the days that all of them have."""
    first = next(iter(fields.values()))
    fields = dict(zip(fields, xr.align(*fields.values(), join="inner", exclude=("y", "x")), strict=True))
    fields = {
        name: field.astype(np.float32).assign_coords(y=first["y"], x=first["x"]) for name, field in fields.items()
    }
    return xr.Dataset(fields).rio.write_crs(first.rio.crs).rio.write_transform(first.rio.transform())


def files_in_words(paths: Iterable[Path]) -> str:
    """A few of the files, for messages."""
    return listed(path.name for path in paths)
