"""Cubes in Zarr: written piece by piece and read chunk by chunk, whatever their size.

A store is the Cube as xarray writes it (Zarr 3); a chunk of `features` is all bands of a square of one window.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import psutil
import xarray as xr
import zarr
from dask.array.core import normalize_chunks
from dask.base import compute

from snowmap.data.cube import check, fingerprint, targets_of, window_names
from snowmap.errors import SnowmapError
from snowmap.files import whole_folder

CHUNK = 256
"""Pixels on a side: nine bands of a chunk are 2.4 MB, and a crop of 128 px reads four times what it needs."""

MEMORY_SHARE = 0.5
"""Of the free memory that a Cube to train on may fill; a larger one stays in its store."""

UNFINISHED = "unfinished"
"""Attribute of a store whose pieces are still being written."""

METADATA = "zarr.json"

PACKING = ("_FillValue", "scale_factor", "add_offset")
"""Attributes by which xarray and CF say that values are other than they stand there."""


def is_store(root: str | Path) -> bool:
    """Whether a Zarr store lies there; what may not be read is none."""
    with contextlib.suppress(PermissionError):
        return (Path(root) / METADATA).is_file()
    return False


def open_source(data: Mapping[str, Any], targets: Sequence[str]) -> xr.Dataset:
    """The Cube of ``data=zarr``; see `snowmap.sources.Source`.

    Args:
        data: As `snowmap.config.sources.Zarr` describes it.
        targets: Targets to train on or to score; with any, a Cube that fits into the memory is read into it.
    """
    cube, wanted = open_zarr(data["root"]), data.get("bands")
    if wanted is not None:
        known = cube["band"].values.tolist()
        if unknown := [name for name in wanted if name not in known]:
            raise SnowmapError(
                f"data.bands: {data['root']} has no band {', '.join(unknown)}; it has {', '.join(known)}"
            )
        cube = cube.isel(band=[index for index, name in enumerate(known) if name in wanted])
    if not targets:
        return cube
    cube = cube.assign_attrs(fingerprint=fingerprint_of(cube))
    in_memory = data.get("in_memory")
    if in_memory is None:
        in_memory = cube.nbytes <= MEMORY_SHARE * psutil.virtual_memory().available
    return cube.load() if in_memory else cube


class Survey(NamedTuple):
    """What `survey_store` found; its attributes are those of the same names of an archive's."""

    windows: Sequence[str]
    faults: Sequence[str]
    excluded: Sequence[str]
    origin: str
    swe_unit: str
    swe_per_hs: float | None
    wavelength: float | None


def survey_store(
    root: str | Path,
    look: Callable[[xr.Dataset], object],
    *,
    bands: Iterable[str] | None = None,
    targets: Iterable[str] = (),
) -> Survey:
    """Look at a store window by window, for `snowmap check`.

    Args:
        root: The store.
        look: Is given the Cube of each window by date.
        bands: Bands that it must have.
        targets: Targets of which it must have one.
    """
    try:
        cube = open_source({"root": root, "bands": None if bands is None else list(bands)}, ())
        known, wanted = targets_of(cube), list(targets)
        faults = [] if {*known} & {*wanted} else [f"the store has no target {' or '.join(wanted)}; it has {known}"]
        for window in range(cube.sizes["window"]):
            look(cube.isel(window=[window]).load())
    except SnowmapError as error:
        return Survey([], [str(error)], [], "", "", None, None)
    unit, origin = cube["swe"].attrs["units"] if "swe" in cube else "", str(cube.attrs.get("origin", ""))
    return Survey(
        window_names(cube), faults, cube.attrs.get("excluded", []), origin, unit, None, cube.attrs.get("wavelength")
    )


