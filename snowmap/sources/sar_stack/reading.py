"""Rasters of one scene on its grid: backscatter in dB, coherence, elevation; each is read piece by piece."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import rasterio
from dask.array.core import normalize_chunks
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import array_bounds
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from snowmap.data.cube import Quantity
from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.sources.sar_stack.layout import Raster

ORIGIN_TAG = "ORIGIN"
"""Tag of a raster that says where its data came from; begins with "synthetic" for synthetic data."""

COHERENCE = Quantity("1", 0.0, 1.0, "interferometric coherence", "sar")
ELEVATION = Quantity("m", -430.0, 8850.0, "elevation", "terrain")

CHUNKS = (1024, 1024)
"""Rows and columns that are read at once."""

SAMPLE = 64
"""Height and width in pixels of each of the 25 pieces by which the scale of a raster is found."""

DB_BELOW = -1.0
"""No power lies below it (subtracting thermal noise leaves little below 0), and most of any scene in dB does."""

MOST_POWER = 1e3
"""Power of a pixel in a calibrated raster, 30 dB, which only single point targets exceed."""


def quantity_of(band: str) -> Quantity:
    """The quantity of a band of radar rasters."""
    return COHERENCE if is_coherence(band) else Quantity("dB", -60.0, 40.0, f"backscatter {band}", "sar")


def is_coherence(band: str) -> bool:
    """Whether a band is a coherence, and not backscatter."""
    return band.lower().startswith("coh")


def common_grid(rasters: Sequence[Raster]) -> tuple[Grid, str]:
    """The grid that all rasters of a scene have, and its origin as a raster states it.

    Raises:
        SnowmapError: When one cannot be read, or is on another grid than the first.
    """
    grid, origin = None, ""
    for raster in rasters:
        with opened(raster.path) as source:
            other = Grid(source.shape, source.transform, source.crs)
            origin = origin or source.tags().get(ORIGIN_TAG, "")
        if grid is None:
            grid = other
        elif not grid.same(other):
            raise SnowmapError(
                f"{raster.path} is on another grid ({other}) than {rasters[0].path.name} ({grid}); all dates of a "
                "scene need one grid: warp them with gdalwarp, or put them into scenes of their own"
            )
    assert grid is not None
    return grid, origin


def opened(path: Path) -> DatasetReader:
    """A raster, opened.

    Raises:
        SnowmapError: When it cannot be.
    """
    try:
        return rasterio.open(path)
    except (RasterioError, OSError) as error:
        raise SnowmapError(f"{path}: not readable as a raster ({error}); fetch or write it again") from error


def lazy_band(raster: Raster, shape: tuple[int, int], data: Mapping[str, Any]) -> da.Array:
    """A raster ``(y, x)`` in the unit of `quantity_of`, float32, NaN = missing, read when it is looked at.

    Args:
        raster: It.
        shape: Of the grid.
        data: ``scale`` (``auto``, ``linear`` or ``db``) and the keys of the filter of speckle.

    Raises:
        SnowmapError: When its values contradict the scale, or are no calibrated backscatter.
    """
    coherence = is_coherence(raster.band)
    in_db = coherence or _is_db(raster.path, data.get("scale") or "auto")
    filtered = not coherence and data.get("despeckle", "none") != "none"

    def read(rows: slice, columns: slice) -> np.ndarray:
        with opened(raster.path) as source:
            values = _values(source, Window.from_slices(rows, columns))
        if filtered:
            return _power(values, in_db)
        return values if in_db else _decibel(values)

    nothing = np.empty((0, 0), np.float32)
    band = da.map_blocks(_block, read, chunks=normalize_chunks(CHUNKS, shape), dtype=np.float32, meta=nothing)
    if not filtered:
        return band
    from snowmap.data.radar.despeckle import despeckle, reach  # torch: half of the start of what needs none

    needed = data["despeckle"] != "boxcar"
    looks = data.get("looks") or (_looks(raster.path, in_db) if needed else 1.0)
    # a margin as wide as the filter reaches: a tile has what the whole scene has; one chunk needs none
    depth = {axis: reach(data) if len(chunks) > 1 else 0 for axis, chunks in enumerate(band.chunks)}
    return band.map_overlap(
        lambda power: _decibel(despeckle(power, looks, data)),
        depth=depth,
        boundary="none",
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )


def _block(read: Callable[[slice, slice], np.ndarray], block_info: Any = None) -> np.ndarray:
    rows, columns = block_info[None]["array-location"]
    return read(slice(*rows), slice(*columns))


def on_grid(path: Path, grid: Grid, resampling: Resampling) -> np.ndarray:
    """The first band of any raster on a grid, float32 ``(y, x)``, NaN = missing.

    Raises:
        SnowmapError: When it cannot be read, has no CRS, or lies wholly beside the grid.
    """
    with opened(path) as source:
        theirs = Grid(source.shape, source.transform, source.crs)
        values = _values(source, zero_is_missing=False)
    if grid.same(theirs):
        return values
    if theirs.crs is None or grid.crs is None:
        raise SnowmapError(f"{path} ({theirs}) cannot be placed on the scene ({grid}) without a CRS; write one")
    placed = np.full(grid.shape, np.nan, np.float32)
    reproject(
        values,
        placed,
        src_transform=theirs.transform,
        src_crs=theirs.crs,
        src_nodata=np.nan,
        dst_transform=grid.transform,
        dst_crs=grid.crs,
        dst_nodata=np.nan,
        resampling=resampling,
    )
    if not np.isfinite(placed).any():
        reach = ", ".join(
            f"{value:.6g}" for value in transform_bounds(theirs.crs, CRS.from_epsg(4326), *_bounds(theirs))
        )
        raise SnowmapError(f"{path} lies over {reach} (west, south, east, north in degrees), beside the scene ({grid})")
    return placed


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    return array_bounds(*grid.shape, grid.transform)


def _values(source: DatasetReader, window: Window | None = None, *, zero_is_missing: bool = True) -> np.ndarray:
    """Float32, NaN where the raster states no data; an exact 0 is none either: processors fill with it unsaid."""
    try:
        values = source.read(1, window=window, masked=True)
    except (RasterioError, OSError) as error:
        raise SnowmapError(f"{source.name}: not readable ({error}); fetch or write it again") from error
    scaled = values.astype(np.float32).filled(np.nan)
    if zero_is_missing:
        scaled[scaled == 0] = np.nan
    if source.scales[0] != 1 or source.offsets[0] != 0:
        scaled = (scaled * source.scales[0] + source.offsets[0]).astype(np.float32)
    return np.where(np.isfinite(scaled), scaled, np.float32(np.nan))


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.where(power > 0, power, np.float32(np.nan)))


def _power(values: np.ndarray, in_db: bool) -> np.ndarray:
    """Linear power, NaN where there is none above 0."""
    power = 10 ** (values / 10) if in_db else values
    return np.where(power > 0, power, np.float32(np.nan))


def _looks(path: Path, in_db: bool) -> float:
    """Equivalent number of looks in pieces of a raster, or in all of it where they are too small or full of gaps."""
    from snowmap.data.radar.despeckle import BLOCK, equivalent_looks

    with opened(path) as source:
        sampled = [_values(source, window) for window in _sampled(source.shape)]
        looks = equivalent_looks(_power(values, in_db) for values in sampled)
        if looks is None:
            whole = _power(_values(source), in_db)
            looks = equivalent_looks([whole]) if np.isfinite(whole).any() else 1.0
    if looks is None:
        raise SnowmapError(
            f"{path}: no {BLOCK} × {BLOCK} px without a missing pixel to estimate the looks of its speckle; "
            "give data.looks, e.g. data.looks=4.4, or data.despeckle=boxcar"
        )
    return looks


def _is_db(path: Path, scale: str) -> bool:
    """Whether backscatter is in dB, by its range."""
    with opened(path) as source:
        pieces = [_values(source, window).ravel() for window in _sampled(source.shape)]
        values = np.concatenate(pieces)
        values = values[np.isfinite(values)]
        if not values.size:
            values = _values(source)
            values = values[np.isfinite(values)]
    if not values.size:
        return scale == "db"
    low, middle = (float(value) for value in np.quantile(values, [0.05, 0.5]))
    detected = "db" if low < DB_BELOW else "linear" if middle < MOST_POWER else ""
    if not detected:
        raise SnowmapError(
            f"{path}: half of its values exceed {middle:.4g}, which is neither power nor dB; calibrate it to gamma0 or "
            "sigma0, in power or in dB"
        )
    if scale not in ("auto", detected):
        words = {"db": "dB", "linear": "linear power"}
        raise SnowmapError(
            f"{path}: data.scale={scale}, but 5 % of its values lie below {low:.3g} and half below {middle:.3g}, as "
            f"{words[detected]} does; give data.scale={detected}, or auto"
        )
    return detected == "db"


def _sampled(shape: Sequence[int]) -> list[Window]:
    """25 pieces, evenly spread."""
    starts = [np.unique(np.linspace(0, max(0, size - SAMPLE), 5).round().astype(int)) for size in shape]
    return [Window(column, row, SAMPLE, SAMPLE) for row in starts[0] for column in starts[1]]  # type: ignore[call-arg]
