"""Outlines of study areas, glaciers, water or basins, from any vector file, on a grid."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import functools
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
from shapely import box
from shapely.geometry.base import BaseGeometry

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.overlap import check_overlap
from snowmap.tables import listed, printable

logger = logging.getLogger(__name__)

FARTHEST = 1e9
"""No coordinate on the Earth is greater, in whatever unit."""


def read_outlines(path: str | Path, name: str | None = None) -> gpd.GeoDataFrame:
    """The polygons of a vector file with their columns, indexed by their names.

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
    mended = outlines.make_valid(method="structure", keep_collapsed=False)
    return gpd.GeoDataFrame(table.loc[polygons, columns], geometry=mended)


def inside(path: str | Path, grid: Grid) -> np.ndarray:
    """The pixels of a grid, or a piece of one, whose middle lies in an outline, bool ``(y, x)``.

    Raises:
        SnowmapError: As `read_outlines`.
    """
    outline = _together(path, grid)
    if outline.is_empty:
        return np.zeros(grid.shape, dtype=bool)
    return geometry_mask([outline], grid.shape, grid.transform, invert=True)


def pixels_inside(outlines: gpd.GeoDataFrame, grid: Grid) -> np.ndarray:
    """The same of outlines that were read, on a grid that they may miss, as a piece of a scene; bool ``(y, x)``."""
    local = outlines.to_crs(grid.crs)
    local = local[np.isfinite(local.bounds).all(axis=1)]  # the CRS of the grid does not reach everywhere
    if local.empty:
        return np.zeros(grid.shape, bool)
    return geometry_mask(local.geometry, grid.shape, grid.transform, invert=True)


def share(path: str | Path, grid: Grid) -> np.ndarray:
    """The part of each pixel of a grid, or a piece of one, that lies in outlines, 0 … 1, float32 ``(y, x)``.

    Raises:
        SnowmapError: As `read_outlines`.
    """
    part, outline = np.zeros(grid.shape, dtype=np.float32), _together(path, grid)
    west, south, east, north = array_bounds(*grid.shape, grid.transform)
    (west, east), (south, north) = sorted((west, east)), sorted((south, north))
    if not outline.intersects(box(west, south, east, north)):
        return part
    source = NumPyRasterSource(np.zeros(grid.shape), west, south, east, north)
    table = gpd.GeoDataFrame(geometry=[outline], crs=grid.crs)
    (cells,) = exact_extract(source, table, ["cell_id", "coverage"])  # GeoJSON features
    part.flat[np.asarray(cells["properties"]["cell_id"], dtype=int)] = cells["properties"]["coverage"]
    if grid.transform.e > 0:  # exactextract counts from the north-west
        part = part[::-1]
    return part if grid.transform.a > 0 else part[:, ::-1]


def check_outlines(path: str | Path, grid: Grid) -> None:
    """Refuse outlines that cannot be read, or lie wholly beside a region.

    Raises:
        SnowmapError: As `read_outlines`, and with both bounds.
    """
    check_overlap(read_outlines(path), str(path), grid)


def _together(path: str | Path, grid: Grid) -> BaseGeometry:
    """All outlines as one geometry in the CRS of a grid."""
    assert grid.crs is not None
    return _union(Path(path), grid.crs.to_wkt())


@functools.lru_cache(maxsize=4)
def _union(path: Path, wkt: str) -> BaseGeometry:  # every piece of every window asks for it
    local = read_outlines(path).to_crs(wkt)
    finite = np.isfinite(local.bounds).all(axis=1)  # the CRS does not reach everywhere
    return local[finite].make_valid().union_all()
