"""Classes of pixels by date, ground and snow: where and when the errors are."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from snowmap.data.features import aspect, slope
from snowmap.data.sequences import season_of
from snowmap.units import snow_threshold

MONTHS = (
    "September", "October", "November", "December", "January", "February", "March", "April", "May", "June", "July",
    "August",
)  # fmt: skip
"""In the order of the snow year."""

UNKNOWN = "unknown"
"""The class of pixels whose class variable is missing."""

SLOPE_EDGES_DEGREE = (5.0, 15.0, 25.0, 35.0)
COHERENCE_EDGES = (0.2, 0.35, 0.5, 0.7)  # retrievals from phase usually begin at 0.35
DEPTH_EDGES: dict[str, tuple[float, ...]] = {
    "hs": (50.0, 100.0, 150.0, 200.0, 300.0),
    "swe": (5.0, 10.0, 20.0, 30.0, 50.0),  # 30 cm is where the requirement of CoReH2O becomes relative
}
"""Of targets, in cm; another one is classed as covered or free of snow alone."""

FLAT_DEGREE = 2.0
"""Ground less steep than this faces no direction."""

DIRECTIONS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")


class Classes(NamedTuple):
    """A grouping of pixels.

    Attributes:
        labels: Of each class, in the order of tables; the last one is `UNKNOWN`.
        of_pixel: Which class each pixel is in.
    """

    labels: tuple[str, ...]
    of_pixel: Int[np.ndarray, " pixel"]

    def members(self) -> dict[str, Int[np.ndarray, " member"]]:
        """Positions of the pixels of each class that has any."""
        order = np.argsort(self.of_pixel, kind="stable")
        borders = np.cumsum(np.bincount(self.of_pixel, minlength=len(self.labels)))[:-1]
        return {label: own for label, own in zip(self.labels, np.split(order, borders), strict=True) if own.size}


def pixel_classes(
    cube: xr.Dataset,
    windows: Sequence[int],
    valid: Bool[np.ndarray, "window y x"],
    target: str,
    options: Mapping[str, Any],
) -> dict[str, Classes]:
    """Every grouping that the Cube has the bands for; each valid pixel is in exactly one class of each.

    Args:
        cube: The Cube.
        windows: Index in the Cube of each window that is scored.
        valid: Which of their pixels are classed.
        target: Name of the target, whose observed value tells the class of depth.
        options: As `snowmap.config.schema.Scoring` describes them.

    Returns:
        ``month`` and ``winter`` of the window's last day; ``elevation``, ``slope`` and ``aspect`` where there is
        elevation, ``coherence`` where there is coherence; ``depth`` of the observed target, snow-free ground apart.
    """
    chosen = cube.isel(window=list(windows))
    end, there = chosen["end"].values, set(chosen["band"].values.tolist())
    window = np.nonzero(valid)[0]
    season = season_of(end)
    winters = [f"{year}/{(year + 1) % 100:02d}" for year in range(season.min(), season.max() + 1)]
    month = (end.astype("datetime64[M]").astype(int) - 8) % 12
    found = {
        "month": Classes((*MONTHS, UNKNOWN), month[window].astype(np.int16)),
        "winter": Classes((*winters, UNKNOWN), (season - season.min())[window].astype(np.int16)),
    }
    if "elevation" in there:
        found["elevation"] = _elevation(_band(chosen, "elevation")[valid], options["elevation_step_m"])
        steepness = slope(chosen, 1)["slope"][valid]
        found["slope"] = _binned(steepness, SLOPE_EDGES_DEGREE, "°")
        facing = aspect(chosen, 1)
        east, north = facing["aspect_east"][valid], facing["aspect_north"][valid]
        found["aspect"] = _aspect(east, north, steepness, options["aspect_directions"])
    if "coherence" in there:
        found["coherence"] = _binned(_band(chosen, "coherence")[valid], COHERENCE_EDGES)
    unit = cube[target].attrs["units"]
    scale = 10 if unit == "mm" else 1
    edges = [edge * scale for edge in DEPTH_EDGES.get(target, ())]
    threshold = snow_threshold(target, unit, snow_depths_m(options))
    edges = [threshold, *(edge for edge in edges if edge > threshold)]
    found["depth"] = _binned(chosen[target].values[valid], edges, f" {unit}", below="snow-free")
    return found


def snow_depths_m(options: Mapping[str, Any]) -> dict[str, float]:
    """The options' depths from which a pixel is covered with snow, as `snowmap.units.snow_threshold` takes them."""
    return {"swe": options["snow_threshold_swe_mm"] / 1000, "hs": options["snow_threshold_hs_cm"] / 100}


def _elevation(height: Float[np.ndarray, " pixel"], step: float) -> Classes:
    known = height[np.isfinite(height)]
    if not known.size:
        return Classes((UNKNOWN,), np.zeros(len(height), np.int16))
    edges = np.arange(np.floor(known.min() / step), np.floor(known.max() / step) + 2) * step
    labels = [f"{low:g}–{high:g} m" for low, high in pairwise(edges)]
    return _labelled(height, edges[1:-1], labels)


def _aspect(
    east: Float[np.ndarray, " pixel"],
    north: Float[np.ndarray, " pixel"],
    steepness: Float[np.ndarray, " pixel"],
    directions: int,
) -> Classes:
    """Directions clockwise from the north, each class centred on its direction, and flat ground."""
    known = np.isfinite(east) & np.isfinite(north) & np.isfinite(steepness)
    turns = np.arctan2(np.where(known, east, 0), np.where(known, north, 1)) / (2 * np.pi)
    index = np.round(turns * directions).astype(np.int16) % directions
    index[known & (steepness < FLAT_DEGREE)] = directions
    index[~known] = directions + 1
    return Classes((*DIRECTIONS[:: len(DIRECTIONS) // directions], "flat", UNKNOWN), index)


def _binned(values: Float[np.ndarray, " pixel"], edges: Sequence[float], unit: str = "", below: str = "") -> Classes:
    inner = [f"{low:g}–{high:g}{unit}" for low, high in pairwise(edges)]
    return _labelled(values, edges, [below or f"< {edges[0]:g}{unit}", *inner, f"≥ {edges[-1]:g}{unit}"])


def _labelled(values: Float[np.ndarray, " pixel"], edges: Sequence[float] | np.ndarray, labels: list[str]) -> Classes:
    """Class i reaches from edge i − 1 to below edge i; there is no pixel before the first or behind the last class."""
    index = np.digitize(values, np.asarray(edges, dtype=np.float64)).astype(np.int16)
    index[~np.isfinite(values)] = len(labels)
    return Classes((*labels, UNKNOWN), index)


def _band(cube: xr.Dataset, name: str) -> Float[np.ndarray, "window y x"]:
    return cube["features"].sel(band=name).values
