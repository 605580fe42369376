"""Figures of class maps: outlines over the temporal mean of the radar, and charts of scores."""

# pyright: reportArgumentType=false
# matplotlib takes more than its stubs say

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snowmap.baselines import label_of
from snowmap.data.classes import Classes, places_of
from snowmap.data.cube import window_names
from snowmap.data.grid import stretch
from snowmap.evaluation.charts import blank, colour_of, legend
from snowmap.evaluation.figures import OUTSIDE, provenance_title, spaced
from snowmap.evaluation.map_scores import ScoredMaps
from snowmap.files import as_png
from snowmap.maps.class_files import class_colours

MOST_PIXELS = 1000
"""On a side of a picture: of a larger map every second, third … pixel is drawn."""

MOST_MAPS = 6

OBSERVED, MAPPED = "#D55E00", "#56B4E9"
AGREEMENT = {"right": "white", "found": "#009E73", "missed": "#D55E00", "false alarm": "#CC79A7"}
"""Of two classes; of more than two, what is right and what is `missed`."""


def class_pictures(scene: ScoredMaps, target: str) -> list[bytes]:
    """PNG files, one for each window, of at most `MOST_MAPS` that are evenly spaced.

    Observed and mapped outlines over the temporal mean of the first radar band up to the window, the probability of the
    class that the target names (of more than two classes the class map), and where the map is right.

    Args:
        scene: The maps, and the Cube that was mapped.
        target: Its name.
    """
    return [as_png(_figure(scene, target, position)) for position in spaced(len(scene.windows), MOST_MAPS)]


