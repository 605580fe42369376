"""Wet snow, by how much darker a pixel is than when its snow was dry or gone (Nagler & Rott 2000)."""

import logging

import numpy as np
import xarray as xr
from jaxtyping import Float32

from snowmap.data.cube import units_of
from snowmap.units import WET_SNOW_DB

MELT_MONTHS = (3, 4, 5, 6, 7)
"""Snow may be wet in more than half of the windows that end in them: they are no reference."""

logger = logging.getLogger(__name__)


def with_wet_threshold(cube: xr.Dataset, threshold_db: float = WET_SNOW_DB) -> xr.Dataset:
    """The Cube with the coordinate ``wet_below (y, x)`` in dB: snow in darker pixels is wet.

    It is `threshold_db` above the dry reference: for each pixel the median of `intensity` over the windows that end
    from August to February, when its snow is dry or gone in most of them; over all windows where there is none. A
    piece of a scene takes it along, so that its reference is that of the scene. Without backscatter in dB the Cube
    stays as it is.

    Args:
        cube: The whole scene; where its `features` are a dask array, the coordinate is one, too.
        threshold_db: Least change of backscatter that is wet snow, negative.
    """
    if units_of(cube).get("intensity") != "dB":
        return cube
    reference = ~np.isin(cube["end"].dt.month.values, MELT_MONTHS)
    if not reference.any():
        logger.warning("every window ends from March to July: the dry reference of backscatter may itself be wet")
        reference[:] = True
    intensity = cube["features"].sel(band="intensity", drop=True).isel(window=reference)
    below = xr.apply_ufunc(
        _median,
        intensity,
        input_core_dims=[["window"]],
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        output_dtypes=[np.float32],
    )
    return cube.assign_coords(wet_below=(("y", "x"), (below + np.float32(threshold_db)).data))


def wet_snow(cube: xr.Dataset, phase: object = None) -> dict[str, Float32[np.ndarray, "window y x"]]:
    """``wet_snow`` (1): 1 where the backscatter is so far below the pixel's dry reference that its snow is wet, else 0.

    Dark ground without snow counts as wet, too. See `with_wet_threshold`, which a piece of a scene must come from.
    """
    cube = cube if "wet_below" in cube.coords else with_wet_threshold(cube)
    intensity, below = cube["features"].sel(band="intensity").values, cube["wet_below"].values
    wet = (intensity < below).astype(np.float32)
    wet[np.isnan(intensity) | np.isnan(below)] = np.nan
    return {"wet_snow": wet}


def _median(values: Float32[np.ndarray, "y x window"]) -> Float32[np.ndarray, "y x"]:
    """Over the last axis, without NaN; exact however the scene is cut, as a mean is not."""
    ordered, known = np.sort(values, axis=-1), np.isfinite(values).sum(axis=-1, keepdims=True)
    middle = [np.take_along_axis(ordered, at, -1)[..., 0] for at in (np.maximum(known - 1, 0) // 2, known // 2)]
    both = (middle[0] + middle[1]) / 2
    return np.where(known[..., 0] > 0, both, np.float32(np.nan))
