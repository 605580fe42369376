"""SnowSAR: airborne backscatter at X and Ku band on a UTM grid, in NetCDF files of one flight each, and points of snow.

Pixels are averaged to cells of the resolution that the user names: backscatter as linear power, which becomes dB,
beside the standard deviation of its pixels in dB; angles as unit vectors; land cover as the share of each class. A cell
needs half of its pixels. A flight is a window that begins and ends on its day.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from rasterio.transform import Affine

from snowmap.data.cube import Quantity, band_coordinates
from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.snow import SNOW, points_to_grid
from snowmap.sources.trentino.quantities import SWE_IN_UNITS, TARGETS
from snowmap.tables import listed
from snowmap.units import METRES

LEAST_SHARE = 0.5
"""Of the pixels of a cell that have to have a value."""

QUANTITIES = {"hs": TARGETS["hs"], "swe": SWE_IN_UNITS["mm"]}
_CHANNELS = {"ku_vv": "Ku band VV", "ku_vh": "Ku band VH", "x_vv": "X band VV", "x_vh": "X band VH"}
_LINEAR = ("1", "linear", "m2/m2", "m2 m-2", "m^2/m^2")
_DAY = re.compile(r"(?<!\d)(20\d\d)-?(\d\d)-?(\d\d)(?!\d)")

Means = dict[str, np.ndarray]


class Kind(NamedTuple):
    """How the pixels of a variable become bands: of `parts` the means are taken, of which `whole` makes the bands."""

    parts: Callable[[np.ndarray], list[np.ndarray]]
    whole: Callable[..., Means]
    bands: dict[str, Quantity]


def open_flights(data: Mapping[str, Any], targets: Sequence[str]) -> xr.Dataset:
    """The Cube of ``data=snowsar``; see `snowmap.sources.Source`.

    Raises:
        SnowmapError: When there is no file, one has no day, CRS, unit or variable, or no point lies in a cell.
    """
    files = _files(Path(data["root"]))
    grid = _common_grid(files, data["resolution"])
    kinds = _kinds(files, data)
    days = sorted({day for _, day in files})
    features = {day: _average(grid, [path for path, of in files if of == day], kinds, data) for day in days}
    quantities = {name: quantity for kind in kinds.values() for name, quantity in kind.bands.items()}
    chosen = data["bands"] or [*quantities]
    if unknown := [name for name in chosen if name not in quantities]:
        raise SnowmapError(f"data.bands: no band {', '.join(unknown)}; there are {', '.join(quantities)}")
    layers = np.stack([np.stack([features[day][name] for name in chosen]) for day in days]).astype(np.float32)
    variables: dict[str, Any] = {
        "features": (("window", "band", "y", "x"), layers),
        "mask": (("y", "x"), np.isfinite(layers).any(axis=(0, 1))),
    }
    for name in targets:
        maps = _of_points(name, data["points"], grid, np.array(days)) / METRES[QUANTITIES[name].unit]
        variables[name] = (("window", "y", "x"), maps, QUANTITIES[name].attributes)
    day_of = ("window", np.array(days, "datetime64[ns]"))
    transform, (height, width) = grid.transform, grid.shape
    coordinates = {
        "start": day_of,
        "end": day_of,
        **band_coordinates({name: quantities[name] for name in chosen}),
        "y": transform.f + transform.e * (np.arange(height) + 0.5),
        "x": transform.c + transform.a * (np.arange(width) + 0.5),
    }
    return xr.Dataset(variables, coordinates).rio.write_crs(grid.crs).rio.write_transform(transform)


def _files(root: Path) -> list[tuple[Path, np.datetime64]]:
    paths = sorted(root.glob("*.nc")) if root.is_dir() else [root]
    if not paths or not paths[0].exists():
        raise SnowmapError(f"{root}: no NetCDF files (*.nc); name the folder of the flights as data.root=…")
    flights = []
    for path in paths:
        try:
            flights.append((path, np.datetime64("-".join(_DAY.findall(path.stem)[0]), "D")))
        except (IndexError, ValueError) as error:
            raise SnowmapError(f"{path}: no day in its name; expected one such as 20120301") from error
    return flights


def _open(path: Path) -> xr.Dataset:
    try:
        file = xr.open_dataset(path, engine="h5netcdf", decode_coords="all")
    except (OSError, ValueError) as error:
        raise SnowmapError(f"{path}: not readable as NetCDF ({error}); fetch it again") from error
    if file.rio.crs is None or not {"x", "y"} <= file.coords.keys():
        raise SnowmapError(f"{path}: no CRS with coordinates x and y; expected a grid_mapping of a UTM zone")
    return file


def _common_grid(files: Sequence[tuple[Path, Any]], resolution: float) -> Grid:
    """The cells that hold the pixels of all files; their edges are multiples of the resolution."""
    bounds, crs = [], None
    for path, _ in files:
        with _open(path) as file:
            pixel = max(map(abs, file.rio.resolution()))
            if file.rio.crs.is_geographic or (crs is not None and file.rio.crs != crs):
                raise SnowmapError(f"{path}: is on {file.rio.crs}; expected one projected CRS for all flights")
            if resolution < pixel:
                raise SnowmapError(
                    f"data.resolution={resolution:g}: {path} has pixels of {pixel:g} m; give a coarser one"
                )
            crs = file.rio.crs
            bounds.append(np.array(file.rio.bounds()) / resolution)
    west, south = np.floor(np.min(bounds, axis=0)[:2] + 1e-6) * resolution
    east, north = np.ceil(np.max(bounds, axis=0)[2:] - 1e-6) * resolution
    shape = round((north - south) / resolution), round((east - west) / resolution)
    assert crs is not None
    return Grid(shape, Affine(resolution, 0, west, 0, -resolution, north), crs)


def _kinds(files: Sequence[tuple[Path, Any]], data: Mapping[str, Any]) -> dict[str, Kind]:
    """How each band that the files have is made, by the word in ``data.variables``."""
    kinds = {}
    for name, variable in data["variables"].items():
        if variable is None:
            continue
        channel = _CHANNELS.get(name.removesuffix("_incidence"), "")
        if name in _CHANNELS:
            kinds[name] = _backscatter(name, channel)
        elif channel:
            angle = Quantity("degree", 0, 90, f"local incidence angle, {channel}", "sar")
            kinds[name] = Kind(_vector, lambda c, s, name=name: {name: np.degrees(np.arctan2(s, c))}, {name: angle})
        elif name == "land_cover":
            kinds[name] = _shares(sorted({value for path, _ in files for value in _classes(path, name, data)}))
        else:
            with _open(files[0][0]) as file:
                unit = str(_variable(files[0][0], file, name, variable).attrs.get("units", "1"))
            ranges = {"elevation": ("m", -430.0, 8850.0), "vegetation": (unit, 0.0, 1e4)}
            quantity = Quantity(*ranges[name], name, "terrain")
            kinds[name] = Kind(lambda values: [values], lambda mean, name=name: {name: mean}, {name: quantity})
    if not kinds:
        raise SnowmapError("data.variables names no band; name one, e.g. data.variables.ku_vv=KuVV")
    return kinds


def _backscatter(name: str, channel: str) -> Kind:
    def parts(values: np.ndarray) -> list[np.ndarray]:
        return [10 ** (values / 10), values, values**2]

    def whole(power: np.ndarray, mean: np.ndarray, square: np.ndarray) -> Means:
        return {name: 10 * np.log10(power), f"{name}_std": np.sqrt(np.maximum(square - mean**2, 0))}

    spread = Quantity("dB", 0, 30, f"standard deviation of the pixels in a cell, {channel}", "sar")
    return Kind(parts, whole, {name: Quantity("dB", -60, 30, f"backscatter {channel}", "sar"), f"{name}_std": spread})


def _vector(degrees: np.ndarray) -> list[np.ndarray]:
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


def _classes(path: Path, band: str, data: Mapping[str, Any]) -> list[int]:
    with _open(path) as file:
        values = np.unique(_read(path, file, band, data))
    return [int(value) for value in values if np.isfinite(value)]


def _shares(classes: Sequence[int]) -> Kind:
    names = [f"land_cover_{value}" for value in classes]
    shares = {name: Quantity("1", 0, 1, f"share of class {name.split('_')[-1]}", "terrain") for name in names}
    return Kind(
        lambda values: [np.where(np.isfinite(values), values == value, np.nan) for value in classes],
        lambda *means: dict(zip(names, means, strict=True)),
        shares,
    )


def _variable(path: Path, file: xr.Dataset, band: str, name: str) -> xr.DataArray:
    if name not in file.data_vars:
        raise SnowmapError(
            f"data.variables.{band}={name}: {path} has no such variable; it has {listed(map(str, file.data_vars))}; "
            f"give its name, or null where there is none"
        )
    variable = file[name].squeeze(drop=True)
    if {*variable.dims} != {"y", "x"}:
        raise SnowmapError(f"{path}: {name} has the dims {variable.dims}; expected y and x")
    return variable.transpose("y", "x")


def _read(path: Path, file: xr.Dataset, band: str, data: Mapping[str, Any]) -> np.ndarray:
    """The pixels of a band ``(y, x)``, in dB, degrees or as they are; NaN = missing."""
    variable = _variable(path, file, band, data["variables"][band])
    values, unit = variable.values.astype(np.float64), str(variable.attrs.get("units", "")).strip().lower()
    if band in _CHANNELS:
        unit = (data["sigma0_unit"] or unit).lower()
        if unit != "db" and unit not in _LINEAR:
            raise SnowmapError(
                f"{path}: {variable.name} has the unit '{unit}'; expected dB or {' or '.join(_LINEAR)}; "
                "say which it is: data.sigma0_unit=dB or data.sigma0_unit=linear"
            )
        return values if unit == "db" else 10 * np.log10(np.where(values > 0, values, np.nan))
    if band.endswith("_incidence"):
        if unit not in ("degree", "degrees", "deg", "rad", "radian", "radians"):
            raise SnowmapError(f"{path}: {variable.name} has the unit '{unit}'; expected degree or rad; write it there")
        return values if unit.startswith("deg") else np.degrees(values)
    return values


def _average(grid: Grid, paths: Sequence[Path], kinds: Mapping[str, Kind], data: Mapping[str, Any]) -> Means:
    """Bands ``(y, x)`` of all files of one day."""
    sums: dict[str, Any] = dict.fromkeys(kinds, 0)
    for path in paths:
        with _open(path) as file:
            x, y = np.meshgrid(file["x"].values.astype(float), file["y"].values.astype(float))
            cells = _cells(grid, x, y).ravel()
            share = abs(np.prod(file.rio.resolution())) / grid.transform.a**2  # that a pixel is of a cell
            for name, kind in kinds.items():
                parts = kind.parts(_read(path, file, name, data).ravel())
                sums[name] = sums[name] + share * np.stack([_sums(grid, cells, part) for part in parts])
    bands: Means = {}
    for name, kind in kinds.items():
        covered, total = sums[name][:, 0], sums[name][:, 1]
        means = np.where(covered >= LEAST_SHARE - 1e-9, total / np.where(covered > 0, covered, 1), np.nan)
        bands |= {band: values.reshape(grid.shape) for band, values in kind.whole(*means).items()}
    return bands


def _cells(grid: Grid, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The number of the cell in which each place lies, all of them within the grid."""
    rows = np.floor((y - grid.transform.f) / grid.transform.e).astype(int)
    return rows * grid.shape[1] + np.floor((x - grid.transform.c) / grid.transform.a).astype(int)


