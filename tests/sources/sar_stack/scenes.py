"""Scenes of a SAR time series, written with rasterio alone."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

CRS, CORNER, PIXEL, SHAPE = "EPSG:32633", (500_000, 8_700_000), 30, (40, 60)
TRANSFORM = from_origin(*CORNER, PIXEL, PIXEL)


def write(path: Path, values: np.ndarray, *, transform=TRANSFORM, crs=CRS, nodata=None, tags=None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": values.dtype, **options}
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=nodata, **profile) as raster:
        raster.write(values, 1)
        raster.update_tags(**(tags or {}))
    return path


def power(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Linear power around −12 dB with speckle of four looks."""
    return (10**-1.2 * np.random.default_rng(seed).gamma(4, 1 / 4, shape)).astype(np.float32)


def decibel(values: np.ndarray) -> np.ndarray:
    return (10 * np.log10(values)).astype(np.float32)


def write_scene(folder: Path, days=("2020-01-05", "2020-04-11", "2020-07-16"), bands=("HH", "HV"), seed=0) -> Path:
    for number, day in enumerate(days):
        for band in bands:
            write(folder / f"{day}_{band}.tif", power(seed + 10 * number + len(band) + (band == "HV")))
    return folder
