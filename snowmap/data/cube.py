"""The Cube: everything on disk becomes one `xarray.Dataset` in physical units.

dims ``window, band, y, x``; variables

- ``features (window, band, y, x)`` float32, NaN = missing,
- one variable for each target, ``hs`` and ``swe`` ``(window, y, x)`` float32, NaN = missing, unit in
  ``attrs["units"]``,
- ``mask (y, x)`` bool, True inside the study area;

coordinates ``start (window)``, ``end (window)`` datetime64 (sorted by ``start``), ``band`` with canonical names in
canonical order, ``unit (band)``, ``x``, ``y``, and ``spatial_ref`` with CRS and transform as rioxarray keeps them;
attributes ``origin`` (where the data came from; begins with "synthetic" for a synthetic archive) and ``fingerprint``
(of the content).
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from jaxtyping import Bool

from snowmap.data.grid import fault_of_grid
from snowmap.errors import SnowmapError


class Quantity(NamedTuple):
    """A band or a target.

    Attributes:
        unit: Physical unit as UDUNITS spells it.
        low: Least plausible value, in `unit`.
        high: Greatest plausible value, in `unit`.
        long_name: Words for axes and tables.
    """

    unit: str
    low: float
    high: float
    long_name: str


INSAR_BANDS: dict[str, Quantity] = {
    "coherence": Quantity("1", 0.0, 1.0, "interferometric coherence"),
    "displacement": Quantity("m", -1.0, 1.0, "line-of-sight displacement"),
    "elevation": Quantity("m", -430.0, 8850.0, "elevation"),
    "intensity": Quantity("dB", -60.0, 40.0, "interferometric intensity"),
    "incidence": Quantity("degree", 0.0, 90.0, "local incidence angle"),
    "phase": Quantity("rad", -3.1416, 3.1416, "wrapped interferometric phase"),
    "unwrapped_phase": Quantity("rad", -300.0, 300.0, "unwrapped interferometric phase"),
}
WEATHER_BANDS: dict[str, Quantity] = {
    "mean_temperature": Quantity("degC", -50.0, 45.0, "mean air temperature"),
    "pdd": Quantity("degC d", 0.0, 1000.0, "sum of positive degree days"),
}
STANDARD_BANDS: dict[str, Quantity] = INSAR_BANDS | WEATHER_BANDS
"""Those of the public archive, which are read unless others are named."""

FURTHER_BANDS: dict[str, Quantity] = {}
"""Those that an archive may hold besides, which are read where they are named."""

BANDS: dict[str, Quantity] = STANDARD_BANDS | FURTHER_BANDS
"""Every band, in the canonical order of the `band` dimension."""

DERIVED_BANDS: dict[str, Quantity] = {
    "day_of_year_cos": Quantity("1", -1.0, 1.0, "cosine of the day of the year"),
    "day_of_year_sin": Quantity("1", -1.0, 1.0, "sine of the day of the year"),
    "slope": Quantity("degree", 0.0, 90.0, "slope of the ground"),
    "aspect_east": Quantity("1", -1.0, 1.0, "eastward part of the direction that the ground faces"),
    "aspect_north": Quantity("1", -1.0, 1.0, "northward part of the direction that the ground faces"),
    "cumulative_pdd": Quantity("degC d", 0.0, 12000.0, "positive degree days since 1 September"),
    "phase_swe": Quantity("mm", -2000.0, 2000.0, "change of SWE from the unwrapped phase"),
    "coherent_phase_swe": Quantity("mm", -2000.0, 2000.0, "change of SWE from the phase, weighted by coherence"),
    "cumulative_phase_swe": Quantity("mm", -20000.0, 20000.0, "change of SWE from the phase since 1 September"),
    "cumulative_coherent_phase_swe": Quantity(
        "mm", -20000.0, 20000.0, "change of SWE from the phase since 1 September, weighted by coherence"
    ),
}
"""Bands that `snowmap.data.features` can append to a Cube, behind those of the archive and in this order."""

TARGETS: dict[str, Quantity] = {
    "hs": Quantity("cm", 0.0, 1500.0, "snow depth"),
    "swe": Quantity("cm", 0.0, 600.0, "snow water equivalent"),
}
"""Every target; SWE may also be in mm, `cube["swe"].attrs["units"]` tells."""


def window_name(start: np.datetime64 | np.ndarray, end: np.datetime64 | np.ndarray) -> str:
    """The window's name in files and tables, e.g. ``2021-01-09_to_2021-01-21``."""
    return f"{np.datetime_as_string(start, 'D')}_to_{np.datetime_as_string(end, 'D')}"


