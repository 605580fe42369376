"""`snowmap build`: a recipe's products become an archive, window by window; an interrupted build is resumed."""

import functools
import itertools
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import geopandas as gpd
import numpy as np
import rasterio
from rich.progress import track

from snowmap.build.bands import insar_bands
from snowmap.build.mosaics import scenes_of
from snowmap.build.preparing import Prepared, prepare
from snowmap.build.stores import Pieces, Store, store_of, study_area, where_valid
from snowmap.cluster import connect, deal
from snowmap.data.grid import Grid, moved
from snowmap.errors import SnowmapError
from snowmap.files import write_whole
from snowmap.products.outlines import inside, share
from snowmap.products.pairs import LAYERS, MEAN, Pair
from snowmap.products.rasters import Raster
from snowmap.products.regrid import regrid
from snowmap.products.snow import points_to_grid
from snowmap.products.weather import window_bands
from snowmap.sources.trentino.quantities import TARGETS
from snowmap.tables import print_table
from snowmap.units import METRES

RECORD = "build.json"
"""In the archive that is built, or beside the Zarr store: the recipe, what became of each window, what was left out."""


def build(recipe: Path, out: Path, *, workers: int | None = None, scheduler: str | None = None) -> dict[str, Any]:
    """Build the archive of a recipe, or what is missing of it.

    Args:
        recipe: The YAML file.
        out: The folder; a Cube in Zarr where its name ends in ``.zarr``, else an archive of GeoTIFFs.
        workers: Processes that share the windows; None: this one.
        scheduler: Address of a dask cluster that does, instead.

    Returns:
        The record: ``keys`` of the recipe, ``windows`` by name, ``left_out``, ``finished``.

    Raises:
        SnowmapError: When the recipe or a product is at fault, or the folder holds something else.
    """
    common = recipe.absolute(), out.absolute(), uuid.uuid4().hex
    prepared = _prepared(common[0], common[2])
    store, record = store_of(out, prepared), _record(out, prepared)
    named = dict(zip(prepared.windows, prepared.pairs, strict=True))
    missing = [name for name, pair in named.items() if _scenes(record, name) != max(1, len(pair.scenes))]
    if record["finished"] and not missing:
        return record
    store.begin()
    _write_record(out, record)
    area = study_area(store, [number for number, name in enumerate(prepared.windows) if name not in missing])
    with connect(workers, scheduler) as client:
        done = track(deal(client, _window, common, missing), "windows", total=len(missing), transient=True)
        for name, (note, valid) in zip(missing, done, strict=True):
            record["windows"][name] = note
            _write_record(out, record)
            for (rows, columns, piece), bits in zip(_pieces(prepared.plan.grid, store.piece), valid, strict=True):
                height, width = piece.shape
                area[rows, columns] |= np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)
    store.finish(_mask(store, area))
    record["finished"] = True
    _write_record(out, record)
    return record


def print_record(record: dict[str, Any], out: Path) -> None:
    """Print what was built, and what was left out and why."""
    notes = record["windows"].values()
    print(f"{len(notes)} windows with {', '.join(record['bands'])} lie in {out}")
    for target in record["keys"]["targets"] or {}:
        days = sum(bool(note["targets"][target]) for note in notes)
        print(f"target {target}: {days} of {len(notes)} windows have a map; the others are left out of a training")
    columns = {"left out": record["left_out"]}
    if record["left_out"]:
        print_table("what was left out", columns)
    cut = {name: note["other_components"] for name, note in record["windows"].items() if note["other_components"] > 0.1}
    if cut:
        worst = max(cut, key=lambda name: cut[name])
        print(
            f"{len(cut)} windows lose more than a tenth of their unwrapped phase, which lies in smaller connected "
            f"components; most of all {worst} ({cut[worst]:.0%}); insar.components=all keeps it"
        )
    if len(empty := [name for name, note in record["windows"].items() if not note["covered"]]):
        print(f"{len(empty)} windows have no value in some band, e.g. {empty[0]}, and are left out of a training")


def record_of(out: Path) -> Path:
    """Where the record of a build lies."""
    return out.with_name(f"{out.name}.{RECORD}") if out.suffix == ".zarr" else out / RECORD


