"""Daily air temperature and precipitation at stations, from tables."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr

from snowmap.errors import SnowmapError
from snowmap.products.netcdf import files_in_words
from snowmap.products.reader import Reader, Weather
from snowmap.products.table import NO_VALUE, Table, read_places
from snowmap.products.units import to_celsius, to_metres, to_millimetres
from snowmap.products.weather.daily import DailyWeather


@dataclass
class Stations(Weather):
    """Keys of tables of stations."""

    temperature: str | None = None  # columns; by default found by their names
    precipitation: str | None = None
    missing: list[float] = field(default_factory=lambda: [NO_VALUE])  # what means "no value"


def read_stations(paths: list[Path], options: Mapping[str, Any]) -> DailyWeather:
    """Daily values at stations: name, place, date, temperature, and where they are there elevation and precipitation.

    Args:
        paths: Tables; see `snowmap.products.table.read_places`.
        options: As `Stations`.

    Raises:
        SnowmapError: When a table lacks a column or a unit, or has a station twice on a day.
    """
    rows = pd.concat([_rows(read_places(path), options) for path in paths], ignore_index=True)
    name = files_in_words(paths)
    if not rows["temperature"].notna().sum():
        raise SnowmapError(f"{name}: no row with station, place, date and temperature; expected one for each day")
    again = rows[rows.duplicated(["station", "date"])]
    if len(again):
        first = again.iloc[0]
        raise SnowmapError(f"{name}: {first['station']} stands twice on {first['date']:%Y-%m-%d}; expected daily means")
    places = rows.groupby("station")[["x", "y", "height"]].first()
    fields = xr.Dataset(coords={"x": ("station", places["x"]), "y": ("station", places["y"])})
    for variable in ("temperature", "precipitation"):
        table = rows.pivot(index="date", columns="station", values=variable)[places.index]
        if table.notna().any(axis=None):
            fields[variable] = (("day", "station"), table.to_numpy(dtype=np.float32))
            fields["day"] = table.index.to_numpy().astype("datetime64[ns]")
    fields = fields.isel(day=fields["temperature"].notnull().any("station").values)
    if places["height"].notna().any():
        fields["height"] = ("station", places["height"].to_numpy(dtype=np.float32))
    return DailyWeather(fields.rio.write_crs("EPSG:4326"), name)


def _rows(table: Table, options: Mapping[str, Any]) -> pd.DataFrame:
    """Station, place in degrees, height in m, date, °C and mm of one table; rows without place or date are left out."""
    heads = {
        role: table.column(role, options.get(role)) for role in ("station", "date", "temperature", "precipitation")
    }
    if lacking := [role for role in ("station", "date", "temperature") if heads[role] is None]:
        raise SnowmapError(
            f"{table.path} has no column of {', '.join(lacking)}; it has {', '.join(table.rows.columns)}"
        )
    degrees = table.rows.geometry.to_crs("EPSG:4326")
    rows = pd.DataFrame({"station": table.rows[heads["station"]], "x": degrees.x, "y": degrees.y})
    rows["date"] = table.dates(heads["date"]).astype("datetime64[ns]")
    height = table.column("height")
    of_height = to_metres(table.units.get(height, "m"), "hs", f"{table.path}, {height}")
    rows["height"] = np.nan if height is None else table.numbers(height) * of_height.factor
    for role, convert in (("temperature", to_celsius), ("precipitation", to_millimetres)):
        if (head := heads[role]) is None:
            rows[role] = np.nan
            continue
        if head not in table.units:
            raise SnowmapError(
                f"{table.path}: column '{head}' states no unit; write it into the head, e.g. {head}_degC"
            )
        linear = convert(table.units[head], f"{table.path}, column '{head}'")
        rows[role] = table.numbers(head, options.get("missing", [NO_VALUE])) * linear.factor + linear.addend
    return rows[np.isfinite(rows["x"] + rows["y"]) & rows["date"].notna() & rows["station"].notna()]


READER = Reader(Stations, read_stations)
