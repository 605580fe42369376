"""Snow in one raster for each day, dated by its name: ASO's GeoTIFFs, daily maps, ASCII grids."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from snowmap.errors import SnowmapError
from snowmap.products.names import Name
from snowmap.products.rasters import Raster, open_raster
from snowmap.products.reader import Reader, Snow
from snowmap.products.snow.maps import Opener, SnowMaps, maps_by_day
from snowmap.products.units import one_unit, to_metres

DATES = (
    (r"(?<!\d)(\d{4}-\d{2}-\d{2})(?!\d)", "%Y-%m-%d"),
    (r"(?<!\d)(\d{8})(?!\d)", "%Y%m%d"),
    (r"(?<!\d)(\d{7})(?!\d)", "%Y%j"),
    (r"(?<!\d)(\d{4}[A-Z][a-z]{2}\d{1,2})(?!\d)", "%Y%b%d"),  # ASO's; of a flight of two days the first
)
"""Dates in names where the recipe gives no pattern."""

EASE_GRID = (1383, 586, 25_067.53)
"""Columns, rows and m of the global 25 km EASE-Grid, EPSG:3410 (Brodzik and Knowles 2002), whose ASCII grids state no
CRS."""


@dataclass
class Rasters(Snow):
    """Keys of rasters that are dated by their names."""

    pattern: str | None = None  # of the names, e.g. "SD_{date:%Y%j}.tif", * for any text
    dates: dict[str, str] = field(default_factory=dict)  # of files whose name tells none, by name
    nodata: float | None = None  # a value that means missing, where the raster states none


def read_rasters(paths: list[Path], options: Mapping[str, Any]) -> SnowMaps:
    """A map for each raster, its first band; of two of a day the first.

    Args:
        paths: GeoTIFFs, or other rasters of GDAL's.
        options: As `Rasters`, and ``target``.

    Raises:
        SnowmapError: When a raster has no unit or CRS, or none has a date.
    """
    maps, left_out = dict[np.datetime64, Opener](), []
    target, taken = options["target"], dict[np.datetime64, str]()
    for path in paths:
        day = date_of(path.name, options.get("pattern"), options.get("dates") or {})
        if day is None:
            left_out.append(f"{path.name}: no date in its name; give the key pattern: or dates:")
        elif day in taken:
            left_out.append(f"{path.name}: {taken[day]} is of the same day, {day}")
        else:
            unit, crs = _stated(path)
            factor = to_metres(one_unit(unit, options.get("unit"), str(path)), target, str(path)).factor
            maps[day] = partial(_open, path, options.get("nodata"), crs, factor)
            maps[day]()  # refuses what cannot be read
            taken[day] = path.name
    return maps_by_day(maps, paths, left_out, "with a date")


def _open(path: Path, nodata: float | None, crs: CRS | None, factor: float) -> Raster:
    return open_raster(path, nodata=nodata, crs=crs, convert=lambda values: values * np.float32(factor))


def _stated(path: Path) -> tuple[str | None, CRS | None]:
    """The unit in a raster's metadata, GDAL's or in brackets (``ASO Depth [m]``), and the CRS of an ASCII grid."""
    try:
        with rasterio.open(path) as raster:
            texts = [raster.descriptions[0] or "", *raster.tags(1).values(), *raster.tags().values()]
            unit = raster.units[0] or next(
                (match[1] for text in texts if (match := re.search(r"\[(\w+)\]", text))), None
            )
            ascii_grid, size, step = raster.driver == "AAIGrid", (raster.width, raster.height), raster.transform.a
            bounds = raster.bounds
    except RasterioError as error:
        raise SnowmapError(f"{path}: not readable as a raster ({error}); fetch it again") from error
    if not ascii_grid:
        return unit, None
    if size == EASE_GRID[:2] and abs(step - EASE_GRID[2]) < 1:
        return unit, CRS.from_epsg(3410)
    degrees = step < 5 and abs(bounds.left) <= 360 and abs(bounds.right) <= 360 and max(map(abs, bounds[1::2])) <= 90
    return unit, CRS.from_epsg(4326) if degrees else None


def date_of(name: str, pattern: str | None, dates: Mapping[str, str]) -> np.datetime64 | None:
    """The day in a file's name; None where there is none.

    Args:
        name: Of the file.
        pattern: Such as ``SD_{date:%Y%j}.tif``; by default any of `DATES`.
        dates: Of files by their names, before all else.

    Raises:
        SnowmapError: When the pattern or a date is not readable.
    """
    if name in dates:
        try:
            return np.datetime64(str(dates[name]), "D")
        except ValueError as error:
            raise SnowmapError(f"dates: {name}: {dates[name]}; expected a date such as 2020-02-01") from error
    if pattern:
        return _by_pattern(name, pattern)
    for form, directives in DATES:
        if match := re.search(form, name):
            try:
                return np.datetime64(datetime.strptime(match[1], directives).date(), "D")
            except ValueError:
                continue
    return None


def _by_pattern(name: str, pattern: str) -> np.datetime64 | None:
    try:
        form = Name(pattern)
    except ValueError as error:
        raise SnowmapError(f"pattern: {pattern}: {error}") from error
    if form.dates != {"date"}:
        raise SnowmapError(f"pattern: {pattern}; expected a date such as {{date:%Y%m%d}} in it")
    return (form.match(name) or {}).get("date")


READER = Reader(Rasters, read_rasters)
