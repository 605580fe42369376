"""A scene of a SAR time series as a Cube."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import psutil
import xarray as xr
from rasterio.enums import Resampling

from snowmap.data.cube import Quantity, band_coordinates
from snowmap.data.grid import Grid, fault_of_grid
from snowmap.errors import SnowmapError
from snowmap.sources.sar_stack.dates import Acquisitions, by_calendar, ends_of_sequences
from snowmap.sources.sar_stack.labels import Labels, class_quantity, read_labels
from snowmap.sources.sar_stack.layout import Raster, rasters_of
from snowmap.sources.sar_stack.reading import ELEVATION, common_grid, lazy_band, on_grid, quantity_of
from snowmap.sources.zarr import MEMORY_SHARE, fingerprint_of

DEM = "dem.tif"

logger = logging.getLogger(__name__)


def open_source(data: Mapping[str, Any], targets: Sequence[str]) -> xr.Dataset:
    """The Cube of one scene of ``data=sar_stack``; see `snowmap.sources.Source`.

    A window is a date, ``start == end``; backscatter is in dB. Beside what every Cube has, the coordinates
    ``sequence_end (window)`` say which dates are mapped, each from those before it, and ``outline (y, x)`` numbers the
    outlines that the labels were made of, from 1.

    Args:
        data: As `snowmap.config.sources.SarStack` describes it, with one scene of `layout.scene_roots` as ``root``.
        targets: The class map that the labels give. With one a scene is read into the memory where it takes no more
            than `MEMORY_SHARE` of it; else nothing but the mask is read before it is looked at.
    """
    root = Path(data["root"])
    rasters = rasters_of(root, data.get("pattern"))
    grid, origin = common_grid(rasters)
    if fault := fault_of_grid(grid.shape, grid.transform, grid.crs):
        raise SnowmapError(f"{rasters[0].path}: {fault}")
    dem = next((path for path in (root / DEM, root.parent / DEM) if path.is_file()), None)
    bands = _bands(root, rasters, dem is not None, data.get("bands"))
    days = np.unique([raster.date for raster in rasters])
    dates = by_calendar(days, data.get("dates") or "all", root)
    _say_missing(root, rasters, bands, dates)
    elevation = None if dem is None or "elevation" not in bands else on_grid(dem, grid, Resampling.bilinear)
    features = _features(rasters, list(bands), dates, grid, elevation, data)
    size = 4 * len(dates.days) * len(bands) * grid.shape[0] * grid.shape[1]
    if targets and size <= MEMORY_SHARE * psutil.virtual_memory().available:
        values = np.empty((len(dates.days), len(bands), *grid.shape), np.float32)
        da.store([features], [values], lock=False)
        features = values
    cube = xr.Dataset(
        {
            "features": (("window", "band", "y", "x"), features),
            "mask": (("y", "x"), _footprint(features, [quantity.group == "sar" for quantity in bands.values()])),
        },
        coords={
            "start": ("window", dates.days.astype("datetime64[ns]")),
            "end": ("window", dates.days.astype("datetime64[ns]")),
            **band_coordinates(bands),
            "x": grid.axes[1],
            "y": grid.axes[0],
        },
        attrs={"origin": origin} if origin else {},
    )
    assert grid.crs is not None
    cube = cube.rio.write_crs(grid.crs).rio.write_transform(grid.transform)
    sequences = data.get("sequences") or "whole"
    if sequences != "dated":
        cube = cube.assign_coords(sequence_end=("window", ends_of_sequences(dates.days, sequences)))
    if not targets:
        return cube
    quantity = class_quantity(targets[0], data.get("classes"))
    labels = read_labels(root, grid, quantity, data)
    cube = cube.assign(
        {targets[0]: (("window", "y", "x"), _target(labels, dates.days, root, sequences), quantity.attributes)}
    )
    if labels.outlines is not None:
        cube = cube.assign_coords(outline=(("y", "x"), labels.outlines, {"source": labels.source}))
    return cube.assign_attrs(fingerprint=fingerprint_of(cube))


def _bands(root: Path, rasters: Sequence[Raster], dem: bool, wanted: Sequence[str] | None) -> dict[str, Quantity]:
    known = {band: quantity_of(band) for band in sorted({raster.band for raster in rasters})}
    if dem:
        known["elevation"] = ELEVATION
    if wanted is None:
        return known
    if unknown := [name for name in wanted if name not in known]:
        raise SnowmapError(f"data.bands: {root} has no band {', '.join(unknown)}; it has {', '.join(known)}")
    return {name: known[name] for name in known if name in wanted}


def _features(
    rasters: Sequence[Raster],
    bands: Sequence[str],
    dates: Acquisitions,
    grid: Grid,
    elevation: np.ndarray | None,
    data: Mapping[str, Any],
) -> da.Array:
    """``(window, band, y, x)``, NaN for a date or band that is missing."""
    known = {(raster.date, raster.band): raster for raster in rasters}
    missing = da.full(grid.shape, np.float32(np.nan), dtype=np.float32, chunks=1024)
    ground = missing if elevation is None else da.from_array(elevation).rechunk(missing.chunks)

    def layer(day: np.datetime64, present: bool, band: str) -> da.Array:
        if band == "elevation":
            return ground
        raster = known.get((day, band)) if present else None
        return missing if raster is None else lazy_band(raster, grid.shape, data)

    return da.stack(
        [
            da.stack([layer(day, present, band) for band in bands])
            for day, present in zip(dates.days, dates.present, strict=True)
        ]
    )


def _footprint(features: Any, radar: Sequence[bool]) -> np.ndarray:
    """Pixels that any date covers; whole scenes need no more than their first date."""
    covered = np.zeros(features.shape[-2:], bool)
    for window in features:
        covered |= np.isfinite(np.asarray(window[np.array(radar)])).any(axis=0)
        if covered.all():
            break
    return covered


def _target(labels: Labels, days: np.ndarray, root: Path, sequences: str) -> np.ndarray:
    """``(window, y, x)``; one map for all dates takes the memory of one."""
    if None in labels.maps:
        only = labels.maps[None]
        return np.broadcast_to(only, (len(days), *only.shape))
    if sequences != "dated":
        raise SnowmapError(f"{root}: its class rasters are dated; give data.sequences=dated, or one classes.tif")
    nothing = np.full(next(iter(labels.maps.values())).shape, np.nan, np.float32)
    if not (known := {*labels.maps} & {*days}):
        raise SnowmapError(
            f"{root}: no class raster is of a date of the scene; they are of {', '.join(map(str, labels.maps))}, the "
            f"scene has {days[0]} to {days[-1]}"
        )
    return np.stack([labels.maps[day] if day in known else nothing for day in days])


def _say_missing(root: Path, rasters: Sequence[Raster], bands: Mapping[str, Quantity], dates: Acquisitions) -> None:
    """Name the dates that lack a band, and how many periods of the calendar have no date."""
    days = dates.days[dates.present]
    for band in bands:
        of_band = {raster.date for raster in rasters if raster.band == band}
        lacking = [str(day) for day in days if of_band and day not in of_band]
        if lacking:
            shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
            logger.warning("%s: no %s on %s; missing there", root, band, shown)
    if empty := int((~dates.present).sum()):
        logger.warning("%s: %d of %d periods have no date; missing there", root, empty, len(dates.days))
