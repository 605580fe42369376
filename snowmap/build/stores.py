"""Where the windows of a build go: an archive of GeoTIFFs, or a Cube in Zarr, each written window by window."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from rasterio.windows import Window

from snowmap.build.preparing import STATIC_BANDS, Prepared, edges
from snowmap.files import remove_unfinished
from snowmap.sources.trentino.layout import raster_path
from snowmap.sources.trentino.quantities import BANDS, TARGETS, as_cube
from snowmap.sources.trentino.raster import BANDS_TAG, ORIGIN_TAG, SIGN_TAG, TARGETS_TAG, opened
from snowmap.sources.trentino.writing import write_layer, write_mask
from snowmap.sources.zarr import CHUNK, create_zarr, finish_zarr, is_store, write_piece

PIECE = 1024
"""Pixels on a side of what is regridded at once for an archive; a whole raster of a window is in memory anyway."""

_WRITERS = ThreadPoolExecutor(4, "write")
"""A file is written once the disk says so: those of a window wait for it together."""

Pieces = Iterator[tuple[slice, slice, dict[str, np.ndarray]]]
"""Rows, columns, and the layers of that piece of a window."""


class ArchiveStore:
    """An archive in the layout of `snowmap.sources.trentino`."""

    piece = PIECE

    def __init__(self, root: Path, prepared: Prepared) -> None:
        self.root, self.prepared = root, prepared

    def begin(self) -> None:
        """Remove what a killed build left half written."""
        for folder in (self.root, *self.root.glob("*/"), *self.root.glob("*/*/")):
            remove_unfinished(folder)

    def write(self, window: int, pieces: Pieces) -> None:
        """Write the rasters of a window; what is the same in all windows with the first."""
        grid = self.prepared.plan.grid
        layers: dict[str, np.ndarray] = {}
        for rows, columns, values in pieces:
            for name, piece in values.items():
                layers.setdefault(name, np.full(grid.shape, np.nan, np.float32))[rows, columns] = piece
        written = [name for name in layers if name not in STATIC_BANDS or window == 0]
        list(_WRITERS.map(lambda name: self._write(window, name, layers[name]), written))

    def read(self, window: int, rows: slice) -> dict[str, np.ndarray]:
        """Rows of the bands that were written."""
        layers = {}
        for name in self.prepared.bands:
            path = self._path(name, window)
            if path.is_file():
                with opened(path) as raster:
                    width, height = raster.width, rows.stop - rows.start
                    layers[name] = raster.read(1, window=Window(0, rows.start, width, height))  # type: ignore[call-arg]
        return layers

    def finish(self, mask: np.ndarray) -> None:
        """Write the mask, without which it is no archive."""
        tags = {ORIGIN_TAG: self.prepared.plan.keys["name"], BANDS_TAG: ",".join(self.prepared.bands), SIGN_TAG: "1"}
        tags[TARGETS_TAG] = ",".join(self.prepared.plan.targets)
        write_mask(self.root, mask, self.prepared.plan.grid, tags)

    def _write(self, window: int, name: str, values: np.ndarray) -> None:
        unit = TARGETS[name].unit if name in TARGETS else BANDS[name].unit
        wavelength = self.prepared.pairs[window].wavelength_m
        write_layer(self._path(name, window), name, values, self.prepared.plan.grid, unit, wavelength)

    def _path(self, name: str, window: int) -> Path:
        pair = self.prepared.pairs[window]
        return raster_path(self.root, name, pair.start, pair.end)


class ZarrStore:
    """A Cube in Zarr: pieces are chunks, so no more than one of them is in memory."""

    piece = CHUNK

    def __init__(self, root: Path, prepared: Prepared) -> None:
        self.root, self.prepared = root, prepared

    def begin(self) -> None:
        """Create the store, unless a build that was interrupted did."""
        if not is_store(self.root):
            create_zarr(self._skeleton(), self.root)

    def write(self, window: int, pieces: Pieces) -> None:
        """Write a window piece by piece."""
        targets = self.prepared.plan.targets
        for rows, columns, values in pieces:
            nothing = np.full(next(iter(values.values())).shape, np.nan, np.float32)
            features = np.stack([values.get(name, nothing) for name in self.prepared.bands])
            of_targets = {name: values.get(name, nothing) for name in targets}
            write_piece(self.root, window, {"features": features, **of_targets}, rows, columns)

    def read(self, window: int, rows: slice) -> dict[str, np.ndarray]:
        """Rows of the bands that were written."""
        features: zarr.Array = zarr.open_group(self.root, mode="r")["features"]  # type: ignore[assignment]
        return dict(zip(self.prepared.bands, np.asarray(features[window, :, rows]), strict=True))

    def finish(self, mask: np.ndarray) -> None:
        """Write the mask, and say that the store is whole."""
        write_piece(self.root, 0, {"mask": mask})
        finish_zarr(self.root)

    def _skeleton(self) -> xr.Dataset:
        prepared, grid = self.prepared, self.prepared.plan.grid
        shape = (len(prepared.pairs), len(prepared.bands), *grid.shape)
        nothing = np.float32(np.nan)
        targets = {name: np.broadcast_to(nothing, (shape[0], *grid.shape)) for name in prepared.plan.targets}
        start, end = edges(prepared.pairs)
        layers = {"features": np.broadcast_to(nothing, shape), **targets, "mask": np.ones(grid.shape, bool)}
        cube = as_cube(layers, prepared.bands, start, end, grid.crs, grid.transform)
        wavelength = prepared.pairs[0].wavelength_m
        return cube.assign_attrs(origin=prepared.plan.keys["name"], wavelength=wavelength, phase_sign=1)


Store = ArchiveStore | ZarrStore


def store_of(root: Path, prepared: Prepared) -> Store:
    """The store of a name: Zarr for one that ends in ``.zarr``."""
    return (ZarrStore if root.suffix == ".zarr" else ArchiveStore)(root, prepared)


def where_valid(layers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where every band that changes from window to window has a value, ``(y, x)`` bool."""
    return np.logical_and.reduce([np.isfinite(values) for name, values in layers.items() if name not in STATIC_BANDS])


def study_area(store: Store, windows: Sequence[int]) -> np.ndarray:
    """Where every band has a value in some of the windows that were written, ``(y, x)`` bool."""
    height, width = store.prepared.plan.grid.shape
    mask = np.zeros((height, width), bool)
    for first in range(0, height, store.piece):
        rows = slice(first, min(height, first + store.piece))
        for window in windows:
            mask[rows] |= where_valid(store.read(window, rows))
    return mask
