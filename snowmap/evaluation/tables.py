"""Every score of a model beside the baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from snowmap.cube import window_names
from snowmap.errors import SnowmapError
from snowmap.evaluation.area import area_series
from snowmap.evaluation.bootstrap import score_intervals
from snowmap.evaluation.classes import pixel_classes, snow_threshold
from snowmap.evaluation.uncertainty import score_uncertainty
from snowmap.grid import cell_areas
from snowmap.metrics import presence, requirement_share, scores
from snowmap.physics import MILLIMETRES


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
        options: As `snowmap.schema.Scoring` describes them.

    Returns:
        ``{"target": {name: {…}}, "windows": [{"window", "target", "model", "baselines"}, …]}``. Of each target
        ``unit``; ``model`` and ``baselines`` with the scores of `snowmap.metrics.scores`, and so for ``snow_free`` and
        ``snow_covered`` ground and for each class of ``classes`` (`pixel_classes`); ``intervals``
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
        entry = _of_pixels(whole, observed, valid, cube, windows, target, options)
        ends = np.datetime_as_string(cube["end"].values[list(windows)], "D").tolist()
        series, bias = area_series(
            whole, observed, cell_areas(cube), entry["unit"], list(zip(names, ends, strict=True))
        )
        uncertainty = score_uncertainty(maps, target, observed, names)
        result["target"][target] = {**entry, "area": series, "area_bias": bias, "uncertainty": uncertainty}
        result["windows"] += [
            {"window": name, "target": target, **_side_by_side({key: own[index] for key, own in whole.items()}, truth)}
            for index, (name, truth) in enumerate(zip(names, observed, strict=True))
        ]
    return result


def _of_pixels(
    whole: Mapping[str, np.ndarray],
    observed: np.ndarray,
    valid: np.ndarray,
    cube: xr.Dataset,
    windows: Sequence[int],
    target: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What takes the valid pixels one by one, wherever they lie."""
    unit = cube[target].attrs["units"]
    threshold = snow_threshold(target, unit, options)
    columns, truth = {name: values[valid] for name, values in whole.items()}, observed[valid]
    snow = truth >= threshold
    groups = pixel_classes(cube, windows, valid, target, options)
    required = (lambda p, o: requirement_share(p, o, MILLIMETRES[unit])) if target == "swe" else None
    return {
        "unit": unit,
        **_side_by_side(columns, truth),
        "intervals": score_intervals(columns, truth, valid, options),
        "snow_free": _side_by_side(columns, truth, ~snow),
        "snow_covered": _side_by_side(columns, truth, snow),
        "presence": {
            "threshold": threshold,
            **_side_by_side(columns, truth, by=lambda p, o: presence(p, o, threshold)),
        },
        "requirement": _side_by_side(columns, truth, by=required) if required else None,
        "classes": {
            name: [{"class": label, **_side_by_side(columns, truth, own)} for label, own in classes.members().items()]
            for name, classes in groups.items()
        },
    }


def _side_by_side(
    columns: Mapping[str, np.ndarray], observed: np.ndarray, chosen: np.ndarray | None = None, by: Any = scores
) -> dict[str, Any]:
    """One score of the model and of each baseline, over the chosen pixels."""
    if chosen is not None:
        columns, observed = {name: values[chosen] for name, values in columns.items()}, observed[chosen]
    found = {name: by(values, observed) for name, values in columns.items()}
    return {"model": found.pop("model"), "baselines": found}