def _record(out: Path, prepared: Prepared) -> dict[str, Any]:
    """What an earlier build of the same recipe left, else an empty record."""
    keys = {key: value for key, value in prepared.plan.keys.items() if key not in ("first", "last")}
    record = {"keys": keys, "bands": prepared.bands, "planned": prepared.windows, "windows": {}}
    record |= {"left_out": prepared.left_out, "finished": False}
    if not record_of(out).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SnowmapError(f"{out}: exists and was not built by `snowmap build`; name a new folder")
        return record
    try:
        before = json.loads(record_of(out).read_text())
        differ = {key for key in {**keys, **before["keys"]} if keys.get(key) != before["keys"].get(key)}
        differ |= {"bands"} if before["bands"] != prepared.bands else set()
        windows = before["planned"] != prepared.windows
        gone = set(before["windows"]) - set(prepared.windows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnowmapError(f"{record_of(out)} cannot be read ({error}); name a new folder") from error
    if gone or (windows and out.suffix == ".zarr"):
        differ.add("windows")
    if differ:
        raise SnowmapError(f"{out} was built from other {', '.join(sorted(differ))}; name a new folder")
    return record | {"windows": before["windows"], "finished": before["finished"] and not windows}


def _scenes(record: dict[str, Any], window: str) -> int:
    """How many scenes a window was built from; 0 where it was not."""
    return record["windows"][window].get("scenes", 1) if window in record["windows"] else 0


def _write_record(out: Path, record: dict[str, Any]) -> None:
    write_whole(record_of(out), json.dumps(record, indent=1 if record["finished"] else None))


@functools.lru_cache(maxsize=1)
def _prepared(recipe: Path, of_build: str) -> Prepared:
    """What each process of a build reads once; another build, by other workers or the same, reads it anew."""
    return prepare(recipe)


def _window(common: tuple[Path, Path, str], name: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Build one window; what the record says of it, and the bits of where each of its pieces has values."""
    recipe, out, of_build = common
    # a block is read sooner than threads wait for each other, and GDAL is set up once, not at each raster
    with dask.config.set(scheduler="synchronous"), rasterio.Env():
        return _build_window(_prepared(recipe, of_build), out, name)


def _build_window(prepared: Prepared, out: Path, name: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    number = prepared.windows.index(name)
    pair, store = prepared.pairs[number], store_of(out, prepared)
    every, grid = prepared.plan.keys["coverage"], prepared.plan.grid
    largest = prepared.plan.insar.options["components"] == "largest"
    scenes, other = scenes_of(pair, grid, every, prepared.dem, largest)
    days = {name: prepared.maps_of(name, pair) for name in prepared.snow}
    valid: list[np.ndarray] = []

    def pieces() -> Pieces:
        for rows, columns, piece in _pieces(grid, store.piece):
            layers = insar_bands(scenes, piece, every, prepared.dem)
            layers |= _weather(prepared, pair, piece, layers["elevation"])
            if "glacier" in prepared.bands:
                layers["glacier"] = (share(prepared.plan.outlines["glaciers"], piece) >= 0.5).astype(np.float32)
            layers = {name: layers[name] for name in prepared.bands}
            valid.append(np.packbits(where_valid(layers)))
            snow = {name: _snow(prepared, name, of_target, piece) for name, of_target in days.items() if of_target}
            yield rows, columns, layers | snow

    store.write(number, pieces())
    of_targets = {name: [str(day) for day in of_target] for name, of_target in days.items()}
    covered = sum(int(np.bitwise_count(bits).sum()) for bits in valid) / (grid.shape[0] * grid.shape[1])
    note = {"product": pair.name, "scenes": len(scenes), "covered": covered, "other_components": other}
    return note | {"targets": of_targets}, valid


def _pieces(grid: Grid, size: int) -> Iterator[tuple[slice, slice, Grid]]:
    """The grid, cut into squares of `size` pixels."""
    starts = (range(0, length, size) for length in grid.shape)
    for top, left in itertools.product(*starts):
        shape = min(size, grid.shape[0] - top), min(size, grid.shape[1] - left)
        place = slice(top, top + shape[0]), slice(left, left + shape[1])
        yield *place, Grid(shape, moved(grid.transform, left, top), grid.crs)


def _weather(prepared: Prepared, pair: Pair, grid: Grid, elevation: np.ndarray) -> dict[str, np.ndarray]:
    if prepared.weather is None or prepared.plan.weather is None:
        return {}
    rate = prepared.plan.weather.options["lapse_rate"]
    return window_bands(prepared.weather, pair.start, pair.end, grid, elevation, rate)


def _snow(prepared: Prepared, target: str, days: list[np.datetime64], grid: Grid) -> np.ndarray:
    """The mean of the maps of some days, in the archive's unit."""
    total, count = np.zeros(grid.shape), np.zeros(grid.shape)
    for day in days:
        values = _snow_of_day(prepared.snow[target].maps[day](), grid, prepared.plan.keys["coverage"])
        known = np.isfinite(values)
        total[known] += values[known]
        count += known
    mean = np.divide(total, count, out=np.full(grid.shape, np.nan), where=count > 0)
    return (mean / METRES[TARGETS[target].unit]).astype(np.float32)


def _snow_of_day(opened: Raster | gpd.GeoDataFrame, grid: Grid, coverage: float) -> np.ndarray:
    if isinstance(opened, gpd.GeoDataFrame):
        return points_to_grid(opened, grid)
    return regrid({"snow": opened}, {"snow": MEAN}, grid, coverage)["snow"]


def _mask(store: Store, mask: np.ndarray) -> np.ndarray:
    """The study area: where there are values, inside its outlines, without water."""
    prepared, grid = store.prepared, store.prepared.plan.grid
    outlines = prepared.plan.outlines
    if "study_area" in outlines:
        mask &= inside(outlines["study_area"], grid)
    if "water" in outlines:
        mask &= ~inside(outlines["water"], grid)
    for pair in prepared.pairs[0].scenes or prepared.pairs[:1]:
        if "water" in pair.layers:
            layer = pair.layers["water"]()
            for rows, columns, piece in _pieces(grid, store.piece):
                mask[rows, columns] &= regrid({"water": layer}, LAYERS, piece)["water"] != 1
    if not mask.any():
        raise SnowmapError(
            "no pixel of the study area has a value in every band; look whether products, outlines and grid overlap"
        )
    return mask
