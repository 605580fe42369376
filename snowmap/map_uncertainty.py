"""The uncertainty that maps carry: σ and intervals of a target, calibrated where validation windows allowed it."""

import xarray as xr
from scipy.stats import norm

INTERVALS = {0.5: ("q25", "q75"), 0.9: ("q05", "q95")}
"""Quantile layers at the ends of each central interval."""


def sigma_of(maps: xr.Dataset, target: str) -> xr.DataArray | None:
    """σ of a target in its unit, or None where the maps have none.

    It is the σ layer times ``conformal_factor`` of the quantile layers, by which the distance from the median was
    widened on validation windows, since σ itself is as the network gave it.
    """
    if f"{target}_sigma" not in maps:
        return None
    factor = maps[f"{target}_q95"].attrs.get("conformal_factor", 1.0) if f"{target}_q95" in maps else 1.0
    return maps[f"{target}_sigma"] * float(factor)


def interval_of(maps: xr.Dataset, target: str, level: float) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Ends of the central interval of a target, or None where the maps have no uncertainty.

    The quantile layers where they are there; else those of a normal distribution with the σ of `sigma_of`.

    Args:
        maps: Maps with or without uncertainty.
        target: ``swe`` or ``hs``.
        level: A key of `INTERVALS`.
    """
    low, high = (f"{target}_{quantile}" for quantile in INTERVALS[level])
    if low in maps and high in maps:
        return maps[low], maps[high]
    sigma = sigma_of(maps, target)
    if sigma is None:
        return None
    reach = float(norm.ppf(0.5 + level / 2))
    return maps[target] - reach * sigma, maps[target] + reach * sigma
