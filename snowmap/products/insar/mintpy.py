"""Stacks of MintPy (``ifgramStack.h5`` with ``geometryGeo.h5``), and so of every processor that MintPy reads.

Sign: "positive value represents motion away from the satellite", date1 being the earlier (MintPy's FAQ, 1): as in
`snowmap.products.pairs`. Angles in degrees: incidence from the vertical, azimuth from north, anti-clockwise, of the
vector from the ground to the radar (`enu2los` in MintPy's ``utils/utils0.py``).
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.insar.gunw import variable
from snowmap.products.names import day_of
from snowmap.products.pairs import InsarPairs, Opener, Pair
from snowmap.products.rasters import Raster
from snowmap.products.reader import Insar, Reader

Compute = Callable[..., np.ndarray]
STACK, GEOMETRY = "ifgramStack", "geometry"
"""What the attribute ``FILE_TYPE`` says."""


def read(paths: list[Path], options: Mapping[str, Any]) -> InsarPairs:
    """The pairs of stacks, each a file or a folder such as ``mintpy/inputs``; the geometry lies beside its stack.

    Raises:
        SnowmapError: When a stack is in radar coordinates, has no CRS or no wavelength, or lacks a dataset.
    """
    result = InsarPairs([], [])
    for path in paths:
        files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
        stacks = [file for file in files if _attributes(file, result.left_out).get("FILE_TYPE") == STACK]
        if not stacks:
            result.left_out.append(f"{path}: no MintPy stack ({STACK}.h5) there")
        for stack in stacks:
            _read_stack(stack, result)
    return result


READER = Reader(Insar, read, "path: mintpy/inputs                  # the folder of ifgramStack.h5 and geometryGeo.h5")


def _attributes(path: Path, left_out: list[str]) -> dict[str, str]:
    try:
        with h5py.File(path) as file:
            return {key: str(value) for key, value in file.attrs.items()}
    except OSError as error:
        left_out.append(f"{path}: not readable as HDF5 ({error}); write it again")
        return {}


def _read_stack(path: Path, result: InsarPairs) -> None:
    attributes = _attributes(path, result.left_out)
    crs, transform = _grid(path, attributes)
    layers = _geometry(path, attributes, crs, transform, result.left_out)
    with h5py.File(path) as file:
        variable(file, "coherence")
        references = _references(variable(file, "unwrapPhase"), attributes)
        dates = [[day.decode() for day in pair] for pair in variable(file, "date")[()]]
        kept = np.asarray(file["dropIfgram"], bool) if "dropIfgram" in file else np.ones(len(dates), bool)
        components = "connectComponent" in file
    for index, (first, second) in enumerate(dates):
        name = f"{path}: {first}_{second}"
        if not kept[index]:
            result.left_out.append(f"{name} is dropped in the stack (dropIfgram)")
            continue
        if np.isnan(references[index]):
            result.left_out.append(f"{name} has no phase at the reference point (REF_Y, REF_X); choose another there")
            continue
        sign = 1 if first <= second else -1
        start, end = map(day_of, sorted((first, second)))
        read_map = partial(_map, crs=crs, transform=transform)
        of_pair: dict[str, Opener] = {
            "coherence": partial(read_map, path, ["coherence"], _not_zero, index),
            "unwrapped_phase": partial(read_map, path, ["unwrapPhase"], _relative(references[index], sign), index),
        }
        if components:
            of_pair["component"] = partial(read_map, path, ["connectComponent"], lambda components: components, index)
        result.pairs.append(
            Pair(
                start=start,
                end=end,
                name=name,
                track=_track(path, attributes),
                wavelength_m=float(attributes["WAVELENGTH"]),
                layers={**layers, **of_pair},
                processing=", ".join(
                    f"{key} {attributes[key]}"
                    for key in ("PROCESSOR", "ALOOKS", "RLOOKS", "unwrap_method")
                    if key in attributes
                ),
            )
        )


def _grid(path: Path, attributes: Mapping[str, str]) -> tuple[CRS, Affine]:
    if "X_FIRST" not in attributes:
        raise SnowmapError(
            f"{path}: in radar coordinates (no X_FIRST); expected a geocoded stack: "
            f"geocode.py {path.name} geometryRadar.h5 -l geometryRadar.h5"
        )
    if "WAVELENGTH" not in attributes:
        raise SnowmapError(f"{path}: no attribute WAVELENGTH; expected it in m, as MintPy's load_data.py writes it")
    zone = attributes.get("UTM_ZONE", "")
    code = f"EPSG:{326 if zone.endswith('N') else 327}{int(zone[:-1]):02}" if zone[:-1].isdigit() else ""
    if attributes.get("X_UNIT", "").startswith("deg"):
        code = code or "EPSG:4326"
    code = f"EPSG:{attributes['EPSG']}" if attributes.get("EPSG", "").isdigit() else code
    try:
        crs = CRS.from_user_input(code)
    except CRSError as error:
        raise SnowmapError(
            f"{path}: no CRS (attributes EPSG, UTM_ZONE, or X_UNIT in degrees); expected e.g. EPSG=32632; h5py can "
            "set it"
        ) from error
    west, north, width, height = (float(attributes[key]) for key in ("X_FIRST", "Y_FIRST", "X_STEP", "Y_STEP"))
    return crs, Affine(width, 0, west, 0, height, north)


def _geometry(
    stack: Path, attributes: Mapping[str, str], crs: CRS, transform: Affine, left_out: list[str]
) -> dict[str, Opener]:
    """Layers of the geometry file of the stack's grid."""
    grid = ("FILE_TYPE", "LENGTH", "WIDTH", "X_FIRST", "Y_FIRST")
    expected = [GEOMETRY, *(attributes.get(key) for key in grid[1:])]
    for path in sorted(stack.parent.glob("*.h5")):
        facts = _attributes(path, [])
        if [facts.get(key) for key in grid] == expected:
            break
    else:
        left_out.append(
            f"{stack}: no geometry of its grid (geometryGeo.h5) beside it; elevation and angles are missing"
        )
        return {}
    with h5py.File(path) as file:
        names = set(file)
    angles = ["incidenceAngle", "azimuthAngle"]
    computed: dict[str, tuple[list[str], Compute]] = {
        "elevation": (["height"], _not_zero),
        "layover_shadow": (["shadowMask"], lambda shadow: shadow),
        "water": (["waterMask"], lambda land: 1 - land),
        "look_east": (angles, _east),
        "look_north": (angles, _north),
        "look_up": (angles, _up),
    }
    return {
        layer: partial(_map, path, datasets, compute, crs=crs, transform=transform)
        for layer, (datasets, compute) in computed.items()
        if names.issuperset(datasets)
    }


