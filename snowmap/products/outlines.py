"""Outlines of study areas, glaciers, water or basins, from any vector file, on a grid."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.features import geometry_mask
from rasterio.transform import array_bounds
from shapely.geometry.base import BaseGeometry

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.overlap import check_overlap
from snowmap.tables import listed, printable

logger = logging.getLogger(__name__)

FARTHEST = 1e9
"""No coordinate on the Earth is greater, in whatever unit."""


def read_outlines(path: str | Path, name: str | None = None) -> gpd.GeoDataFrame:
    """The polygons of a vector file, indexed by their names.

    Args:
        path: Any file that geopandas reads (GeoPackage, shapefile, GeoJSON, …), in any CRS.
        name: Column with the names; by default one called "name" in any case, else they are numbered from 1 in the
            order of the file, as those without a name are.

    Raises:
        SnowmapError: When the file cannot be read, has no CRS, no polygon or no such column.
    """
    path = Path(path)
    if not path.exists():
        raise SnowmapError(f"{path} does not exist; expected a vector file with outlines")
    try:
        table = gpd.read_file(path)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise SnowmapError(f"{path} cannot be read as a vector file: {error}") from error
    if not isinstance(table, gpd.GeoDataFrame):
        raise SnowmapError(f"{path} holds a table without geometry; expected polygons")
    if table.crs is None:
        raise SnowmapError(f"{path} has no CRS; write one into the file (a shapefile keeps it in a .prj beside it)")
    columns = [str(column) for column in table.columns if column != table.geometry.name]
    if name is not None and name not in columns:
        raise SnowmapError(f"{path} has no column '{name}'; it has {', '.join(columns) or 'none'}")
    column = name or next((column for column in columns if column.lower() == "name"), None)
    values = table[column].tolist() if column else [None] * len(table)
    names = [printable(value) if isinstance(value, str | int) else "" for value in values]
    table.index = pd.Index([name or str(number) for number, name in enumerate(names, start=1)])
    polygons = table.geom_type.isin(["Polygon", "MultiPolygon"]) & (table.bounds.abs() < FARTHEST).all(axis=1)
    if not polygons.any():
        kinds = ", ".join(sorted({str(kind) for kind in table.geom_type.dropna()})) or "nothing"
        raise SnowmapError(f"{path} holds no polygon but {kinds}; expected outlines")
    if not polygons.all():
        logger.warning("%s: left out, no polygons on the Earth: %s", path.name, listed(table.index[~polygons]))
    outlines = gpd.GeoSeries(table.geometry[polygons])
    if not (valid := outlines.is_valid).all():
        logger.warning("%s: mended, since they cross themselves: %s", path.name, listed(outlines.index[~valid]))
    return gpd.GeoDataFrame(geometry=outlines.make_valid(method="structure", keep_collapsed=False))


def inside(path: str | Path, grid: Grid) -> np.ndarray:
    """The pixels whose middle lies in an outline, bool ``(y, x)``.

    Raises:
        SnowmapError: As `read_outlines`, and when no outline meets the grid.
    """
    return geometry_mask([_one(path, grid)], grid.shape, grid.transform, invert=True)


def share(path: str | Path, grid: Grid) -> np.ndarray:
    """The part of each pixel's area that lies in an outline, 0 … 1, float32 ``(y, x)``; overlaps count once.

    Raises:
        SnowmapError: As `read_outlines`, and when no outline meets the grid.
    """
    outline = gpd.GeoDataFrame(geometry=[_one(path, grid)], crs=grid.crs)
    west, south, east, north = array_bounds(*grid.shape, grid.transform)
    source = NumPyRasterSource(
        np.zeros(grid.shape), min(west, east), min(south, north), max(west, east), max(south, north)
    )
    cells = exact_extract(source, outline, ["cell_id", "coverage"], output="pandas").iloc[0]
    part = np.zeros(grid.shape, dtype=np.float32)
    part.flat[np.asarray(cells["cell_id"], dtype=int)] = cells["coverage"]
    if grid.transform.e > 0:  # exactextract counts from the north-west
        part = part[::-1]
    return part if grid.transform.a > 0 else part[:, ::-1]


def _one(path: str | Path, grid: Grid) -> BaseGeometry:
    """All outlines as one geometry in the CRS of a grid."""
    outlines = read_outlines(path)
    check_overlap(outlines, str(path), grid)
    local = outlines.to_crs(grid.crs)
    finite = np.isfinite(local.bounds).all(axis=1)  # the CRS of the grid does not reach everywhere
    return local[finite].make_valid().union_all()
