"""The recipe of an archive, ``region.yaml``: its keys, read and checked in the manner of `train.py`'s configuration."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import from_origin
from yaml import YAMLError

from snowmap.config.checking import nearest, typed
from snowmap.config.fields import number, special
from snowmap.data.grid import Grid, fault_of_grid
from snowmap.errors import SnowmapError, shown
from snowmap.products.insar import INSAR
from snowmap.products.rasters import open_raster
from snowmap.products.reader import Reader, paths
from snowmap.products.snow import SNOW
from snowmap.products.weather import WEATHER


def _numbers(count: int, words: str) -> Any:
    def holds(value: Any) -> bool:
        return value is None or (
            len(value) == count and all(type(each) in (int, float) and np.isfinite(each) for each in value)
        )

    return special(None, words, holds)


@dataclass
class GridKeys:
    """The region's grid: bounds, CRS and resolution, or that of a raster."""

    bounds: Any = _numbers(4, "four numbers: west, south, east, north, in the unit of the CRS")
    crs: str | None = None  # e.g. EPSG:32632
    resolution: float | None = number(None, above=0)  # side of a pixel in the unit of the CRS
    template: str | None = None  # a raster of the grid to take, instead of the three others


@dataclass
class File:
    """A file."""

    path: Any = paths()


@dataclass
class Recipe:
    """Keys of a recipe; ``insar``, ``weather`` and each of ``targets`` have those of their source."""

    grid: GridKeys = field(default_factory=GridKeys)
    insar: Any = None
    weather: Any = None
    targets: Any = None  # {swe: …, hs: …}; none to map with a trained model
    name: str | None = None  # of the archive, as reports and maps state it; None: the name of the recipe's folder
    dem: Any = None  # elevation in m, {path: dem.tif}; None: that of the InSAR product
    study_area: Any = None  # outlines, {path: catchment.gpkg}; None: where there are values
    water: Any = None  # outlines of lakes and sea, which are taken out of the study area
    glaciers: Any = None  # outlines, which become the band `glacier`
    first: str | None = None  # day from which on pairs begin, e.g. 2022-09-01
    last: str | None = None  # day by which pairs end
    coverage: float = number(0.5, above=0, at_most=1)  # share of a pixel that has to have a value, else it has none


class Choice(NamedTuple):
    """A product of the recipe: its reader, checked keys, and the files that ``path`` matches."""

    reader: Reader
    options: dict[str, Any]
    files: list[Path]


class Plan(NamedTuple):
    """A checked recipe.

    Attributes:
        grid: Of the region.
        insar: The pairs' product.
        weather: Its product; None without weather.
        targets: Products by target.
        outlines: Files by ``study_area``, ``water``, ``glaciers``, as far as they are given.
        dem: Raster of the elevation; None where the InSAR product has it.
        keys: All keys, in plain containers.
    """

    grid: Grid
    insar: Choice
    weather: Choice | None
    targets: dict[str, Choice]
    outlines: dict[str, Path]
    dem: Path | None
    keys: dict[str, Any]


def read_recipe(path: Path) -> Plan:
    """A recipe, checked.

    Args:
        path: The YAML file; paths in it are relative to its folder.

    Raises:
        SnowmapError: When it cannot be read, on an unknown key or a value that its key does not take, and when paths
            match nothing.
    """
    try:
        given = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise SnowmapError(
            f"{path}: not readable as YAML ({error}); `snowmap build --example hyp3` writes a recipe"
        ) from error
    if not isinstance(given, dict):
        raise SnowmapError(f"{path}: found {shown(given)}; expected keys such as grid, insar, weather and targets")
    try:
        return _plan({str(key): value for key, value in given.items()}, path.absolute().parent)
    except SnowmapError as error:
        raise SnowmapError(f"{path}: {error}") from error


