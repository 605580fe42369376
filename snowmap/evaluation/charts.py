"""Charts of scores and of stations; those of the report are small enough for a phone."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from snowmap.baselines import label_of
from snowmap.evaluation.figures import provenance_title
from snowmap.evaluation.map_scores import by_map
from snowmap.maps.read import interval_of

COLOURS = {
    "observed": "black",
    "model": "#0072B2",
    "climatology": "#E69F00",
    "elevation": "#009E73",
    "persistence": "#CC79A7",
    "degree_day": "#D55E00",
    "insar_swe": "#56B4E9",
    "boosted_trees_no_sar": "#7F7F7F",
    "boosted_trees": "#8C6D31",
    "otsu": "#E69F00",
    "random_forest": "#D55E00",
    "terrain": "#009E73",
    "last_inventory": "#CC79A7",
}
"""One colour for each map in every chart, which colour-blind eyes distinguish too (Okabe & Ito 2008)."""

SIZE = (4.8, 3.4)
MOST_STATIONS = 12
STATION_COLUMNS = 3


def density_chart(predicted: Float[np.ndarray, "*dims"], observed: Float[np.ndarray, "*dims"], label: str) -> Figure:
    """How many pixels lie where between observed and predicted, on a logarithmic scale.

    Args:
        predicted: Maps; NaN = no prediction.
        observed: Maps in the same unit; NaN = no observation.
        label: Name and unit of the target.
    """
    both = np.isfinite(predicted) & np.isfinite(observed)
    p, o = predicted[both], observed[both]
    top = max(float(np.percentile(np.concatenate([p, o]), 99.9)), 1e-3) if len(p) else 1.0
    figure, axis = blank()
    count, _, _ = np.histogram2d(o, p, bins=70, range=[[0, top], [0, top]])
    place = {"origin": "lower", "extent": (0, top, 0, top), "interpolation": "none"}
    drawn = axis.imshow(count.T, norm=LogNorm(), cmap="viridis", **place)  # one image, where a mesh is 4900 shapes
    figure.colorbar(drawn, label="pixels")
    axis.plot([0, top], [0, top], color="0.3", linewidth=1, linestyle="--")
    axis.set(xlabel=f"observed {label}", ylabel=f"predicted {label}", aspect="equal")
    axis.grid(visible=False)
    return figure


def class_chart(entries: Sequence[Mapping[str, Any]], score: str, label: str, names: Sequence[str]) -> Figure:
    """A score by class, of the model and some baselines.

    Args:
        entries: Classes of one grouping, as in ``metrics.json``.
        score: A key of the scores.
        label: Of the score's axis.
        names: Maps to show, ``model`` among them.
    """
    figure, axis = blank()
    places, labels = np.arange(len(entries)), [entry["class"] for entry in entries]
    for shift, name in zip(np.linspace(-0.2, 0.2, len(names)), names, strict=True):
        values = _numbers(by_map(entry)[name][score] for entry in entries)
        size = 7 if name == "model" else 5
        axis.plot(places + shift, values, "o", label=label_of(name), markersize=size, color=colour_of(name))
    if score == "bias":
        axis.axhline(0, color="0.3", linewidth=1)
    many = max(map(len, labels)) * len(labels) > 45
    axis.set_xticks(places, labels, rotation=45 if many else 0, ha="right" if many else "center")
    axis.set_ylabel(label)
    legend(axis)
    return figure


def series_chart(area: Sequence[Mapping[str, Any]], quantity: str, label: str, names: Sequence[str]) -> Figure:
    """The study area's mean or volume over time: observed, model and some baselines.

    Args:
        area: The series of ``metrics.json``.
        quantity: ``mean`` or ``volume_m3``.
        label: Of the vertical axis.
        names: Maps to show, ``model`` among them.
    """
    figure, axis = blank()
    scale = 1e-6 if quantity == "volume_m3" else 1.0
    dates = np.array([entry["end"] for entry in area], "datetime64[D]")
    for name in reversed(["observed", *names]):
        thick = name in ("observed", "model")
        values = [entry[f"{name}_{quantity}"] if thick else entry["baselines"][name][quantity] for entry in area]
        style = {"marker": "o", "linewidth": 1.8} if thick else {"linewidth": 1}
        axis.plot(dates, scale * _numbers(values), label=label_of(name), markersize=4, color=colour_of(name), **style)
    locator = AutoDateLocator(minticks=2, maxticks=7)  # few windows lie days apart: hours would be too many
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.set_ylim(bottom=0)
    axis.set_ylabel(label)
    legend(axis)
    return figure


def reliability_chart(points: Sequence[Mapping[str, float]]) -> Figure:
    """Share of the truth inside central intervals against the share that they promise.

    Args:
        points: ``nominal``, ``observed`` and ``uncalibrated``, the share inside the intervals as predicted.
    """
    figure, axis = blank()
    axis.axline((0, 0), slope=1, color="0.3", linewidth=1, linestyle="--", label="perfect")
    nominal = [point["nominal"] for point in points]
    for key, label, colour in (
        ("uncalibrated", "as predicted", "model"),
        ("observed", "calibrated on validation", "degree_day"),
    ):
        axis.plot(nominal, [point[key] for point in points], "o-", markersize=5, label=label, color=COLOURS[colour])
    axis.set(xlabel="share promised", ylabel="share observed", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    legend(axis)
    return figure


def difference_chart(differences: Mapping[str, Mapping[str, Any]], label: str, score: str = "rmse") -> Figure:
    """A score of the model minus that of each baseline, with its interval.

    Args:
        differences: By baseline and score ``{"difference", "low", "high"}``.
        label: Of the horizontal axis.
        score: Which.
    """
    shown = {name: scores[score] for name, scores in reversed(differences.items())}
    shown = {name: ends for name, ends in shown.items() if ends["difference"] is not None}
    figure, axis = blank(height=0.9 + 0.38 * len(shown))
    axis.axvline(0, color="0.3", linewidth=1)
    for place, (name, ends) in enumerate(shown.items()):
        axis.plot(_numbers([ends["low"], ends["high"]]), [place, place], linewidth=3, color=colour_of(name))
        axis.plot(ends["difference"], place, "o", markersize=7, color=colour_of(name))
    axis.set_yticks(range(len(shown)), [label_of(name) for name in shown])
    axis.set(xlabel=label, ylim=(-0.6, len(shown) - 0.4))
    return figure


def stations_figure(maps: xr.Dataset, matches: pd.DataFrame) -> Figure:
    """Draw for each quantity observed against predicted, and for up to `MOST_STATIONS` stations the map through time.

    A band is the 90 % interval of the pixel, where the maps have one. Stations with the most matches are shown.

    Args:
        maps: The maps.
        matches: As `snowmap.evaluation.stations.match_stations` gives them.
    """
    panels: list[Callable[[Axes], None]] = []
    for _, part in matches.groupby("quantity", sort=False):
        panels += [partial(_draw_scatter, part), partial(_draw_differences, part)]
        for station in part["station"].value_counts().index[:MOST_STATIONS]:
            panels.append(partial(_draw_series, part[part["station"] == station], maps))
    rows = -(-len(panels) // STATION_COLUMNS)
    figure = Figure(figsize=(13, 0.5 + 2.6 * rows), layout="constrained")
    figure.suptitle(f"maps beside stations · {provenance_title(maps)}".rstrip(" ·"), parse_math=False)
    for axis, draw in zip_longest(figure.subplots(rows, STATION_COLUMNS, squeeze=False).flat, panels):
        draw(axis) if draw else axis.set_axis_off()
    if (total := matches["station"].nunique()) > MOST_STATIONS:
        figure.supxlabel(f"of {total} stations those with the most matches", fontsize=9)
    return figure


def _draw_scatter(matches: pd.DataFrame, axis: Axes) -> None:
    name = f"{matches['quantity'].iloc[0].upper()} {matches['unit'].iloc[0]}"
    observed, predicted = matches["observed"], matches["predicted"]
    sigma = matches.get("sigma")
    axis.errorbar(observed, predicted, yerr=sigma, fmt="o", markersize=3, linewidth=0.5, alpha=0.6)
    axis.axline((observed.min(), observed.min()), slope=1, color="black", linewidth=0.8)
    axis.set(xlabel=f"{name}, observed", ylabel=f"{name}, map{'' if sigma is None else ' (bars: ± σ)'}")


def _draw_differences(matches: pd.DataFrame, axis: Axes) -> None:
    axis.hist(matches["difference"], bins="auto")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"map − observed, {matches['unit'].iloc[0]}", ylabel="matches")


def _draw_series(matches: pd.DataFrame, maps: xr.Dataset, axis: Axes) -> None:
    first = matches.iloc[0]
    pixel = maps.isel(y=int(first["row"]), x=int(first["column"]))
    end = pixel["end"].values
    axis.plot(end, pixel[first["quantity"]].values, marker=".", label="map")
    interval = interval_of(pixel, first["quantity"], 90)
    if interval is not None:
        axis.fill_between(end, interval[0].values, interval[1].values, alpha=0.25, label="90 %")
    axis.plot(matches["date"], matches["observed"], "x", color="black", label="observed")
    axis.set_title(str(first["station"]), fontsize=9, parse_math=False)
    axis.set_ylabel(f"{first['quantity'].upper()} {first['unit']}", fontsize=8)
    axis.tick_params(axis="x", rotation=30, labelsize=7)
    axis.legend(fontsize=7)
    axis.set_ylim(bottom=min(0.0, float(np.nanmin(matches["observed"]))))


def blank(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    """A figure with one axis, in the form of all charts."""
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    axis = figure.subplots()
    axis.grid(color="0.9", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    return figure, axis


def legend(axis: Axes) -> None:
    """Above the axis."""
    axis.legend(fontsize=7.5, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)


def colour_of(name: str) -> str:
    """Of a map in every chart, by its name."""
    return COLOURS.get(name, "#808080")


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    """None becomes NaN, which is not drawn."""
    return np.array(list(values), dtype=float)
