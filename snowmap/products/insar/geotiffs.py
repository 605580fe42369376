"""GeoTIFFs of any processor (SNAP, ISCE2, GAMMA, …), one for each layer, by patterns of their names.

Sign: no such file states it, so the recipe has to. Interferograms of the earlier acquisition times the conjugate of the
later one grow with the path, as in `snowmap.products.pairs`: SNAP, ISCE2 and GAMMA make them so by default (SNAP turns
them into displacement towards the radar by −λ / 4π; ISCE2 and GAMMA as in `snowmap.products.insar.hyp3`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from snowmap.config.fields import choice, number, special
from snowmap.errors import SnowmapError
from snowmap.products.names import Name
from snowmap.products.pairs import CLASS, LAYERS, InsarPairs, Opener, Pair
from snowmap.products.rasters import open_raster
from snowmap.products.reader import Insar, Reader

Convert = Callable[[np.ndarray], np.ndarray]
REQUIRED = ("coherence", "unwrapped_phase")
PHASES = ("unwrapped_phase", "wrapped_phase")
WAVELENGTH_TAG, INCIDENCE_TAG, UNIT_TAG, PROCESSOR_TAG = (
    "WAVELENGTH_METRES",
    "INCIDENCE_DEGREES",
    "DATA_UNITS",
    "INSAR_PROCESSOR",
)
"""Tags of GeoTIFFs: those of PyRate."""
_STEEPEST_RAD = 1.6
"""No angle of incidence is greater in radians, and nowhere on a map are all smaller in degrees."""


def _patterns(value: Any) -> bool:
    try:
        names = {layer: Name(text) for layer, text in value.items()}
    except (AttributeError, TypeError, ValueError):
        return False
    if not set(REQUIRED) <= set(names) <= set(LAYERS):
        return False
    both = {"start", "end"}
    return all(name.dates == both or not (name.dates or layer in REQUIRED) for layer, name in names.items())


def _scales(value: Any) -> bool:
    if value is None:
        return True
    numbers = isinstance(value, Mapping) and all(isinstance(factor, int | float) for factor in value.values())
    return numbers and set(value) <= set(LAYERS)


@dataclass
class Geotiffs(Insar):
    """Keys of GeoTIFFs by name."""

    patterns: Any = special(
        "???",
        f"names of files by layer ({', '.join(LAYERS)}), with dates such as {{start:%Y%m%d}}_{{end:%Y%m%d}}_cc.tif for "
        f"{' and '.join(REQUIRED)} at least",
        _patterns,
    )
    sign: Any = special(
        "???", "1 where the phase grows with the path, as with snow, or -1", lambda value: value in (1, -1)
    )
    scale: Any = special(None, "factors by layer, such as {coherence: 0.00392}", _scales)
    nodata: float | None = number(None)  # value that means missing beside those that the rasters state
    wavelength_m: float | None = number(None, above=0, at_most=2)  # None: the tag WAVELENGTH_METRES
    incidence_unit: str | None = choice(None, "degrees", "radians")  # None: the unit that the raster states


def read(paths: list[Path], options: Mapping[str, Any]) -> InsarPairs:
    """The pairs whose files match the patterns, by paths within the folders, or by the names of files.

    Raises:
        SnowmapError: When a pattern matches nothing, or several files of one pair; when nothing tells the wavelength or
            the unit of the incidence, or the incidence is not in its unit.
    """
    files = list(_files(paths))
    static: dict[str, Path] = {}
    dated: dict[tuple[np.datetime64, np.datetime64], dict[str, Path]] = {}
    for layer, text in options["patterns"].items():
        name = Name(text)
        matching = [(dates, file) for shown, file in files if (dates := name.match(shown)) is not None]
        if not matching:
            shown = ", ".join(shown for shown, _ in files[:3])
            raise SnowmapError(f"insar.patterns.{layer}={text}: matches no file; found {len(files)}, such as {shown}")
        for dates, file in matching:
            layers = dated.setdefault((dates["start"], dates["end"]), {}) if dates else static
            if layer in layers:
                raise SnowmapError(f"insar.patterns.{layer}={text}: matches both {layers[layer]} and {file}")
            layers[layer] = file
    scale = (options["scale"] or {}).get("incidence", 1)
    angles = {layers["incidence"] for layers in (static, *dated.values()) if "incidence" in layers}
    degrees = {file: _to_degrees(file, scale, options["incidence_unit"]) for file in angles}
    result = InsarPairs([], [])
    for (first, second), layers in sorted(dated.items()):
        missing = [layer for layer in REQUIRED if layer not in layers]
        if missing:
            result.left_out.append(f"{first}_{second}: no file of {' and '.join(missing)} by insar.patterns")
        else:
            result.pairs.append(_pair(first, second, {**static, **layers}, degrees, options))
    return result


_EXAMPLE = """\
path: interferograms                   # the folder in which the patterns look
sign: 1                                # 1: the phase grows with the path, as with dry snow; else -1
patterns:
  coherence: "{start:%Y%m%d}_{end:%Y%m%d}_cc.tif"
  unwrapped_phase: "{start:%Y%m%d}_{end:%Y%m%d}_unw.tif"
  elevation: dem.tif
  incidence: local_incidence.tif
