"""The study area as a whole: mean and volume of snow, window by window."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from snowmap.units import METRES

Maps = Float[np.ndarray, "window y x"]
Series = Float[np.ndarray, " window"]


def area_series(
    columns: Mapping[str, Maps],
    observed: Maps,
    areas: Float[np.ndarray, "y x"],
    unit: str,
    names: list[tuple[str, str]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Means and volumes of the study area, and how far they are off.

    A map is summed over the pixels where it and the observed map have a value, each with its true area, so mean × area
    is the volume: of water for SWE, of snow for HS; a target that is no length has none. The observed sums stand beside
    the model's and are over the model's pixels; each map's error is against the observed sum over that map's own
    pixels.

    Args:
        columns: Maps of the ``model`` and of every baseline; NaN = no value.
        observed: Observed maps, NaN outside the study area.
        areas: Area of every cell in m².
        unit: Unit of the maps.
        names: Name and last day of each window.

    Returns:
        An entry for each window: ``window``, ``end``, ``pixels``, ``observed_mean``, ``observed_volume_m3``,
        ``model_mean``, ``model_volume_m3`` and ``baselines`` with the ``mean`` and ``volume_m3`` of each; None
        without a pixel. And for the ``model`` and the ``baselines`` the mean error over the windows of the ``mean`` and
        of the ``volume_m3``, and ``nse_of_mean``, the efficiency of Nash & Sutcliffe (1970) of the series of means.
    """
    own = {name: _sums(maps, observed, areas, METRES.get(unit, np.nan)) for name, maps in columns.items()}
    model, rest = own["model"], {name: sums for name, sums in own.items() if name != "model"}
    series = []
    for index, (window, end) in enumerate(names):
        entry: dict[str, Any] = {"window": window, "end": end, "pixels": int(model["pixels"][index])}
        entry |= {key: _value(model[key][index]) for key in ("observed_mean", "observed_volume_m3")}
        entry |= {f"model_{key}": _value(model[key][index]) for key in ("mean", "volume_m3")}
        entry["baselines"] = {
            name: {key: _value(sums[key][index]) for key in ("mean", "volume_m3")} for name, sums in rest.items()
        }
        series.append(entry)
    return series, {"model": _bias(model), "baselines": {name: _bias(sums) for name, sums in rest.items()}}


def _sums(maps: Maps, observed: Maps, areas: Float[np.ndarray, "y x"], metre: float) -> dict[str, Series]:
    both = np.isfinite(maps) & np.isfinite(observed)
    ground = np.where(both, areas, 0.0).sum(axis=(1, 2))
    found = {"pixels": both.sum(axis=(1, 2)).astype(np.float64)}
    for prefix, values in (("", maps), ("observed_", observed)):
        total = np.where(both, values * areas, 0.0).sum(axis=(1, 2))
        some = np.full(len(total), np.nan)
        found[f"{prefix}mean"] = np.divide(total, ground, out=some.copy(), where=ground > 0)
        found[f"{prefix}volume_m3"] = np.where(ground > 0, total * metre, np.nan)
    return found


def _bias(sums: Mapping[str, Series]) -> dict[str, float | None]:
    seen = sums["pixels"] > 0
    error = {key: (sums[key] - sums[f"observed_{key}"])[seen] for key in ("mean", "volume_m3")}
    observed = sums["observed_mean"][seen]
    found = {key: _value(values.mean()) if seen.any() else None for key, values in error.items()}
    spread = float(np.sum((observed - observed.mean()) ** 2)) if seen.any() else 0.0
    return {**found, "nse_of_mean": 1 - float(np.sum(error["mean"] ** 2)) / spread if spread > 0 else None}


def _value(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
