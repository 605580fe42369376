"""The bands and targets of the public archive, which it calls by these names, and Cubes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.data.cube import Quantity, band_coordinates

INSAR_BANDS: dict[str, Quantity] = {
    "coherence": Quantity("1", 0.0, 1.0, "interferometric coherence", "sar"),
    "displacement": Quantity("m", -1.0, 1.0, "line-of-sight displacement", "sar"),
    "elevation": Quantity("m", -430.0, 8850.0, "elevation", "terrain"),
    "intensity": Quantity("dB", -60.0, 40.0, "interferometric intensity", "sar"),
    "incidence": Quantity("degree", 0.0, 90.0, "local incidence angle", "sar"),
    "phase": Quantity("rad", -3.1416, 3.1416, "wrapped interferometric phase", "sar"),
    "unwrapped_phase": Quantity("rad", -300.0, 300.0, "unwrapped interferometric phase", "sar"),
}
WEATHER_BANDS: dict[str, Quantity] = {
    "mean_temperature": Quantity("degC", -50.0, 45.0, "mean air temperature", "weather"),
    "pdd": Quantity("degC d", 0.0, 1000.0, "sum of positive degree days", "weather"),
}
STANDARD_BANDS: dict[str, Quantity] = INSAR_BANDS | WEATHER_BANDS
"""Those of the public archive, which are read unless others are named."""

FURTHER_BANDS: dict[str, Quantity] = {
    "component": Quantity("1", 0.0, 65535.0, "connected component of the unwrapping, 0 = not reliable", "sar"),
    "delay": Quantity("m", -1.0, 1.0, "change of the atmosphere's delay along the line of sight", "atmosphere"),
    "precipitation": Quantity("mm", 0.0, 2000.0, "precipitation of the window", "weather"),
    "forest_cover": Quantity("1", 0.0, 1.0, "share of the ground under forest", "terrain"),
    "glacier": Quantity("1", 0.0, 1.0, "glacier, 1", "terrain"),
    "layover_shadow": Quantity("1", 0.0, 1.0, "radar layover or shadow, 1", "terrain"),
}
"""Those that an archive may hold besides, which are read where they are named."""

BANDS: dict[str, Quantity] = STANDARD_BANDS | FURTHER_BANDS
"""Every band, in the order of the `band` dimension."""

TARGETS: dict[str, Quantity] = {
    "hs": Quantity("cm", 0.0, 1500.0, "snow depth", standard_name="surface_snow_thickness"),
    "swe": Quantity("cm", 0.0, 600.0, "snow water equivalent", standard_name="lwe_thickness_of_surface_snow_amount"),
}
"""Every target, in the order of the Cube's variables."""

SWE_IN_UNITS: dict[str, Quantity] = {
    "cm": TARGETS["swe"],
    "mm": TARGETS["swe"]._replace(unit="mm", valid_max=10 * TARGETS["swe"].valid_max),
}
"""SWE in each unit in which archives hold it."""


def as_cube(
    layers: Mapping[str, Any],
    bands: Sequence[str],
    start: np.ndarray,
    end: np.ndarray,
    crs: CRS,
    transform: Affine,
    swe_unit: str = "cm",
) -> xr.Dataset:
    """A Cube of the archive's bands and targets, without attributes.

    Args:
        layers: ``features`` (window, band, y, x) and ``mask`` (y, x), beside them targets (window, y, x).
        bands: Names of the bands.
        start: Of each window, datetime64.
        end: Of each window, datetime64.
        crs: Of the grid.
        transform: Of the grid.
        swe_unit: Of the target ``swe``; any word where it is not known yet.
    """
    dims = {"features": ("window", "band", "y", "x"), "mask": ("y", "x")}
    quantities = TARGETS | {"swe": SWE_IN_UNITS.get(swe_unit, TARGETS["swe"]._replace(unit=swe_unit))}
    variables = {
        name: (dims.get(name, ("window", "y", "x")), values, {} if name in dims else quantities[name].attributes)
        for name, values in layers.items()
    }
    height, width = layers["mask"].shape
    coordinates = {
        "start": ("window", start.astype("datetime64[ns]")),
        "end": ("window", end.astype("datetime64[ns]")),
        **band_coordinates({name: BANDS[name] for name in bands}),
        "y": transform.f + transform.e * (np.arange(height) + 0.5),
        "x": transform.c + transform.a * (np.arange(width) + 0.5),
    }
    cube = xr.Dataset(variables, coordinates)
    cube.rio.write_crs(crs, inplace=True)  # in place: otherwise rioxarray copies every array, twice
    return cube.rio.write_transform(transform, inplace=True)