def _plan(given: dict[str, Any], folder: Path) -> Plan:
    keys = typed(Recipe, {"grid": {}, **given})
    for key in ("first", "last"):
        keys[key] = _day(key, keys[key])
    targets = keys["targets"] or {}
    if not isinstance(targets, dict) or not {"swe", "hs"}.issuperset(targets):
        raise SnowmapError(f"targets={shown(targets)}: expected swe or hs, each with its source and path")
    files = {key: _file(key, keys[key], folder) for key in ("dem", *OUTLINES) if keys[key] is not None}
    keys["name"] = keys["name"] or folder.name
    return Plan(
        _grid(keys["grid"], folder),
        _choice("insar", keys["insar"], INSAR, folder),
        None if keys["weather"] is None else _choice("weather", keys["weather"], WEATHER, folder),
        {name: _choice(f"targets.{name}", entry, SNOW, folder) for name, entry in targets.items()},
        {key: path for key, path in files.items() if key in OUTLINES},
        files.get("dem"),
        keys,
    )


OUTLINES = ("study_area", "water", "glaciers")
"""Keys of a recipe that name outlines."""


def _choice(key: str, given: Any, readers: Mapping[str, Reader], folder: Path) -> Choice:
    words = " | ".join(readers)
    if not isinstance(given, dict) or "source" not in given:
        raise SnowmapError(f"{key}={shown(given)}: expected {key}.source={words}, and {key}.path")
    source = str(given["source"])
    if source not in readers:
        raise SnowmapError(f"{key}.source={shown(source)}: expected {words}{nearest(source, readers)}")
    options = typed(readers[source].keys, given, f"{key}.")
    for entry in fields(readers[source].keys):
        if "file" in entry.metadata and options[entry.name]:
            options[entry.name] = str(_files(f"{key}.{entry.name}", {"path": options[entry.name]}, folder)[0])
    return Choice(readers[source], options, _files(f"{key}.path", options, folder))


def _files(key: str, options: Mapping[str, Any], folder: Path) -> list[Path]:
    """What the patterns match, sorted."""
    patterns = options["path"] if isinstance(options["path"], list) else [options["path"]]
    paths: dict[Path, None] = {}
    for pattern in patterns:
        matched = sorted(glob.glob(str(folder / Path(pattern).expanduser()), recursive=True))  # noqa: PTH207  absolute ones, too
        if not matched:
            raise SnowmapError(f"{key}={pattern}: no such file or folder below {folder}; mend the path")
        paths |= dict.fromkeys(map(Path, matched))
    return list(paths)


def _file(key: str, given: Any, folder: Path) -> Path:
    files = _files(f"{key}.path", typed(File, given, f"{key}."), folder)
    if len(files) > 1:
        raise SnowmapError(f"{key}.path={given['path']}: {len(files)} files match; expected one")
    return files[0]


def _grid(keys: Mapping[str, Any], folder: Path) -> Grid:
    stated = [key for key in ("bounds", "crs", "resolution") if keys[key] is not None]
    if (len(stated), keys["template"] is None) not in ((3, True), (0, False)):
        given = ", ".join([*stated, *(["template"] if keys["template"] else [])]) or "nothing"
        raise SnowmapError(f"grid: found {given}; expected bounds, crs and resolution, or template")
    if keys["template"]:
        grid = open_raster(folder / keys["template"]).grid
    else:
        west, south, east, north = keys["bounds"]
        step = keys["resolution"]
        if not (west < east and south < north):
            raise SnowmapError(f"grid.bounds={keys['bounds']}: expected west < east and south < north")
        shape = round((north - south) / step), round((east - west) / step)
        if 0 in shape:
            raise SnowmapError(f"grid.resolution={step:g} is wider than grid.bounds={keys['bounds']}; same units?")
        try:
            crs = CRS.from_user_input(keys["crs"])
        except CRSError as error:
            raise SnowmapError(f"grid.crs={keys['crs']}: {error}; expected e.g. EPSG:32632") from error
        grid = Grid(shape, from_origin(west, north, step, step), crs)
    if fault := fault_of_grid(grid.shape, grid.transform, grid.crs):
        raise SnowmapError(f"grid: {fault}")
    return grid


def _day(key: str, value: str | None) -> str | None:
    try:
        return None if value is None else str(np.datetime64(value, "D"))
    except ValueError as error:
        raise SnowmapError(f"{key}={value}: expected a day such as 2022-09-01") from error
