"""Maps to a CF NetCDF file (CF-1.11, https://cfconventions.org), on the very grid of the Cube."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rasterio.crs import CRS

import snowmap
from snowmap.data.classes import is_class_map
from snowmap.data.cube import is_synthetic, units_of
from snowmap.errors import SnowmapError
from snowmap.files import write_whole
from snowmap.units import BAND_UNITS, METRES, SNOW_DEPTH_M

SUM = "time: sum"
"""``cell_methods`` of a flux, which is a sum over the window."""

TIME = {
    "standard_name": "time",
    "long_name": "end of the window",
    "units_metadata": "leap_seconds: none",
    "axis": "T",
    "bounds": "time_bnds",
}
DAYS = {"units": "days since 1970-01-01", "calendar": "standard", "dtype": "float64", "_FillValue": None}
VALID = {"outside_study_area": 0, "map": 1, "no_map": 2}
"""What a pixel of a window is: `no_map` lies inside the study area, but a target has no value there."""

FLAGS = {
    "standard_name": "status_flag",
    "long_name": "whether a pixel of the window has a map",
    "flag_values": np.array(list(VALID.values()), np.int8),
    "flag_meanings": " ".join(VALID),
}
CLASS_TYPE, NO_CLASS = np.int16, -1
"""Of class maps, whose flags CF wants in the type of the map, and their missing value."""

ELEVATION = {"standard_name": "surface_altitude", "long_name": "elevation of the ground", "units": "m"}
STUDY_AREA = {"long_name": "study area", "flag_values": np.array([0, 1], np.int8), "flag_meanings": "outside inside"}


def write_predictions(
    maps: xr.Dataset, cube: xr.Dataset, windows: list[int], path: Path, provenance: Mapping[str, Any]
) -> Path:
    """Write predicted maps with their uncertainty, observed maps and elevation where the Cube has them, and provenance.

    The time of a map is the end of its window, when the state holds; its bounds are the window.

    Args:
        maps: Predictions ``(window, y, x)``, one variable for each target, with ``units`` and ``long_name``; what is
            called after a target (`swe_sigma`, `swe_q05`, …) belongs to it; those with the ``cell_methods`` `SUM` are
            sums over the window.
        cube: The Cube that was mapped, or one on the same grid; it need not hold targets.
        windows: Index in the Cube of each window of `maps`.
        path: The file.
        provenance: Kept as attributes; containers as JSON.

    Returns:
        `path`.

    Raises:
        SnowmapError: When a target is in a unit that a file cannot hold.
        WriteError: When the file cannot be written; nothing of it stays.
    """
    y, x = ("lat", "lon") if cube.rio.crs.is_geographic else ("y", "x")
    bounds = np.stack([maps["start"].values, maps["end"].values], axis=1)
    variables: dict[str, Any] = {"time_bnds": (("time", "bnds"), bounds)}
    for name, layer in maps.data_vars.items():
        variables[str(name)] = (("time", y, x), _stored(layer), _attributes(maps, str(name)))
    inside = cube["mask"].values
    for name in (target for target in targets_of_maps(maps) if target in cube):
        observed = cube[name].isel(window=windows).where(cube["mask"])
        variables[f"{name}_observed"] = (("time", y, x), _stored(observed), _of_target(cube, name, "{} of the archive"))
    if "features" in cube and units_of(cube).get("elevation") == BAND_UNITS["elevation"]:
        height = cube["features"].isel(window=windows[0]).sel(band="elevation").values
        variables["elevation"] = ((y, x), np.where(inside, height, np.float32(np.nan)), ELEVATION)
    variables["study_area"] = ((y, x), inside.astype(np.int8), STUDY_AREA)
    mapped = np.logical_and.reduce([np.isfinite(maps[name].values) for name in targets_of_maps(maps)])
    flags = np.where(inside, np.where(mapped, VALID["map"], VALID["no_map"]), VALID["outside_study_area"])
    variables["valid"] = (("time", y, x), flags.astype(np.int8), FLAGS)
    file = xr.Dataset(
        variables,
        coords={
            "time": ("time", bounds[:, 1], TIME),
            **{name: (name, cube[axis].values, _axis(axis, cube.rio.crs)) for axis, name in (("y", y), ("x", x))},
        },
        attrs=_global_attributes(cube, provenance),
    )
    file = file.rio.write_crs(cube.rio.crs, grid_mapping_name="crs")
    file = file.rio.write_transform(cube.rio.transform(), grid_mapping_name="crs")
    _encode(file)
    return write_whole(path, file.to_netcdf(engine="h5netcdf"))


def targets_of_maps(maps: xr.Dataset) -> list[str]:
    """The targets that are mapped, in the order of the maps.

    Raises:
        SnowmapError: When a quantity has no unit, or snow is in one that CF does not convert to that of its name.
    """
    names = [str(name) for name in maps.data_vars]
    targets = [
        name
        for name in names
        if maps[name].attrs.get("cell_methods") != SUM and not any(name.startswith(f"{other}_") for other in names)
    ]
    for name in targets:
        unit = maps[name].attrs.get("units")
        if is_class_map(maps[name].attrs):
            continue
        if not unit or (name in SNOW_DEPTH_M and unit not in METRES):
            possible = ", ".join(METRES) if name in SNOW_DEPTH_M else "any but none"
            raise SnowmapError(f"the map of '{name}' is in '{unit}'; a file can hold it in {possible}: set its 'units'")
    return targets


def companions(maps: xr.Dataset, target: str) -> list[str]:
    """What belongs to the map of a target: `swe_sigma`, `swe_q05`, … in the order of the maps."""
    return [str(name) for name in maps.data_vars if str(name).startswith(f"{target}_")]


def title(cube: xr.Dataset) -> str:
    """Of a file; synthetic data says so."""
    return f"Maps predicted by snowmap{' from SYNTHETIC data' if is_synthetic(cube) else ''}"


def _attributes(maps: xr.Dataset, name: str) -> dict[str, Any]:
    """Of a map: CF's names where there are any, words where there are none."""
    given = maps[name].attrs
    if given.get("cell_methods") == SUM:
        return given
    if name in targets_of_maps(maps):
        beside = " ".join([*companions(maps, name), "valid"])
        return {**_of_target(maps, name, "predicted {}"), "ancillary_variables": beside}
    # CF has a name for a standard error, none for a quantile
    target, _, layer = name.rpartition("_")
    known = maps[target].attrs.get("standard_name") if layer == "sigma" else None
    error = {"standard_name": f"{known} standard_error"} if known else {}
    return {**given, **error, "cell_methods": "time: point", "ancillary_variables": "valid"}


