"""Snow in any NetCDF by the CF conventions: model output, reanalyses such as IT-SNOW and UA SWE, gridded lidar."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from snowmap.data.grid import Grid
from snowmap.products.netcdf import find, on_grid, open_netcdf, time_of, unit_of
from snowmap.products.rasters import Raster
from snowmap.products.reader import Reader, Snow
from snowmap.products.snow.maps import Opener, SnowMaps, maps_by_day
from snowmap.products.units import one_unit, to_metres

VARIABLES = {
    "swe": (
        "SWE",
        "lwe_thickness_of_surface_snow_amount|surface_snow_amount|liquid_water_content_of_surface_snow",
        r"swe|snw|sd_we|snow_water_equivalent|specific_mass",
    ),
    "hs": ("snow depth", "surface_snow_thickness", r"hs|depth|snow_depth|snowdepth|snd|sde|thickness"),
}
"""In words, by standard names and by names. ECMWF calls SWE 'sd', snow depth: such a file needs ``variable``."""


@dataclass
class Cf(Snow):
    """Keys of snow in any CF NetCDF."""

    variable: str | None = None  # by default found by its standard name


def read_cf(paths: list[Path], options: Mapping[str, Any]) -> SnowMaps:
    """A map for each day of the files; of several times in a day the last.

    Args:
        paths: Files of any dates; a day that stands in several is taken from the first of them.
        options: As `Cf`, and ``target``.

    Raises:
        SnowmapError: When there is no such variable, no unit, no CRS or no times.
    """
    target, maps, left_out = options["target"], dict[np.datetime64, Opener](), []
    what, standard, names = VARIABLES[target]
    for path in paths:
        with open_netcdf(path) as dataset:
            variable = find(dataset, path, what, options.get("variable"), standard, names)
            if variable is None:
                left_out.append(f"{path.name}: no variable of {what}; it has {', '.join(map(str, dataset.data_vars))}")
                continue
            source = f"{path}, {variable}"
            unit = one_unit(unit_of(dataset[variable]), options.get("unit"), source)
            factor = to_metres(unit, target, source).factor
            dim, times = time_of(dataset[variable], dataset, source)
            on_grid(dataset[variable], dataset, source, dim)
        # a later time of the same day comes after, and stays
        last = {day: index for index, day in enumerate(times.astype("datetime64[D]")) if not np.isnat(day)}
        for day, index in last.items():
            maps.setdefault(day, partial(_open, path, variable, dim, index, factor))
    return maps_by_day(maps, paths, left_out, f"of {what}")


def _open(path: Path, variable: str, dim: str | None, index: int, factor: float) -> Raster:
    dataset = open_netcdf(path)
    array = dataset[variable] if dim is None else dataset[variable].isel({dim: index})
    placed = on_grid(array, dataset, f"{path}, {variable}")
    height, width = placed.shape
    return Raster(
        Grid((height, width), placed.rio.transform(), placed.rio.crs),
        lambda rows, columns: placed[rows, columns].values.astype(np.float32) * np.float32(factor),
    )


READER = Reader(Cf, read_cf)
