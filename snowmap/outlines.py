"""Outlines of basins: read from any vector file, and laid on the pixels of a grid."""

import logging
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import xarray as xr
from jaxtyping import Float64
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.features import rasterize
from rasterio.transform import Affine

from snowmap.errors import SnowmapError

logger = logging.getLogger(__name__)

FINE_CELLS = 4_000_000
"""Into how many cells the rectangle around a basin is cut: 2000 across a square one, so its area is right to 0.1 %."""

MOST_CUTS = 100
"""Into how many parts a pixel's side is cut at most, for basins of a few pixels."""


def read_outlines(path: str | Path, name: str | None = None) -> gpd.GeoDataFrame:
    """The polygons of a vector file, indexed by the basins' names.

    Args:
        path: Any file that geopandas reads (GeoPackage, shapefile, GeoJSON, …), in any CRS.
        name: Column with the names; by default one called "name" in any case, else basins are numbered from 1 in the
            order of the file, as those without a name are.

    Raises:
        SnowmapError: When the file cannot be read, has no CRS, no polygon or no such column.
    """
    path = Path(path)
    if not path.exists():
        raise SnowmapError(f"{path} does not exist; expected a vector file with the outlines of basins")
    try:
        found = gpd.read_file(path)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise SnowmapError(f"{path} cannot be read as a vector file: {error}") from error
    if not isinstance(found, gpd.GeoDataFrame):
        raise SnowmapError(f"{path} holds a table without geometry; expected polygons")
    if found.crs is None:
        raise SnowmapError(f"{path} has no CRS; write one into the file (a shapefile keeps it in a .prj beside it)")
    polygons = found.geom_type.isin(["Polygon", "MultiPolygon"]) & ~found.is_empty
    if not polygons.any():
        kinds = ", ".join(sorted({str(kind) for kind in found.geom_type.dropna()})) or "nothing"
        raise SnowmapError(f"{path} holds no polygon but {kinds}; expected the outlines of basins")
    names = _names(path, found, name)
    if not polygons.all():
        left_out = ", ".join(names[row] for row in np.flatnonzero(~polygons))
        logger.warning("%s: left out, since they are no polygons: %s", path.name, left_out)
    kept = gpd.GeoSeries(found.geometry[polygons]).make_valid()
    return gpd.GeoDataFrame(geometry=kept.set_axis([names[row] for row in np.flatnonzero(polygons)]))


def _names(path: Path, found: gpd.GeoDataFrame, name: str | None) -> list[str]:
    columns = [str(column) for column in found.columns if column != found.geometry.name]
    if name is not None and name not in columns:
        raise SnowmapError(f"{path} has no column '{name}'; it has {', '.join(columns) or 'none'}")
    column = name or next((column for column in columns if column.lower() == "name"), None)
    values: list[Any] = [None] * len(found) if column is None else found[column].tolist()
    return [str(value) if isinstance(value, str | int) else str(row) for row, value in enumerate(values, start=1)]


def shares_of_pixels(outline: Any, maps: xr.Dataset) -> tuple[slice, slice, Float64[np.ndarray, "y x"]] | None:
    """Share of each pixel's area that lies inside an outline, in the smallest rectangle of pixels around it.

    The outline is rasterized on a grid fine enough for its area to be right to 0.1 % (and to a hundredth of a pixel's
    side for basins smaller than that), which is then averaged.

    Args:
        outline: A shapely polygon in the CRS of the maps.
        maps: A Cube or maps: the grid.

    Returns:
        Rows and columns of the rectangle, and the shares in it, 0 to 1; None where the outline lies outside the grid.
    """
    transform = maps.rio.transform()
    bounds = np.asarray(outline.bounds)
    if not np.isfinite(bounds).all():  # a place that the CRS of the maps cannot show
        return None
    left, right = _inside((bounds[[0, 2]] - transform.c) / transform.a, maps.sizes["x"])
    top, bottom = _inside((bounds[[1, 3]] - transform.f) / transform.e, maps.sizes["y"])
    height, width = bottom - top, right - left
    if height <= 0 or width <= 0:
        return None
    cuts = int(np.clip(np.sqrt(FINE_CELLS / (height * width)), 1, MOST_CUTS))
    west, north = transform.c + left * transform.a, transform.f + top * transform.e
    fine = Affine(transform.a / cuts, 0, west, 0, transform.e / cuts, north)
    inside = rasterize([outline], (height * cuts, width * cuts), transform=fine, dtype="uint8")
    shares = np.asarray(inside).reshape(height, cuts, width, cuts).mean(axis=(1, 3), dtype=np.float64)
    return (slice(top, bottom), slice(left, right), shares) if shares.any() else None


def _inside(edges: np.ndarray, size: int) -> tuple[int, int]:
    """First pixel, and that after the last, between two edges in pixels."""
    return max(int(np.floor(edges.min())), 0), min(int(np.ceil(edges.max())), size)
