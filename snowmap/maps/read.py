"""Maps read back from the NetCDF files that `snowmap.maps.netcdf` wrote, and the uncertainty that they carry."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from rasterio.transform import Affine
from scipy.stats import norm

from snowmap.data.classes import is_class_map
from snowmap.errors import SnowmapError
from snowmap.units import INTERVALS, SNOW_DEPTH_M, metres_per

WINDOW_FILE = re.compile(r"\d{4}-\d\d-\d\d_to_\d{4}-\d\d-\d\d\.nc")

MOST_M = 1000.0
"""No map holds more than this: m of snow, m of water."""


def read_maps(path: str | Path) -> xr.Dataset:
    """Open what snowmap wrote: a ``predictions.nc``, or a folder with one file for each window.

    In a folder, files are recognised by their names (``2021-01-09_to_2021-01-21.nc``); others are ignored. Values stay
    on disk until they are used, window by window. Dimensions may be in any order, and the file may have been cropped or
    flipped since: the coordinates of the pixels count.

    Args:
        path: The file or the folder.

    Returns:
        Maps as `SnowRegression.predict` gives them: ``swe`` and ``hs`` ``(window, y, x)``, their σ and quantiles,
        fluxes, and ``swe_observed`` and ``hs_observed``, as far as they are in the file, with their attributes;
        coordinates ``start``, ``end``, ``x``, ``y``, ``spatial_ref`` and, where the file has it, ``elevation (y, x)``
        in m; sorted by ``start``. ``attrs["origin"]`` says where the data came from.

    Raises:
        SnowmapError: When there is no such file, it was not written by snowmap, has no CRS or an unknown unit, or when
            the grids or variables of a folder's files differ. Also when a value is read that no snow can have.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.glob("*.nc") if WINDOW_FILE.fullmatch(file.name))
    if not files:
        raise SnowmapError(
            f"{path} {'holds no file of maps' if path.is_dir() else 'does not exist'}; expected a predictions.nc, or a "
            "folder with one file for each window, with names like 2021-01-09_to_2021-01-21.nc"
        )
    parts = [_read(file) for file in files]
    expected = _layout(parts[0])
    for file, part in zip(files, parts, strict=True):
        for what, value in _layout(part).items():
            if value != expected[what]:
                raise SnowmapError(f"{file} has {what} than {files[0].name}: {value}, not {expected[what]}")
    whole = xr.concat(parts, "window", coords="minimal", compat="override", join="override", combine_attrs="override")
    return whole.sortby("start")


def snow_targets(maps: xr.Dataset) -> list[str]:
    """Which of ``hs`` and ``swe`` the maps hold."""
    return [name for name in SNOW_DEPTH_M if name in maps]


def _read(path: Path) -> xr.Dataset:
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of a missing time_bnds, reported below
            file = xr.open_dataset(path, engine="h5netcdf", decode_coords="all", chunks={})
    except (OSError, ValueError) as error:
        raise SnowmapError(
            f"{path} cannot be read as NetCDF ({error}); expected a file of maps that snowmap wrote"
        ) from error
    y, x = ("lat", "lon") if "lat" in file.dims else ("y", "x")
    for name, layer in file.items():
        if is_class_map(layer.attrs) and "time" in layer.dims and layer.attrs.get("standard_name") != "status_flag":
            raise SnowmapError(
                f"{path}: '{name}' is a class map ({layer.attrs['flag_meanings']}); expected maps of swe or hs"
            )
    missing = [name for name in ("time", "time_bnds", y, x) if name not in file.variables]
    if missing or not snow_targets(file):
        lacks = ", ".join(missing) or "swe and hs"
        raise SnowmapError(f"{path} was not written by snowmap: it has no {lacks}; expected a file of maps")
    if file.rio.crs is None:
        raise SnowmapError(f"{path} has no CRS; expected a grid mapping, as snowmap writes it")
    maps = {
        str(name): (("window", "y", "x"), layer.transpose("time", y, x).data, layer.attrs)
        for name, layer in file.data_vars.items()
        if set(layer.dims) == {"time", y, x} and "flag_values" not in layer.attrs
    }
    if lost := [name for name in snow_targets(file) if name not in maps]:
        raise SnowmapError(f"{path}: {lost[0]} has the dimensions {file[lost[0]].dims}; expected time, {y}, {x}")
    start, end = file["time_bnds"].transpose("bnds", "time").values
    grid = {"x": file[x].values, "y": file[y].values, "start": ("window", start), "end": ("window", end)}
    if "elevation" in file:
        grid["elevation"] = (("y", "x"), file["elevation"].transpose(y, x).data)
    read = xr.Dataset(maps, grid, file.attrs | {"origin": str(file.attrs.get("source", "")).partition(" on ")[2]})
    for target in snow_targets(read):
        _check_target(read, target, path)
    return read.rio.write_crs(file.rio.crs).rio.write_transform(_transform(file))


def _transform(file: xr.Dataset) -> Affine:
    """As the grid mapping has it, unless another program changed the coordinates and not the grid mapping."""
    noted, measured = (file.rio.transform(recalc=recalc) for recalc in (False, True))
    return noted if noted.almost_equals(measured, 1e-3 * abs(measured.a)) else measured


def _check_target(maps: xr.Dataset, target: str, path: Path) -> None:
    """Known units, and the same for everything that belongs to a target; values are checked when they are read."""
    unit = str(maps[target].attrs.get("units", ""))
    most = MOST_M / metres_per(unit, target, str(path))
    for name in (str(name) for name in maps.data_vars if name == target or str(name).startswith(f"{target}_")):
        if (other := maps[name].attrs.get("units", "")) != unit:
            raise SnowmapError(f"{path}: {name} is in '{other}', but {target} is in '{unit}'; expected one unit")
        layer = maps[name].data
        maps[name].data = layer.map_blocks(_possible, most, f"{path}: {name}", unit, dtype=layer.dtype)


def _possible(values: np.ndarray, most: float, name: str, unit: str) -> np.ndarray:
    finite = np.abs(values[np.isfinite(values)])
    if finite.size and finite.max() > most:
        raise SnowmapError(
            f"{name} holds {finite.max():.3g} {unit}; expected snow maps, with no value beyond {most:g} {unit}"
        )
    return values


def _layout(maps: xr.Dataset) -> dict[str, Any]:
    transform = ", ".join(f"{value:.9g}" for value in maps.rio.transform()[:6])
    return {
        "another CRS": str(maps.rio.crs),
        "another grid": f"{maps.sizes['y']} × {maps.sizes['x']} px from ({transform})",
        "other maps or units": {name: maps[name].attrs.get("units") for name in sorted(map(str, maps.data_vars))},
    }


def interval_of(maps: xr.Dataset, target: str, share: int) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Ends of the central interval of a target, or None where the maps have no uncertainty.

    The quantile layers where the maps have them; else those of a normal distribution with the σ of the maps.

    Args:
        maps: Maps with or without uncertainty.
        target: ``swe`` or ``hs``.
        share: A key of `snowmap.units.INTERVALS`.
    """
    low, high = (f"{target}_{quantile}" for quantile in INTERVALS[share])
    if low in maps and high in maps:
        return maps[low], maps[high]
    if f"{target}_sigma" not in maps:
        return None
    reach = float(norm.ppf(0.5 + share / 200)) * maps[f"{target}_sigma"]
    return maps[target] - reach, maps[target] + reach
