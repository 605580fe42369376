"""Every score of a model beside the baselines: of pixels, classes, windows and the study area as a whole."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from snowmap.data.cube import window_names
from snowmap.data.grid import cell_areas
from snowmap.data.radar.wet_snow import with_wet_threshold
from snowmap.errors import SnowmapError
from snowmap.evaluation.classes import pixel_classes, snow_depths_m
from snowmap.evaluation.intervals import score_intervals
from snowmap.evaluation.metrics import presence, ranks, requirement_share, scores
from snowmap.evaluation.uncertainty import score_uncertainty
from snowmap.units import METRES, snow_threshold, unit_factor

Maps = Float[np.ndarray, "window y x"]


class ScoredMaps(NamedTuple):
    """Maps of some windows of a Cube.

    Attributes:
        maps: Predictions ``(window, y, x)``, one variable for each target, with its uncertainty where the model has it.
        baselines: By name, datasets like `maps`; NaN where a baseline has no value.
        cube: The Cube that was mapped.
        windows: Index in the Cube of each window of `maps`.
    """

    maps: xr.Dataset
    baselines: Mapping[str, xr.Dataset]
    cube: xr.Dataset
    windows: Sequence[int]


def score_maps(scene: ScoredMaps, targets: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Score the model and the baselines inside the study area, over valid pixels.

    Each map is scored over the pixels where it and the observation have a value; only the differences of
    ``intervals`` are over the pixels that model and baseline share.

    Args:
        scene: The maps.
        targets: Names of the targets to score.
        options: As `snowmap.config.schema.Scoring` describes them.

    Returns:
        ``{"target": {name: {…}}, "windows": [{"window", "target", "model", "baselines"}, …]}``. Of each target
        ``unit``; ``model`` and ``baselines`` with the scores of `snowmap.evaluation.metrics.scores`, and so for
        ``snow_free`` and ``snow_covered`` ground and for each class of ``classes`` (`pixel_classes`); ``intervals``
        (`score_intervals`); ``presence`` of snow; ``requirement``, for SWE alone; ``area`` and ``area_bias``
        (`area_series`); ``uncertainty`` (`score_uncertainty`). What is undefined is None.

    Raises:
        SnowmapError: When a target has no valid pixel in any of the windows, or a stated uncertainty is not possible.
    """
    result: dict[str, Any] = {"target": {}, "windows": []}
    maps, baselines, cube, windows = scene
    part = with_wet_threshold(cube, options["wet_snow_db"]).isel(window=list(windows))
    names = window_names(part)
    for target in targets:
        whole, observed = _maps_of(target, maps, baselines, part)
        valid = np.isfinite(observed)
        if not valid.any():
            raise SnowmapError(
                f"no valid pixel of '{target}' inside the study area in {', '.join(names)}: nothing to score"
            )
        columns, truth = {name: values[valid] for name, values in whole.items()}, observed[valid]
        result["target"][target] = {
            **_pixel_scores(columns, truth, valid, part, target, options),
            **area_series(whole, observed, part, part[target].attrs["units"]),
            "uncertainty": score_uncertainty(maps, target, observed, names),
        }
        last = np.cumsum(valid.sum(axis=(1, 2))).tolist()
        result["windows"] += [
            {"window": name, "target": target, **_side_by_side(columns, truth, slice(first, end))}
            for name, first, end in zip(names, [0, *last], last, strict=False)
        ]
    return result


def score_together(scenes: Sequence[ScoredMaps], targets: Sequence[str]) -> dict[str, Any]:
    """Scores of the model and the baselines over the valid pixels of several scenes; each pixel weighs the same.

    Args:
        scenes: With maps of the same targets.
        targets: Names of the targets to score.

    Returns:
        Of each target ``unit``, ``model`` and ``baselines`` as `score_maps` gives them.
    """
    result = {}
    for target in targets:
        pixels = []
        for scene in scenes:
            whole, observed = _maps_of(target, scene.maps, scene.baselines, scene.cube.isel(window=list(scene.windows)))
            pixels.append(pd.DataFrame({name: values.ravel() for name, values in {"": observed, **whole}.items()}))
        pooled = pd.concat(pixels).dropna(subset="")  # a baseline that a scene lacks is NaN there
        columns = {name: pooled[name].to_numpy() for name in pooled if name}
        unit = scenes[0].cube[target].attrs["units"]
        result[target] = {"unit": unit, **_side_by_side(columns, pooled[""].to_numpy(), slice(None))}
    return result


def _maps_of(
    target: str, maps: xr.Dataset, baselines: Mapping[str, xr.Dataset], part: xr.Dataset
) -> tuple[dict[str, Maps], Maps]:
    """Maps of the model and of each baseline, and the observed ones, NaN outside the study area."""
    whole = {"model": maps[target].values}
    whole |= {name: dataset[target].values for name, dataset in baselines.items() if target in dataset}
    return whole, np.where(part["mask"].values, part[target].values, np.float32(np.nan))


