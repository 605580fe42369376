"""Every score of a class map beside the baselines: pooled, by class, window, ground and outline, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snowmap.errors import SnowmapError
from snowmap.evaluation.bins import binned
from snowmap.evaluation.map_scores import ScoredMaps, each_map
from snowmap.evaluation.segmentation.counts import SIZE_EDGES_KM2, Counts, count_scene, together
from snowmap.evaluation.segmentation.intervals import area_interval, score_intervals
from snowmap.evaluation.segmentation.scores import entry_by_class, score_entry

FOUND = 0.5
"""Share of an outline that a map must hold for it to count as found."""


def score_class_maps(
    scenes: Sequence[ScoredMaps], targets: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Score the model and the baselines inside the study areas, over labelled pixels; each pixel weighs the same.

    Args:
        scenes: With maps of the same targets.
        targets: Names of the targets to score.
        options: As `snowmap.config.schema.Scoring` describes them.

    Returns:
        ``{"target": {name: {…}}, "windows": [{"window", "scene", "target", "model", "baselines"}, …]}``. Of each target
        ``classes`` and their ``flag_values``; ``model`` and ``baselines`` with `score_entry`; ``per_class``, the same
        of each class against all others; ``intervals`` (`score_intervals`); ``confusion``, rows by observed class;
        ``calibration`` (`_calibration`); ``groups`` of pixels by ground; ``outlines`` by their size; ``area`` of each
        class by scene and window. What is undefined is None.

    Raises:
        SnowmapError: When a target has no labelled pixel in any of the windows.
    """
    result: dict[str, Any] = {"target": {}, "windows": []}
    for target in targets:
        counts = together([count_scene(scene, target, options["elevation_step_m"]) for scene in scenes])
        if not counts.blocks["model"].any():
            names = ", ".join(entry["window"] for entry in counts.windows)
            raise SnowmapError(
                f"no pixel of '{target}' inside the study area has both a label and a map in {names}: nothing to score"
            )
        result["target"][target] = _entry(counts, options["level"])
        result["windows"] += [
            {
                **{key: entry[key] for key in ("window", "scene")},
                "target": target,
                **each_map(entry["confusion"], lambda values, classes=counts.classes: score_entry(values, classes)),
            }
            for entry in counts.windows
        ]
    return result


def _entry(counts: Counts, level: float) -> dict[str, Any]:
    classes = counts.classes
    whole = {name: blocks.sum(axis=0) for name, blocks in counts.blocks.items()}
    by_class = {name: entry_by_class(values, classes) for name, values in whole.items()}
    return {
        "classes": list(classes.meanings),
        "flag_values": list(classes.values),
        **each_map(whole, lambda values: score_entry(values, classes)),
        "per_class": {
            meaning: each_map(by_class, lambda entries, meaning=meaning: entries[meaning])
            for meaning in classes.meanings
        },
        "intervals": score_intervals(counts.blocks, counts.shared, classes, level),
        "confusion": each_map(whole, np.ndarray.tolist),
        "calibration": each_map(
            {name: (counts.confidence[name], counts.reliability[name]) for name in whole},
            lambda bins: _calibration(*bins),
        ),
        "groups": {
            grouping: [
                {"class": label, **each_map(maps, lambda values: score_entry(values, classes))}
                for label, maps in labels.items()
                if maps and maps["model"].any()
            ]
            for grouping, labels in counts.groups.items()
        },
        "outlines": _outlines(counts),
        "area": _area(counts, level),
    }


def _calibration(confidence: np.ndarray, reliability: np.ndarray) -> dict[str, Any]:
    """``ece`` of the likeliest class (Guo et al. 2017), and the points of the ``reliability`` diagram.

    A point is a bin: the mean ``probability`` there, the share ``observed``, and the ``pixels``.
    """
    pixels, stated, right = confidence.T
    filled = reliability[reliability[:, 0] > 0]
    return {
        "ece": float(np.abs(stated - right).sum() / pixels.sum()) if pixels.sum() else None,
        "reliability": [
            {"probability": float(stated / count), "observed": float(true / count), "pixels": int(count)}
            for count, stated, true in filled
        ],
    }


def _outlines(counts: Counts) -> list[dict[str, Any]]:
    """By size of the observed outlines their number, and of each map the area that is found and how many are."""
    if not counts.outlines:
        return []
    areas = np.array([outline["area"] for outline in counts.outlines])
    sizes = binned(areas / 1e6, SIZE_EDGES_KM2, " km²")
    entries = []
    for size in sizes.remove_unused_categories().categories:
        chosen = [outline for outline, of_size in zip(counts.outlines, sizes == size, strict=True) if of_size]
        ground = np.array([outline["area"] for outline in chosen])
        detected = {name: np.array([outline["found"].get(name, 0.0) for outline in chosen]) for name in counts.blocks}
        shares = each_map(
            detected,
            lambda area, ground=ground: {
                "recall": float(area.sum() / ground.sum()),
                "found": int((area >= FOUND * ground).sum()),
            },
        )
        entries.append({"class": size, "outlines": len(chosen), "area_km2": float(ground.sum() / 1e6), **shares})
    return entries


def _area(counts: Counts, level: float) -> list[dict[str, Any]]:
    """Of each scene, window and class the ``observed_km2``, and of each map over its own pixels ``mapped_km2``.

    ``error_km2`` is mapped − observed, with the interval ``low``, ``high`` over the blocks of the scene.
    """

    def of_map(area: np.ndarray) -> dict[str, Any]:
        observed, mapped = area / 1e6
        error = mapped - observed
        low, high = area_interval(error[(area.sum(axis=0) > 0)], level) or (None, None)
        return {
            "observed_km2": float(observed.sum()),
            "mapped_km2": float(mapped.sum()),
            "error_km2": float(error.sum()),
            "low": low,
            "high": high,
        }

    return [
        {
            **{key: entry[key] for key in ("scene", "window")},
            "class": meaning,
            **each_map({name: area[:, :, place] for name, area in entry["area"].items()}, of_map),
        }
        for entry in counts.windows
        for place, meaning in enumerate(counts.classes.meanings)
    ]
