"""Measurements at points become a sparse target: the mean of those in each cell of a grid."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pyproj import Transformer
from pyproj.exceptions import CRSError
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.errors import SnowmapError
from snowmap.units import unit_factor

logger = logging.getLogger(__name__)


class Grid(NamedTuple):
    """Cells of a common grid."""

    transform: Affine
    shape: tuple[int, int]
    crs: CRS

    def cells(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The number of the cell in which each place lies, −1 outside."""
        rows = np.floor((y - self.transform.f) / self.transform.e).astype(int)
        columns = np.floor((x - self.transform.c) / self.transform.a).astype(int)
        inside = (rows >= 0) & (rows < self.shape[0]) & (columns >= 0) & (columns < self.shape[1])
        return np.where(inside, rows * self.shape[1] + columns, -1)

    def sums(self, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Count and sum of the finite values in each cell, ``(2, cell)``."""
        kept = (cells >= 0) & np.isfinite(values)
        size = self.shape[0] * self.shape[1]
        return np.stack([np.bincount(cells[kept], weights, size) for weights in (None, values[kept])])


def point_maps(name: str, unit: str, options: Mapping[str, Any], grid: Grid, days: np.ndarray) -> np.ndarray:
    """The mean of the points in each cell, NaN where there is none, ``(day, y, x)`` float32.

    Args:
        name: Of the target, ``hs`` or ``swe``.
        unit: Of the maps.
        options: As `snowmap.config.schema.Points` describes them.
        grid: Of the maps.
        days: Of the maps, datetime64[D]; a point belongs to the nearest.

    Raises:
        SnowmapError: When the file cannot be used, or no point lies in a cell.
    """
    given, column = options[f"{name}_unit"], options[name]
    if not options["path"]:
        raise SnowmapError(f"no points for target={name}; name their file as data.points.path=…")
    if given is None:
        raise SnowmapError(f"{options['path']}: no unit of '{column}'; give it, e.g. data.points.{name}_unit=cm")
    table = _table(Path(options["path"]), column, options, grid.crs)
    apart = np.abs(table["day"].to_numpy("datetime64[D]")[:, None] - days[None])
    nearest, near = apart.argmin(axis=1), apart.min(axis=1) <= np.timedelta64(options["days"], "D")
    cells = np.where(near, grid.cells(table["x"].to_numpy(float), table["y"].to_numpy(float)), -1)
    if not (cells >= 0).any():
        raise SnowmapError(
            f"{options['path']}: none of {len(table)} points lies in the flights and within {options['days']} days of "
            "one; look at its CRS (data.points.crs) and dates (data.points.days)"
        )
    if lost := int((cells < 0).sum()):
        logger.info("%d of %d points of %s lie outside of the flights or their days", lost, len(table), name)
    values = table["value"].to_numpy(float) * unit_factor(given, unit, name, f"data.points.{name}_unit")
    maps = np.full((len(days), *grid.shape), np.nan, np.float32)
    for window in range(len(days)):
        count, total = grid.sums(np.where(nearest == window, cells, -1), values)
        maps[window] = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(grid.shape)
    return maps


def _table(path: Path, column: str, options: Mapping[str, Any], crs: CRS) -> pd.DataFrame:
    """Columns ``x``, ``y`` (in the CRS), ``day`` and ``value`` of each usable row."""
    import geopandas as gpd  # half a second, and only training needs it

    try:
        table = pd.read_csv(path, encoding="utf-8-sig") if path.suffix.lower() == ".csv" else gpd.read_file(path)
    except Exception as error:
        raise SnowmapError(
            f"{path}: not readable as points ({error}); expected .csv, .shp, .gpkg or the like"
        ) from error
    of_vector = isinstance(table, gpd.GeoDataFrame)
    needed = [column, options["date"], *([] if of_vector else [options["x"], options["y"]])]
    if lacking := [name for name in needed if name not in table]:
        raise SnowmapError(
            f"{path}: no column {', '.join(lacking)}; it has {', '.join(map(str, table))}; name it as data.points.…"
        )
    if of_vector and (table.crs is None or {*table.geom_type} - {"Point", None}):
        raise SnowmapError(f"{path}: no CRS, or other shapes than points; expected points with a CRS, as by a .prj")
    place = (table.geometry.x, table.geometry.y) if of_vector else (table[options["x"]], table[options["y"]])
    try:
        to_grid = Transformer.from_crs(table.crs if of_vector else options["crs"], crs, always_xy=True)
    except CRSError as error:
        raise SnowmapError(f"data.points.crs={options['crs']}: no CRS ({error}); expected e.g. EPSG:4326") from error
    x, y = to_grid.transform(*(pd.to_numeric(axis, errors="coerce").to_numpy(float) for axis in place))
    days = pd.to_datetime(table[options["date"]].astype(str).str.strip(), format="ISO8601", errors="coerce")
    value = pd.to_numeric(table[column], errors="coerce")
    rows = pd.DataFrame({"x": x, "y": y, "day": days.dt.normalize(), "value": value})
    usable = rows.replace([np.inf, -np.inf], np.nan).dropna()
    if len(usable) < len(rows):
        logger.warning(
            "%s: %d of %d rows without place, day or value left out", path, len(rows) - len(usable), len(rows)
        )
    return usable
