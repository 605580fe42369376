"""Maps to Cloud-Optimised GeoTIFF, one file for each window, on the very grid of the Cube."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from rasterio.io import MemoryFile

import snowmap
from snowmap.files import write_whole
from snowmap.maps.netcdf import as_texts, companions, targets_of_maps, title

COG = {
    "driver": "COG",
    "dtype": "float32",
    "nodata": np.nan,
    "compress": "DEFLATE",  # every GDAL reads it, unlike ZSTD
    "level": 1,  # more saves 1 % of a map
    "predictor": "YES",
    "blocksize": 512,
    "overview_resampling": "AVERAGE",
    "num_threads": "ALL_CPUS",
    "bigtiff": "IF_SAFER",
}
CACHE_MEGABYTES = 128
"""Of GDAL, which else takes 5 % of the machine's memory."""


def write_geotiff(maps: xr.Dataset, cube: xr.Dataset, path: Path, provenance: Mapping[str, Any]) -> Path:
    """Write the maps of one window.

    A band for each target, behind it its σ and quantiles, then the fluxes; names and units are those of the bands.

    A pixel without a value is NaN, which is the nodata value: GIS programs leave such pixels out of display and
    statistics, and GDAL makes the dataset mask of it (`raster.dataset_mask()`).

    Args:
        maps: Predictions ``(window, y, x)`` of a single window, as `snowmap.maps.netcdf.write_predictions` takes them.
        cube: The Cube that was mapped, or one on the same grid.
        path: The file.
        provenance: Kept as tags; containers as JSON.

    Returns:
        `path`.

    Raises:
        SnowmapError: When a target is in a unit that is no length.
        WriteError: When the file cannot be written; nothing of it stays.
    """
    ordered = dict.fromkeys(name for target in targets_of_maps(maps) for name in (target, *companions(maps, target)))
    ordered |= dict.fromkeys(str(name) for name in maps.data_vars)
    layers = {
        name: (maps[name].values[0], attributes.get("units", ""), {"long_name": attributes.get("long_name", name)})
        for name, attributes in ((name, maps[name].attrs) for name in ordered)
    }
    return write_cog(layers, maps, cube, path, provenance)


def write_cog(
    layers: Mapping[str, tuple[np.ndarray, str, Mapping[str, Any]]],
    maps: xr.Dataset,
    cube: xr.Dataset,
    path: Path,
    provenance: Mapping[str, Any],
    form: Mapping[str, Any] = MappingProxyType({}),
    colours: Mapping[int, tuple[int, int, int, int]] | None = None,
) -> Path:
    """Write bands as a Cloud-Optimised GeoTIFF.

    Args:
        layers: Values ``(y, x)``, unit and tags of each band, by its name.
        maps: Of a single window, with its dates.
        cube: With the grid and the origin.
        path: The file.
        provenance: Kept as tags; containers as JSON.
        form: Options of the file that differ from `COG`.
        colours: Red, green, blue and opacity of each value of the first band.
    """
    shape: dict[str, Any] = {"count": len(layers), "height": maps.sizes["y"], "width": maps.sizes["x"]}
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES), MemoryFile() as memory:
        with memory.open(**{**COG, **form}, **shape, crs=cube.rio.crs, transform=cube.rio.transform()) as raster:
            for band, (name, (values, unit, tags)) in enumerate(layers.items(), start=1):
                raster.write(values, band)
                raster.set_band_description(band, name)
                raster.set_band_unit(band, str(unit))
                raster.update_tags(band, **{key: str(value) for key, value in tags.items()})
            if colours:
                raster.write_colormap(1, dict(colours))
            raster.update_tags(**_tags(maps, cube, provenance))
        return write_whole(path, memoryview(memory.getbuffer()))


def _tags(maps: xr.Dataset, cube: xr.Dataset, provenance: Mapping[str, Any]) -> dict[str, str]:
    start, end = (np.datetime_as_string(maps[edge].values[0], "D") for edge in ("start", "end"))
    return {
        "TIFFTAG_IMAGEDESCRIPTION": title(cube),
        "TIFFTAG_SOFTWARE": f"snowmap {snowmap.__version__}",
        "WINDOW_START": start,
        "WINDOW_END": end,
        "ORIGIN": str(cube.attrs.get("origin", "")),
        **{f"SNOWMAP_{key.upper()}": text for key, text in as_texts(provenance).items()},
    }
