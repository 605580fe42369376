"""Figures of maps."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from snowmap.cube import TARGETS, window_names

MOST_ROWS = 12
OUTSIDE = "0.85"
"""Grey of pixels without a value."""


def maps_figure(maps: xr.Dataset, cube: xr.Dataset, windows: Sequence[int], targets: Sequence[str]) -> Figure:
    """Observed, predicted and difference maps: one row for each window and target.

    Observed and predicted maps of a target share one colour scale up to the 99.5th percentile; differences share one
    that is centred on zero. Of more than `MOST_ROWS` windows, evenly spaced ones are shown.

    Args:
        maps: Predictions ``(window, y, x)``, one variable for each target, with ``units``.
        cube: The Cube that was mapped.
        windows: Index in the Cube of each window of `maps`.
        targets: Names of the targets to show.
    """
    shown = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), MOST_ROWS)).round().astype(int))
    rows = len(shown) * len(targets)
    aspect = cube.sizes["y"] / cube.sizes["x"] * _stretch(cube)
    figure = Figure(figsize=(12, 0.9 + rows * max(3.0 * aspect + 0.25, 1.0)), layout="constrained")
    figure.suptitle(_title(cube, len(shown), len(windows)))
    axes = figure.subplots(rows, 3, squeeze=False, sharex=True, sharey=True)
    for index, target in enumerate(targets):
        block = axes[index * len(shown) : (index + 1) * len(shown)]
        _draw_target(figure, block, maps, cube, [windows[i] for i in shown], shown, target)
    crs = cube.rio.crs
    x, y = ("longitude °E", "latitude °N") if crs.is_geographic else (f"{axis} {crs.linear_units}" for axis in "xy")
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    return figure


def _draw_target(
    figure: Figure,
    axes: np.ndarray,
    maps: xr.Dataset,
    cube: xr.Dataset,
    windows: Sequence[int],
    shown: np.ndarray,
    target: str,
) -> None:
    observed = np.where(cube["mask"].values, cube[target].values[list(windows)], np.nan)
    predicted = maps[target].values[shown]
    difference = predicted - observed
    top, most = _upper(observed, predicted), _upper(np.abs(difference))
    unit, names = maps[target].attrs["units"], window_names(cube)
    columns = (
        ("observed", observed, {"cmap": "viridis", "vmin": 0, "vmax": top}),
        ("predicted", predicted, {"cmap": "viridis", "vmin": 0, "vmax": top}),
        ("predicted − observed", difference, {"cmap": "RdBu", "vmin": -most, "vmax": most}),
    )
    place = {"extent": _extent(cube), "aspect": _stretch(cube), "interpolation": "nearest"}
    for column, (title, values, colours) in enumerate(columns):
        axes[0, column].set_title(f"{TARGETS[target].long_name}, {title}", fontsize=9)
        images = [axis.imshow(layer, **place, **colours) for axis, layer in zip(axes[:, column], values, strict=True)]
        if column:
            label, extend = (
                (f"{target.upper()} {unit}", "max") if column == 1 else (f"Δ{target.upper()} {unit}", "both")
            )
            beside = axes[:, : column + 1] if column == 1 else axes[:, column]
            figure.colorbar(images[0], ax=beside, label=label, extend=extend, aspect=30, pad=0.01, fraction=0.03)
    for axis in axes.flat:
        axis.set_facecolor(OUTSIDE)
        axis.tick_params(labelsize=7)
    for axis, window in zip(axes[:, 0], windows, strict=True):
        axis.set_ylabel(names[window].replace("_to_", "\nto "), fontsize=8)


def _upper(*values: np.ndarray) -> float:
    """99.5th percentile of the finite values, above 0."""
    finite = np.concatenate([array[np.isfinite(array)] for array in values])
    return max(float(np.percentile(finite, 99.5)), 1e-3) if finite.size else 1.0


def _title(cube: xr.Dataset, shown: int, total: int) -> str:
    origin = str(cube.attrs.get("origin", ""))
    parts = ["SYNTHETIC data: proves the pipeline, not skill"] if origin.startswith("synthetic") else [origin]
    if shown < total:
        parts.append(f"{shown} of {total} windows")
    return " · ".join(parts)


def _extent(cube: xr.Dataset) -> tuple[float, float, float, float]:
    """West, east, south and north edge: row 0 of the array lies at the top."""
    height, width = cube.sizes["y"], cube.sizes["x"]
    transform = cube.rio.transform()
    west, north = transform.c, transform.f
    return west, west + width * transform.a, north + height * transform.e, north


def _stretch(cube: xr.Dataset) -> float:
    """Height of a unit of y over width of a unit of x on the ground."""
    return 1 / np.cos(np.deg2rad(float(cube["y"].mean()))) if cube.rio.crs.is_geographic else 1.0