def _stored(layer: xr.DataArray) -> np.ndarray:
    """Values as they are written: those of a class map as whole numbers."""
    if not is_class_map(layer.attrs):
        return layer.values
    known = layer.isin(layer.attrs["flag_values"]).values  # not what is missing, nor what is to be ignored
    return np.where(known, layer.values, NO_CLASS).astype(CLASS_TYPE)


def _of_target(maps: xr.Dataset, name: str, words: str) -> dict[str, Any]:
    kept = {key: value for key, value in maps[name].attrs.items() if key in ("standard_name", "units", "flag_meanings")}
    if is_class_map(maps[name].attrs):
        kept["flag_values"] = np.array(maps[name].attrs["flag_values"], CLASS_TYPE)
    return {**kept, "cell_methods": "time: point", "long_name": words.format(maps[name].attrs["long_name"])}


def _axis(axis: str, crs: CRS) -> dict[str, str]:
    """CF's attributes of a coordinate."""
    name, unit = {"y": ("latitude", "degrees_north"), "x": ("longitude", "degrees_east")}[axis]
    if not crs.is_geographic:
        name = f"projection_{axis}_coordinate"
        unit = "m" if crs.linear_units == "metre" else crs.linear_units.replace(" ", "_")  # as UDUNITS spells it
    return {"standard_name": name, "long_name": name.replace("_", " "), "units": unit, "axis": axis.upper()}


def _global_attributes(cube: xr.Dataset, provenance: Mapping[str, Any]) -> dict[str, str]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "Conventions": "CF-1.11",
        "title": title(cube),
        "source": f"snowmap {snowmap.__version__} on {cube.attrs.get('origin', '')}",
        "history": f"{now} written by snowmap {snowmap.__version__}",
        **{f"snowmap_{key}": text for key, text in as_texts(provenance).items()},
    }


def as_texts(provenance: Mapping[str, Any]) -> dict[str, str]:
    """For attributes and tags; containers as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in provenance.items()
    }


def _encode(file: xr.Dataset) -> None:
    """Say how each variable is written; beside, not instead of, the grid mapping that rioxarray noted there."""
    for name in ("time", "time_bnds"):
        file[name].encoding |= DAYS
    for axis in ("y", "x", "lat", "lon"):
        if axis in file:
            file[axis].encoding["_FillValue"] = None
    for variable in file.data_vars.values():
        if variable.ndim > 2:
            variable.encoding |= {"zlib": True, "complevel": 1, "shuffle": True}  # more saves 1 % of a map
        if variable.dtype == np.float32:
            variable.encoding["_FillValue"] = np.float32(np.nan)
        if variable.dtype == CLASS_TYPE:
            variable.encoding["_FillValue"] = CLASS_TYPE(NO_CLASS)
