"""Observations at stations, read from a table in a text file."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from snowmap.cube import TARGETS
from snowmap.errors import SnowmapError
from snowmap.units import metres_per

logger = logging.getLogger(__name__)

PLACE_AND_DATE = ("name", "lon", "lat", "date")
HEAD = re.compile(r"(hs|swe)(?:[\s_]*[\[(]\s*(?P<bracket>.*?)\s*[\])]|[\s_]+(?P<plain>.+))?")
"""``hs``, ``hs_cm``, ``hs cm``, ``HS [cm]``, ``swe (kg m-2)``, …"""

MOST_NAMED = 10


def read_stations(path: str | Path, unit: str | None = None) -> pd.DataFrame:
    """Read the columns name, lon, lat (degrees, WGS 84), date (ISO 8601) and hs or swe, or both, in any case.

    A unit may stand in a column's head (``hs_cm``, ``swe_mm``, ``HS [m]``). Columns are separated by commas, semicolons
    (then a comma may be the decimal sign) or tabs. Rows that cannot be used are left out with a warning that names
    them, by their line in the file: no place on Earth, an unreadable date, no value, or a station and date that stood
    before.

    Args:
        path: The file.
        unit: Unit of columns whose head tells none.

    Returns:
        One row for each observation: ``station``, ``lon``, ``lat``, ``date``, ``quantity`` (``hs`` or ``swe``),
        ``observed``, ``unit`` (empty where neither head nor `unit` tells it) and ``line``.

    Raises:
        SnowmapError: When the file cannot be read, lacks a column, has an unknown unit or no usable row.
    """
    path = Path(path)
    table = _table(path)
    if missing := [name for name in PLACE_AND_DATE if name not in table]:
        raise SnowmapError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    columns = _quantities(path, list(table.columns), unit)
    read = pd.DataFrame({"station": table["name"].str.strip()})
    read["lon"], read["lat"] = _numbers(table["lon"]), _numbers(table["lat"])
    dates = pd.to_datetime(table["date"].str.strip(), format="ISO8601", errors="coerce", utc=True)
    read["date"] = dates.dt.tz_localize(None).dt.normalize()
    read["line"] = np.arange(len(table)) + 2
    on_earth = read["lon"].between(-180, 360) & read["lat"].between(-90, 90)
    read = _keep(path, read, on_earth, "no readable lon and lat in degrees")
    read = _keep(path, read, read["date"].notna(), "an unreadable date, expected e.g. 2021-01-21")
    parts = []
    for quantity, (column, its_unit) in columns.items():
        part = read.assign(quantity=quantity, observed=_numbers(table[column]).reindex(read.index), unit=its_unit)
        part = _keep(path, part, np.isfinite(part["observed"]), f"no value of {quantity}")
        parts.append(_keep(path, part, ~part.duplicated(["station", "date"]), "a station and date that stood before"))
    observations = pd.concat(parts, ignore_index=True)
    if observations.empty:
        raise SnowmapError(f"{path} holds no usable row; expected {', '.join(PLACE_AND_DATE)} and hs or swe in each")
    return observations


def _table(path: Path) -> pd.DataFrame:
    """The file as text, with the heads in small letters."""
    if not path.is_file():
        raise SnowmapError(
            f"{path} does not exist; expected a table with the columns {', '.join(PLACE_AND_DATE)}, hs or swe"
        )
    try:
        head = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        separator = max(";\t,", key=head.count)
        table = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig", skip_blank_lines=False)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SnowmapError(f"{path} cannot be read as a table: {error}") from error
    if separator == ";":
        table = table.apply(
            lambda column: column.str.replace(",", ".") if column.name.strip().lower() != "name" else column
        )
    return table.rename(columns=lambda head: str(head).strip().lower())


def _numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").astype(np.float64)


def _quantities(path: Path, heads: list[str], unit: str | None) -> dict[str, tuple[str, str]]:
    """``{"hs": (its column, its unit)}``."""
    found: dict[str, tuple[str, str]] = {}
    for head in heads:
        match = HEAD.fullmatch(head)
        if match is None:
            continue
        quantity, its_unit = match[1], match["bracket"] or (match["plain"] or "").replace("_", " ") or unit or ""
        if its_unit:
            metres_per(its_unit, quantity, f"{path}, column '{head}'")
        if quantity in found:
            raise SnowmapError(
                f"{path} has two columns of {quantity}: '{found[quantity][0]}' and '{head}'; expected one"
            )
        found[quantity] = (head, its_unit)
    if not found:
        expected = " or ".join(TARGETS)
        raise SnowmapError(f"{path} has no column {expected} (with a unit: hs_cm, swe_mm); it has {', '.join(heads)}")
    return found


def _keep(path: Path, rows: pd.DataFrame, usable: pd.Series, why: str) -> pd.DataFrame:
    if not usable.all():
        logger.warning("%s: left out, %s: %s", path.name, why, listed(f"line {line}" for line in rows["line"][~usable]))
    return rows[usable]


def listed(names: Iterable[str]) -> str:
    """The first `MOST_NAMED` of the names, and how many more there are."""
    every = list(dict.fromkeys(names))
    rest = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + rest
