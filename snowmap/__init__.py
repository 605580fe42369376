"""snowmap: snow depth and snow water equivalent, pixel by pixel, from Sentinel-1 InSAR stacks and weather rasters."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snowmap.errors import SnowmapError
    from snowmap.sources.trentino import open_archive, write_archive
    from snowmap.sources.zarr import open_zarr, write_zarr
    from snowmap.tasks.load import load_model
    from snowmap.tasks.pixel import SnowRegression

__version__ = version("snowmap")
__all__ = ["SnowRegression", "SnowmapError", "load_model", "open_archive", "open_zarr", "write_archive", "write_zarr"]

_HOME = {
    "open_archive": "snowmap.sources.trentino",
    "write_archive": "snowmap.sources.trentino",
    "open_zarr": "snowmap.sources.zarr",
    "write_zarr": "snowmap.sources.zarr",
    "SnowRegression": "snowmap.tasks.pixel",
    "SnowmapError": "snowmap.errors",
    "load_model": "snowmap.tasks.load",
}


def __getattr__(name: str) -> object:
    """Import on first use: `python train.py --help` must not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'snowmap' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
