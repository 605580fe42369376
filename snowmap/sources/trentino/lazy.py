"""The bands of an archive as one array whose rasters are read when they are looked at, and only so far."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from rasterio.windows import Window as Piece

from snowmap.sources.trentino.layout import Window
from snowmap.sources.trentino.raster import PIECE_ROWS, opened, read_cleaned
from snowmap.sources.trentino.reading import Plan


class LazyBands:
    """Bands of windows as an array (window, band, y, x) float32, NaN = missing, that reads what is indexed.

    A raster is opened for each piece of it: thousands cannot be held open at once.
    """

    dtype = np.dtype(np.float32)
    ndim = 4

    def __init__(self, windows: Sequence[Window], plan: Plan, shape: tuple[int, int]) -> None:
        self.windows, self.plan = windows, plan
        self.shape = len(windows), len(plan.bands), *shape

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        """The piece, cleaned by the rules of `snowmap.sources.trentino.raster.read_cleaned`.

        Raises:
            SnowmapError: When a file cannot be read any more.
        """
        chosen = [np.arange(size)[index] for size, index in zip(self.shape, key, strict=True)]
        window, band, rows, columns = (np.atleast_1d(indices) for indices in chosen)
        if 0 in (window.size, band.size, rows.size, columns.size):
            return np.empty([indices.size for indices in chosen if indices.ndim], np.float32)
        piece = Piece.from_slices((rows.min(), rows.max() + 1), (columns.min(), columns.max() + 1))
        values = np.empty((window.size, band.size, piece.height, piece.width), np.float32)
        for i, w in enumerate(window.tolist()):
            for j, b in enumerate(band.tolist()):
                self._read(w, self.plan.bands[b], values[i, j], piece)
        if rows.size < piece.height or rows[0] > rows[-1]:  # a step, or single rows
            values = values[:, :, rows - rows.min()]
        if columns.size < piece.width or columns[0] > columns[-1]:
            values = values[..., columns - columns.min()]
        return values[tuple(slice(None) if indices.ndim else 0 for indices in chosen)]

    def _read(self, window: int, band: str, out: np.ndarray, piece: Piece) -> None:
        path = self.windows[window].files[band]
        with opened(path) as raster:
            read_cleaned(raster, out, band in self.plan.zero_is_missing, piece)


def lazy_features(windows: Sequence[Window], plan: Plan, shape: tuple[int, int]) -> da.Array:
    """The bands of the plan (window, band, y, x), in strips of rows: a strip of a GeoTIFF spans the full width."""
    # dask hands a slice on to the rasters only if it may hand on lists too (its default), which LazyBands takes
    chunks = (1, 1, min(PIECE_ROWS, shape[0]), shape[1])
    bands = LazyBands(windows, plan, shape)
    return da.from_array(bands, chunks, name=False, meta=np.empty((0,) * 4, np.float32))  # type: ignore[arg-type]
