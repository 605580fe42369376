"""What the scores of class maps are made of: pixels of a scene, counted window by window."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int
from scipy import ndimage

from snowmap.data.classes import Classes, places_of
from snowmap.data.cube import window_names
from snowmap.data.grid import cell_areas, steepness
from snowmap.evaluation.bins import SLOPE_EDGES_DEGREE, binned
from snowmap.evaluation.map_scores import ScoredMaps
from snowmap.evaluation.segmentation.intervals import blocks_of
from snowmap.tasks.calibration_error import BINS

HIGHEST_M = 9000.0
SIZE_EDGES_KM2 = (0.01, 0.1, 1.0, 10.0, 100.0)

Confusions = dict[str, Int[np.ndarray, "place observed mapped"]]
"""By the name of the map."""


class Counts(NamedTuple):
    """Of one target in one scene, or in several.

    Attributes:
        classes: Of the target.
        blocks: Pixels of each block by observed and mapped class.
        shared: Of each baseline the same of the model and of itself, over the pixels that both have.
        windows: An entry for each window: its name and the scene's, the confusion of each map, and in m² the
            ``observed`` and ``mapped`` area of each class in each block.
        groups: By grouping and class of it the confusion of each map.
        outlines: Of each observed outline its area in m² and, for each map, the area that is found.
        confidence: Of each map by bins of the probability of the likeliest class: pixels, sum of it, and those right.
        reliability: Of each map by bins of the probability of the class that is named, of more than two classes of
            every one: pixels, sum of it, and those that are of the class.
    """

    classes: Classes
    blocks: Confusions
    shared: dict[str, tuple[np.ndarray, np.ndarray]]
    windows: list[dict[str, Any]]
    groups: dict[str, dict[str, dict[str, np.ndarray]]]
    outlines: list[dict[str, Any]]
    confidence: dict[str, Float[np.ndarray, "bin 3"]]
    reliability: dict[str, Float[np.ndarray, "bin 3"]]


def count_scene(scene: ScoredMaps, target: str, elevation_step_m: float) -> Counts:
    """Count the pixels of a scene, of each map over those where it and the observed map have a class.

    Args:
        scene: Maps, those of the baselines, and the Cube.
        target: Name of the target.
        elevation_step_m: Height of an elevation band.
    """
    maps, baselines, cube, windows = scene
    classes = Classes.of(target, cube[target].attrs)
    every = {"model": maps, **{name: of for name, of in baselines.items() if target in of}}
    inside, areas = cube["mask"].values, cell_areas(cube)
    blocks, blocks_count = blocks_of(inside.shape, int(inside.sum()))
    size = len(classes.values)
    counts = Counts(
        classes,
        {name: np.zeros((blocks_count, size, size), np.int64) for name in every},
        {
            name: tuple(np.zeros((2, blocks_count, size, size), np.int64))  # type: ignore[misc]
            for name in every
            if name != "model"
        },
        [],
        {},
        [],
        {name: np.zeros((BINS, 3)) for name in every},
        {name: np.zeros((BINS, 3)) for name in every},
    )
    names, archive = window_names(maps), Path(str(cube.attrs.get("archive", ""))).name
    for position, window in enumerate(windows):
        truth = places_of(np.where(inside, cube[target].isel(window=window).values, np.nan), classes)
        valid = truth >= 0
        mapped = {name: places_of(of[target].values[position], classes)[valid] for name, of in every.items()}
        entry = {"window": names[position], "scene": archive, "confusion": {}, "area": {}}
        whole = truth
        truth, of_block = truth[valid], blocks[valid]
        for name, places in mapped.items():
            of_window = confusion(of_block, truth, places, blocks_count, size)
            counts.blocks[name][:] += of_window
            entry["confusion"][name] = of_window.sum(axis=0)
            both = places >= 0
            entry["area"][name] = np.stack(
                [
                    _sums(of_block[both] * size + of_class[both], areas[valid][both], blocks_count * size)
                    for of_class in (truth, places)
                ]
            ).reshape(2, blocks_count, size)
            if name != "model":
                shared = np.where((places >= 0) & (mapped["model"] >= 0), truth, -1)
                for total, ours in zip(counts.shared[name], (mapped["model"], places), strict=True):
                    total[:] += confusion(of_block, shared, ours, blocks_count, size)
            probabilities = np.stack([every[name][layer].values[position][valid] for layer in classes.probabilities])
            _add_bins(counts, name, probabilities, truth)
        counts.windows.append(entry)
        for grouping, of_pixel in _groupings(cube, window, valid, elevation_step_m).items():
            labels = of_pixel.categories
            groups = counts.groups.setdefault(grouping, {label: {} for label in labels})
            for name, places in mapped.items():
                of_groups = confusion(of_pixel.codes, truth, places, len(labels), size)
                for label, of_group in zip(labels, of_groups, strict=True):
                    groups[label][name] = groups[label].get(name, 0) + of_group
        if classes.named is not None:
            named = whole == classes.named
            patches, _ = ndimage.label(named)  # type: ignore[misc]
            numbers = np.where(named, cube["outline"].values, 0) if "outline" in cube.coords else patches
            counts.outlines.extend(_outlines(numbers, mapped, valid, areas, classes))
    return counts


def together(counts: Sequence[Counts]) -> Counts:
    """The counts of several scenes as one; a block is of one scene."""
    first = counts[0]
    names = list(dict.fromkeys(name for of_scene in counts for name in of_scene.blocks))

    def blocks(of_scene: Counts, name: str) -> np.ndarray:
        return of_scene.blocks.get(name, np.zeros_like(of_scene.blocks["model"]))

    def shared(of_scene: Counts, name: str, place: int) -> np.ndarray:
        return of_scene.shared[name][place] if name in of_scene.shared else np.zeros_like(of_scene.blocks["model"])

    groups: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for of_scene in counts:
        for grouping, labels in of_scene.groups.items():
            for label, maps in labels.items():
                merged = groups.setdefault(grouping, {}).setdefault(label, {})
                for name, values in maps.items():
                    merged[name] = merged.get(name, 0) + values
    return Counts(
        first.classes,
        {name: np.concatenate([blocks(of_scene, name) for of_scene in counts]) for name in names},
        {
            name: tuple(np.concatenate([shared(of_scene, name, place) for of_scene in counts]) for place in (0, 1))  # type: ignore[misc]
            for name in names
            if name != "model"
        },
        [entry for of_scene in counts for entry in of_scene.windows],
        groups,
        [outline for of_scene in counts for outline in of_scene.outlines],
        *(
            {name: sum(of.get(name, np.zeros((BINS, 3))) for of in bins) for name in names}  # type: ignore[misc]
            for bins in ([of_scene.confidence for of_scene in counts], [of_scene.reliability for of_scene in counts])
        ),
    )


def confusion(
    label: Int[np.ndarray, " pixel"],
    truth: Int[np.ndarray, " pixel"],
    mapped: Int[np.ndarray, " pixel"],
    labels: int,
    classes: int,
) -> Int[np.ndarray, "label observed mapped"]:
    """Pixels of each label by observed and mapped class; what has none of either (−1) is left out."""
    both = (truth >= 0) & (mapped >= 0)
    place = (label[both].astype(np.int64) * classes + truth[both]) * classes + mapped[both]
    return np.bincount(place, minlength=labels * classes**2).reshape(labels, classes, classes)


def _sums(place: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(place, values, minlength=count).astype(np.float64)  # of no pixels they are whole numbers


def _add_bins(counts: Counts, name: str, probabilities: Float[np.ndarray, "class pixel"], truth: np.ndarray) -> None:
    known = np.isfinite(probabilities).all(axis=0)
    probabilities, truth = probabilities[:, known].astype(np.float64), truth[known]
    likeliest = probabilities.argmax(axis=0)
    counts.confidence[name][:] += _bins(probabilities.max(axis=0), likeliest == truth)
    named = range(len(probabilities)) if counts.classes.named is None else [counts.classes.named]
    for place in named:
        counts.reliability[name][:] += _bins(probabilities[place], truth == place)


def _bins(probability: np.ndarray, true: np.ndarray) -> Float[np.ndarray, "bin 3"]:
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    return np.stack([_sums(place, values, BINS) for values in (np.ones(len(place)), probability, true)], axis=1)


def _groupings(cube: xr.Dataset, window: int, valid: np.ndarray, step: float) -> dict[str, pd.Categorical]:
    """The class of each valid pixel by elevation and slope, where there is elevation; the same in any window."""
    if "elevation" not in cube["band"]:
        return {}
    part = cube[["features"]].isel(window=[window]).sel(band=["elevation"])
    height, slope = part["features"].values[0, 0][valid], steepness(part)[0][valid]
    return {
        "elevation": binned(height, np.arange(0, HIGHEST_M + step, step).tolist(), " m"),
        "slope": binned(slope, SLOPE_EDGES_DEGREE, "°"),
    }


def _outlines(
    numbers: np.ndarray, mapped: Mapping[str, np.ndarray], valid: np.ndarray, areas: np.ndarray, classes: Classes
) -> list[dict[str, Any]]:
    """Area in m² of each observed outline, and of what each map finds of it.

    Args:
        numbers: Of the outline of each pixel, 0 for none: those of the Cube where it knows them, else of the patches of
            pixels that touch at their sides.
        mapped: Place of the class of the valid pixels in each map.
        valid: Which pixels these are.
        areas: Of all pixels in m².
        classes: Two of them.
    """
    count = int(numbers.max(initial=0)) + 1
    of_pixel, ground = numbers[valid], areas[valid]
    whole = _sums(of_pixel, ground, count)
    detected = {name: _sums(of_pixel, ground * (places == classes.named), count) for name, places in mapped.items()}
    return [
        {"area": float(whole[number]), "found": {name: float(of[number]) for name, of in detected.items()}}
        for number in 1 + np.flatnonzero(whole[1:])
    ]
