"""Cube → archive on disk, in the layout that `open_archive` reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rasterio.io import MemoryFile

from snowmap.data.cube import check, targets_of, window_names
from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.files import whole_folder, write_whole
from snowmap.sources.trentino.layout import MASK_NAME, RASTER_NAMES, raster_path
from snowmap.sources.trentino.quantities import INSAR_BANDS
from snowmap.sources.trentino.raster import ORIGIN_TAG, SENTINEL, WAVELENGTH_TAG, ZERO_IS_DATA_TAG


def write_archive(cube: xr.Dataset, root: str | Path) -> Path:
    """Write a Cube as an archive in the Trentino layout, whole or not at all.

    Opening it again gives the same values bit for bit. NaN is written as NaN and named as nodata. An INSAR/ raster
    that holds zeros carries the tag `ZERO_IS_DATA=YES`, because 0 would be read as missing there, and the unwrapped
    phase the Cube's ``wavelength`` as `WAVELENGTH_METRES`. A window that has no
    value at all in a band is written, but `open_archive` will exclude it.

    Args:
        cube: The Cube.
        root: The new folder; it must not exist, or be empty.

    Returns:
        The folder.

    Raises:
        SnowmapError: If the folder holds something or cannot be written, or the Cube holds what the layout cannot.
    """
    root = Path(root)
    check(cube)
    _refuse_unwritable(cube)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise SnowmapError(
            f"{root}: exists and is not an empty folder; an archive never overwrites anything; name a new folder"
        )
    with whole_folder(root) as unfinished:  # the mask comes last, without which it is no archive
        _write_rasters(cube, unfinished)
    return root


def _refuse_unwritable(cube: xr.Dataset) -> None:
    """Values and dates that would not come back as they are."""
    refused = []
    for name in ("features", *targets_of(cube)):
        with np.errstate(invalid="ignore"):
            if (cube[name].values <= SENTINEL).any():
                refused.append(
                    f"'{name}' holds values of {SENTINEL:g} or below, which mean missing in an archive; set them to NaN"
                )
    refused += [
        f"'{name}' changes between windows; the layout has one raster of it for all"
        for name, (stack, _) in _stacks(cube).items()
        if RASTER_NAMES[name].static and not np.array_equal(stack, stack[:1].repeat(len(stack), 0), equal_nan=True)
    ]
    names = window_names(cube)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        refused.append(f"several windows have the dates {', '.join(repeated)}; the layout has room for one")
    refused += [
        f"'{edge}' has a time of day, which file names cannot hold; use whole days"
        for edge in ("start", "end")
        if (cube[edge].values != cube[edge].values.astype("datetime64[D]")).any()
    ]
    if refused:
        raise SnowmapError(
            "this Cube cannot be written as an archive:\n" + "\n".join(f"  - {line}" for line in refused)
        )


def _write_rasters(cube: xr.Dataset, root: Path) -> None:
    grid = Grid((cube.sizes["y"], cube.sizes["x"]), cube.rio.transform(), cube.rio.crs)
    for name, (stack, unit) in _stacks(cube).items():
        count = 1 if RASTER_NAMES[name].static else len(stack)
        for values, start, end in zip(stack[:count], cube["start"].values, cube["end"].values, strict=False):
            write_layer(raster_path(root, name, start, end), name, values, grid, unit, cube.attrs.get("wavelength"))
    write_mask(root, cube["mask"].values, grid, {ORIGIN_TAG: str(cube.attrs.get("origin", ""))})


def _stacks(cube: xr.Dataset) -> dict[str, tuple[np.ndarray, str]]:
    """Maps (window, y, x) and unit of each band and target."""
    stacks = {
        str(name): (cube["features"].values[:, b], str(cube["unit"].values[b]))
        for b, name in enumerate(cube["band"].values)
    }
    return stacks | {name: (cube[name].values, str(cube[name].attrs["units"])) for name in targets_of(cube)}


def write_layer(
    path: Path, name: str, values: np.ndarray, grid: Grid, unit: str, wavelength_m: float | None = None
) -> None:
    """Write one raster of the layout.

    Args:
        path: Of `raster_path`.
        name: A band or target.
        values: ``(y, x)`` float32, NaN = missing.
        grid: Of the archive.
        unit: Of the values.
        wavelength_m: Of the radar, which the unwrapped phase states.
    """
    zero_is_data = name in INSAR_BANDS and (values == 0).any()
    tags = {ZERO_IS_DATA_TAG: "YES"} if zero_is_data else {}
    if name == "unwrapped_phase" and wavelength_m is not None:
        tags[WAVELENGTH_TAG] = repr(float(wavelength_m))
    write_raster(path, values, grid, {"dtype": "float32", "nodata": np.nan}, tags, unit)


def write_mask(root: Path, mask: np.ndarray, grid: Grid, tags: Mapping[str, str]) -> None:
    """Write the study area's raster, without which a folder is no archive: the last one.

    Args:
        root: The archive's folder.
        mask: ``(y, x)`` bool.
        grid: Of the archive.
        tags: What the archive says of itself, e.g. its `ORIGIN`.
    """
    write_raster(root / MASK_NAME, mask.astype(np.uint8), grid, {"dtype": "uint8"}, tags)


def write_raster(
    path: Path, values: np.ndarray, grid: Grid, form: Mapping[str, Any], tags: Mapping[str, str], unit: str = ""
) -> None:
    """Write a GeoTIFF of one band, whole or not at all.

    Args:
        path: The file.
        values: ``(y, x)``.
        grid: Of the pixels.
        form: Further options of GDAL, such as ``dtype`` and ``nodata``.
        tags: Of the file.
        unit: Of the values.
    """
    place = {"height": grid.shape[0], "width": grid.shape[1], "crs": grid.crs, "transform": grid.transform}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", count=1, **place, **form) as raster:
            raster.write(values, 1)
            raster.units = (unit,)
            raster.update_tags(**tags)
        write_whole(path, memoryview(memory.getbuffer()))