def open_zarr(path: str | Path) -> xr.Dataset:
    """Open a Cube in a Zarr store; its values are dask arrays, read when they are looked at.

    Args:
        path: The store, a folder.

    Raises:
        SnowmapError: When there is no store, it is unfinished, or it holds something else than a Cube.
    """
    path = Path(path)
    if not is_store(path):
        raise SnowmapError(f"{path} is no Zarr store: it has no {METADATA}; expected what snowmap.write_zarr writes")
    try:
        stored = xr.open_zarr(path, consolidated=False, mask_and_scale=False).drop_encoding()
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise SnowmapError(f"{path} cannot be read as a Zarr store of a Cube ({str(error).splitlines()[0]})") from error
    if stored.attrs.get(UNFINISHED):
        raise SnowmapError(f"{path} is unfinished: not all of its pieces were written; run what writes it again")
    order = [name for name in ("features", *sorted(targets_of(stored)), "mask") if name in stored]  # a store has none
    cube = stored[order].assign({"mask": stored["mask"].load()} if "mask" in stored else {})
    for name, values in cube.variables.items():
        packed = [key for key in PACKING if values.attrs.get(key, np.nan) == values.attrs.get(key, np.nan)]
        if packed:
            raise SnowmapError(f"{path}: '{name}' is packed ({', '.join(packed)}); expected float32, NaN = missing")
        attributes = {key: value for key, value in values.attrs.items() if key not in PACKING}
        if name in cube.coords:
            kind = object if values.dtype.kind in "UT" else values.dtype  # texts as `band_coordinates` makes them
            cube = cube.assign_coords({name: (values.dims, values.values.astype(kind), attributes)})
        elif name != "mask":
            cube = cube.assign({name: (values.dims, _chunks(path, str(name)), attributes)})
    try:
        check(cube)
    except SnowmapError as error:
        head, *faults = str(error).split("\n  - ")
        raise SnowmapError(f"{path}: {head} {'; '.join(faults)}") from error
    return cube


def write_zarr(cube: xr.Dataset, path: str | Path, chunk: int = CHUNK) -> Path:
    """Write a Cube as a Zarr store, whole or not at all; opening it again gives the same, bit for bit.

    Args:
        cube: The Cube; dask arrays are computed and written chunk by chunk.
        path: The new folder, e.g. ``region.zarr``; it must not exist, or be empty.
        chunk: Height and width of a chunk in pixels.

    Returns:
        The folder.

    Raises:
        SnowmapError: When it is no Cube, the folder holds something or cannot be written.
    """
    check(cube)
    return _write(cube, Path(path), chunk, lambda plain, part: plain.to_zarr(part, **_form(plain, chunk)))


def create_zarr(cube: xr.Dataset, path: str | Path, chunk: int = CHUNK) -> Path:
    """Create the store of a Cube whose values `write_piece` is to write; until `finish_zarr` none opens it.

    Args:
        cube: A Cube of which only the values of `features` and targets are left out: these are never looked at, and may
            be e.g. ``np.broadcast_to(np.float32(np.nan), shape)``. Its mask is written as it is.
        path: As in `write_zarr`.
        chunk: As in `write_zarr`.

    Returns:
        The folder.

    Raises:
        SnowmapError: When the folder holds something or cannot be written.
    """

    def skeleton(plain: xr.Dataset, part: Path) -> None:
        plain = plain.assign_attrs({UNFINISHED: True})
        for name in ("features", *targets_of(plain)):
            empty = da.zeros(plain[name].shape, dtype=np.float32, chunks=-1)
            plain = plain.assign({name: (plain[name].dims, empty, plain[name].attrs)})
        plain.to_zarr(part, compute=False, **_form(plain, chunk))

    return _write(cube, Path(path), chunk, skeleton)


