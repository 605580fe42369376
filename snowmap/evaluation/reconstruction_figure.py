"""The figure of one view: what it is, what the encoder saw, what became of it, and how far it is off."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from snowmap.evaluation.figures import OUTSIDE

Maps = Float[np.ndarray, "band height width"]
COLUMNS = ("input", "masked", "reconstructed", "reconstructed − input")


def reconstruction_figure(
    title: str,
    units: Mapping[str, str],
    wrapped: tuple[str, ...],
    values: Maps,
    visible: Bool[np.ndarray, "height width"],
    rebuilt: Maps,
) -> Figure:
    """A row for each band; in the third column the pixels that were not masked are as they were.

    Args:
        title: Of the figure.
        units: Unit of each band, by name.
        wrapped: Bands whose values are an angle in rad.
        values: In these units, NaN where missing.
        visible: False where a pixel was masked.
        rebuilt: In these units.
    """
    figure = Figure(figsize=(11, 0.5 + 2.5 * len(units)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(units), len(COLUMNS), squeeze=False)
    for axis, name in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(name, fontsize=9)
    for row, (name, unit), value, guess in zip(axes, units.items(), values, rebuilt, strict=True):
        error = guess - value
        colours = {"cmap": "viridis", **_range(value)}
        if name in wrapped:
            error, colours = np.angle(np.exp(1j * error)), {"cmap": "twilight", "vmin": -np.pi, "vmax": np.pi}
        error = np.where(visible, np.nan, error)
        most = max(_range(np.abs(error))["vmax"], 1e-6)
        masked, filled = np.where(visible, value, np.nan), np.where(visible | ~np.isfinite(value), value, guess)
        pictures = (value, masked, filled, error)
        ways = [colours] * 3 + [{"cmap": "RdBu", "vmin": -most, "vmax": most}]
        label = f"{name}, {unit}"
        row[0].set_ylabel(label, fontsize=8)
        images = [axis.imshow(picture, interpolation="nearest", **way)
                  for axis, picture, way in zip(row, pictures, ways, strict=True)]  # fmt: skip
        for axis in row:
            axis.set(xticks=[], yticks=[], facecolor=OUTSIDE)
        for image, place in ((images[2], row[2]), (images[3], row[3])):
            figure.colorbar(image, ax=place, fraction=0.05, pad=0.02).ax.tick_params(labelsize=7)
    return figure


def _range(values: np.ndarray) -> dict[str, float]:
    """Between the 1st and 99th percentile of the finite values."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    return {"vmin": float(low), "vmax": float(max(high, low + 1e-6))}