def _figure(scene: ScoredMaps, target: str, position: int) -> Figure:
    cube, window = scene.cube, scene.windows[position]
    classes, step = Classes.of(target, cube[target].attrs), -(-max(cube["mask"].shape) // MOST_PIXELS)
    thin = {"y": slice(None, None, step), "x": slice(None, None, step)}
    part, maps = cube.isel(thin), scene.maps.isel({"window": position, **thin})
    truth = places_of(part[target].isel(window=window).where(part["mask"]).values, classes)
    mapped = places_of(maps[target].values, classes)
    tall = part.sizes["y"] / part.sizes["x"] * stretch(cube)
    figure = Figure(figsize=(12, 1.2 + max(3.6 * tall, 1.2)), layout="constrained")
    named = window_names(scene.maps)[position].replace("_", " ")
    figure.suptitle(f"{provenance_title(cube)} · {named}".lstrip(" ·"), parse_math=False)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    west, south, east, north = cube.rio.bounds()
    place = {"extent": (west, east, south, north), "aspect": stretch(cube), "interpolation": "nearest"}
    _draw_outlines(axes[0], part, window, truth, mapped, classes, place)
    if classes.named is None:
        colours = _palette(classes)
        axes[1].imshow(np.ma.masked_less(mapped, 0), cmap=colours, vmin=-0.5, vmax=len(colours.colors) - 0.5, **place)
        _key(axes[1], dict(zip(classes.meanings, colours.colors, strict=True)))
        axes[1].set_title("mapped classes", fontsize=9)
    else:
        probability = maps[classes.probabilities[classes.named]].values
        drawn = axes[1].imshow(probability, vmin=0, vmax=1, cmap="viridis", **place)
        figure.colorbar(drawn, ax=axes[1], shrink=0.7)
        axes[1].set_title(f"probability of {classes.meanings[classes.named]}", fontsize=9)
    _draw_agreement(axes[2], truth, mapped, classes, place)
    for axis in axes:
        axis.set_facecolor(OUTSIDE)
        axis.tick_params(labelsize=7)
        axis.locator_params(nbins=4)
    return figure


def _draw_outlines(
    axis: Axes,
    cube: xr.Dataset,
    window: int,
    truth: np.ndarray,
    mapped: np.ndarray,
    classes: Classes,
    place: Mapping[str, Any],
) -> None:
    bands = cube["band"].values[cube["group"].values == "sar"]
    if len(bands):
        series = cube["features"].isel(window=slice(0, window + 1)).sel(band=bands[0]).values
        valid = np.isfinite(series)
        count = valid.sum(axis=0)
        mean = np.where(count > 0, np.where(valid, series, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
        if (count > 0).any():
            low, high = np.nanpercentile(mean, [2, 98])
            axis.imshow(mean, cmap="gray", vmin=low, vmax=high, **place)
        axis.set_title(f"outlines over the temporal mean of {bands[0]}", fontsize=9, parse_math=False)
    shown = range(1, len(classes.values)) if classes.named is None else [classes.named]
    for places, colour, style in ((truth, OBSERVED, "solid"), (mapped, MAPPED, "dashed")):
        for of_class in shown:
            inside = np.pad((places == of_class).astype(float), 1)  # or outlines would be open at the rim
            if inside.any():
                west, east, south, north = place["extent"]
                width, height = (east - west) / places.shape[1], (north - south) / places.shape[0]
                x = west + width * (np.arange(inside.shape[1]) - 0.5)
                y = north - height * (np.arange(inside.shape[0]) - 0.5)
                axis.contour(x, y, inside, levels=[0.5], colors=[colour], linestyles=style, linewidths=1)
    axis.set(xlim=place["extent"][:2], ylim=place["extent"][2:])
    lines = [Line2D([], [], color=OBSERVED), Line2D([], [], color=MAPPED, linestyle="dashed")]
    _below(axis, lines, ["observed", "mapped"])


def _draw_agreement(
    axis: Axes, truth: np.ndarray, mapped: np.ndarray, classes: Classes, place: Mapping[str, Any]
) -> None:
    both, right, shown = (truth >= 0) & (mapped >= 0), truth == mapped, dict(AGREEMENT)
    if classes.named is None:
        kind = np.where(right, 0, 2)
        shown = {"right": shown["right"], "wrong": shown["missed"]}
    else:
        kind = np.select([right & (truth == classes.named), right, truth == classes.named], [1, 0, 2], 3)
    colours = ListedColormap(list(AGREEMENT.values()))
    axis.imshow(np.ma.masked_where(~both, kind), cmap=colours, vmin=-0.5, vmax=3.5, **place)
    _key(axis, shown)
    axis.set_title("where the map is right", fontsize=9)


def _key(axis: Axes, colours: Mapping[str, Any]) -> None:
    squares = [
        Line2D([], [], marker="s", linestyle="", markerfacecolor=colour, markeredgecolor="0.5")
        for colour in colours.values()
    ]
    _below(axis, squares, [name.replace("_", " ") for name in colours])


def _below(axis: Axes, drawn: Sequence[Line2D], names: Sequence[str]) -> None:
    """A key that covers nothing of the map."""
    axis.legend(
        drawn, names, fontsize=7, frameon=False, ncols=len(names), loc="upper center", bbox_to_anchor=(0.5, -0.09)
    )


def _palette(classes: Classes) -> ListedColormap:
    return ListedColormap([tuple(part / 255 for part in rgb) for rgb in class_colours(len(classes.values))])


def reliability_of_classes(calibration: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Share that is observed against the probability that is stated.

    Args:
        calibration: By map ``reliability`` points.
    """
    figure, axis = blank()
    axis.axline((0, 0), slope=1, color="0.3", linewidth=1, linestyle="--", label="perfect")
    for name, of_map in calibration.items():
        points = [(point["probability"], point["observed"]) for point in of_map["reliability"]]
        axis.plot(*np.array(points).T, "o-", markersize=4, label=label_of(name), color=colour_of(name))
    axis.set(xlabel="probability stated", ylabel="share observed", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    legend(axis)
    return figure


def confusion_chart(confusion: Sequence[Sequence[int]], meanings: Sequence[str]) -> Figure:
    """Pixels by observed and mapped class, coloured by their share of the observed ones.

    Args:
        confusion: Rows by observed class.
        meanings: A word for each class.
    """
    counts = np.array(confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axis = blank()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.6 else "black"
        words = f"{int(counts[row, column]):,}\n{shares[row, column]:.1%}"
        axis.text(column, row, words, ha="center", va="center", fontsize=8, color=colour)
    names = [meaning.replace("_", " ") for meaning in meanings]
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="mapped", ylabel="observed")
    axis.grid(visible=False)
    return figure