def write_piece(
    path: str | Path,
    window: int,
    values: Mapping[str, np.ndarray],
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> None:
    """Write a piece of one window into a store of `create_zarr`; several processes may write different pieces at once.

    Args:
        path: The store.
        window: Index of the window.
        values: ``features`` (band, height, width) and targets (height, width), float32, NaN = missing; ``mask``
            (height, width) is of all windows.
        rows: Of the map; they begin and end with a chunk or with the map.
        columns: The same.

    Raises:
        SnowmapError: When the piece does not fit the store's chunks, or cannot be written.
    """
    try:
        store = zarr.open_group(Path(path), mode="r+")
        for name, piece in values.items():
            array: Any = store[name]
            for place, size, length in zip((rows, columns), array.chunks[-2:], array.shape[-2:], strict=True):
                first, last, _ = place.indices(length)
                if first % size or (last % size and last != length):
                    raise SnowmapError(
                        f"{path}: pixels {first} to {last} are no whole chunks of {size}; align the piece"
                    )
            array[(rows, columns) if array.ndim == 2 else (window, ..., rows, columns)] = piece
    except OSError as error:
        raise SnowmapError(f"{path} cannot be written: {error.strerror or error}; name another place") from error


def finish_zarr(path: str | Path) -> xr.Dataset:
    """Say that every piece of a store of `create_zarr` is written, and open it.

    Raises:
        SnowmapError: When it holds no Cube.
    """
    store = zarr.open_group(Path(path), mode="r+")
    attributes = {key: value for key, value in store.attrs.items() if key != UNFINISHED}
    store.attrs.put(attributes)
    return open_zarr(path)


def _write(cube: xr.Dataset, path: Path, chunk: int, write: Callable[[xr.Dataset, Path], object]) -> Path:
    if chunk < 1:
        raise SnowmapError(f"chunk={chunk}: expected at least 1 pixel")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise SnowmapError(
            f"{path}: exists and is not an empty folder; a store never overwrites anything; name a new one"
        )
    plain = cube.drop_encoding()  # of the file that it was read from
    plain = plain.assign_coords({name: values.compute() for name, values in plain.coords.items()})
    with whole_folder(path) as part:
        write(plain, part)
    return path


def _chunks(path: Path, name: str) -> da.Array:
    """A variable, chunk by chunk; one that cannot be read is named."""
    array: Any = zarr.open_array(path / name, mode="r")

    def read(block_info: Any = None) -> np.ndarray:
        place = block_info[None]["array-location"]
        try:
            return array[tuple(slice(*along) for along in place)]
        except (OSError, RuntimeError, ValueError) as error:
            raise SnowmapError(
                f"{path}: '{name}' of window {place[0][0]} cannot be read at rows {place[-2]}, columns {place[-1]} "
                f"({error}); write the store again"
            ) from error

    chunks = normalize_chunks(array.chunks, array.shape)
    return da.map_blocks(read, chunks=chunks, dtype=array.dtype, meta=np.empty((0,) * array.ndim, array.dtype))


def _form(cube: xr.Dataset, chunk: int) -> dict[str, Any]:
    """How xarray is to write the Cube."""
    encoding: dict[str, Any] = {
        edge: {"units": "nanoseconds since 1970-01-01", "dtype": "int64"} for edge in ("start", "end")
    }
    sizes = {"window": 1, "y": min(chunk, cube.sizes["y"]), "x": min(chunk, cube.sizes["x"])}
    for name in ("features", *targets_of(cube), "mask"):
        encoding[name] = {"chunks": tuple(sizes.get(str(dim), cube.sizes[dim]) for dim in cube[name].dims)}
    return {"encoding": encoding, "zarr_format": 3, "consolidated": False, "align_chunks": True}


def fingerprint_of(cube: xr.Dataset) -> str:
    """Of the content of a Cube that is read chunk by chunk."""

    def total(block: np.ndarray) -> np.ndarray:
        return np.full((1,) * block.ndim, zlib.crc32(np.ascontiguousarray(block).data), np.uint32)

    sums = compute(
        *(
            values.data.map_blocks(total, dtype=np.uint32, chunks=(1,) * values.ndim) if values.chunks else values.data
            for values in (cube[name] for name in ("features", *targets_of(cube)))
        )
    )
    return fingerprint(
        (cube["band"].values.tolist(), targets_of(cube), window_names(cube)), [cube["mask"].values, *sums]
    )
