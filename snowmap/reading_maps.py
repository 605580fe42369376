"""Maps read back from the NetCDF files that `snowmap.export` wrote."""

import re
from pathlib import Path

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr

from snowmap.cube import targets_of
from snowmap.errors import SnowmapError
from snowmap.units import metres_per

WINDOW_FILE = re.compile(r"\d{4}-\d\d-\d\d_to_\d{4}-\d\d-\d\d\.nc")


def read_maps(path: str | Path) -> xr.Dataset:
    """Open what snowmap wrote: a ``predictions.nc``, or a folder with one file for each window.

    In a folder, files are told by their names (``2021-01-09_to_2021-01-21.nc``); others are not looked at. Values stay
    on disk until they are used, window by window.

    Args:
        path: The file or the folder.

    Returns:
        Maps as `SnowRegression.predict` gives them: ``swe`` and ``hs`` ``(window, y, x)``, their σ and quantiles,
        fluxes, and ``swe_observed`` and ``hs_observed``, as far as they are in the file, with their attributes;
        coordinates ``start``, ``end``, ``x``, ``y`` and ``spatial_ref``; sorted by ``start``. ``attrs["origin"]`` tells
        where the data came from.

    Raises:
        SnowmapError: When there is no such file, it was not written by snowmap, has no CRS or an unknown unit, or when
            the grids or variables of a folder's files differ.
    """
    path = Path(path)
    files = _files(path)
    parts = [_read(file) for file in files]
    for file, part in zip(files[1:], parts[1:], strict=True):
        _check_same(files[0], parts[0], file, part)
    if len(parts) == 1:
        return parts[0].sortby("start")
    whole = xr.concat(parts, "window", coords="minimal", compat="override", join="override", combine_attrs="override")
    return whole.sortby("start")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SnowmapError(
            f"{path} does not exist; expected a predictions.nc, or a folder with one file for each window"
        )
    files = sorted(file for file in path.iterdir() if WINDOW_FILE.fullmatch(file.name))
    if not files:
        raise SnowmapError(
            f"{path} holds no file of maps; expected names like 2021-01-09_to_2021-01-21.nc (or name a predictions.nc)"
        )
    return files


def _read(path: Path) -> xr.Dataset:
    try:
        file = xr.open_dataset(path, engine="h5netcdf", decode_coords="all", chunks={})
    except (OSError, ValueError) as error:
        raise SnowmapError(
            f"{path} cannot be read as NetCDF ({error}); expected a file of maps that snowmap wrote"
        ) from error
    y, x = ("lat", "lon") if "lat" in file.dims else ("y", "x")
    missing = [name for name in ("time", "time_bnds", y, x) if name not in file.variables]
    if missing or not targets_of(file):
        lacks = ", ".join(missing) or "swe and hs"
        raise SnowmapError(f"{path} was not written by snowmap: it has no {lacks}; expected a file of maps")
    if file.rio.crs is None:
        raise SnowmapError(f"{path} has no CRS; expected a grid mapping, as snowmap writes it")
    maps = {
        str(name): (("window", "y", "x"), variable.data, variable.attrs)
        for name, variable in file.data_vars.items()
        if variable.dims == ("time", y, x) and "flag_values" not in variable.attrs
    }
    bounds = file["time_bnds"].values
    grid = {
        "x": file[x].values,
        "y": file[y].values,
        "start": ("window", bounds[:, 0]),
        "end": ("window", bounds[:, 1]),
    }
    read = xr.Dataset(maps, grid, file.attrs | {"origin": _origin(file)})
    _check_units(path, read)
    return read.rio.write_crs(file.rio.crs).rio.write_transform(file.rio.transform())


def _origin(file: xr.Dataset) -> str:
    origin = str(file.attrs.get("source", "")).partition(" on ")[2]
    synthetic = "SYNTHETIC" in str(file.attrs.get("title", ""))
    return f"synthetic: {origin}" if synthetic and not origin.startswith("synthetic") else origin


def _check_units(path: Path, maps: xr.Dataset) -> None:
    """Known units, and the same for everything that belongs to a target."""
    for target in targets_of(maps):
        unit = maps[target].attrs.get("units", "")
        metres_per(unit, target, str(path))
        for name in (str(name) for name in maps.data_vars if str(name).startswith(f"{target}_")):
            if (other := maps[name].attrs.get("units", "")) != unit:
                raise SnowmapError(f"{path}: {name} is in '{other}', but {target} is in '{unit}'; expected one unit")


def _check_same(first: Path, expected: xr.Dataset, path: Path, found: xr.Dataset) -> None:
    if found.rio.crs != expected.rio.crs:
        raise SnowmapError(f"{path} has the CRS {found.rio.crs}, but {first.name} has {expected.rio.crs}")
    shapes = [(maps.sizes["y"], maps.sizes["x"]) for maps in (found, expected)]
    grids = [np.asarray(maps.rio.transform()[:6]) for maps in (found, expected)]
    if shapes[0] != shapes[1] or not np.allclose(*grids, rtol=1e-9):
        told = [
            f"{height} × {width} px from {grid.tolist()}" for (height, width), grid in zip(shapes, grids, strict=True)
        ]
        raise SnowmapError(f"{path} has another grid than {first.name}: {told[0]}, not {told[1]}")
    names = [
        {name: maps[name].attrs.get("units") for name in sorted(map(str, maps.data_vars))} for maps in (found, expected)
    ]
    if names[0] != names[1]:
        raise SnowmapError(f"{path} has other maps or units than {first.name}: {names[0]}, not {names[1]}")
