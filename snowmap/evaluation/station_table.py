"""The table of observations at stations: reading it, and naming what of it is left out."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from snowmap.errors import SnowmapError
from snowmap.products.table import text_table
from snowmap.tables import listed, printable
from snowmap.units import MOST_SNOW_M, metres_per

logger = logging.getLogger(__name__)

PLACE_AND_DATE = ("name", "lon", "lat", "date")
HEAD = re.compile(r"(hs|swe)(?:[\s_]*[\[(]\s*(?P<bracket>.*?)\s*[\])]|[\s_]+(?P<plain>.+))?")
"""``hs``, ``hs_cm``, ``hs cm``, ``HS [cm]``, ``swe (kg m-2)``, …"""

HEIGHT = re.compile(r"(?:elevation|height|altitude)(?:[\s_]*[\[(]?m(?:[\s_]*a\.?s\.?l\.?)?[\])]?)?")
"""``elevation``, ``height_m``, ``altitude [m]``, …"""

LeftOut = list[pd.DataFrame]
"""Observations that are not used, each with ``why``."""


def read_stations(
    path: str | Path, unit: str | None = None, missing: Sequence[float] = (), left_out: LeftOut | None = None
) -> pd.DataFrame:
    """Read the columns name, lon, lat (degrees, WGS 84), date (ISO 8601) and hs or swe, or both, in any case.

    A unit may stand in a column's head (``hs_cm``, ``swe_mm``, ``HS [m]``). Another column, ``elevation``, ``height``
    or ``altitude``, may hold the height of the station in m. Columns are separated by commas, semicolons (then a comma
    may be the decimal sign) or tabs. Rows that cannot be used are left out with a warning that names them, by their
    line in the file: no place on Earth, an unreadable date, no value, one of `missing`, or a station and date that
    stood before.

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
        raise SnowmapError(f"{path} does not exist; expected a table with {', '.join(PLACE_AND_DATE)}, hs or swe")
    table = text_table(path)
    if lacking := [name for name in PLACE_AND_DATE if name not in table]:
        raise SnowmapError(f"{path} has no column {', '.join(lacking)}; it has {', '.join(table.columns)}")
    quantities = _quantities(path, list(table.columns), unit)
    heads = {"lon": "lon", "lat": "lat"} | {quantity: head for quantity, (head, _) in quantities.items()}
    heads |= dict(zip(["height"], filter(HEIGHT.fullmatch, table.columns), strict=False))
    rows = pd.DataFrame({name: pd.to_numeric(table[head], errors="coerce") for name, head in heads.items()})
    rows = rows.assign(height=rows.get("height", np.nan))
    rows["station"], rows["line"] = table["name"].map(printable, na_action="ignore"), np.arange(len(table)) + 2
    dates = pd.to_datetime(table["date"].str.strip(), format="ISO8601", errors="coerce", utc=True)
    rows["date"] = dates.dt.tz_localize(None).dt.normalize()
    on_earth = rows["lon"].between(-180, 360) & rows["lat"].between(-90, 90)
    rows = keep(rows, on_earth, "no readable lon and lat in degrees", left_out)
    rows = keep(rows, rows["date"].notna(), "an unreadable date, expected e.g. 2021-01-21", left_out)
    parts = []
    for quantity, (_, column_unit) in quantities.items():
        observed = rows[quantity].astype(np.float64)
        part = rows[["station", "lon", "lat", "height", "date", "line"]]
        part = part.assign(quantity=quantity, observed=observed, unit=column_unit)
        part = keep(part, np.isfinite(observed), f"no value of {quantity}", left_out)
        for value in missing:
            part = keep(part, ~np.isclose(part["observed"], value), f"{value:g} of {quantity}: no value", left_out)
        again = part.duplicated(["station", "date"])
        parts.append(keep(part, ~again, "a station and date that stood before", left_out))
    observations = pd.concat(parts, ignore_index=True)
    if observations.empty:
        raise SnowmapError(f"{path} holds no usable row; expected {', '.join(PLACE_AND_DATE)} and hs or swe in each")
    return observations


def _quantities(path: Path, heads: list[str], unit: str | None) -> dict[str, tuple[str, str]]:
    """The head of each quantity's column, and its unit."""
    columns: dict[str, tuple[str, str]] = {}
    for match in filter(None, map(HEAD.fullmatch, heads)):
        head, quantity = match[0], match[1]
        head_unit = match["bracket"] or (match["plain"] or "").replace("_", " ") or unit or ""
        if head_unit:
            metres_per(head_unit, quantity, f"{path}, column '{head}'")
        if quantity in columns:
            raise SnowmapError(
                f"{path} has two columns of {quantity}: '{columns[quantity][0]}' and '{head}'; expected one"
            )
        columns[quantity] = head, head_unit
    if not columns:
        expected = " or ".join(MOST_SNOW_M)
        raise SnowmapError(f"{path} has no column {expected} (with a unit: hs_cm, swe_mm); it has {', '.join(heads)}")
    return columns


def keep(rows: pd.DataFrame, usable: pd.Series | np.ndarray, why: str, left_out: LeftOut | None) -> pd.DataFrame:
    """The usable rows; the others are named in a warning and go into `left_out`."""
    if not usable.all():
        lost = rows.loc[~usable].assign(why=why)
        names = (f"line {line} ({station})" for line, station in lost[["line", "station"]].to_numpy())
        logger.warning("left out %d of %d observations, %s: %s", len(lost), len(rows), why, listed(names))
        if left_out is not None:
            left_out.append(lost)
    return rows[usable]
