"""Classes of pixels by date, ground and snow: where and when the errors are."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from snowmap.data.features import aspect, slope
from snowmap.data.radar.phase import DEFAULT_PHASE
from snowmap.data.radar.wet_snow import wet_snow
from snowmap.data.sequences import season_of
from snowmap.evaluation.bins import SLOPE_EDGES_DEGREE, binned, labelled
from snowmap.units import snow_threshold, unit_factor

Pixels = Float[np.ndarray, " pixel"]

MONTHS = pd.date_range("2000-09-01", periods=12, freq="MS").month_name().tolist()
"""In the order of the snow year."""

COHERENCE_EDGES = (0.2, 0.35, 0.5, 0.7)  # retrievals from phase usually begin at 0.35
DEPTH_EDGES: dict[str, tuple[float, ...]] = {
    "hs": (50.0, 100.0, 150.0, 200.0, 300.0),
    "swe": (5.0, 10.0, 20.0, 30.0, 50.0),  # 30 cm is where the requirement of CoReH2O becomes relative
}
"""Of targets, in cm; another one is classed as covered or free of snow alone."""

FLAT_DEGREE = 2.0
"""Ground less steep than this faces no direction."""

DIRECTIONS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")


def pixel_classes(
    cube: xr.Dataset, valid: Bool[np.ndarray, "window y x"], target: str, options: Mapping[str, Any]
) -> dict[str, pd.Categorical]:
    """Every grouping that the Cube has the bands for; each valid pixel is in exactly one class of each.

    Args:
        cube: The Cube of the windows that are scored.
        valid: Which of their pixels are classed.
        target: Name of the target, whose observed value gives the class of depth.
        options: As `snowmap.config.schema.Scoring` describes them.

    Returns:
        The class of each valid pixel, with the classes in the order of tables, `UNKNOWN` last: ``month`` and ``winter``
        of the window's last day; ``elevation``, ``slope`` and ``aspect`` where there is elevation, ``coherence`` where
        there is coherence; ``wetness`` of the snow by the drop of backscatter, where the Cube comes from
        `snowmap.data.radar.wet_snow.with_wet_threshold`; ``depth`` of the observed target, snow-free ground apart.
    """
    end, window = cube["end"].values, np.nonzero(valid)[0]
    season = season_of(end)
    winters = [f"{year}/{(year + 1) % 100:02d}" for year in range(season.min(), season.max() + 1)]
    month = (end.astype("datetime64[M]").astype(int) - 8) % 12
    classes = {
        "month": labelled(month[window], MONTHS),
        "winter": labelled((season - season.min())[window], winters),
    }
    if "elevation" in cube["band"]:
        steepness, facing = slope(cube, DEFAULT_PHASE)["slope"][valid], aspect(cube, DEFAULT_PHASE)
        east, north = facing["aspect_east"][valid], facing["aspect_north"][valid]
        height = cube["features"].sel(band="elevation").values[valid]
        classes["elevation"] = _elevation(height, options["elevation_step_m"])
        classes["slope"] = binned(steepness, SLOPE_EDGES_DEGREE, "°")
        classes["aspect"] = _aspect(east, north, steepness, options["aspect_directions"])
    if "coherence" in cube["band"]:
        classes["coherence"] = binned(cube["features"].sel(band="coherence").values[valid], COHERENCE_EDGES)
    if "wet_below" in cube.coords:
        wet = wet_snow(cube)["wet_snow"][valid]
        classes["wetness"] = labelled(np.nan_to_num(wet, nan=-1).astype(int), ["not wet", "wet"])
    unit = cube[target].attrs["units"]
    threshold = snow_threshold(target, unit, snow_depths_m(options))
    edges = [edge * unit_factor("cm", unit, target) for edge in DEPTH_EDGES.get(target, ())]
    edges = [threshold, *(edge for edge in edges if edge > threshold)]
    classes["depth"] = binned(cube[target].values[valid], edges, f" {unit}", below="snow-free")
    return classes


def snow_depths_m(options: Mapping[str, Any]) -> dict[str, float]:
    """The options' depths from which a pixel is covered with snow, as `snowmap.units.snow_threshold` takes them."""
    return {"swe": options["snow_threshold_swe_mm"] / 1000, "hs": options["snow_threshold_hs_cm"] / 100}


def _elevation(height: Pixels, step: float) -> pd.Categorical:
    steps = np.floor(height[np.isfinite(height)] / step)
    edges = np.arange(steps.min(), steps.max() + 2) * step if steps.size else np.zeros(1)
    labels = [f"{low:g}–{high:g} m" for low, high in pairwise(edges)]
    return labelled(np.digitize(height, edges) - 1, labels)


def _aspect(east: Pixels, north: Pixels, steepness: Pixels, directions: int) -> pd.Categorical:
    """Directions clockwise from the north, each class centred on its direction, and flat ground."""
    known = np.isfinite(east) & np.isfinite(north) & np.isfinite(steepness)
    turns = np.arctan2(np.where(known, east, 0), np.where(known, north, 1)) / (2 * np.pi)
    sector = np.round(turns * directions).astype(int) % directions
    code = np.select([~known, steepness < FLAT_DEGREE], [-1, directions], sector)
    return labelled(code, [*DIRECTIONS[:: len(DIRECTIONS) // directions], "flat"])
