"""Observations at stations beside maps: matched in place and time, scored and drawn."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
from collections.abc import Sequence
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
from snowmap.evaluation.station_table import LeftOut, keep, read_stations
from snowmap.files import as_png, refuse_inputs, whole_folder, write_whole
from snowmap.maps.read import interval_of, snow_targets
from snowmap.tables import SYNTHETIC, as_csv, listed, print_table
from snowmap.units import INTERVALS, MOST_SNOW_M, metres_per, unit_factor

logger = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
MOST_HEIGHT_DIFFERENCE_M = 200.0
"""Between a station and its pixel: 200 m are some 1.3 °C by the standard atmosphere's lapse rate."""

LEFT_OUT = ["line", "station", "date", "quantity", "why"]
"""Columns of ``left_out.csv``."""

POOLED = "all"
"""In the place of the station, in rows that hold all of them."""


def compare_stations(
    maps: xr.Dataset,
    stations: str | Path,
    out: Path,
    *,
    days: int = 6,
    unit: str | None = None,
    missing: Sequence[float] = (),
    height_difference_m: float = MOST_HEIGHT_DIFFERENCE_M,
) -> pd.DataFrame:
    """Match, score and draw, and write ``matches.csv``, ``scores.csv``, ``left_out.csv`` and ``stations.png``.

    Args:
        maps: Maps as `SnowRegression.predict` or `read_maps` give them.
        stations: Table of observations; see `read_stations`.
        out: Folder for the files; those of an earlier comparison are replaced.
        days: How far the date of an observation may lie from that of its map.
        unit: Unit of columns whose head names none; by default that of the maps.
        missing: Values that mean "no value", as they stand in the table.
        height_difference_m: How far the height of a station may be from that of its pixel.

    Returns:
        The scores; see `score_matches`.

    Raises:
        SnowmapError: When the table cannot be used, nothing matches, or `out` cannot be written.
    """
    for name in ("matches.csv", "scores.csv", "left_out.csv"):
        refuse_inputs(out / name, stations)
    left_out: LeftOut = []
    observations = read_stations(stations, unit, missing, left_out)
    matches = match_stations(maps, observations, days, height_difference_m, left_out)
    scored, lost = score_matches(matches), pd.concat([pd.DataFrame(), *left_out]).reindex(columns=LEFT_OUT)
    figure = as_png(stations_figure(maps, matches))
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "matches.csv", as_csv(matches.drop(columns=["row", "column"])))
        write_whole(unfinished / "scores.csv", as_csv(scored))
        write_whole(unfinished / "left_out.csv", as_csv(lost))
        write_whole(unfinished / "stations.png", figure)
    return scored


def match_stations(
    maps: xr.Dataset,
    observations: pd.DataFrame,
    days: int = 6,
    height_difference_m: float = MOST_HEIGHT_DIFFERENCE_M,
    left_out: LeftOut | None = None,
) -> pd.DataFrame:
    """Give each observation the pixel that holds its station and the map whose date is nearest.

    The date of a map is the end of its window. Of several observations of a station for the same map, the one nearest
    in time stays, so that a station read every day does not count twelve times for one map.

    Args:
        maps: The maps.
        observations: As `read_stations` gives them.
        days: How far the two dates may lie apart.
        height_difference_m: How far the height of a station may be from that of its pixel, where both are known.
        left_out: Takes the observations that are left out.

    Returns:
        Columns ``station``, ``lon``, ``lat``, ``height``, ``pixel_height`` (m, NaN where unknown), ``date``,
        ``window``, ``days`` (date of the map − date of the observation), ``quantity``, ``unit`` (that of the maps),
        ``observed``, ``predicted``, ``difference`` (predicted − observed), ``row`` and ``column`` of the pixel; where
        the maps have σ also ``sigma``, ``inside_50`` and ``inside_90``.

    Raises:
        SnowmapError: When no observation has a map.
    """
    known = observations["quantity"].isin(snow_targets(maps))
    rows = _in_place(maps, keep(observations, known, "the maps have no such quantity", left_out), left_out)
    rows = _at_height(maps, rows, height_difference_m, left_out)
    parts = []
    for target, part in rows.groupby("quantity", sort=False):
        in_unit = _in_unit(part, target, maps[target].attrs["units"], left_out)
        parts.append(_with_values(maps, _in_time(maps, in_unit, days, left_out), target, left_out))
    matches = pd.concat(parts or [rows], ignore_index=True)
    if matches.empty:
        bounds = ", ".join(f"{value:.4g}" for value in transform_bounds(maps.rio.crs, WGS84, *maps.rio.bounds()))
        dates = listed(np.datetime_as_string(maps["end"].values, "D").tolist())
        raise SnowmapError(
            f"no station matches the maps: they hold {', '.join(snow_targets(maps))} over {bounds} (west, south, east, "
            f"north in degrees) on {dates}; observations may be {days} days from that"
        )
    return matches


