"""Snow at points: probes, pits, stations, from CSV or any vector file; a sparse target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from snowmap.errors import SnowmapError
from snowmap.products.netcdf import files_in_words
from snowmap.products.reader import Reader, Snow
from snowmap.products.snow.maps import Opener, SnowMaps
from snowmap.products.table import NO_VALUE, read_places
from snowmap.products.units import one_unit, to_metres
from snowmap.units import MOST_SNOW_M


@dataclass
class Points(Snow):
    """Keys of tables of points."""

    variable: str | None = None  # column of the values; by default found by its name
    date: str | None = None  # of all rows of a table without a column of dates
    missing: list[float] = field(default_factory=lambda: [NO_VALUE])  # what means "no value"


def read_points(paths: list[Path], options: Mapping[str, Any]) -> SnowMaps:
    """The points of each day.

    Args:
        paths: Tables; see `snowmap.products.table.read_places`.
        options: As `Points`, and ``target``.

    Raises:
        SnowmapError: When a table has no such column, unit or date, or no table has a value.
    """
    target, parts, left_out = options["target"], [], []
    for path in paths:
        points, sentences = _points(path, target, options)
        parts.append(points.to_crs("EPSG:4326"))
        left_out += sentences
    whole = pd.concat(parts)
    if whole.empty:
        raise SnowmapError(f"{files_in_words(paths)}: no row with place, date and {target}; {'; '.join(left_out)}")
    maps: dict[np.datetime64, Opener] = {
        np.datetime64(str(day)[:10], "D"): gpd.GeoDataFrame(rows).copy for day, rows in whole.groupby("day")
    }
    return SnowMaps(maps, files_in_words(paths), left_out)


def _points(path: Path, target: str, options: Mapping[str, Any]) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Rows with a place, ``day`` and ``value`` in m, and sentences on those that have none."""
    table = read_places(path)
    head, date = table.column(target, options.get("variable")), table.column("date")
    if head is None:
        raise SnowmapError(
            f"{path} has no column of {target}; it has {', '.join(table.rows.columns)}; name it: variable:"
        )
    if date is None and not options.get("date"):
        raise SnowmapError(f"{path} has no column of dates; give the key date:, e.g. date: 2020-02-01")
    source = f"{path}, column '{head}'"
    factor = to_metres(one_unit(table.units.get(head), options.get("unit"), source), target, source).factor
    value = table.numbers(head, options.get("missing", [NO_VALUE])) * factor
    day = np.full(value.size, np.datetime64(options["date"], "D")) if date is None else table.dates(date)
    rows = gpd.GeoDataFrame({"day": day.astype("datetime64[ns]"), "value": value}, geometry=table.rows.geometry.values)
    wrong = {
        "no date": np.isnat(day),
        f"no value of {target}": np.isnan(value),
        f"not within 0 … {MOST_SNOW_M[target]:g} m": (value < 0) | (value > MOST_SNOW_M[target]),
        "no place": np.asarray(rows.geometry.is_empty | rows.geometry.isna()),
    }
    lost = [f"{path.name}: {these.sum()} of {these.size} rows: {why}" for why, these in wrong.items() if these.any()]
    return gpd.GeoDataFrame(rows[~np.any(list(wrong.values()), axis=0)]), lost


READER = Reader(Points, read_points)
