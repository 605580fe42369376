"""Whether a product lies where the region does."""

import geopandas as gpd
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError


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
