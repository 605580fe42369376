"""The table of observations at stations: reading it, and naming what of it is left out."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from snowmap.errors import SnowmapError
from snowmap.products.table import Table, read_places
from snowmap.products.units import to_metres
from snowmap.tables import listed, printable
from snowmap.units import MOST_SNOW_M, metres_per

logger = logging.getLogger(__name__)

LeftOut = list[pd.DataFrame]
"""Observations that are not used, each with ``why``."""


def read_stations(
    path: str | Path, unit: str | None = None, missing: Sequence[float] = (), left_out: LeftOut | None = None
) -> pd.DataFrame:
    """Read name, place, date (ISO 8601) and hs or swe, or both; see `snowmap.products.table.read_places`.

    A unit may stand in a column's head (``hs_cm``, ``swe_mm``, ``HS [m]``). Another column, ``elevation``, ``height``
    or ``altitude``, may hold the height of the station in m. Rows that cannot be used are left out with a warning that
    names them, by their line in the file: no place on Earth, an unreadable date, no value, one of `missing`, or a
    station and date that stood before.

    Args:
        path: The file.
        unit: Unit of columns whose head names none.
        missing: Values that mean "no value", as they stand in the table.
        left_out: Takes the rows that are left out.

    Returns:
        One row for each observation: ``station``, ``lon``, ``lat``, ``height`` (m, NaN where unknown), ``date``,
        ``quantity`` (``hs`` or ``swe``), ``observed``, ``unit`` (empty where neither head nor `unit` names it) and
        ``line``.

    Raises:
        SnowmapError: When the file cannot be read, lacks a column, has an unknown unit or no usable row.
    """
    path = Path(path)
    if not path.is_file():
        raise SnowmapError(f"{path} does not exist; expected a table with name, lon, lat, date, hs or swe")
    table = read_places(path)
    heads = {role: head for role in (*MOST_SNOW_M, "station", "date", "height") if (head := _head(table, role))}
    quantities = [quantity for quantity in MOST_SNOW_M if quantity in heads]
    lacking = [role for role in ("station", "date") if role not in heads]
    if lacking := [*lacking, *([] if quantities else [" or ".join(MOST_SNOW_M)])]:
        raise SnowmapError(f"{path} has no column {', '.join(lacking)}; it has {', '.join(table.rows.columns)}")
    degrees = table.rows.geometry.to_crs("EPSG:4326")
    rows = pd.DataFrame({"lon": degrees.x, "lat": degrees.y, "height": np.nan, "line": table.rows.index})
    rows["station"] = table.rows[heads["station"]].map(printable, na_action="ignore")
    rows["date"] = table.dates(heads["date"]).astype("datetime64[ns]")
    if height := heads.get("height"):
        factor = to_metres(table.units.get(height, "m"), "hs", f"{path}, column '{height}'").factor
        rows["height"] = table.numbers(height) * factor
    for quantity in quantities:
        rows[quantity] = table.numbers(heads[quantity])
    on_earth = rows["lon"].between(-180, 360) & rows["lat"].between(-90, 90)
    rows = keep(rows, on_earth, "no readable lon and lat in degrees", left_out)
    rows = keep(rows, rows["date"].notna(), "an unreadable date, expected e.g. 2021-01-21", left_out)
    parts = []
    for quantity in quantities:
        observed, column_unit = rows[quantity], table.units.get(heads[quantity], unit or "")
        if column_unit:
            metres_per(column_unit, quantity, f"{path}, column '{heads[quantity]}'")
        part = rows[["station", "lon", "lat", "height", "date", "line"]]
        part = part.assign(quantity=quantity, observed=observed, unit=column_unit)
        part = keep(part, np.isfinite(observed), f"no value of {quantity}", left_out)
        for value in missing:
            part = keep(part, ~np.isclose(part["observed"], value), f"{value:g} of {quantity}: no value", left_out)
        again = part.duplicated(["station", "date"])
        parts.append(keep(part, ~again, "a station and date that stood before", left_out))
    observations = pd.concat(parts, ignore_index=True)
    if observations.empty:
        raise SnowmapError(f"{path} holds no usable row; expected name, place, date and hs or swe in each")
    return observations


def _head(table: Table, role: str) -> str | None:
    """The head of a column: the one of this very name, else as other tables may call it."""
    name = "name" if role == "station" else role
    return name if name in table.rows else table.column(role)


def keep(rows: pd.DataFrame, usable: pd.Series | np.ndarray, why: str, left_out: LeftOut | None) -> pd.DataFrame:
    """The usable rows; the others are named in a warning and go into `left_out`."""
    if not usable.all():
        lost = rows.loc[~usable].assign(why=why)
        names = (f"line {line} ({station})" for line, station in lost[["line", "station"]].to_numpy())
        logger.warning("left out %d of %d observations, %s: %s", len(lost), len(rows), why, listed(names))
        if left_out is not None:
            left_out.append(lost)
    return rows[usable]
