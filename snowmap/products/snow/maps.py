"""What every product of snow becomes: a map for each day, or the points of each day."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import array_bounds, rowcol
from rasterio.warp import transform_bounds

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError

Opener = Callable[[], xr.DataArray | gpd.GeoDataFrame]
"""Opens the map of a day; see `SnowMaps`."""


class SnowMaps(NamedTuple):
    """Maps of snow depth or SWE, on the product's own grid, or points.

    Attributes:
        maps: For each day (datetime64[D]) what opens its map ``(y, x)`` in m of snow or water, NaN = missing, with CRS
            and transform; of a product of points a table with a CRS and the column ``value`` in m, which
            `points_to_grid` brings to a grid.
        name: Of the product, for messages.
        left_out: One sentence for each file that was not taken.
    """

    maps: Mapping[np.datetime64, Opener]
    name: str
    left_out: list[str]


def points_to_grid(points: gpd.GeoDataFrame, grid: Grid) -> np.ndarray:
    """The mean of the points in each pixel, float32 ``(y, x)``; NaN in pixels without one.

    Args:
        points: As `SnowMaps` has them.
        grid: Of the pixels.
    """
    local = points.to_crs(grid.crs).geometry
    row, column = rowcol(grid.transform, local.x.to_numpy(), local.y.to_numpy(), op=np.floor)
    row, column = np.asarray(row), np.asarray(column)
    height, width = grid.shape
    values = points["value"].to_numpy(dtype=np.float64)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & np.isfinite(values)
    pixel = row[inside].astype(int) * width + column[inside].astype(int)
    count = np.bincount(pixel, minlength=height * width)
    total = np.bincount(pixel, weights=values[inside], minlength=height * width)
    mean = np.divide(total, count, out=np.full(height * width, np.nan), where=count > 0)
    return mean.astype(np.float32).reshape(grid.shape)


def check_overlap(opened: xr.DataArray | gpd.GeoDataFrame, name: str, grid: Grid) -> None:
    """Refuse a map, points or outlines that lie wholly beside a grid.

    Raises:
        SnowmapError: With both bounds, in degrees.
    """
    if isinstance(opened, gpd.GeoDataFrame):
        theirs = tuple(opened.to_crs("EPSG:4326").total_bounds)
    else:
        theirs = _degrees(opened.rio.crs, opened.rio.bounds())
    height, width = grid.shape
    ours = _degrees(grid.crs, array_bounds(height, width, grid.transform))
    apart = theirs[0] > ours[2] or ours[0] > theirs[2] or theirs[1] > ours[3] or ours[1] > theirs[3]
    if apart:
        reach = [", ".join(f"{value:.6g}" for value in bounds) for bounds in (theirs, ours)]
        raise SnowmapError(
            f"{name} lies over {reach[0]} (west, south, east, north in degrees), the region over {reach[1]}: they do "
            "not meet; check the CRS, or the path"
        )


def _degrees(crs: CRS | None, bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    ordered = min(west, east), min(south, north), max(west, east), max(south, north)
    return ordered if crs is None else transform_bounds(crs, CRS.from_epsg(4326), *ordered)
