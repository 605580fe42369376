"""The four functions of the dataset card, with the card's meaning."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snowmap.errors import SnowmapError
from snowmap.sources.trentino.layout import list_rasters, match
from snowmap.sources.trentino.quantities import INSAR_BANDS, WEATHER_BANDS
from snowmap.sources.trentino.raster import grid_of, mask_of, opened, read_cleaned

logger = logging.getLogger("snowmap.sources.trentino")

Files = Mapping[str, str | Path] | Iterable[str | Path]


def match_insar_to_targets(insar_dir: str | Path, itsnow_dir: str | Path, s3_dir: str | Path) -> list[dict[str, Any]]:
    """Match the windows of the three folders of an archive by their dates.

    Args:
        insar_dir: The folder `INSAR`.
        itsnow_dir: The folder `ITSNOW`, with `HS` and `SWE` in it.
        s3_dir: The folder `S3`.

    Returns:
        One sample for each window that has all seven InSAR bands, both weather bands and both targets, sorted by date:
        `key` ("2021-01-09_to_2021-01-21"), `band_files` and `weather_files` (name → path, in canonical order),
        `hs_file`, `swe_file`.

    Raises:
        SnowmapError: If a folder is missing, no window is complete, or a band has two files.
    """
    folders = {
        Path(insar_dir): list(INSAR_BANDS),
        Path(s3_dir): list(WEATHER_BANDS),
        Path(itsnow_dir) / "HS": ["hs"],
        Path(itsnow_dir) / "SWE": ["swe"],
    }
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise SnowmapError(f"no such folder: {', '.join(missing)}; expected INSAR, ITSNOW and S3 of an archive")
    files = [file for folder, names in folders.items() for file in list_rasters(folder, names)]
    windows, faults, excluded = match(files, [*INSAR_BANDS, *WEATHER_BANDS, "hs", "swe"])
    if faults:
        raise SnowmapError("\n".join(faults))
    if not windows:
        raise SnowmapError(
            "\n  - ".join([f"no complete window in {insar_dir}, {itsnow_dir}, {s3_dir}:", *excluded[:5]])
        )
    for line in excluded:
        logger.warning("left out %s", line)
    return [
        {
            "key": window.name,
            "band_files": {name: Path(window.files[name]) for name in INSAR_BANDS},
            "weather_files": {name: Path(window.files[name]) for name in WEATHER_BANDS},
            "hs_file": Path(window.files["hs"]),
            "swe_file": Path(window.files["swe"]),
        }
        for window in windows
    ]


def stack_insar_bands(files: Files) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one window's InSAR bands; 0 and the sentinels become NaN.

    Args:
        files: `sample["band_files"]`, or paths in canonical order.

    Returns:
        (y, x, band) float32, and the rasterio profile of the stack.

    Raises:
        SnowmapError: If a file cannot be read or lies on another grid than the first.
    """
    return _stack(files, zero_is_missing=True)


def stack_weather_bands(files: Files) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one window's weather bands as `stack_insar_bands` does, but 0 °C stays.

    Args:
        files: `sample["weather_files"]`, or paths in canonical order.
    """
    return _stack(files, zero_is_missing=False)


def load_mask(path: str | Path) -> np.ndarray:
    """Read the study area.

    Args:
        path: `master_mask.tif`.

    Returns:
        (y, x) bool, True inside.

    Raises:
        SnowmapError: If the file cannot be read, or no pixel is inside.
    """
    with opened(path) as raster:
        return mask_of(raster)


def _stack(files: Files, zero_is_missing: bool) -> tuple[np.ndarray, dict[str, Any]]:
    paths = [Path(path) for path in (files.values() if isinstance(files, Mapping) else files)]
    if not paths:
        raise SnowmapError("no files to stack; expected those of one window")
    layers, grid, profile = [], None, {}
    for path in paths:
        with opened(path) as raster:
            grid, profile = grid or grid_of(raster), profile or dict(raster.profile)
            if not grid_of(raster).same(grid):
                raise SnowmapError(f"{path}: {grid_of(raster)}; expected the grid of {paths[0]}: {grid}")
            layers.append(np.empty(raster.shape, np.float32))
            read_cleaned(raster, layers[-1], zero_is_missing)
    return np.stack(layers, axis=-1), profile | {"count": len(layers), "dtype": "float32", "nodata": np.nan}