def _in_unit(rows: pd.DataFrame, target: str, unit: str, left_out: LeftOut | None) -> pd.DataFrame:
    """Plausible observations of a target, in the unit of the maps."""
    given = rows["unit"].iloc[0]
    if not given:
        logger.warning("%s of the stations is taken to be in %s, as the maps are; or name a --unit", target, unit)
    observed = rows["observed"] * unit_factor(given or unit, unit, target, "the stations")
    most = MOST_SNOW_M[target] / metres_per(unit, target, "the maps")
    why = f"no plausible value of {target} (0 … {most:g} {unit})"
    return keep(rows.assign(observed=observed, unit=unit), observed.between(0, most), why, left_out)


def _in_place(maps: xr.Dataset, rows: pd.DataFrame, left_out: LeftOut | None) -> pd.DataFrame:
    to_map = Transformer.from_crs(WGS84, maps.rio.crs, always_xy=True)
    x, y = to_map.transform(rows["lon"].to_numpy(), rows["lat"].to_numpy())
    (across, down), indexes = np.abs(maps.rio.resolution()) / 2, maps.indexes
    column = indexes["x"].get_indexer(x, method="nearest", tolerance=across)
    row = indexes["y"].get_indexer(y, method="nearest", tolerance=down)
    return keep(rows.assign(row=row, column=column), (row >= 0) & (column >= 0), "outside the maps", left_out)


def _at_height(maps: xr.Dataset, rows: pd.DataFrame, most: float, left_out: LeftOut | None) -> pd.DataFrame:
    """Stations about as high as their pixel; those whose height, or whose pixel's, is unknown stay."""
    if "elevation" not in maps.coords:
        if rows["height"].notna().any():
            logger.warning("the heights of the stations are not looked at: the maps hold no elevation")
        return rows.assign(pixel_height=np.nan)
    height = maps["elevation"].values[rows["row"].to_numpy(), rows["column"].to_numpy()]
    rows = rows.assign(pixel_height=height.astype(np.float64))
    far = (rows["height"] - rows["pixel_height"]).abs() > most
    return keep(rows, ~far, f"the station is more than {most:g} m higher or lower than its pixel", left_out)


def _in_time(maps: xr.Dataset, rows: pd.DataFrame, days: int, left_out: LeftOut | None) -> pd.DataFrame:
    apart = (maps["end"].values - rows["date"].to_numpy()[:, None]) // np.timedelta64(1, "D")
    nearest = np.abs(apart).argmin(axis=1)
    distance = apart[np.arange(len(rows)), nearest]
    rows = rows.assign(index=nearest, window=np.array(window_names(maps))[nearest], days=distance)
    rows = keep(rows, rows["days"].abs() <= days, f"no map within {days} days", left_out)
    rows = rows.sort_values("days", key=np.abs, kind="stable")
    again = rows.duplicated(["station", "quantity", "window"])
    nearer = "another one of the same station is nearer to the date of the map"
    return keep(rows, ~again, nearer, left_out).sort_index()


def _with_values(maps: xr.Dataset, rows: pd.DataFrame, target: str, left_out: LeftOut | None) -> pd.DataFrame:
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
    mapped = np.isfinite(predicted)
    return keep(matched, mapped, "the map has no value there", left_out).drop(columns=["line", "index"])


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
