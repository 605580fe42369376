"""Whether a product lies where the region does."""

import geopandas as gpd
from rasterio.crs import CRS
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.rasters import Raster


def check_overlap(opened: Raster | gpd.GeoDataFrame, name: str, grid: Grid) -> None:
    """Refuse a map, points or outlines that lie wholly beside a grid.

    Raises:
        SnowmapError: With both bounds, in degrees.
    """
    if isinstance(opened, gpd.GeoDataFrame):
        theirs = tuple(opened.to_crs("EPSG:4326").total_bounds)
    else:
        theirs = bounds_in_degrees(opened.grid)
    ours = bounds_in_degrees(grid)
    apart = theirs[0] > ours[2] or ours[0] > theirs[2] or theirs[1] > ours[3] or ours[1] > theirs[3]
    if apart:
        reach = [", ".join(f"{value:.6g}" for value in bounds) for bounds in (theirs, ours)]
        raise SnowmapError(
            f"{name} lies over {reach[0]} (west, south, east, north in degrees), the region over {reach[1]}: they do "
            "not meet; check the CRS, or the path"
        )


def bounds_in_degrees(grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east and north."""
    west, south, east, north = array_bounds(*grid.shape, grid.transform)
    ordered = min(west, east), min(south, north), max(west, east), max(south, north)
    return ordered if grid.crs is None else transform_bounds(grid.crs, CRS.from_epsg(4326), *ordered)
