"""UAVSAR repeat-pass interferograms: an annotation file ``.ann`` and binary rasters ``.grd`` beside it.

Layout: ``uavsar.jpl.nasa.gov/science/documents/rpi-format.html`` and the annotation files themselves: little-endian
float32 or complex64 on a geographic grid, whose ``row_addr`` and ``col_addr`` are the centre of the first pixel; −10000
means no value, and 0 except in heights and angles.

Sign: as used by SnowEx, where the phase from pass 1 to pass 2 grows as snow does (``snow_depth_inversion`` of
uavsar_pytools takes it as it is). The producer states none, so the evidence is thin.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.pairs import InsarPairs, Opener, Pair
from snowmap.products.rasters import Raster
from snowmap.products.reader import Insar, Reader, file

_LINE = re.compile(r"\s*(?P<key>[^;=(]*[^;=(\s])\s*(\((?P<unit>[^)]*)\))?\s*=\s*(?P<value>[^;]*)")
_METRES = {"cm": 0.01, "m": 1.0}
_GRIDS = ("grd_mag", "grd_phs", "grd", "grd_pwr")
_ZERO_IS_A_VALUE = ("hgt", "inc")
_WGS84 = CRS.from_epsg(4326)


@dataclass
class Uavsar(Insar):
    """Keys of UAVSAR."""

    incidence: str | None = file(None)  # a local incidence angle, .inc


class Entry(NamedTuple):
    """What an annotation file says under one key."""

    value: str
    unit: str


def read(paths: list[Path], options: Mapping[str, Any]) -> InsarPairs:
    """Pairs by their annotation files (``.ann``); see `snowmap.products.reader.Reader`."""
    return InsarPairs([_pair(path, options) for path in paths], [])


def _pair(path: Path, options: Mapping[str, Any]) -> Pair:
    entries = _annotation(path)
    first, second = (_date(path, entries, number) for number in (1, 2))
    length, unit = _look_up(path, entries, "center wavelength")
    if unit not in _METRES:
        raise SnowmapError(f"{path}: Center Wavelength is in '{unit}'; expected cm or m")
    sign = 1 if first < second else -1
    kinds: dict[str, tuple[str, str, Callable[[np.ndarray], np.ndarray]]] = {
        "coherence": (".cor.grd", "<f4", np.asarray),
        "unwrapped_phase": (".unw.grd", "<f4", lambda values: sign * values),
        "wrapped_phase": (".int.grd", "<c8", lambda values: sign * np.angle(values)),
        "elevation": (".hgt.grd", "<f4", np.asarray),
    }
    layers: dict[str, Opener] = {
        layer: partial(_open, path, path.with_suffix(suffix), kind, convert)
        for layer, (suffix, kind, convert) in kinds.items()
        if path.with_suffix(suffix).exists()
    }
    if "coherence" not in layers or not {"unwrapped_phase", "wrapped_phase"} & {*layers}:
        raise SnowmapError(
            f"{path}: beside it lie no {path.stem}.cor.grd and .unw.grd or .int.grd; fetch the .grd files"
        )
    amplitudes = [path.with_suffix(f".amp{number}.grd") for number in (1, 2)]
    if all(amplitude.exists() for amplitude in amplitudes):
        layers["intensity"] = partial(_intensity, path, amplitudes)
    if options["incidence"]:
        angle = Path(options["incidence"])
        layers["incidence"] = partial(_open, angle.with_suffix(".ann"), angle, "<f4", np.degrees)
    return Pair(
        start=min(first, second),
        end=max(first, second),
        name=path.name,
        track=f"line {'_'.join(path.stem.split('_')[:2])}",
        wavelength_m=float(length) * _METRES[unit],
        layers=layers,
        processing=path.stem,
    )


def _annotation(path: Path) -> dict[str, Entry]:
    """What an annotation file says, by keys in lower case."""
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise SnowmapError(
            f"{path}: not readable ({error.strerror}); expected the annotation of the .grd files"
        ) from error
    entries = [match for line in lines if (match := _LINE.match(line))]
    if path.suffix != ".ann" or not entries:
        raise SnowmapError(f"{path}: no annotation of UAVSAR; expected files .ann, with the .grd files beside them")
    return {match["key"].lower(): Entry(match["value"].strip(), (match["unit"] or "").strip()) for match in entries}


def _look_up(path: Path, entries: Mapping[str, Entry], key: str) -> Entry:
    if key not in entries:
        raise SnowmapError(f"{path}: says nothing of '{key}'; expected the annotation of an interferogram (RPI)")
    return entries[key]


def _date(path: Path, entries: Mapping[str, Entry], number: int) -> np.datetime64:
    text = _look_up(path, entries, f"start time of acquisition for pass {number}").value
    try:
        return np.datetime64(datetime.strptime(text.split()[0], "%d-%b-%Y"), "D")
    except (ValueError, IndexError) as error:
        raise SnowmapError(
            f"{path}: pass {number} starts at '{text}'; expected e.g. 18-Feb-2020 20:44:27 UTC"
        ) from error


def _open(annotation: Path, path: Path, kind: str, convert: Callable[[np.ndarray], np.ndarray]) -> Raster:
    """One binary raster."""
    entries = _annotation(annotation)
    suffix = path.suffixes[-1 if path.suffix != ".grd" else -2].removeprefix(".")
    grids = (suffix, *(_GRIDS if kind == "<f4" else reversed(_GRIDS[:3])))
    grid = next((grid for grid in grids if f"{grid}.set_rows" in entries), "grd")
    rows, columns, north, west, dy, dx = (
        _look_up(annotation, entries, f"{grid}.{key}")
        for key in ("set_rows", "set_cols", "row_addr", "col_addr", "row_mult", "col_mult")
    )
    if not dy.unit.startswith("deg"):
        raise SnowmapError(f"{annotation}: {grid}.row_mult is in '{dy.unit}'; expected a geographic grid, in deg/pixel")
    shape = int(rows.value), int(columns.value)
    expected = shape[0] * shape[1] * np.dtype(kind).itemsize
    if (size := path.stat().st_size if path.exists() else 0) != expected:
        raise SnowmapError(f"{path}: {size:,} bytes; expected {expected:,}, {shape[0]} × {shape[1]} px; fetch it again")
    y, x = float(dy.value), float(dx.value)
    transform = Affine(x, 0, float(west.value) - x / 2, 0, y, float(north.value) - y / 2)

    def read_part(rows: slice, columns: slice) -> np.ndarray:
        stored = np.memmap(path, kind, "r", shape=shape)[rows, columns]
        missing = (stored == -10000) | ((stored == 0) & (suffix not in _ZERO_IS_A_VALUE))
        return convert(np.where(missing, np.nan, stored)).astype(np.float32)

    return Raster(Grid(shape, transform, _WGS84), read_part)


def _intensity(annotation: Path, amplitudes: list[Path]) -> Raster:
    one, two = (_open(annotation, path, "<f4", np.asarray) for path in amplitudes)
    return Raster(one.grid, lambda rows, columns: one.read(rows, columns) * two.read(rows, columns))


READER = Reader(Uavsar, read, "path: uavsar/*.ann")
