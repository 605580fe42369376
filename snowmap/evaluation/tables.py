"""Every score of a model beside the baselines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from snowmap.data.cube import window_names
from snowmap.data.grid import cell_areas
from snowmap.errors import SnowmapError
from snowmap.evaluation.area import area_series
from snowmap.evaluation.bootstrap import score_intervals
from snowmap.evaluation.classes import pixel_classes, snow_depths_m
from snowmap.evaluation.metrics import presence, ranks, requirement_share, scores
from snowmap.evaluation.uncertainty import score_uncertainty
from snowmap.units import snow_threshold, unit_factor


def score_maps(
    maps: xr.Dataset,
    baselines: Mapping[str, xr.Dataset],
    cube: xr.Dataset,
    windows: Sequence[int],
    targets: Sequence[str],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Score the model and the baselines inside the study area, over valid pixels.

    Each map is scored over the pixels where it and the observation have a value; only the differences of
    ``intervals`` are over the pixels that model and baseline share.

    Args:
        maps: Predictions ``(window, y, x)``, one variable for each target, with its uncertainty where the model tells.
        baselines: By name, datasets like `maps`; NaN where a baseline has nothing to say.
        cube: The Cube that was mapped.
        windows: Index in the Cube of each window of `maps`.
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
    for target in targets:
        names = [window_names(cube)[index] for index in windows]
        observed = np.where(cube["mask"].values, cube[target].values[list(windows)], np.float32(np.nan))
        valid = np.isfinite(observed)
        if not valid.any():
            raise SnowmapError(
                f"no valid pixel of '{target}' inside the study area in {', '.join(names)}: nothing to score"
            )
        whole = {"model": maps[target].values}
        whole |= {name: dataset[target].values for name, dataset in baselines.items() if target in dataset}
        columns, truth = {name: values[valid] for name, values in whole.items()}, observed[valid]
        entry = _of_pixels(columns, truth, valid, cube, windows, target, options)
        ends = np.datetime_as_string(cube["end"].values[list(windows)], "D").tolist()
        dated = list(zip(names, ends, strict=True))
        series, bias = area_series(whole, observed, cell_areas(cube), entry["unit"], dated)
        uncertainty = score_uncertainty(maps, target, observed, names)
        result["target"][target] = {**entry, "area": series, "area_bias": bias, "uncertainty": uncertainty}
        last = np.cumsum(valid.sum(axis=(1, 2))).tolist()
        result["windows"] += [
            {"window": name, "target": target, **_side_by_side(columns, truth, slice(first, end))}
            for name, first, end in zip(names, [0, *last], last, strict=False)
        ]
    return result


def _of_pixels(
    columns: Mapping[str, np.ndarray],
    truth: np.ndarray,
    valid: np.ndarray,
    cube: xr.Dataset,
    windows: Sequence[int],
    target: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What takes the valid pixels one by one, wherever they lie."""
    unit = cube[target].attrs["units"]
    threshold = snow_threshold(target, unit, snow_depths_m(options))
    snow = truth >= threshold
    found = {"unit": unit, **_side_by_side(columns, truth, slice(None))}
    found["intervals"] = score_intervals(columns, truth, valid, options)
    found["snow_free"], found["snow_covered"] = (_side_by_side(columns, truth, chosen) for chosen in (~snow, snow))
    found["presence"] = {"threshold": threshold, **_each(columns, lambda p: presence(p, truth, threshold))}
    millimetre = unit_factor("mm", unit) if target == "swe" else None
    found["requirement"] = millimetre and _each(columns, lambda p: requirement_share(p, truth, millimetre))
    found["classes"] = {
        name: [{"class": label, **_side_by_side(columns, truth, own)} for label, own in classes.members().items()]
        for name, classes in pixel_classes(cube, windows, valid, target, options).items()
    }
    return found


def _side_by_side(columns: Mapping[str, np.ndarray], truth: np.ndarray, chosen: Any) -> dict[str, Any]:
    """Scores of the model and of each baseline over the chosen pixels."""
    observed = truth[chosen]
    known = ranks(observed)
    return _each({name: values[chosen] for name, values in columns.items()}, lambda p: scores(p, observed, known))


def _each(columns: Mapping[str, np.ndarray], score: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    found = {name: score(values) for name, values in columns.items()}
    return {"model": found.pop("model"), "baselines": found}
