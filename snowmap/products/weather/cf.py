"""Air temperature and precipitation from any NetCDF by the CF conventions, daily or at shorter steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from snowmap.config.fields import number
from snowmap.errors import SnowmapError
from snowmap.products.netcdf import (
    files_in_words,
    find,
    joined,
    on_grid,
    open_netcdf,
    per_day,
    time_of,
    together,
    unit_of,
)
from snowmap.products.reader import Reader, Weather
from snowmap.products.units import Linear, to_celsius, to_metres, to_millimetres
from snowmap.products.weather.daily import DailyWeather

VARIABLES = {
    "temperature": ("air temperature", "air_temperature", r"t2m|tas|tg|tm|tavg|tmean|temp|air_temp|temperature"),
    "precipitation": (
        "precipitation",
        "precipitation_flux|precipitation_amount|lwe_thickness_of_precipitation_amount|lwe_precipitation_rate",
        r"tp|pr|rr|prcp|precip|precipitation",
    ),
    "height": ("height", "surface_altitude", r"hgt|height|orog|orography|elevation|elev|dem|topo|altitude"),
}
"""In words, by standard names and by names."""

LONGEST_STEP = 1.5
"""Days between two times of daily fields."""


@dataclass
class Cf(Weather):
    """Keys of weather in any CF NetCDF."""

    temperature: str | None = None  # variables; by default found by their standard names
    precipitation: str | None = None
    utc_offset_hours: float = number(0.0, at_least=-14, at_most=14)  # of the days made of shorter steps


def read_cf(paths: list[Path], options: Mapping[str, Any]) -> DailyWeather:
    """Daily means of temperature and, where there is one, sums of precipitation, on the grid of the files.

    A time stands for the step that begins with it, or for the one that its bounds give.

    Args:
        paths: Files of any dates and variables, of one grid.
        options: As `Cf`.

    Raises:
        SnowmapError: When there is no temperature, no unit, no CRS, or no daily values.
    """
    name, parts = files_in_words(paths), {key: ([], []) for key in VARIABLES}
    rate = False
    for path in paths:
        dataset = open_netcdf(path)
        for key, (what, standard, names) in VARIABLES.items():
            wanted = options.get(key)
            wanted = wanted if wanted in dataset.data_vars else None
            if (wanted or not options.get(key)) and (variable := find(dataset, path, what, wanted, standard, names)):
                array, unit = _field(dataset, variable, str(path), key)
                rate = rate or unit.rate
                parts[key][0].append(array)
                parts[key][1].append(str(path))
    for key in ("temperature", "precipitation"):
        if not parts[key][0] and (key == "temperature" or options.get(key)):
            wanted = options.get(key) or "air temperature (by its standard_name or name)"
            raise SnowmapError(f"{name}: no variable {wanted} in them; name it by the key weather.{key}")
    offset = options.get("utc_offset_hours", 0.0)
    fields = {"temperature": per_day(_regular(joined(*parts["temperature"]), name), "mean", offset)}
    if not fields["temperature"].sizes["day"]:
        raise SnowmapError(f"{name}: no day has all of its values of temperature; expected whole days")
    if parts["precipitation"][0]:
        how = "mean" if rate else "sum"
        fields["precipitation"] = per_day(_regular(joined(*parts["precipitation"]), name), how, offset)
    weather = together(fields)
    if parts["height"][0]:
        height = parts["height"][0][0]
        if height.shape == weather["temperature"].shape[1:]:
            weather["height"] = height.assign_coords(y=weather["y"], x=weather["x"]).load()
    return DailyWeather(weather, name)


def _field(dataset: xr.Dataset, variable: str, path: str, key: str) -> tuple[xr.DataArray, Linear]:
    """A variable in °C, mm (a day) or m above the sea, and what made it so."""
    source, array = f"{path}, {variable}", dataset[variable]
    unit = unit_of(array)
    if unit is None:
        raise SnowmapError(f"{source} states no unit; write it with ncatted -a units,{variable},o,c,degC (or mm, m)")
    dim = times = None
    if key != "height" or array.ndim > 2:
        dim, times = time_of(array, dataset, source)
    array = on_grid(array, dataset, source, dim)
    convert = {"temperature": to_celsius, "precipitation": to_millimetres}.get(key)
    linear = convert(unit, source) if convert else to_metres(unit, "hs", source)
    array = array.astype(np.float32) * linear.factor + linear.addend
    if key == "height":
        return (array if dim is None else array.isel({dim: 0}, drop=True)), linear
    assert times is not None
    array = array.rename({dim: "time"}) if dim else array.expand_dims("time")
    return array.assign_coords(time=times.astype("datetime64[ns]")), linear


def _regular(array: xr.DataArray, name: str) -> xr.DataArray:
    steps = np.diff(array["time"].values) / np.timedelta64(1, "D")
    if steps.size and np.median(steps) > LONGEST_STEP:
        raise SnowmapError(f"{name}: {np.median(steps):.3g} days from field to field; expected a day or less")
    return array


READER = Reader(Cf, read_cf)
