"""Observations at stations, read from a table and set beside maps: matched in place and time, scored and drawn."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from pyproj import Transformer
from rasterio.warp import transform_bounds

from snowmap.data.cube import is_synthetic, window_names
from snowmap.errors import SnowmapError
from snowmap.evaluation.charts import stations_figure
from snowmap.evaluation.metrics import scores
from snowmap.files import as_png, refuse_inputs, whole_folder, write_whole
from snowmap.maps.read import interval_of, snow_targets
from snowmap.tables import SYNTHETIC, as_csv, listed, print_table, printable
from snowmap.units import INTERVALS, MOST_SNOW_M, metres_per, unit_factor

logger = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
PLACE_AND_DATE = ("name", "lon", "lat", "date")
HEAD = re.compile(r"(hs|swe)(?:[\s_]*[\[(]\s*(?P<bracket>.*?)\s*[\])]|[\s_]+(?P<plain>.+))?")
"""``hs``, ``hs_cm``, ``hs cm``, ``HS [cm]``, ``swe (kg m-2)``, …"""

POOLED = "all"
"""In the place of the station, in rows that hold all of them."""


def compare_stations(
    maps: xr.Dataset, stations: str | Path, out: Path, *, days: int = 6, unit: str | None = None
) -> pd.DataFrame:
    """Match, score and draw, and write ``matches.csv``, ``scores.csv`` and ``stations.png``.

    Args:
        maps: Maps as `SnowRegression.predict` or `read_maps` give them.
        stations: Table of observations; see `read_stations`.
        out: Folder for the files; those of an earlier comparison are replaced.
        days: How far the date of an observation may lie from that of its map.
        unit: Unit of columns whose head names none; by default that of the maps.

    Returns:
        The scores; see `score_matches`.

    Raises:
        SnowmapError: When the table cannot be used, nothing matches, or `out` cannot be written.
    """
    for name in ("matches.csv", "scores.csv"):
        refuse_inputs(out / name, stations)
    matches = match_stations(maps, read_stations(stations, unit), days)
    scored = score_matches(matches)
    figure = as_png(stations_figure(maps, matches))
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "matches.csv", as_csv(matches.drop(columns=["row", "column"])))
        write_whole(unfinished / "scores.csv", as_csv(scored))
        write_whole(unfinished / "stations.png", figure)
    return scored


def read_stations(path: str | Path, unit: str | None = None) -> pd.DataFrame:
    """Read the columns name, lon, lat (degrees, WGS 84), date (ISO 8601) and hs or swe, or both, in any case.

    A unit may stand in a column's head (``hs_cm``, ``swe_mm``, ``HS [m]``). Columns are separated by commas, semicolons
    (then a comma may be the decimal sign) or tabs. Rows that cannot be used are left out with a warning that names
    them, by their line in the file: no place on Earth, an unreadable date, no value, or a station and date that stood
    before.

    Args:
        path: The file.
        unit: Unit of columns whose head names none.

    Returns:
        One row for each observation: ``station``, ``lon``, ``lat``, ``date``, ``quantity`` (``hs`` or ``swe``),
        ``observed``, ``unit`` (empty where neither head nor `unit` names it) and ``line``.

    Raises:
        SnowmapError: When the file cannot be read, lacks a column, has an unknown unit or no usable row.
    """
    path = Path(path)
    table = _table(path)
    if missing := [name for name in PLACE_AND_DATE if name not in table]:
        raise SnowmapError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    quantities = _quantities(path, list(table.columns), unit)
    heads = {"lon": "lon", "lat": "lat"} | {quantity: head for quantity, (head, _) in quantities.items()}
    rows = pd.DataFrame({name: pd.to_numeric(table[head], errors="coerce") for name, head in heads.items()})
    rows["station"], rows["line"] = table["name"].map(printable, na_action="ignore"), np.arange(len(table)) + 2
    dates = pd.to_datetime(table["date"].str.strip(), format="ISO8601", errors="coerce", utc=True)
    rows["date"] = dates.dt.tz_localize(None).dt.normalize()
    on_earth = rows["lon"].between(-180, 360) & rows["lat"].between(-90, 90)
    rows = _keep(rows, on_earth, "no readable lon and lat in degrees")
    rows = _keep(rows, rows["date"].notna(), "an unreadable date, expected e.g. 2021-01-21")
    parts = []
    for quantity, (_, column_unit) in quantities.items():
        observed = rows[quantity].astype(np.float64)
        part = rows[["station", "lon", "lat", "date", "line"]]
        part = part.assign(quantity=quantity, observed=observed, unit=column_unit)
        part = _keep(part, np.isfinite(observed), f"no value of {quantity}")
        parts.append(_keep(part, ~part.duplicated(["station", "date"]), "a station and date that stood before"))
    observations = pd.concat(parts, ignore_index=True)
    if observations.empty:
        raise SnowmapError(f"{path} holds no usable row; expected {', '.join(PLACE_AND_DATE)} and hs or swe in each")
    return observations


def _table(path: Path) -> pd.DataFrame:
    """The file as text, with the heads in small letters."""
    if not path.is_file():
        raise SnowmapError(f"{path} does not exist; expected a table with {', '.join(PLACE_AND_DATE)}, hs or swe")
    try:
        head = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        separator = max(";\t,", key=head.count)
        table = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig", skip_blank_lines=False)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SnowmapError(f"{path} cannot be read as a table: {error}") from error
    table = table.rename(columns=lambda head: printable(head).lower())
    if separator == ";":
        numbers = table.columns.drop("name", errors="ignore")
        table[numbers] = table[numbers].apply(lambda column: column.str.replace(",", "."))
    return table


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


def _keep(rows: pd.DataFrame, usable: pd.Series | np.ndarray, why: str) -> pd.DataFrame:
    if not usable.all():
        names = (f"line {line} ({station})" for line, station in rows.loc[~usable, ["line", "station"]].to_numpy())
        logger.warning("left out, %s: %s", why, listed(names))
    return rows[usable]


def match_stations(maps: xr.Dataset, observations: pd.DataFrame, days: int = 6) -> pd.DataFrame:
    """Give each observation the pixel that holds its station and the map whose date is nearest.

    The date of a map is the end of its window. Of several observations of a station for the same map, the one nearest
    in time stays, so that a station read every day does not count twelve times for one map.

    Args:
        maps: The maps.
        observations: As `read_stations` gives them.
        days: How far the two dates may lie apart.

    Returns:
        Columns ``station``, ``lon``, ``lat``, ``date``, ``window``, ``days`` (date of the map − date of the
        observation), ``quantity``, ``unit`` (that of the maps), ``observed``, ``predicted``, ``difference`` (predicted
        − observed), ``row`` and ``column`` of the pixel; where the maps have σ also ``sigma``, ``inside_50`` and
        ``inside_90``.

    Raises:
        SnowmapError: When no observation has a map.
    """
    known = observations["quantity"].isin(snow_targets(maps))
    rows = _in_place(maps, _keep(observations, known, "the maps have no such quantity"))
    parts = []
    for target, part in rows.groupby("quantity", sort=False):
        in_unit = _in_unit(part, target, maps[target].attrs["units"])
        parts.append(_with_values(maps, _in_time(maps, in_unit, days), target))
    matches = pd.concat(parts or [rows], ignore_index=True)
    if matches.empty:
        bounds = ", ".join(f"{value:.4g}" for value in transform_bounds(maps.rio.crs, WGS84, *maps.rio.bounds()))
        dates = listed(np.datetime_as_string(maps["end"].values, "D").tolist())
        raise SnowmapError(
            f"no station matches the maps: they hold {', '.join(snow_targets(maps))} over {bounds} (west, south, east, "
            f"north in degrees) on {dates}; observations may be {days} days from that"
        )
    return matches


def _in_unit(rows: pd.DataFrame, target: str, unit: str) -> pd.DataFrame:
    """Plausible observations of a target, in the unit of the maps."""
    given = rows["unit"].iloc[0]
    if not given:
        logger.warning("%s of the stations is taken to be in %s, as the maps are; or name a --unit", target, unit)
    observed = rows["observed"] * unit_factor(given or unit, unit, target, "the stations")
    most = MOST_SNOW_M[target] / metres_per(unit, target, "the maps")
    return _keep(rows.assign(observed=observed, unit=unit), observed.between(0, most), "no plausible value")


def _in_place(maps: xr.Dataset, rows: pd.DataFrame) -> pd.DataFrame:
    to_map = Transformer.from_crs(WGS84, maps.rio.crs, always_xy=True)
    x, y = to_map.transform(rows["lon"].to_numpy(), rows["lat"].to_numpy())
    (across, down), indexes = np.abs(maps.rio.resolution()) / 2, maps.indexes
    column = indexes["x"].get_indexer(x, method="nearest", tolerance=across)
    row = indexes["y"].get_indexer(y, method="nearest", tolerance=down)
    return _keep(rows.assign(row=row, column=column), (row >= 0) & (column >= 0), "outside the maps")


def _in_time(maps: xr.Dataset, rows: pd.DataFrame, days: int) -> pd.DataFrame:
    apart = (maps["end"].values - rows["date"].to_numpy()[:, None]) // np.timedelta64(1, "D")
    nearest = np.abs(apart).argmin(axis=1)
    distance = apart[np.arange(len(rows)), nearest]
    rows = rows.assign(index=nearest, window=np.array(window_names(maps))[nearest], days=distance)
    rows = _keep(rows, rows["days"].abs() <= days, f"no map within {days} days")
    rows = rows.sort_values("days", key=np.abs, kind="stable")
    again = rows.duplicated(["station", "quantity", "window"])
    return _keep(rows, ~again, "another one of the same station is nearer to the date of the map").sort_index()


def _with_values(maps: xr.Dataset, rows: pd.DataFrame, target: str) -> pd.DataFrame:
    """Observations of one target beside the values of the maps at their pixels and windows."""
    places = {"window": rows["index"], "y": rows["row"], "x": rows["column"]}
    points = maps.isel({dim: xr.DataArray(position, dims="match") for dim, position in places.items()})
    predicted = points[target].values.astype(np.float64)
    matched = rows.assign(predicted=predicted, difference=predicted - rows["observed"])
    if (sigma := f"{target}_sigma") in points:
        matched["sigma"] = points[sigma].values
    for share in INTERVALS:
        if interval := interval_of(points, target, share):
            matched[f"inside_{share}"] = matched["observed"].between(*(end.values for end in interval))
    return _keep(matched, np.isfinite(predicted), "the map has no value there").drop(columns=["line", "index"])


def score_matches(matches: pd.DataFrame) -> pd.DataFrame:
    """Scores of each quantity over all stations and for each station.

    Args:
        matches: As `match_stations` gives them.

    Returns:
        Columns ``station`` ("all" for all of them), ``quantity``, ``unit``, ``matches``, those of
        `snowmap.evaluation.metrics.scores` without ``pixels``, and where the maps have σ ``inside_50`` and
        ``inside_90``: the share of observations in the 50 % and 90 % interval of their pixel.
    """
    rows = []
    for quantity, part in matches.groupby("quantity", sort=False):
        for station, group in [(POOLED, part), *part.groupby("station", sort=False)]:
            scored = scores(group["predicted"].to_numpy(), group["observed"].to_numpy())
            labels = {"station": station, "quantity": quantity, "unit": group["unit"].iloc[0]}
            shares = group.filter(like="inside_").mean().to_dict()
            rows.append(labels | {"matches": scored.pop("pixels")} | scored | shares)
    return pd.DataFrame(rows)


def print_scores(scored: pd.DataFrame, maps: xr.Dataset) -> None:
    """Print a table for each quantity: all stations above each of them."""
    errors = {"rmse": "RMSE", "mae": "MAE", "bias": "bias", "r2": "R²", "pearson_r": "r"}
    for quantity, rows in scored.groupby("quantity", sort=False):
        title = f"{quantity.upper()} at stations, errors in {rows['unit'].iloc[0]}"
        title += f" · {SYNTHETIC}" if is_synthetic(maps) else ""
        columns = {"station": rows["station"], "matches": rows["matches"].map(str)}
        numbers = rows.astype(dict.fromkeys(errors, float))
        columns |= {head: numbers[name].map("{:.2f}".format).replace("nan", "–") for name, head in errors.items()}
        columns |= {f"in {name[-2:]} %": rows[name].map("{:.0%}".format) for name in rows.filter(like="inside_")}
        print_table(title, columns, bold=POOLED)
