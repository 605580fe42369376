"""Labels of a scene on its grid: outlines of a vector file, or class rasters with a code for "no label"."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
from rasterio.enums import Resampling
from rasterio.features import rasterize

from snowmap.data.cube import Quantity
from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.outlines import read_outlines
from snowmap.products.overlap import check_overlap
from snowmap.sources.sar_stack.layout import dated_classes
from snowmap.sources.sar_stack.reading import on_grid

VECTORS = (".gpkg", ".shp", ".geojson", ".json", ".fgb", ".gml", ".kml")

CLASSES = {
    "glacier": {0: "other", 1: "glacier"},
    "crack": {0: "ice", 1: "crack"},
    "freeze_thaw": {1: "frozen", 2: "thawed"},
}
"""Classes of the targets that need no ``data.classes``."""

LINE_TYPE, GLACIER_BOUNDARY, ROCK = "line_type", "glac_bound", "intrnl_rock"
"""Column of GLIMS outlines, and its words for the ice and for rock within it."""

logger = logging.getLogger(__name__)


class Labels(NamedTuple):
    """What a scene's labels say.

    Attributes:
        maps: Class codes ``(y, x)`` float32, NaN without a label; by date where they are dated, else under None.
        outlines: Number of the outline from 1 in the order of its file ``(y, x)``, 0 in none; None without outlines.
        source: The file of the outlines.
    """

    maps: dict[np.datetime64 | None, np.ndarray]
    outlines: np.ndarray | None
    source: str


def class_quantity(target: str, classes: Mapping[int, str] | None) -> Quantity:
    """The class map that a target is.

    Raises:
        SnowmapError: When nothing says which classes there are.
    """
    known = classes or CLASSES.get(target)
    if not known:
        raise SnowmapError(
            f"target={target}: data=sar_stack knows the classes of {', '.join(CLASSES)} alone; name them, e.g. "
            "data.classes='{1: frozen, 2: thawed}', or choose another target="
        )
    flags = sorted(known)
    meanings = " ".join(str(known[flag]).strip().replace(" ", "_") for flag in flags)
    long_name = f"class of {target}" if target != "class" else "class"
    return Quantity("", min(flags), max(flags), long_name, flag_values=tuple(flags), flag_meanings=meanings)


def read_labels(root: Path, grid: Grid, quantity: Quantity, data: Mapping[str, Any]) -> Labels:
    """The labels of a scene: its class rasters, else the outlines in its folder or in the one above.

    Args:
        root: As `snowmap.sources.sar_stack.layout.rasters_of` takes it.
        grid: Of the scene.
        quantity: The classes.
        data: As `snowmap.config.sources.SarStack` describes it.

    Raises:
        SnowmapError: When there are none, or they cannot be read, miss the scene, or hold unknown codes.
    """
    path, whole, dated = label_files(root)
    ids = None if path is None else _outlines(path, root, grid, data.get("outcrops"))
    if whole:
        return Labels({None: _classes(whole, grid, quantity, data.get("ignore"))}, ids, str(path))
    if dated:
        maps = {day: _classes(path, grid, quantity, data.get("ignore")) for day, path in dated.items()}
        return Labels({**maps}, ids, str(path))
    if ids is None:
        raise SnowmapError(
            f"{root}: no labels; expected outlines.gpkg (or another vector file) there or in {root.parent}, or "
            "classes.tif, or <date>_classes.tif"
        )
    if len(quantity.flag_values) != 2:
        raise SnowmapError(
            f"{path}: outlines tell two classes apart, but data.classes names {quantity.flag_meanings}; give two"
        )
    outside, inside = quantity.flag_values
    return Labels({None: np.where(ids > 0, np.float32(inside), np.float32(outside))}, ids, str(path))


def label_files(root: Path) -> tuple[Path | None, Path | None, dict[np.datetime64, Path]]:
    """Outlines, class raster and dated class rasters of a scene, as far as they are there."""
    whole = root / "classes.tif"
    outlines = _vector(root, "outlines") or _vector(root.parent, "outlines")
    return outlines, whole if whole.is_file() else None, dated_classes(root)


def _vector(folder: Path, name: str) -> Path | None:
    return next((path for suffix in VECTORS if (path := folder / f"{name}{suffix}").is_file()), None)


def _outlines(path: Path, root: Path, grid: Grid, outcrops: str | None) -> np.ndarray:
    """Numbers of outlines without the rock within the ice, int32 ``(y, x)``."""
    table = read_outlines(path)
    check_overlap(table, str(path), grid)
    rock = _outcrops(table, path, outcrops)
    kept = ~rock
    if LINE_TYPE in table and GLACIER_BOUNDARY in {*table[LINE_TYPE]}:
        kept = (table[LINE_TYPE] == GLACIER_BOUNDARY).to_numpy()  # beside it lakes, debris and snow lines
    ids = _burnt(table.geometry[kept], np.arange(1, len(table) + 1)[kept], grid)
    ids[_burnt(table.geometry[rock], np.ones(rock.sum(), int), grid) > 0] = 0
    if further := _vector(path.parent, "outcrops"):
        rocks = read_outlines(further).geometry
        ids[_burnt(rocks, np.ones(len(rocks), int), grid) > 0] = 0
    if not ids.any():
        logger.warning("%s: no outline of %s covers the middle of a pixel of the scene", root, path.name)
    return ids


def _outcrops(table: gpd.GeoDataFrame, path: Path, outcrops: str | None) -> np.ndarray:
    """Which rows are no ice but rock within it."""
    column, _, value = (outcrops or f"{LINE_TYPE}={ROCK}").partition("=")
    if column not in table:
        if outcrops is None:
            return np.zeros(len(table), bool)
        known = ", ".join(str(name) for name in table.columns if name != table.geometry.name)
        raise SnowmapError(f"data.outcrops={outcrops}: {path} has no column '{column}'; it has {known or 'none'}")
    return (table[column].astype(str) == value).to_numpy()


def _burnt(shapes: gpd.GeoSeries, numbers: np.ndarray, grid: Grid) -> np.ndarray:
    """The number of the shape that the middle of each pixel lies in, int32; 0 in none, the last one of several."""
    local = shapes.to_crs(grid.crs)
    sound = np.isfinite(local.bounds).all(axis=1).to_numpy() & ~local.is_empty.to_numpy()
    pairs = list(zip(local[sound].make_valid(), numbers[sound].tolist(), strict=True))
    if not pairs:
        return np.zeros(grid.shape, np.int32)
    return rasterize(pairs, grid.shape, transform=grid.transform, dtype="int32")


def _classes(path: Path, grid: Grid, quantity: Quantity, ignore: int | None) -> np.ndarray:
    codes = on_grid(path, grid, Resampling.nearest)
    if ignore is not None:
        codes[codes == ignore] = np.nan
    values = np.unique(codes[np.isfinite(codes)])
    if unknown := [f"{code:g}" for code in values if code not in quantity.flag_values]:
        known = ", ".join(map(str, quantity.flag_values))
        raise SnowmapError(
            f"{path} holds the codes {', '.join(f'{code:g}' for code in values)}; {', '.join(unknown)} is none of the "
            f"classes {known}: name it in data.classes, or leave it out by data.ignore={unknown[0]}"
        )
    return codes