incidence_unit: degrees"""

READER = Reader(Geotiffs, read, _EXAMPLE)


def _files(paths: list[Path]) -> Iterator[tuple[str, Path]]:
    """Files and what patterns see of them."""
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            yield from ((file.relative_to(path).as_posix(), file) for file in inside)
        else:
            yield path.name, path


def _pair(
    first: np.datetime64,
    second: np.datetime64,
    files: Mapping[str, Path],
    degrees: Mapping[Path, Convert],
    options: Mapping[str, Any],
) -> Pair:
    phase = files["unwrapped_phase"]
    tags, _ = _facts(phase)
    wavelength = options["wavelength_m"] or float(tags.get(WAVELENGTH_TAG, "nan"))
    if np.isnan(wavelength):
        raise SnowmapError(f"{phase}: no tag {WAVELENGTH_TAG}; expected it, or insar.wavelength_m, e.g. 0.05547")
    sign = options["sign"] * (1 if first <= second else -1)
    layers: dict[str, Opener] = {}
    for layer, file in files.items():
        factor = (options["scale"] or {}).get(layer, 1) * (sign if layer in PHASES else 1)
        nodata = None if LAYERS[layer] == CLASS else options["nodata"]
        convert = degrees[file] if layer == "incidence" else _scaled(factor)
        layers[layer] = partial(open_raster, file, nodata=nodata, convert=convert)
    if "incidence" not in layers and "look_up" not in layers and INCIDENCE_TAG in tags:
        layers["incidence"] = partial(open_raster, phase, convert=_everywhere(float(tags[INCIDENCE_TAG])))
    return Pair(
        start=min(first, second),
        end=max(first, second),
        name=str(phase),
        track=phase.parent.name,
        wavelength_m=wavelength,
        layers=layers,
        processing=tags.get(PROCESSOR_TAG, ""),
    )


def _scaled(factor: float) -> Convert:
    return lambda values: values * np.float32(factor)


def _everywhere(value: float) -> Convert:
    return lambda values: np.full_like(values, value)


def _facts(path: Path) -> tuple[dict[str, str], str]:
    """Tags of a raster, and its unit."""
    try:
        with rasterio.open(path) as raster:
            return raster.tags(), raster.units[0] or raster.tags().get(UNIT_TAG, "")
    except RasterioError as error:
        raise SnowmapError(f"{path}: not readable as a raster ({error}); write it again") from error


def _to_degrees(path: Path, scale: float, unit: str | None) -> Convert:
    """How the values of a raster of incidence become degrees, by its unit or the recipe's."""
    stated = unit or _facts(path)[1].lower()
    if not stated.startswith(("deg", "rad", "°")):
        raise SnowmapError(f"{path}: states no unit of angles; expected insar.incidence_unit=degrees or radians")
    with rasterio.open(path) as raster:
        few = raster.read(1, masked=True, out_shape=tuple(min(256, size) for size in raster.shape)) * scale
    radians = stated.startswith("rad")
    greatest = np.ma.masked_invalid(few).max()
    if greatest is not np.ma.masked and radians != bool(greatest < _STEEPEST_RAD):
        raise SnowmapError(
            f"{path}: angles up to {greatest:.3g} are not in {'radians' if radians else 'degrees'}; expected "
            f"insar.incidence_unit={'degrees' if radians else 'radians'}"
        )
    return _scaled(scale * (float(np.degrees(1)) if radians else 1))