def _pixel_scores(
    columns: Mapping[str, np.ndarray],
    truth: np.ndarray,
    valid: np.ndarray,
    cube: xr.Dataset,
    target: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Scores over the valid pixels, wherever they lie."""
    unit = cube[target].attrs["units"]
    threshold = snow_threshold(target, unit, snow_depths_m(options))
    snow = truth >= threshold
    millimetre = unit_factor("mm", unit) if target == "swe" else None
    return {
        "unit": unit,
        **_side_by_side(columns, truth, slice(None)),
        "intervals": score_intervals(columns, truth, valid, options["level"]),
        "snow_free": _side_by_side(columns, truth, ~snow),
        "snow_covered": _side_by_side(columns, truth, snow),
        "presence": {"threshold": threshold, **each_map(columns, lambda p: presence(p, truth, threshold))},
        "requirement": millimetre and each_map(columns, lambda p: requirement_share(p, truth, threshold, millimetre)),
        "classes": {
            name: [
                {"class": label, **_side_by_side(columns, truth, of_pixel == label)}
                for label in of_pixel.remove_unused_categories().categories
            ]
            for name, of_pixel in pixel_classes(cube, valid, target, options).items()
        },
    }


def area_series(columns: Mapping[str, Maps], observed: Maps, cube: xr.Dataset, unit: str) -> dict[str, Any]:
    """Means and volumes of the study area, and how far they are off.

    A map is summed over the pixels where it and the observed map have a value, each with its true area, so mean × area
    is the volume: of water for SWE, of snow for HS; a target that is no length has none. The observed sums stand beside
    the model's and are over the model's pixels; each map's error is against the observed sum over that map's own
    pixels.

    Args:
        columns: Maps of the ``model`` and of every baseline; NaN = no value.
        observed: Observed maps, NaN outside the study area.
        cube: The Cube of these windows.
        unit: Unit of the maps.

    Returns:
        ``area``, an entry for each window: ``window``, ``end``, ``pixels``, ``observed_mean``, ``observed_volume_m3``,
        ``model_mean``, ``model_volume_m3`` and ``baselines`` with the ``mean`` and ``volume_m3`` of each; None
        without a pixel. And ``area_bias``, for the ``model`` and the ``baselines`` the mean error over the windows of
        the ``mean`` and of the ``volume_m3``, and ``nse_of_mean``, the efficiency of Nash & Sutcliffe (1970) of the
        series of means.
    """
    areas, metre = cell_areas(cube), METRES.get(unit, np.nan)
    sums = {name: _area_sums(maps, observed, areas, metre) for name, maps in columns.items()}
    means_and_volumes = {name: table[["mean", "volume_m3"]].to_dict("records") for name, table in sums.items()}
    of_model = sums["model"].rename(columns={"mean": "model_mean", "volume_m3": "model_volume_m3"}).to_dict("records")
    ends = np.datetime_as_string(cube["end"].values, "D").tolist()
    series = [
        {
            "window": window,
            "end": end,
            **of_model[index],
            "baselines": {name: rows[index] for name, rows in means_and_volumes.items() if name != "model"},
        }
        for index, (window, end) in enumerate(zip(window_names(cube), ends, strict=True))
    ]
    return {"area": series, "area_bias": each_map(sums, _area_bias)}


def _area_sums(maps: Maps, observed: Maps, areas: Float[np.ndarray, "y x"], metre: float) -> pd.DataFrame:
    """A row for each window; None without a pixel, or without a volume."""
    both = np.isfinite(maps) & np.isfinite(observed)
    ground = np.where(both, areas, np.nan)
    sums: dict[str, np.ndarray] = {"pixels": both.sum(axis=(1, 2))}
    for prefix, values in (("observed_", observed), ("", maps)):
        total = np.where(both.any(axis=(1, 2)), np.nansum(ground * values, axis=(1, 2)), np.nan)
        sums[f"{prefix}mean"] = total / np.nansum(np.where(both, areas, 0), axis=(1, 2))
        sums[f"{prefix}volume_m3"] = total * metre
    table = pd.DataFrame(sums).astype(object)
    return table.where(table.notna(), None)


def _area_bias(sums: pd.DataFrame) -> dict[str, float | None]:
    known = sums[sums["pixels"] > 0].astype(float)
    error = {key: known[key] - known[f"observed_{key}"] for key in ("mean", "volume_m3")}
    spread = ((known["observed_mean"] - known["observed_mean"].mean()) ** 2).sum()
    bias = {key: None if np.isnan(values.mean()) else float(values.mean()) for key, values in error.items()}
    return {**bias, "nse_of_mean": float(1 - (error["mean"] ** 2).sum() / spread) if spread > 0 else None}


def _side_by_side(columns: Mapping[str, np.ndarray], truth: np.ndarray, chosen: Any) -> dict[str, Any]:
    """Scores of the model and of each baseline over the chosen pixels."""
    observed = truth[chosen]
    known = ranks(observed)
    return each_map({name: values[chosen] for name, values in columns.items()}, lambda p: scores(p, observed, known))


def each_map(columns: Mapping[str, Any], score: Callable[[Any], Any]) -> dict[str, Any]:
    """The score of the ``model`` and of each baseline; `by_map` is the way back."""
    scored = {name: score(values) for name, values in columns.items()}
    return {"model": scored.pop("model"), "baselines": scored}


def by_map(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry of the scores holds for the ``model`` and for each baseline, by name."""
    return {"model": entry["model"], **entry["baselines"]}