def window_names(cube: xr.Dataset) -> list[str]:
    """The name of each window of the Cube, in order."""
    return [window_name(start, end) for start, end in zip(cube["start"].values, cube["end"].values, strict=True)]


def canonical(bands: Collection[str]) -> list[str]:
    """Bands and derived bands in canonical order."""
    return [band for band in (BANDS | DERIVED_BANDS) if band in bands]


def target_attributes(cube: xr.Dataset, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``units``, ``long_name`` and ``valid_min`` of targets, in plain containers; those of the Cube come first."""
    return {
        name: {"long_name": TARGETS[name].long_name, "valid_min": TARGETS[name].low, **cube[name].attrs}
        for name in names
    }


def targets_of(cube: xr.Dataset) -> list[str]:
    """The targets that the Cube holds, in canonical order."""
    return [name for name in TARGETS if name in cube]


def narrowed(cube: xr.Dataset, area: Bool[np.ndarray, "y x"] | None) -> xr.Dataset:
    """The Cube with the part of its study area that lies in `area`, whatever its bands and targets hold outside."""
    return cube if area is None else cube.assign(mask=cube["mask"] & area)


def with_targets_inside(cube: xr.Dataset, area: Bool[np.ndarray, "y x"] | None) -> xr.Dataset:
    """The Cube, whose targets are missing outside `area`; bands and study area stay."""
    if area is None:
        return cube
    kept = xr.DataArray(area, dims=("y", "x"))
    return cube.assign({name: cube[name].where(kept) for name in targets_of(cube)})


def check(cube: xr.Dataset) -> None:
    """State every broken promise of a Cube in one error.

    Args:
        cube: What claims to be a Cube.

    Raises:
        SnowmapError: With one line for each promise that does not hold.
    """
    broken = _broken_structure(cube)
    if not broken:  # the values can only be looked at in a Cube of the right form
        broken = _broken_values(cube)
    if broken:
        raise SnowmapError("not a valid Cube:\n" + "\n".join(f"  - {line}" for line in broken))


def _broken_structure(cube: xr.Dataset) -> list[str]:
    expected = {"features": ("window", "band", "y", "x"), "mask": ("y", "x")}
    expected |= dict.fromkeys(targets_of(cube), ("window", "y", "x"))
    expected |= {
        "start": ("window",),
        "end": ("window",),
        "band": ("band",),
        "unit": ("band",),
        "x": ("x",),
        "y": ("y",),
    }
    broken = []
    for name, dims in expected.items():
        if name not in cube.variables:
            broken.append(f"'{name}' is missing; expected dims {dims}")
        elif cube[name].dims != dims:
            broken.append(f"'{name}' has dims {cube[name].dims}; expected {dims}")
    broken += [
        f"'{name}' is {cube[name].dtype}; expected float32"
        for name in ("features", *targets_of(cube))
        if name in cube and cube[name].dtype != np.float32
    ]
    if "mask" in cube and cube["mask"].dtype != np.bool_:
        broken.append(f"'mask' is {cube['mask'].dtype}; expected bool")
    if cube.rio.crs is None:
        broken.append("no CRS; write one with cube.rio.write_crs(...)")
    elif {"y", "x"} <= cube.sizes.keys():
        fault = fault_of_grid((cube.sizes["y"], cube.sizes["x"]), cube.rio.transform(), cube.rio.crs)
        broken += [fault] if fault else []
    return broken


def _broken_values(cube: xr.Dataset) -> list[str]:
    broken = []
    names = [str(name) for name in cube["band"].values]
    known = BANDS | DERIVED_BANDS
    if unknown := [name for name in names if name not in known]:
        broken.append(f"unknown bands {unknown}; known are {list(known)}")
    elif names != [name for name in known if name in names]:
        broken.append(f"bands {names} are repeated or out of order; the order is {list(known)}")
    else:
        units = dict(zip(names, cube["unit"].values.tolist(), strict=True))
        broken += [
            f"band '{name}' is in '{unit}'; expected '{known[name].unit}'"
            for name, unit in units.items()
            if unit != known[name].unit
        ]
    broken += [f"'{name}' has no 'units' attribute" for name in targets_of(cube) if not cube[name].attrs.get("units")]
    start, end = cube["start"].values, cube["end"].values
    if start.size and not (np.all(start[1:] >= start[:-1]) and np.all(end > start)):
        broken.append("windows are not sorted by start, or one ends before it starts")
    if not cube["mask"].values.any():
        broken.append("'mask' has no pixel inside the study area")
    broken += [
        f"'{name}' holds infinite values; missing values are NaN"
        for name in ("features", *targets_of(cube))
        if not cube[name].chunks and any(np.isinf(window).any() for window in cube[name].values)
    ]
    return broken
