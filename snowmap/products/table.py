"""Tables of measurements at places: CSV with whatever stands before the heads, or any vector file."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
from pyogrio.errors import DataLayerError, DataSourceError

from snowmap.errors import SnowmapError
from snowmap.tables import listed, printable

ROLES = {
    "station": r"name|station|site|station_?id|id",
    "lon": r"lon|long|longitude",
    "lat": r"lat|latitude",
    "place": r"wkt|geom(?:etry)?",
    "height": r"elevation|height|altitude|elev",
    "date": r"date(?:[_/].*)?|datetime|day",
    "temperature": r"temperature|temp|tavg|t2m|tas|air_temp(?:erature)?|avg_air_temp",
    "precipitation": r"precipitation|precip|prcp|tp|rr",
    "hs": r"hs|depth|snow_?depth|sd|snd",
    "swe": r"swe|snow_water_equivalent",
}
"""What a column holds, by its head in small letters, without its unit and with _ for blanks."""

UNIT_BEHIND = r"(?P<name>.+?)_(?P<unit>m|cm|mm|in|inch(?:es)?|k|degc|degf|c|f|kg_m-2)"
MOST_LINES_BEFORE = 200
NO_VALUE = -9999.0
"""What means "no value", unless the recipe says otherwise."""


class Table(NamedTuple):
    """A table of measurements.

    Attributes:
        rows: Columns by heads in small letters, without units; the geometry of each row's place, with a CRS. Of a text
            file the index is the line.
        units: Of the columns that state one.
        path: Its file.
    """

    rows: gpd.GeoDataFrame
    units: dict[str, str]
    path: Path

    def column(self, role: str, key: str | None = None) -> str | None:
        """The head of what has a role: the one that the recipe names, else the only one with a usual name.

        Raises:
            SnowmapError: When the named one is not there, or several are alike.
        """
        heads = [head for head in self.rows.columns if head != "geometry"]
        if key is not None:
            if (head := _head(key)[0]) not in heads:
                raise SnowmapError(f"{self.path} has no column '{key}'; it has {', '.join(heads)}")
            return head
        matching = [head for head in heads if re.fullmatch(ROLES[role], head)]
        if len(matching) > 1:
            raise SnowmapError(f"{self.path} has several columns of {role}: {listed(matching)}; name one in the recipe")
        return matching[0] if matching else None

    def numbers(self, head: str, missing: Sequence[float] = ()) -> np.ndarray:
        """The numbers of a column; NaN where there is none, or one of `missing`."""
        values = pd.to_numeric(self.rows[head], errors="coerce").to_numpy(dtype=np.float64)
        return np.where(np.isin(values, list(missing)), np.nan, values)

    def dates(self, head: str) -> np.ndarray:
        """The days of a column, datetime64[D]; NaT where it is not readable."""
        text = (
            self.rows[head]
            .astype(str)
            .str.strip()
            .str.replace(r"^(\d{4})(\d{2})(\d{2})(?:\.0)?$", r"\1-\2-\3", regex=True)
        )
        text = text.where(text.str.match(r"\d{4}-\d"))  # 4 would be the year 4
        dates = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
        return dates.dt.tz_localize(None).to_numpy().astype("datetime64[D]")


def read_places(path: Path) -> Table:
    """A table whose rows have places: columns lon and lat, or WKT, in degrees of WGS 84; or a vector file of points.

    Lines before the heads, such as comments, are passed over. A column's unit stands in its head (``hs_cm``,
    ``SWE (mm)``), or in a column of the same name with ``_units``.

    Raises:
        SnowmapError: When the file cannot be read, or has no places.
    """
    if path.suffix.lower() in (".csv", ".txt", ".tsv", ".dat", ""):
        plain = _text_table(path)
        rows, units = _split(plain, path)
        rows = rows.rename(columns={"geometry": "wkt"})
        table = Table(rows, units, path)
        lon, lat, place = (table.column(role) for role in ("lon", "lat", "place"))
        if lon and lat:
            geometry = gpd.points_from_xy(table.numbers(lon), table.numbers(lat), crs="EPSG:4326")
        elif place:
            geometry = gpd.GeoSeries.from_wkt(rows.pop(place), on_invalid="ignore", crs="EPSG:4326").values
        else:
            raise SnowmapError(f"{path} has no columns lon and lat, or WKT; it has {', '.join(rows.columns)}")
        return Table(gpd.GeoDataFrame(rows, geometry=geometry), units, path)
    try:
        read = gpd.read_file(path)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise SnowmapError(f"{path} cannot be read as a table of points: {error}") from error
    if not isinstance(read, gpd.GeoDataFrame) or read.crs is None or not (read.geom_type == "Point").any():
        raise SnowmapError(f"{path} holds no points with a CRS; expected a layer of points")
    rows, units = _split(pd.DataFrame(read.drop(columns=read.geometry.name)), path)
    return Table(gpd.GeoDataFrame(rows, geometry=read.geometry.values, crs=read.crs), units, path)


def _text_table(path: Path) -> pd.DataFrame:
    """A file as text, with the heads in small letters; the index is the line.

    Columns are separated by commas, semicolons (then a comma may be the decimal sign) or tabs.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = list(islice(file, MOST_LINES_BEFORE)) or [""]
        separators = [max(";\t,", key=line.count) for line in lines]
        heads = enumerate(zip(lines, separators, strict=True))
        first = next((number for number, (line, by) in heads if _is_head(line.rstrip("\n").split(by))), None)
        if first is None:
            raise SnowmapError(
                f"{path} has no line with the heads of columns for place and date, such as lon,lat,date,hs_cm; it "
                f"begins with {lines[0].strip()}"
            )
        table = pd.read_csv(
            path, sep=separators[first], dtype=str, encoding="utf-8-sig", skip_blank_lines=False, skiprows=first
        )
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SnowmapError(f"{path} cannot be read as a table: {error}") from error
    table = table.rename(columns=lambda head: printable(head).lower())
    table.index += first + 2  # the line in the file
    if separators[first] == ";":
        table = table.replace(r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2", regex=True)
    return table


def _is_head(columns: list[str]) -> bool:
    heads = [_head(column)[0] for column in columns]
    has = {role for role, form in ROLES.items() for head in heads if re.fullmatch(form, head)}
    return bool({"lon", "lat"} <= has or "place" in has) and len(heads) > 2


def _split(table: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The columns under heads without units, and the units."""
    split = [_head(str(column)) for column in table.columns]
    table.columns = [head for head, _ in split]
    if len({*table.columns}) < len(split):
        again = [head for head, count in table.columns.value_counts().items() if count > 1]
        raise SnowmapError(f"{path} has the columns {listed(again)} twice; expected one of each")
    units = {head: unit for head, unit in split if unit}
    for head in table.columns:
        if (beside := f"{head}_units") in table.columns:
            stated = table[beside].dropna().unique()
            if len(stated) > 1:
                raise SnowmapError(f"{path}: '{beside}' holds several units: {listed(map(str, stated))}; expected one")
            units.update([(head, str(unit)) for unit in stated])
    return table, units


def _head(text: str) -> tuple[str, str | None]:
    """A head without its unit, and the unit."""
    text = re.sub(r"([\[(_ ]m)[_ ]*a\.?s\.?l\.?", r"\1", printable(text).strip("\"' ").lower())
    bracket = re.fullmatch(r"(.*?)[\s_]*[\[(]\s*(.*?)\s*[\])]", text)
    head = re.sub(r"\s+", "_", bracket[1] if bracket else text)
    behind = re.fullmatch(UNIT_BEHIND, head)
    if bracket or not (behind and any(re.fullmatch(form, behind["name"]) for form in ROLES.values())):
        return head, (bracket[2] if bracket else None)
    return behind["name"], behind["unit"].replace("_", " ")