def _sums(grid: Grid, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Count and sum of the finite values in each cell, ``(2, cell)``."""
    kept, size = np.isfinite(values), grid.shape[0] * grid.shape[1]
    return np.stack([np.bincount(cells[kept], weights, size) for weights in (None, values[kept])])


def _of_points(name: str, options: Mapping[str, Any], grid: Grid, days: np.ndarray) -> np.ndarray:
    """The mean of the points in each cell, on the nearest of the days, m, NaN where there is none, ``(day, y, x)``."""
    if not options["path"]:
        raise SnowmapError(f"no points for target={name}; name their file as data.points.path=…")
    keys = {"target": name, "variable": options[name], "unit": options[f"{name}_unit"]}
    points = SNOW["points"].read([Path(options["path"])], keys)
    of_day: dict[int, list[Any]] = {}
    for day, opened in points.maps.items():
        apart = np.abs(days - day)
        if apart.min() <= np.timedelta64(options["days"], "D"):
            of_day.setdefault(int(apart.argmin()), []).append(opened())
    maps = np.full((len(days), *grid.shape), np.nan, np.float32)
    for window, tables in of_day.items():
        maps[window] = points_to_grid(gpd.GeoDataFrame(pd.concat(tables)), grid)
    if not np.isfinite(maps).any():
        raise SnowmapError(
            f"{options['path']}: no point lies in the flights and within {options['days']} days of one; "
            "look at its dates and CRS, or give a greater data.points.days"
        )
    return maps
