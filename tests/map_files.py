"""Hand-made maps in memory, and the file that `snowmap.maps.netcdf` makes of them."""

from pathlib import Path

import numpy as np
import xarray as xr
from rasterio.transform import Affine, from_origin

from snowmap.maps.netcdf import write_predictions

WEST, NORTH, PIXEL = 600_000.0, 5_150_000.0, 500.0
"""Upper left corner and pixel of the default grid, UTM 32, m."""


def make_maps(
    values: np.ndarray,
    target: str = "swe",
    unit: str = "cm",
    crs: str = "EPSG:32632",
    transform: Affine | None = None,
    **more: np.ndarray,
) -> xr.Dataset:
    """Maps of one target, windows of 12 days from 2021-01-09.

    Args:
        values: The target (window, y, x).
        target: Its name.
        unit: Its unit.
        crs: Of the grid.
        transform: Of the grid; 500 m in UTM by default.
        more: Further layers of the target: ``sigma=…``, ``q05=…``.
    """
    transform = transform or from_origin(WEST, NORTH, PIXEL, PIXEL)
    windows, height, width = values.shape
    start = np.datetime64("2021-01-09", "ns") + np.arange(windows) * np.timedelta64(12, "D")
    layers = {target: values} | {f"{target}_{name}": layer for name, layer in more.items()}
    maps = xr.Dataset(
        {
            name: (("window", "y", "x"), np.asarray(layer, np.float32), {"units": unit, "long_name": name})
            for name, layer in layers.items()
        },
        coords={
            "start": ("window", start),
            "end": ("window", start + np.timedelta64(12, "D")),
            "x": transform.c + transform.a * (np.arange(width) + 0.5),
            "y": transform.f + transform.e * (np.arange(height) + 0.5),
        },
        attrs={"origin": "synthetic: a test"},
    )
    return maps.rio.write_crs(crs).rio.write_transform(transform)


def write_maps(maps: xr.Dataset, path: Path) -> Path:
    """Write them by the package's own writer, with their target as observed, too."""
    targets = [name for name in ("hs", "swe") if name in maps]
    cube = maps[targets].assign(mask=np.isfinite(maps[targets[0]]).any("window"))
    return write_predictions(maps, cube, list(range(maps.sizes["window"])), path, {"subset": "test"})
