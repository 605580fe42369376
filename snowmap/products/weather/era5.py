"""ERA5 and ERA5-Land from the Climate Data Store: hourly NetCDF of its old and new layout, or GRIB."""

import itertools
import logging
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
    first_bytes,
    joined,
    on_grid,
    open_netcdf,
    per_day,
    time_of,
    together,
    unit_of,
)
from snowmap.products.reader import Reader, Weather
from snowmap.products.units import to_celsius, to_metres
from snowmap.products.weather.daily import DailyWeather

logger = logging.getLogger(__name__)

GRAVITY = 9.80665
"""m s⁻²: geopotential by this is height (ECMWF's documentation)."""

HOUR = np.timedelta64(3600, "s")
FALL_M = 2e-5
"""m of water by which an accumulated amount may fall: rounding of packed values (a month's greatest in 2¹⁶ steps)."""

VARIABLES = {
    "temperature": ("air temperature", "air_temperature", "t2m|2t|var_2t"),
    "precipitation": ("total precipitation", "", "tp"),
    "height": ("geopotential", "geopotential|surface_geopotential", "z"),
}
"""In words, by standard names and by names."""


@dataclass
class Era5(Weather):
    """Keys of ERA5 and ERA5-Land."""

    utc_offset_hours: float = number(0.0, at_least=-14, at_most=14)  # local time − UTC: where a day begins


def read_era5(paths: list[Path], options: Mapping[str, Any]) -> DailyWeather:
    """Daily means of ``t2m``, and sums of ``tp`` where there is one, of the days that have all of their hours.

    ``tp`` at a time is what fell in the hour before (ERA5), or since 00 UTC (ERA5-Land, whose sums never fall within a
    day); a day's precipitation therefore needs 00 UTC of the next day. ``z``, from any of the files, gives the height.

    Args:
        paths: Files of any months and variables, of one grid.
        options: As `Era5`.

    Raises:
        SnowmapError: When the files hold no whole day of temperature, or lie on different grids.
    """
    name, parts = files_in_words(paths), {key: ([], []) for key in VARIABLES}
    for path in paths:
        for dataset, (key, (what, standard, names)) in itertools.product(_open(path), VARIABLES.items()):
            if variable := find(dataset, path, what, None, standard, names):
                parts[key][0].append(_field(dataset, variable, str(path), key))
                parts[key][1].append(str(path))
    if not parts["temperature"][0]:
        raise SnowmapError(f"{name}: no t2m (2 m temperature) in them; expected hourly ERA5 or ERA5-Land")
    offset = options.get("utc_offset_hours", 0.0)
    temperature = per_day(joined(*parts["temperature"]), "mean", offset, a_day=24)
    if not temperature.sizes["day"]:
        raise SnowmapError(f"{name}: no day has its 24 hours of t2m; expected hourly values, all hours of each day")
    fields = {"temperature": temperature}
    if parts["precipitation"][0]:
        fields["precipitation"] = per_day(_hourly(joined(*parts["precipitation"]), name), "sum", offset, a_day=24)
    weather = together(fields).load()  # the hours of a month are many, and every window would read them again
    if parts["height"][0]:
        weather["height"] = _beside(parts["height"][0][0], temperature, parts["height"][1][0])
    return DailyWeather(weather, name)


def _open(path: Path) -> list[xr.Dataset]:
    """A file, or the parts of a GRIB file, whose variables have times of their own."""
    if first_bytes(path) != b"GRIB":
        return [open_netcdf(path)]
    try:
        import cfgrib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SnowmapError(
            f"{path} is GRIB, and cfgrib is not installed: pip install 'snowmap[grib]', or fetch NetCDF"
        ) from error
    try:
        parts = cfgrib.open_datasets(str(path), backend_kwargs={"indexpath": ""})
    except Exception as error:  # of many kinds
        raise SnowmapError(f"{path}: not readable as GRIB ({error}); fetch it again") from error
    if not parts:
        raise SnowmapError(f"{path}: no whole message of GRIB in it; fetch it again")
    return [_one_time(part) for part in parts]


def _one_time(part: xr.Dataset) -> xr.Dataset:
    """Fields by the time for which they are valid, not by those of their forecast."""
    dims = [dim for dim in ("time", "step") if dim in part.dims]
    if not dims:
        return part
    whole = part.stack(stamp=dims, create_index=False).dropna("stamp", how="all")  # what no forecast holds
    return whole.drop_vars(["time", "step"], errors="ignore").swap_dims(stamp="valid_time").transpose("valid_time", ...)


def _field(dataset: xr.Dataset, variable: str, source: str, key: str) -> xr.DataArray:
    """A variable in °C, m of water or m above the sea, ``(time, y, x)``; of height ``(y, x)``."""
    array, unit = dataset[variable], unit_of(dataset[variable])
    dim = times = None
    if key != "height" or {"time", "valid_time"} & {*array.dims}:
        dim, times = time_of(array, dataset, f"{source}, {variable}")
    if "expver" in array.dims:  # ERA5 beside the preliminary ERA5T, each missing where the other is
        first, *others = (array.isel(expver=index, drop=True) for index in range(array.sizes["expver"]))
        array = first
        for other in others:
            array = array.fillna(other)
    array = on_grid(array, dataset, f"{source}, {variable}", dim)
    if unit is None:
        raise SnowmapError(
            f"{source}, {variable} states no unit; expected K, m or m**2 s**-2, as the data store writes"
        )
    if key == "height":
        return (array if dim is None else array.isel({dim: 0}, drop=True)) / GRAVITY
    assert times is not None
    array = array.rename({dim: "time"}) if dim else array.expand_dims("time")
    factor, addend, _ = to_celsius(unit, source) if key == "temperature" else to_metres(unit, "swe", source)
    # GRIB in NetCDF 3 is packed into 16 bits: double keeps its steps
    return (array.astype(np.float64) * factor + addend).assign_coords(time=times.astype("datetime64[ns]"))


def _hourly(amount: xr.DataArray, name: str) -> xr.DataArray:
    """Precipitation in mm in the hour that begins at ``time``."""
    times = amount["time"].values.astype("datetime64[s]")
    follows = np.append(False, np.diff(times) == HOUR)
    first = times - times.astype("datetime64[D]") == HOUR  # what fell from 00 to 01 UTC
    # from here on in memory: whether amounts are accumulated takes all of them
    values = amount.values
    change = np.diff(values, axis=0, prepend=np.nan)
    within = follows & ~first
    land = bool(within.any()) and not (change[within] < -FALL_M).any() and bool((values > FALL_M).any())
    logger.info("%s: tp is taken as %s", name, "accumulated since 00 UTC (ERA5-Land)" if land else "hourly (ERA5)")
    if land:
        values = np.where(first[:, None, None], values, np.maximum(change, 0))
        amount = amount.copy(data=values).isel(time=first | follows)
    return (amount * 1e3).clip(min=0).assign_coords(time=amount["time"] - HOUR)  # packing makes −1e-19 of 0


def _beside(height: xr.DataArray, field: xr.DataArray, source: str) -> xr.DataArray:
    """Heights at the cells of a field, from a file that may reach farther."""
    step = abs(field.rio.transform().a)
    near = height.reindex(y=field["y"], x=field["x"], method="nearest", tolerance=step / 10)
    if near.isnull().all():
        raise SnowmapError(f"{source}: the cells of its geopotential are not those of the temperature")
    return near.astype(np.float32).load()


READER = Reader(Era5, read_era5)
