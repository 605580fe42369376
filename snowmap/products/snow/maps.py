"""What every product of snow becomes: a map for each day, or the points of each day."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
from rasterio.transform import rowcol

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.netcdf import files_in_words
from snowmap.products.rasters import Raster

Opener = Callable[[], Raster | gpd.GeoDataFrame]
"""Opens the map of a day; see `SnowMaps`."""


class SnowMaps(NamedTuple):
    """Maps of snow depth or SWE, on the product's own grid, or points.

    Attributes:
        maps: For each day (datetime64[D]) what opens its map in m of snow or water; of a product of points a table with
            a CRS and the column ``value`` in m, which `points_to_grid` brings to a grid.
        name: Of the product, for messages.
        left_out: One sentence for each file that was not taken.
    """

    maps: Mapping[np.datetime64, Opener]
    name: str
    left_out: list[str]


def maps_by_day(maps: Mapping[np.datetime64, Opener], paths: list[Path], left_out: list[str], what: str) -> SnowMaps:
    """The maps of a product's files in order.

    Raises:
        SnowmapError: When there is none of `what`.
    """
    name = files_in_words(paths)
    if not maps:
        raise SnowmapError(f"{name}: no map {what}; {left_out[0] if left_out else 'none of the files has a date'}")
    return SnowMaps(dict(sorted(maps.items())), name, left_out)


def points_to_grid(points: gpd.GeoDataFrame, grid: Grid) -> np.ndarray:
    """The mean of the points in each pixel, float32 ``(y, x)``; NaN in pixels without one.

    Args:
        points: As `SnowMaps` has them.
        grid: Of the pixels.
    """
    assert grid.crs is not None
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
