"""Splits of scenes and of areas: what serves where the labels of all dates are the same, as outlines are.

A split here is a function ``(cubes, **options) -> [Split]``, entered in `OF_CUBES`. Every subset has the windows at
which sequences end (coordinate ``sequence_end`` of a Cube; all windows where it has none).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Int
from scipy.ndimage import distance_transform_edt, maximum_filter

from snowmap.data.cube import archive_names, narrowed, targets_of
from snowmap.data.splits.split import Area, Split
from snowmap.errors import SnowmapError

SUBSETS = ("train", "validation", "test")

Parts = Int[np.ndarray, "y x"]
"""Which of `SUBSETS` each pixel is for."""

logger = logging.getLogger(__name__)


def scenes(
    cubes: Sequence[xr.Dataset], *, validation: float | list[str], test: float | list[str], seed: int = 0
) -> list[Split]:
    """Whole scenes validate and test, the others train.

    Args:
        cubes: The scenes.
        validation: Names of scenes, or a share of all of them, drawn by the seed; at least one.
        test: The same.
        seed: Of what is drawn.

    Raises:
        SnowmapError: When a subset has no scene, or a scene is named twice or unknown.
    """
    names = archive_names([cube.attrs for cube in cubes])
    if len(cubes) < len(SUBSETS):
        raise SnowmapError(
            f"split=scenes needs a scene for each of {', '.join(SUBSETS)}, but data.root has {len(cubes)}; add scenes, "
            "or divide each one: split=blocks"
        )
    named = {"validation": validation, "test": test}
    chosen = {subset: list(scenes) for subset, scenes in named.items() if isinstance(scenes, list)}
    listed = [name for scenes in chosen.values() for name in scenes]
    if wrong := [name for name in listed if name not in names or listed.count(name) > 1]:
        raise SnowmapError(f"split=scenes: {wrong[0]} is named twice, or no scene; there are {', '.join(names)}")
    left = [name for name in np.random.default_rng(seed).permutation(names).tolist() if name not in listed]
    for subset, share in named.items():
        if not isinstance(share, list):
            count = max(1, round(share * len(names)))
            chosen[subset], left = left[:count], left[count:]
    if missing := [subset for subset, scenes in {**chosen, "train": left}.items() if not scenes]:
        raise SnowmapError(
            f"split=scenes leaves no scene for {' and '.join(missing)} of {len(names)}; give smaller shares"
        )
    of = {name: subset for subset, scenes in chosen.items() for name in scenes}
    return [_split(cube, {of.get(name, "train")}) for name, cube in zip(names, cubes, strict=True)]


def blocks(
    cubes: Sequence[xr.Dataset],
    *,
    rows: int = 4,
    columns: int = 4,
    buffer: int = 8,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
) -> list[Split]:
    """Rectangles of every scene validate and test, the others train, with a buffer in between.

    Args:
        cubes: The scenes.
        rows: Rectangles of a scene from north to south.
        columns: Rectangles from west to east.
        buffer: Pixels of neither side between two subsets.
        validation: Share of the rectangles, of those that hold a pixel of the study area; at least one.
        test: The same.
        seed: Of what is drawn, scene by scene.

    Raises:
        SnowmapError: When a scene is too small for a rectangle of each subset, or the buffer leaves a subset nothing.
    """
    splits = []
    for number, cube in enumerate(cubes):
        mask = cube["mask"].values
        y, x = (np.arange(size) * parts // size for size, parts in zip(mask.shape, (rows, columns), strict=True))
        rectangle = y[:, None] * columns + x
        known = np.unique(rectangle[mask])
        counts = [max(1, round(share * len(known))) for share in (test, validation)]
        if sum(counts) >= len(known):
            raise SnowmapError(
                f"{cube.attrs.get('archive', '')}: split.rows={rows}, split.columns={columns} make {len(known)} "
                f"rectangles with data, of which {counts[1]} validate and {counts[0]} test: none is left to train; ask "
                "for more rectangles or smaller shares"
            )
        order = np.random.default_rng([seed, number]).permutation(known)
        subset_of = np.zeros(rows * columns, np.int8)
        subset_of[order[: counts[0]]], subset_of[order[counts[0] : sum(counts)]] = 2, 1
        splits.append(_of_areas(cube, subset_of[rectangle], buffer))
    _refuse_missing(splits, "blocks")
    return splits


def outlines(
    cubes: Sequence[xr.Dataset], *, buffer: int = 8, validation: float = 0.2, test: float = 0.2, seed: int = 0
) -> list[Split]:
    """Outlines of a vector file validate and test, the others train: none is in two subsets, in no scene.

    A pixel outside all outlines goes with the one that is nearest. A scene without outlines trains.

    Args:
        cubes: The scenes, with the coordinate ``outline (y, x)`` (0 in none), whose attribute ``source`` tells those
            of several files apart.
        buffer: Pixels of neither side between two subsets.
        validation: Share of the area of all outlines, as far as whole outlines allow.
        test: The same.
        seed: Of the order in which outlines are dealt out.

    Raises:
        SnowmapError: When there are fewer than three outlines, or the buffer leaves a subset nothing.
    """
    areas: dict[tuple[str, int], int] = {}
    for cube in cubes:
        if "outline" in cube.coords:
            numbers, counts = np.unique(cube["outline"].values[cube["mask"].values], return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                if number:
                    key = (str(cube["outline"].attrs.get("source", "")), number)
                    areas[key] = areas.get(key, 0) + count
    if len(areas) < len(SUBSETS):
        raise SnowmapError(
            f"split=outlines needs at least three outlines, but the scenes have {len(areas)}; choose split=blocks"
        )
    subset_of = _dealt_out(areas, (1 - validation - test, validation, test), seed)
    splits = []
    for cube in cubes:
        parts = np.zeros(cube["mask"].shape, np.int8)
        if "outline" in cube.coords and (numbers := cube["outline"].values).any():
            source = str(cube["outline"].attrs.get("source", ""))
            table = np.zeros(numbers.max() + 1, np.int8)
            for (file, number), subset in subset_of.items():
                if file == source and number < len(table):
                    table[number] = subset
            nearest: Any = distance_transform_edt(numbers == 0, return_distances=False, return_indices=True)
            parts = table[numbers[tuple(nearest)]]
        splits.append(_of_areas(cube, parts, buffer))
    _refuse_missing(splits, "outlines")
    return splits


OF_CUBES: dict[str, Callable[..., list[Split]]] = {"scenes": scenes, "blocks": blocks, "outlines": outlines}
"""Splits of scenes and areas under the names that users type."""


def refuse_same_labels(cubes: Sequence[xr.Dataset], name: str) -> None:
    """Refuse a split of dates where all dates of a scene have the same labels.

    Raises:
        SnowmapError: Naming the splits that serve.
    """
    if any("sequence_end" in cube.coords for cube in cubes):
        raise SnowmapError(
            f"split={name} divides dates, but all dates of a scene have the same labels, which would train and be "
            f"scored; choose split={' or split='.join(OF_CUBES)}"
        )


def check_classes(cubes: Sequence[xr.Dataset], splits: Sequence[Split]) -> None:
    """Refuse class maps of which a class has no pixel to train on, and warn of those that cannot be scored.

    Raises:
        SnowmapError: Naming target, classes and what there is.
    """
    for target in targets_of(cubes[0]):
        attributes = cubes[0][target].attrs
        if "flag_values" not in attributes:
            continue
        words = dict(zip(attributes["flag_values"], str(attributes["flag_meanings"]).split(), strict=True))
        for subset in SUBSETS:
            known: set[float] = set()
            for cube, split in zip(cubes, splits, strict=True):
                known |= _codes(cube, target, split, subset)
            missing = [word for code, word in words.items() if code not in known]
            used = any(split.subsets[subset] for split in splits)
            if missing and subset == "train":
                raise SnowmapError(
                    f"target '{target}': no training pixel of class {', '.join(missing)}; choose another split= or "
                    "split.seed, or leave the class out of data.classes"
                )
            if missing and used:
                logger.warning("target '%s': no %s pixel of class %s", target, subset, ", ".join(missing))


def _codes(cube: xr.Dataset, target: str, split: Split, subset: str) -> set[float]:
    """Class codes of the pixels of a subset."""
    inside = narrowed(cube, split.areas[subset])["mask"].values
    maps = cube[target].values[split.subsets[subset]]
    return {code for window in maps for code in np.unique(window[inside]).tolist() if code == code}


def _dealt_out(areas: Mapping[tuple[str, int], int], shares: Sequence[float], seed: int) -> dict[tuple[str, int], int]:
    """The subset of each outline: in random order each goes to the subset that lacks most of its share."""
    keys = [sorted(areas)[index] for index in np.random.default_rng(seed).permutation(len(areas))]
    total, filled, counts, dealt = sum(areas.values()), np.zeros(len(shares)), np.zeros(len(shares), int), {}
    for position, key in enumerate(keys):
        lacking = np.array(shares) - filled / total
        if len(keys) - position <= (counts == 0).sum():  # none remains empty
            lacking = np.where(counts == 0, lacking, -np.inf)
        subset = int(np.argmax(lacking))
        dealt[key], filled[subset], counts[subset] = subset, filled[subset] + areas[key], counts[subset] + 1
    return dealt


def _of_areas(cube: xr.Dataset, parts: Parts, buffer: int) -> Split:
    """The split whose subsets have parts of the map; what validates keeps away from the test, what trains from both."""
    near = [np.asarray(maximum_filter(parts == subset, size=2 * buffer + 1), bool) for subset in (1, 2)]
    mask = cube["mask"].values
    areas = {
        "train": mask & (parts == 0) & ~near[0] & ~near[1],
        "validation": mask & (parts == 1) & ~near[1],
        "test": mask & (parts == 2),
    }
    note = "the same dates train, validate and test: apart in space, not in time"
    return _split(cube, {subset for subset, area in areas.items() if area.any()}, areas, note)


def _split(cube: xr.Dataset, subsets: set[str], areas: Mapping[str, Area] | None = None, note: str = "") -> Split:
    ends = cube["sequence_end"].values if "sequence_end" in cube.coords else np.ones(cube.sizes["window"], bool)
    windows = np.flatnonzero(ends).tolist()
    train, validation, test = (windows if subset in subsets else [] for subset in SUBSETS)
    placed = [(areas or {}).get(subset) for subset in SUBSETS]
    return Split(train, validation, test, *placed, note=note)


def _refuse_missing(splits: Sequence[Split], name: str) -> None:
    for subset in SUBSETS:
        if not any(split.subsets[subset] for split in splits):
            raise SnowmapError(
                f"split={name} leaves no pixel for {subset}; give a smaller split.buffer, other shares, or another "
                "split.seed"
            )
