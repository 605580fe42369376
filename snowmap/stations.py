"""Maps beside observations at stations: matched in place and time, scored, listed and drawn."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from pyproj import Transformer
from rasterio.warp import transform_bounds
from rich.console import Console
from rich.table import Table

from snowmap.cube import targets_of, window_names
from snowmap.errors import SnowmapError
from snowmap.files import refuse_inputs, whole_folder, write_whole
from snowmap.map_uncertainty import INTERVALS, interval_of, sigma_of
from snowmap.metrics import scores
from snowmap.station_figure import stations_figure
from snowmap.station_file import listed, read_stations
from snowmap.units import metres_per

logger = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
POOLED = "all"
"""In the place of the station, in rows that hold all of them."""


class Comparison(NamedTuple):
    """Maps beside stations.

    Attributes:
        matches: One row for each observation with a map; see `match_stations`.
        scores: One row for each quantity and station, all stations first; see `score_matches`.
    """

    matches: pd.DataFrame
    scores: pd.DataFrame


def compare_stations(
    maps: xr.Dataset, stations: str | Path, out: Path, *, days: int = 6, unit: str | None = None
) -> Comparison:
    """Match, score and draw, and write ``matches.csv``, ``scores.csv`` and ``stations.png``.

    Args:
        maps: Maps as `SnowRegression.predict` or `read_maps` give them.
        stations: Table of observations; see `read_stations`.
        out: Folder for the files; those of an earlier comparison are replaced.
        days: How far the date of an observation may lie from that of its map.
        unit: Unit of columns whose head tells none; by default that of the maps.

    Raises:
        SnowmapError: When the table cannot be used, nothing matches, or `out` cannot be written.
    """
    refuse_inputs(out / "matches.csv", stations)
    refuse_inputs(out / "scores.csv", stations)
    matches = match_stations(maps, read_stations(stations, unit), days)
    compared = Comparison(matches, score_matches(matches))
    drawn = BytesIO()
    stations_figure(maps, matches).savefig(drawn, dpi=110, bbox_inches="tight")
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "matches.csv", matches.drop(columns=["row", "column"]).to_csv(index=False))
        write_whole(unfinished / "scores.csv", compared.scores.to_csv(index=False))
        write_whole(unfinished / "stations.png", drawn.getbuffer())
    return compared


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
    found = _in_quantity(maps, observations)
    found = _in_place(maps, found)
    found = _in_time(maps, found, days)
    parts = [_values(maps, part, str(quantity)) for quantity, part in found.groupby("quantity", sort=False)]
    matches = pd.concat(parts, ignore_index=True) if parts else found
    if matches.empty:
        bounds = ", ".join(f"{value:.4g}" for value in transform_bounds(maps.rio.crs, WGS84, *maps.rio.bounds()))
        dates = listed(np.datetime_as_string(maps["end"].values, "D").tolist())
        raise SnowmapError(
            f"no station matches the maps: they hold {', '.join(targets_of(maps))} over {bounds} (west, south, east, "
            f"north in degrees) on {dates}; observations may be {days} days from that"
        )
    return matches


def _in_quantity(maps: xr.Dataset, observations: pd.DataFrame) -> pd.DataFrame:
    there = observations["quantity"].isin(targets_of(maps))
    if not there.all():
        names = ", ".join(observations["quantity"][~there].unique())
        logger.warning("left out, since the maps have no %s: %d observations", names, int((~there).sum()))
    kept = observations[there].copy()
    for target in kept["quantity"].unique():
        own, its = maps[target].attrs["units"], kept["quantity"] == target
        unit = kept["unit"][its].iloc[0]
        if not unit:
            logger.warning(
                "%s of the stations is taken to be in %s, as the maps are; --unit tells another", target, own
            )
        factor = metres_per(unit or own, target, "the stations") / metres_per(own, target, "the maps")
        kept.loc[its, "observed"] *= factor
        kept.loc[its, "unit"] = own
    return kept


def _in_place(maps: xr.Dataset, found: pd.DataFrame) -> pd.DataFrame:
    to_map = Transformer.from_crs(WGS84, maps.rio.crs, always_xy=True)
    x, y = to_map.transform(found["lon"].to_numpy(), found["lat"].to_numpy())
    transform = maps.rio.transform()
    column = np.floor((np.asarray(x) - transform.c) / transform.a)
    row = np.floor((np.asarray(y) - transform.f) / transform.e)
    inside = (row >= 0) & (row < maps.sizes["y"]) & (column >= 0) & (column < maps.sizes["x"])
    if not inside.all():
        logger.warning("left out, stations outside the maps: %s", listed(found["station"][~inside]))
    return found[inside].assign(row=row[inside].astype(int), column=column[inside].astype(int))


def _in_time(maps: xr.Dataset, found: pd.DataFrame, days: int) -> pd.DataFrame:
    apart = (maps["end"].values - found["date"].to_numpy()[:, None]) / np.timedelta64(1, "D")
    nearest = np.abs(apart).argmin(axis=1)
    distance = np.take_along_axis(apart, nearest[:, None], axis=1)[:, 0].astype(int)
    found = found.assign(index=nearest, window=np.array(window_names(maps))[nearest], days=distance)
    near = found["days"].abs() <= days
    if not near.all():
        lines = listed(f"line {line}" for line in found["line"][~near])
        logger.warning("left out, no map within %d days: %s", days, lines)
    found = found[near].sort_values("days", key=np.abs, kind="stable")
    later = found.duplicated(["station", "quantity", "window"])
    if later.any():
        logger.warning(
            "left out, %d observations: another one of the same station is nearer to the date of the map", later.sum()
        )
    return found[~later].sort_index()


def _values(maps: xr.Dataset, found: pd.DataFrame, target: str) -> pd.DataFrame:
    """Values of the maps at the pixels and windows of one target's observations."""
    at = {
        name: xr.DataArray(found[own], dims="match")
        for name, own in (("window", "index"), ("y", "row"), ("x", "column"))
    }
    points = maps.isel(at)
    predicted = points[target].values.astype(np.float64)
    columns = ["station", "lon", "lat", "date", "window", "days", "quantity", "unit", "observed"]
    matched = found[columns].assign(predicted=predicted, difference=predicted - found["observed"])
    matched[["row", "column"]] = found[["row", "column"]]
    sigma = sigma_of(points, target)
    if sigma is not None:
        matched["sigma"] = sigma.values
    for level in INTERVALS:
        interval = interval_of(points, target, level)
        if interval is not None:
            low, high = (end.values for end in interval)
            matched[f"inside_{level * 100:.0f}"] = (low <= matched["observed"]) & (matched["observed"] <= high)
    valued = np.isfinite(predicted)
    if not valued.all():
        places = listed(f"{row.station} in {row.window}" for row in matched[~valued].itertuples())
        logger.warning("left out, the map of %s has no value there: %s", target, places)
    return matched[valued]


