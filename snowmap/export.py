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
from snowmap.cube import TARGETS

STANDARD_NAMES = {"hs": "surface_snow_thickness", "swe": "lwe_thickness_of_surface_snow_amount"}
EPOCH = "days since 1970-01-01"


def write_predictions(
    maps: xr.Dataset, cube: xr.Dataset, windows: list[int], path: Path, provenance: Mapping[str, Any]
) -> Path:
    """Write predicted and observed maps, dates, grid and provenance.

    The time of a map is the end of its window, when the state holds; its bounds are the window.

    Args:
        maps: Predictions ``(window, y, x)``, one variable for each target, with ``units``; further variables are
            sums over the window.
        cube: The Cube that was mapped.
        windows: Index in the Cube of each window of `maps`.
        path: The file.
        provenance: Kept as attributes; containers as JSON.

    Returns:
        `path`.
    """
    geographic = cube.rio.crs.is_geographic
    y, x = ("lat", "lon") if geographic else ("y", "x")
    days = [_days(maps[name].values) for name in ("start", "end")]
    variables: dict[str, Any] = {"time_bnds": (("time", "bnds"), np.stack(days, axis=1))}
    for name in (target for target in TARGETS if target in maps):
        attributes = {
            "units": maps[name].attrs["units"],
            "standard_name": STANDARD_NAMES[name],
            "cell_methods": "time: point",
        }
        text = TARGETS[name].long_name
        variables[name] = (("time", y, x), maps[name].values, {**attributes, "long_name": f"predicted {text}"})
        if name in cube:
            observed = np.where(cube["mask"].values, cube[name].values[windows], np.float32(np.nan))
            variables[f"{name}_observed"] = (
                ("time", y, x),
                observed,
                {**attributes, "long_name": f"{text} of the archive"},
            )
    for name in (str(name) for name in maps.data_vars if name not in TARGETS):
        attributes = {key: maps[name].attrs[key] for key in ("units", "long_name")}
        variables[name] = (("time", y, x), maps[name].values, {**attributes, "cell_methods": "time: sum"})
    flags = {"long_name": "study area", "flag_values": np.array([0, 1], np.int8), "flag_meanings": "outside inside"}
    variables["study_area"] = ((y, x), cube["mask"].values.astype(np.int8), flags)
    file = xr.Dataset(
        variables,
        coords={
            "time": ("time", days[1], _time_attributes()),
            y: (y, cube["y"].values, _axis_attributes("y", cube.rio.crs)),
            x: (x, cube["x"].values, _axis_attributes("x", cube.rio.crs)),
        },
        attrs=_global_attributes(cube, provenance),
    )
    file = file.rio.write_crs(cube.rio.crs, grid_mapping_name="crs").rio.write_transform(
        cube.rio.transform(), grid_mapping_name="crs"
    )
    temporary = path.with_name(f".{path.name}.part")
    file.to_netcdf(temporary, engine="h5netcdf", encoding=_encoding(file))
    return temporary.replace(path)


def _days(dates: np.ndarray) -> np.ndarray:
    return (dates.astype("datetime64[D]") - np.datetime64("1970-01-01")).astype(np.float64)


def _time_attributes() -> dict[str, str]:
    return {
        "standard_name": "time",
        "long_name": "end of the window",
        "units": EPOCH,
        "calendar": "standard",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
        "bounds": "time_bnds",
    }


def _axis_attributes(axis: str, crs: CRS) -> dict[str, str]:
    if crs.is_geographic:
        name, unit = {"y": ("latitude", "degrees_north"), "x": ("longitude", "degrees_east")}[axis]
        return {"standard_name": name, "long_name": name, "units": unit, "axis": axis.upper()}
    name = f"projection_{axis}_coordinate"
    unit = "m" if crs.linear_units == "metre" else crs.linear_units.replace(" ", "_")  # as UDUNITS spells it
    return {"standard_name": name, "long_name": f"{axis} of the projection", "units": unit, "axis": axis.upper()}


def _global_attributes(cube: xr.Dataset, provenance: Mapping[str, Any]) -> dict[str, str]:
    origin = str(cube.attrs.get("origin", ""))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "Conventions": "CF-1.11",
        "title": f"Snow maps predicted by snowmap{' from SYNTHETIC data' if origin.startswith('synthetic') else ''}",
        "source": f"snowmap {snowmap.__version__} on {origin}",
        "history": f"{now} written by snowmap {snowmap.__version__}",
        **{
            f"snowmap_{key}": value if isinstance(value, str) else json.dumps(value, default=str)
            for key, value in provenance.items()
        },
    }


def _encoding(file: xr.Dataset) -> dict[str, dict[str, Any]]:
    whole = [str(name) for name in ("time", "time_bnds", *file.dims) if name in file]
    encoding: dict[str, dict[str, Any]] = {name: {"_FillValue": None} for name in whole}
    for name, variable in file.data_vars.items():
        if variable.dtype == np.float32:
            encoding[str(name)] = {"zlib": True, "complevel": 4, "shuffle": True, "_FillValue": np.float32(np.nan)}
    return encoding
