"""Figures of maps."""

from collections.abc import Sequence
from io import BytesIO
from itertools import groupby

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from snowmap.data.cube import is_synthetic, window_names
from snowmap.data.grid import stretch
from snowmap.files import as_png

MOST_ROWS = 12
ROWS_TOGETHER = 3
"""Windows in one picture: one that is taller than a sheet of paper would be cut where the report is printed."""

OUTSIDE = "0.85"
"""Grey of pixels without a value."""


def map_pictures(maps: xr.Dataset, cube: xr.Dataset, windows: Sequence[int], target: str) -> list[bytes]:
    """`maps_figure` of one target as PNG files of `ROWS_TOGETHER` windows each; the arguments are the same."""
    positions, pictures = spaced(len(windows)), []
    layers, names = _layers(maps, _observed(cube, windows, target)), _labels(maps)
    rows = [positions[first : first + ROWS_TOGETHER] for first in range(0, len(positions), ROWS_TOGETHER)]
    for _, (first, *others) in groupby(rows, len):
        figure = maps_figure(maps, cube, windows, [target], first)
        pictures.append(as_png(figure))
        figure.set_layout_engine("none")  # all lies where it does, and to lay it out takes longer than to draw it
        for shown in others:
            for number, position in enumerate(shown):
                row = figure.axes[number * len(layers) : (number + 1) * len(layers)]
                row[0].set_ylabel(names[position])
                for axis, values in zip(row, layers, strict=True):
                    axis.images[0].set_data(values[position])
            pictures.append(as_png(figure))
    return pictures


def stacked(pictures: Sequence[bytes]) -> bytes:
    """PNG files of the same width as one, the first at the top."""
    if len(pictures) == 1:
        return pictures[0]
    whole = BytesIO()
    rows = [np.asarray(Image.open(BytesIO(picture))) for picture in pictures]
    Image.fromarray(np.concatenate(rows)).save(whole, "png")
    return whole.getvalue()


def maps_figure(
    maps: xr.Dataset,
    cube: xr.Dataset,
    windows: Sequence[int],
    targets: Sequence[str],
    shown: Sequence[int] | None = None,
) -> Figure:
    """Observed, predicted and difference maps, and σ where there is one: one row for each window and target.

    Observed and predicted maps of a target share one colour scale up to the 99.5th percentile of all windows, whichever
    are shown; differences share one that is centred on zero.

    Args:
        maps: Predictions ``(window, y, x)``, one variable for each target, with ``units``.
        cube: The Cube that was mapped.
        windows: Index in the Cube of each window of `maps`.
        targets: Names of the targets to show.
        shown: Positions in `windows` to show; by default all, or evenly spaced ones of more than `MOST_ROWS`.
    """
    shown = spaced(len(windows)) if shown is None else shown
    rows = len(shown) * len(targets)
    aspect = cube.sizes["y"] / cube.sizes["x"] * stretch(cube)
    figure = Figure(figsize=(12, 0.9 + rows * max(3.0 * aspect + 0.25, 1.0)), layout="constrained")
    title = provenance_title(cube)
    if len(shown) == 1:
        title += f" · {window_names(maps)[shown[0]].replace('_', ' ')}"
    elif len(shown) < len(windows):
        title += f" · {len(shown)} of {len(windows)} windows"
    figure.suptitle(title)
    columns = 4 if any(f"{target}_sigma" in maps for target in targets) else 3
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes[:-1].flat:  # axes that share their ticks would lay out all of them, and take twice the time
        axis.xaxis.set_visible(False)
    for axis in axes[:, 1:].flat:
        axis.yaxis.set_visible(False)
    for index, target in enumerate(targets):
        block = axes[index * len(shown) : (index + 1) * len(shown)]
        _draw_target(figure, block, maps, _observed(cube, windows, target), shown)
        for axis, position in zip(block[:, 0], shown, strict=True):
            axis.set_ylabel(_labels(maps)[position], fontsize=8)
    crs = cube.rio.crs
    x, y = ("longitude °E", "latitude °N") if crs.is_geographic else (f"{axis} {crs.linear_units}" for axis in "xy")
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    return figure


def spaced(count: int, most: int = MOST_ROWS) -> list[int]:
    """Positions of all of `count` windows, or of `most` that are evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _labels(maps: xr.Dataset) -> list[str]:
    return [name.replace("_to_", "\nto ") for name in window_names(maps)]


def _observed(cube: xr.Dataset, windows: Sequence[int], target: str) -> xr.DataArray:
    return cube[target].where(cube["mask"]).isel(window=list(windows))


def _layers(maps: xr.Dataset, observed: xr.DataArray) -> list[np.ndarray]:
    """What each column shows, from left to right."""
    predicted, sigma = maps[str(observed.name)].values, maps.get(f"{observed.name}_sigma")
    return [observed.values, predicted, predicted - observed.values, *([] if sigma is None else [sigma.values])]


def _draw_target(
    figure: Figure, axes: np.ndarray, maps: xr.Dataset, observed: xr.DataArray, shown: Sequence[int]
) -> None:
    target = str(observed.name)
    truth, predicted, difference, *sigma = _layers(maps, observed)
    snow = {"cmap": "viridis", "vmin": 0, "vmax": _upper(truth, predicted)}
    most, name = _upper(np.abs(difference)), f"{target.upper()} {maps[target].attrs['units']}"
    columns = [
        ("observed", truth, snow, ""),
        ("predicted", predicted, snow, name),
        ("predicted − observed", difference, {"cmap": "RdBu", "vmin": -most, "vmax": most}, f"Δ{name}"),
        *(("σ", each, {"cmap": "magma", "vmin": 0, "vmax": _upper(each)}, f"σ {name}") for each in sigma),
    ]
    west, south, east, north = observed.rio.bounds()
    place = {"extent": (west, east, south, north), "aspect": stretch(observed), "interpolation": "nearest"}
    for column, (title, values, colours, label) in enumerate(columns):
        axes[0, column].set_title(f"{observed.attrs['long_name']}, {title}", fontsize=9)
        below = zip(axes[:, column], shown, strict=True)
        images = [axis.imshow(values[position], **place, **colours) for axis, position in below]
        if label:
            beside = axes[:, :2] if column == 1 else axes[:, column]
            extend = "both" if column == 2 else "max"
            figure.colorbar(images[0], ax=beside, label=label, extend=extend, aspect=30, pad=0.01, fraction=0.03)
    for axis in axes.flat:
        axis.set_facecolor(OUTSIDE)
        axis.tick_params(labelsize=7)
        axis.locator_params(nbins=5)


def _upper(*values: np.ndarray) -> float:
    """99.5th percentile of the finite values, above 0."""
    finite = np.concatenate([array[np.isfinite(array)] for array in values])
    return max(float(np.percentile(finite, 99.5)), 1e-3) if finite.size else 1.0


def provenance_title(data: xr.Dataset) -> str:
    """Where a Cube or maps come from, as the title of a figure."""
    return "SYNTHETIC data: proves the pipeline, not skill" if is_synthetic(data) else str(data.attrs.get("origin", ""))
