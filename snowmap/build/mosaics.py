"""Neighbouring scenes of one pass: products of the same pair and processing that lie side by side become one window."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from snowmap.build.bands import Scene, insar_bands, largest_component, thin
from snowmap.data.grid import Grid, moved
from snowmap.errors import SnowmapError
from snowmap.products.overlap import bounds_in_degrees
from snowmap.products.pairs import Opener, Pair
from snowmap.products.regrid import reach

SAME_PLACE = 0.5
"""Share of the smaller of two products that lies in the other one from which on both are of the same scene."""


def merged(pairs: Sequence[Pair], grid: Grid) -> tuple[list[Pair], list[str]]:
    """One pair for each window: scenes side by side that were processed alike become one, from south to north.

    Args:
        pairs: Of one track, in the order of their dates.
        grid: Of the region; of several scenes those that do not reach it are left out.

    Returns:
        The pairs, and a sentence for each scene that is left out.

    Raises:
        SnowmapError: When a pair is there twice, or scenes do not overlap.
    """
    by_dates: dict[tuple, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_dates[pair.start, pair.end].append(pair)
    merged_pairs, left_out = [], []
    for several in by_dates.values():
        if len(several) > 1:
            ordered = sorted(several, key=lambda pair: bounds_in_degrees(_grid(pair))[1])
            _refuse_doubles(ordered)
            near = [pair for pair in ordered if reach(_grid(pair), grid, 0)] or ordered[:1]
            left_out += [f"{pair.name}: does not reach the region" for pair in ordered if pair not in near]
            _refuse_gaps(near)
            name = " + ".join(pair.name for pair in near)
            several = [replace(near[0], name=name, scenes=tuple(near))] if len(near) > 1 else near
        merged_pairs += several
    return merged_pairs, left_out


def scenes_of(pair: Pair, grid: Grid, coverage: float, dem: Opener | None, largest: bool) -> tuple[list[Scene], float]:
    """The scenes of a window with phases of one level, and the share of unwrapped pixels that are not kept.

    An unwrapped phase has a constant of its own in each scene. That of each scene but the first is brought to the one
    south of it by the median difference, weighted by coherence, of all pixels that both have, wherever they lie; a
    wrapped phase by the angle of the mean of complex numbers.

    Args:
        pair: Of `merged`.
        grid: Of the region.
        coverage: Share of a cell that has to have a value.
        dem: Elevation in place of that of the product.
        largest: Whether the largest connected component alone is kept.

    Raises:
        SnowmapError: When two scenes have no pixel in common.
    """
    levelled: list[Scene] = []
    lost = [0.0]
    for each in pair.scenes or (pair,):
        component, other = largest_component(each, grid) if largest else (None, 0.0)
        scene = Scene(each, component)
        levelled.append(_levelled(scene, levelled[-1], coverage, dem) if levelled else scene)
        lost.append(other)
    return levelled, max(lost)


def _levelled(scene: Scene, to: Scene, coverage: float, dem: Opener | None) -> Scene:
    south_grid = _grid(to.pair)
    part = reach(south_grid, _grid(scene.pair), 0)
    assert part is not None  # `merged` refuses them
    rows, columns = part
    shape = rows.stop - rows.start, columns.stop - columns.start
    common = thin(Grid(shape, moved(south_grid.transform, columns.start, rows.start), south_grid.crs))
    one, other = (insar_bands([each], common, coverage, dem) for each in (to, scene))
    name = "unwrapped_phase" if "unwrapped_phase" in one else "phase"
    weight, shifts = one["coherence"] * other["coherence"], {}
    known = np.isfinite(one[name] - other[name]) & (weight > 0)
    if not known.any():
        raise SnowmapError(
            f"{to.pair.name} and {scene.pair.name}: no pixel has {name.replace('_', ' ')} in both scenes, so that the "
            "level of one cannot be brought to that of the other; leave one of them out of insar.path"
        )
    if name == "unwrapped_phase":
        median = {"weights": weight[known].astype(np.float64), "method": "inverted_cdf"}
        shifts[name] = float(np.quantile((one[name] - other[name])[known], 0.5, **median))
    turns = weight * np.exp(1j * (one["phase"] - other["phase"]))
    shifts["wrapped_phase"] = float(np.angle(np.nansum(turns)))
    return scene._replace(shifts=shifts)


def _grid(pair: Pair) -> Grid:
    return pair.layers["coherence"]().grid


def _refuse_doubles(scenes: list[Pair]) -> None:
    for one, other in itertools.pairwise(scenes):
        if one.processing != other.processing or _common_share(one, other) >= SAME_PLACE:
            names = " and ".join(f"{pair.name} ({pair.processing or 'processing not stated'})" for pair in scenes)
            raise SnowmapError(
                f"insar.path: the pair {one.start} to {one.end} is there {len(scenes)} times: {names}; expected one, "
                "or neighbouring scenes that were processed alike: narrow insar.path, or move the others away"
            )


def _refuse_gaps(scenes: list[Pair]) -> None:
    for one, other in itertools.pairwise(scenes):
        if _common_share(one, other) == 0:
            raise SnowmapError(
                f"insar.path: {one.name} and {other.name}, scenes of the pair {one.start} to {one.end}, do not "
                "overlap, so that their phases have no common level; get the scene between them, or narrow insar.path"
            )


def _common_share(one: Pair, other: Pair) -> float:
    """Of the smaller one's bounds."""
    first, second = (np.array(bounds_in_degrees(_grid(pair))) for pair in (one, other))
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    return float(sides.clip(0).prod() / min((bounds[2:] - bounds[:2]).prod() for bounds in (first, second)))