def score_matches(matches: pd.DataFrame) -> pd.DataFrame:
    """Scores of each quantity over all stations and for each station.

    Args:
        matches: As `match_stations` gives them.

    Returns:
        Columns ``station`` ("all" for all of them), ``quantity``, ``unit``, ``matches``, those of
        `snowmap.metrics.scores` without ``pixels``, and where the maps have σ ``inside_50`` and ``inside_90``: the
        share of observations in the 50 % and 90 % interval of their pixel.
    """
    rows: list[dict[str, Any]] = []
    for quantity, part in matches.groupby("quantity", sort=False):
        for station, own in [(POOLED, part), *part.groupby("station", sort=False)]:
            found = scores(own["predicted"].to_numpy(np.float64), own["observed"].to_numpy(np.float64))
            head = {
                "station": station,
                "quantity": quantity,
                "unit": own["unit"].iloc[0],
                "matches": found.pop("pixels"),
            }
            shares = {name: own[name].astype(float).mean() for name in ("inside_50", "inside_90") if name in own}
            rows.append(head | found | shares)
    return pd.DataFrame(rows)


def print_scores(compared: Comparison, maps: xr.Dataset, console: Console | None = None) -> None:
    """Print a table for each quantity: all stations above each of them."""
    console = console or Console()
    shares = [name for name in ("inside_50", "inside_90") if name in compared.scores]
    for quantity, own in compared.scores.groupby("quantity", sort=False):
        title = f"{str(quantity).upper()} at stations, errors in {own['unit'].iloc[0]}"
        if str(maps.attrs.get("origin", "")).startswith("synthetic"):
            title += " · SYNTHETIC maps, no measure of skill"
        table = Table(title=title, title_justify="left")
        table.add_column("station", overflow="fold")
        for head in ("matches", "RMSE", "MAE", "bias", "R²", "r", *(f"in {name[-2:]} %" for name in shares)):
            table.add_column(head, justify="right", no_wrap=True)
        for row in own.to_dict("records"):
            table.add_row(
                *(str(row["station"]), str(row["matches"])),
                *(_number(row[name]) for name in ("rmse", "mae", "bias", "r2", "pearson_r")),
                *(f"{row[name]:.0%}" for name in shares),
                style="bold" if row["station"] == POOLED else "",
            )
        console.print(table)


def _number(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"
