"""Figure of maps beside stations: all matches, and a time series for each station."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

from itertools import zip_longest

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snowmap.maps.read import interval_of, is_synthetic

MOST_STATIONS = 12
COLUMNS = 3


def stations_figure(maps: xr.Dataset, matches: pd.DataFrame) -> Figure:
    """Draw for each quantity observed against predicted, and for up to `MOST_STATIONS` stations the map through time.

    A band is the 90 % interval of the pixel, where the maps have one. Stations with the most matches are shown.

    Args:
        maps: The maps.
        matches: As `snowmap.evaluation.stations.match_stations` gives them.
    """
    parts = {str(quantity): own for quantity, own in matches.groupby("quantity", sort=False)}
    shown = {quantity: own["station"].value_counts().index[:MOST_STATIONS] for quantity, own in parts.items()}
    rows = [-(-(2 + len(stations)) // COLUMNS) for stations in shown.values()]
    figure = Figure(figsize=(13, 0.5 + 2.6 * sum(rows)), layout="constrained")
    origin = "SYNTHETIC data: proves the pipeline, not skill" if is_synthetic(maps) else maps.attrs.get("origin")
    figure.suptitle(f"maps beside stations · {origin}" if origin else "maps beside stations", parse_math=False)
    areas = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=rows).flat
    for area, count, (quantity, own) in zip(areas, rows, parts.items(), strict=True):
        scatter, differences, *series = area.subplots(count, COLUMNS).flat
        _draw_scatter(scatter, own)
        _draw_differences(differences, own)
        for axis, station in zip_longest(series, shown[quantity]):
            if station is None:
                axis.set_axis_off()
            else:
                _draw_series(axis, maps, own[own["station"] == station])
        if (total := own["station"].nunique()) > MOST_STATIONS:
            area.supxlabel(f"the {MOST_STATIONS} of {total} stations with the most matches", fontsize=9)
    return figure


def _draw_scatter(axis: Axes, own: pd.DataFrame) -> None:
    name = f"{own['quantity'].iloc[0].upper()} {own['unit'].iloc[0]}"
    error = 1.645 * own["sigma"] if "sigma" in own else None
    axis.errorbar(own["observed"], own["predicted"], yerr=error, fmt="o", markersize=3, linewidth=0.5, alpha=0.6)
    ends = [own[["observed", "predicted"]].min().min(), own[["observed", "predicted"]].max().max()]
    axis.plot(ends, ends, color="black", linewidth=0.8)
    bars = "" if error is None else " (bars: ± 1.645 σ)"
    axis.set(xlabel=f"{name}, observed", ylabel=f"{name}, map{bars}")


def _draw_differences(axis: Axes, own: pd.DataFrame) -> None:
    axis.hist(own["difference"], bins="auto")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"map − observed, {own['unit'].iloc[0]}", ylabel="matches")


def _draw_series(axis: Axes, maps: xr.Dataset, own: pd.DataFrame) -> None:
    first = own.iloc[0]
    pixel = maps.isel(y=int(first["row"]), x=int(first["column"]))
    end = pixel["end"].values
    axis.plot(end, pixel[first["quantity"]].values, marker=".", label="map")
    interval = interval_of(pixel, first["quantity"], 0.9)
    if interval is not None:
        axis.fill_between(end, interval[0].values, interval[1].values, alpha=0.25, label="90 %")
    axis.plot(own["date"], own["observed"], "x", color="black", label="observed")
    axis.set_title(str(first["station"]), fontsize=9, parse_math=False)
    axis.set_ylabel(f"{first['quantity'].upper()} {first['unit']}", fontsize=8)
    axis.tick_params(axis="x", rotation=30, labelsize=7)
    axis.legend(fontsize=7)
    axis.set_ylim(bottom=min(0.0, float(np.nanmin(own["observed"]))))
