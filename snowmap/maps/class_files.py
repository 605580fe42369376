"""Class maps of one window as files for a GIS: classes and probabilities as GeoTIFF, outlines as GeoPackage."""

import logging
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import xarray as xr
from matplotlib import colormaps
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape

from snowmap.data.classes import Classes, is_class_map, places_of
from snowmap.data.grid import cell_areas
from snowmap.errors import SnowmapError
from snowmap.files import write_whole
from snowmap.maps.geotiff import write_cog, write_geotiff
from snowmap.maps.netcdf import as_texts, targets_of_maps, title

logging.getLogger("pyogrio").setLevel(logging.WARNING)  # how many records it wrote is no news

NO_CLASS = 255
"""In a GeoTIFF of classes, of pixels without one."""

BACKGROUND = (214, 214, 214)
"""Colour of the first class; the others take those of a palette that colour-blind eyes distinguish too."""


def write_rasters(
    maps: xr.Dataset, cube: xr.Dataset, folder: Path, name: str, provenance: Mapping[str, Any]
) -> list[Path]:
    """Write the maps of one window as files for a GIS.

    Args:
        maps: Predictions ``(window, y, x)`` of a single window, of quantities or of classes.
        cube: The Cube that was mapped, or one on the same grid.
        folder: For the files.
        name: With which their names begin. Quantities go into ``NAME.tif``; the classes of a target into
            ``NAME_TARGET.tif``, their probabilities into ``NAME_TARGET_probability.tif``, their outlines into
            ``NAME_TARGET.gpkg``.
        provenance: Kept in each file.

    Returns:
        The files written.

    Raises:
        SnowmapError: When a class has a value that no byte can hold.
        WriteError: When a file cannot be written; nothing of it stays.
    """
    classes = [Classes.of(target, maps[target].attrs) for target in targets_of_maps(maps) if _is_class(maps, target)]
    if not classes:
        return [write_geotiff(maps, cube, folder / f"{name}.tif", provenance)]
    written = []
    for of_target in classes:
        start = f"{name}_{of_target.target}"
        written += [
            write_classes(maps, of_target, cube, folder / f"{start}.tif", provenance),
            write_geotiff(maps[of_target.probabilities], cube, folder / f"{start}_probability.tif", provenance),
            write_outlines(maps, of_target, cube, folder / f"{start}.gpkg", provenance),
        ]
    return written


def write_classes(
    maps: xr.Dataset, classes: Classes, cube: xr.Dataset, path: Path, provenance: Mapping[str, Any]
) -> Path:
    """Write a class map as a Cloud-Optimised GeoTIFF of bytes with a colour table; `NO_CLASS` is nodata.

    Raises:
        SnowmapError: When a class has a value that no byte can hold.
        WriteError: When the file cannot be written; nothing of it stays.
    """
    if wrong := [value for value in classes.values if not 0 <= value < NO_CLASS]:
        raise SnowmapError(
            f"target '{classes.target}' has a class of value {wrong[0]}; a GeoTIFF of classes holds 0 to {NO_CLASS - 1}"
        )
    known = places_of(maps[classes.target].values[0], classes) >= 0
    values = np.where(known, maps[classes.target].values[0], NO_CLASS).astype(np.uint8)
    form = {"dtype": "uint8", "nodata": NO_CLASS, "overview_resampling": "MODE"}
    band = {"long_name": maps[classes.target].attrs["long_name"]}
    band |= {f"CLASS_{value}": meaning for value, meaning in zip(classes.values, classes.meanings, strict=True)}
    palette = dict(zip(classes.values, class_colours(len(classes.values)), strict=True))
    layers = {classes.target: (values, "", band)}
    return write_cog(layers, maps, cube, path, provenance, form, {value: (*rgb, 255) for value, rgb in palette.items()})


def write_outlines(
    maps: xr.Dataset, classes: Classes, cube: xr.Dataset, path: Path, provenance: Mapping[str, Any]
) -> Path:
    """Write the outlines of a class map as GeoPackage, one layer called after the target; see `outlines_of`.

    Raises:
        WriteError: When the file cannot be written; nothing of it stays.
    """
    outlines, file = outlines_of(maps.isel(window=0), classes, cube), BytesIO()
    about = {"DESCRIPTION": title(cube), **{f"snowmap_{key}": text for key, text in as_texts(provenance).items()}}
    pyogrio.write_dataframe(
        outlines, file, driver="GPKG", layer=classes.target, geometry_type="Polygon", layer_metadata=about
    )
    return write_whole(path, file.getbuffer())


def outlines_of(maps: xr.Dataset, classes: Classes, cube: xr.Dataset) -> gpd.GeoDataFrame:
    """Polygons along the edges of the pixels, with holes: of two classes those of the one that the target names.

    Pixels of a class that touch at their sides are one polygon, so that polygons rasterised again are the class map.

    Args:
        maps: Of one window ``(y, x)``.
        classes: Of the target.
        cube: With the grid.

    Returns:
        In the CRS of the map ``class``, ``area_m2`` (the sum of the true areas of its pixels), ``mean_probability`` (of
        the class, over its pixels) and the geometry.
    """
    places, areas = places_of(maps[classes.target].values, classes), cell_areas(cube)
    parts = []
    for place in range(len(classes.values)) if classes.named is None else [classes.named]:
        numbers, count = ndimage.label(places == place)  # type: ignore[misc]
        probability = maps[classes.probabilities[place]].values
        pixels = np.maximum(np.bincount(numbers.ravel(), minlength=count + 1), 1)
        table = pd.DataFrame(
            {
                "class": classes.meanings[place],
                "area_m2": np.bincount(numbers.ravel(), areas.ravel(), count + 1),
                "mean_probability": np.bincount(numbers.ravel(), np.nan_to_num(probability).ravel(), count + 1)
                / pixels,
            }
        )
        traced = shapes(numbers.astype(np.int32, copy=False), mask=numbers > 0, transform=cube.rio.transform())
        # one by one: the coordinates of all of them as Python's numbers would fill the memory
        polygons = [(int(number), shape(polygon)) for polygon, number in traced]
        table = table.iloc[[number for number, _ in polygons]]
        parts.append(gpd.GeoDataFrame(table, geometry=[polygon for _, polygon in polygons], crs=cube.rio.crs))
    return gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=cube.rio.crs)


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """Red, green and blue, 0 … 255, of each class, in files and figures alike."""
    palette = [BACKGROUND, *(tuple(round(255 * part) for part in colour) for colour in colormaps["tab10"].colors)]  # type: ignore[attr-defined]
    return [palette[0 if place == 0 else 1 + (place - 1) % (len(palette) - 1)] for place in range(count)]


def _is_class(maps: xr.Dataset, target: str) -> bool:
    return is_class_map(maps[target].attrs)