def _map(
    path: Path, names: list[str], compute: Compute, layer: int | None = None, *, crs: CRS, transform: Affine
) -> Raster:
    """A map computed from datasets ``(y, x)``, or from one layer of datasets ``(layer, y, x)``."""

    def read(rows: slice, columns: slice) -> np.ndarray:
        index = (rows, columns) if layer is None else (layer, rows, columns)
        with h5py.File(path) as file:
            return compute(*(np.asarray(variable(file, name)[index], np.float32) for name in names))

    with h5py.File(path) as file:
        height, width = variable(file, names[0]).shape[-2:]
    return Raster(Grid((height, width), transform, crs), read)


def _not_zero(values: np.ndarray) -> np.ndarray:
    """0 is MintPy's nodata."""
    return np.where(values == 0, np.float32(np.nan), values)


def _relative(reference: float, sign: int) -> Compute:
    return lambda phase: sign * (_not_zero(phase) - np.float32(reference))


def _east(zenith: np.ndarray, north: np.ndarray) -> np.ndarray:
    return -np.sin(np.radians(_not_zero(zenith))) * np.sin(np.radians(north))


def _north(zenith: np.ndarray, north: np.ndarray) -> np.ndarray:
    return np.sin(np.radians(_not_zero(zenith))) * np.cos(np.radians(north))


def _up(zenith: np.ndarray, north: np.ndarray) -> np.ndarray:
    return np.cos(np.radians(_not_zero(zenith)))


def _references(phase: h5py.Dataset, attributes: Mapping[str, str]) -> np.ndarray:
    """Each pair's phase at the stack's reference point, which MintPy subtracts as it inverts; 0 without a point."""
    if "REF_Y" not in attributes or "REF_X" not in attributes:
        return np.zeros(len(phase), np.float32)
    return _not_zero(np.asarray(phase[:, int(attributes["REF_Y"]), int(attributes["REF_X"])], np.float32))


def _track(path: Path, attributes: Mapping[str, str]) -> str:
    """Relative orbit where MintPy has it, else the project or the stack itself; and the direction of the pass."""
    direction = attributes.get("ORBIT_DIRECTION", "").lower()
    if not direction and "HEADING" in attributes:
        direction = "ascending" if np.cos(np.radians(float(attributes["HEADING"]))) > 0 else "descending"
    orbit = attributes.get("relative_orbit")
    stack = f"relative orbit {orbit}" if orbit else attributes.get("PROJECT_NAME", str(path))
    return ", ".join(part for part in (stack, direction) if part)
