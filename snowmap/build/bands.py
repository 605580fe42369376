"""The bands of one pair on the region's grid."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from rasterio.transform import Affine

from snowmap.data.grid import Grid, gradient_of
from snowmap.physics import displacement
from snowmap.products.pairs import LAYERS, Opener, Pair
from snowmap.products.rasters import Raster, as_raster
from snowmap.products.regrid import MARGIN_PIXELS, Sums, pixels_per_cell, reach, regrid, sums

LOOK = ("look_east", "look_north", "look_up")
THIN_GRID = 400
"""Pixels on a side of the grid on which the largest connected component, or the level of a scene, is found."""
BAND_ROWS = 512
"""Rows that are kept of what is read at once of a layer that is thinned."""


class Scene(NamedTuple):
    """A pair as it goes into a window.

    Attributes:
        pair: Its layers.
        component: The connected component whose unwrapped phase is kept, as `largest_component` finds it; None: all of
            them, each cell being the mean of one.
        shifts: What is added to its phases, by layer, so that they are of one level with those of the scene beside it.
    """

    pair: Pair
    component: int | None = None
    shifts: Mapping[str, float] = MappingProxyType({})


def insar_bands(
    scenes: Sequence[Scene], grid: Grid, coverage: float, dem: Opener | None = None
) -> dict[str, np.ndarray]:
    """What the scenes of a window say of a grid, or of a piece of one.

    Args:
        scenes: One pair, or neighbouring scenes of the same pass, whose values are averaged where they overlap.
        grid: The grid.
        coverage: Share of a cell that has to have a value.
        dem: Elevation in place of that of the product.

    Returns:
        Bands of the archive as far as the products have them, ``(y, x)`` float32.
    """
    total: dict[str, Sums] = {}
    for scene in scenes:
        for name, of in _sums(scene, grid, dem).items():
            total[name] = total[name].plus(of, LAYERS[name]) if name in total else of
    made = {name: of.mean(LAYERS[name], coverage) for name, of in total.items()}
    if "unwrapped_phase" in made:
        wavelength = scenes[0].pair.wavelength_m
        made["displacement"] = np.asarray(displacement(made["unwrapped_phase"], wavelength=wavelength), np.float32)
    return {_BANDS.get(name, name): values for name, values in made.items()}


_BANDS = {"wrapped_phase": "phase"}
"""Layers that the archive calls by another name."""


def _sums(scene: Scene, grid: Grid, dem: Opener | None) -> dict[str, Sums]:
    """What a scene's layers, and those that follow from them, add up to in each cell."""
    openers = {**scene.pair.layers, **({"elevation": dem} if dem else {})}
    unread = {"water", *(LOOK if "incidence" in openers else ())}
    layers = {name: _near(opener(), grid) for name, opener in openers.items() if name not in unread}
    for name in layers.keys() & scene.shifts.keys():
        layers[name] = layers[name].with_values(layers[name].values + np.float32(scene.shifts[name]))
    if "wrapped_phase" not in layers:
        layers["wrapped_phase"] = layers["unwrapped_phase"]  # the mean of complex numbers wraps it
    if "incidence" not in layers:
        layers["incidence"] = local_incidence(layers["elevation"], [layers.pop(name) for name in LOOK])
    components, apart = layers.pop("component", None), {}
    phase, coherence = layers.get("unwrapped_phase"), layers["coherence"]
    if components is not None and phase is not None:
        if components.grid != phase.grid:
            components = phase.with_values(regrid({"component": components}, LAYERS, phase.grid)["component"])
        if scene.component is None:
            apart["unwrapped_phase"] = _by_component(layers.pop("unwrapped_phase"), components, grid)
        else:
            layers["unwrapped_phase"] = _where(phase, components.values == scene.component)
    if layers["wrapped_phase"].grid != coherence.grid:
        apart["wrapped_phase"] = _wrapped(layers.pop("wrapped_phase"), coherence, grid)
    return sums(layers, LAYERS, grid) | apart


def _near(layer: Raster, grid: Grid) -> Raster:
    """What lies around the grid, in memory; one pixel of nothing where it does not reach it."""
    part = reach(layer.grid, grid, 2 * (int(np.ceil(pixels_per_cell(layer.grid, grid))) + MARGIN_PIXELS))
    if part is None:
        return layer.loaded(slice(0, 1), slice(0, 1)).with_values(np.full((1, 1), np.nan))
    return layer.loaded(*part)


def largest_component(pair: Pair, grid: Grid) -> tuple[int | None, float]:
    """The connected component that covers most of a grid, and the share of the unwrapped pixels that lie in others.

    None where the product states no components.
    """
    if "component" not in pair.layers:
        return None, 0.0
    layer = pair.layers["component"]()
    few = thin(grid)
    thinned = _every(layer, int(pixels_per_cell(layer.grid, few) / 2))
    cells = regrid({"component": thinned}, LAYERS, few)["component"]
    numbers, counts = np.unique(cells[cells > 0], return_counts=True)
    if not len(numbers):
        return None, 0.0
    return int(numbers[counts.argmax()]), float(1 - counts.max() / counts.sum())


def thin(grid: Grid) -> Grid:
    """The same place in no more than `THIN_GRID` pixels on a side."""
    step = max(1, -(-max(grid.shape) // THIN_GRID))
    height, width = (max(1, size // step) for size in grid.shape)
    a, b, c, d, e, f = grid.transform[:6]
    wider, higher = grid.shape[1] / width, grid.shape[0] / height
    return Grid((height, width), Affine(a * wider, b * higher, c, d * wider, e * higher, f), grid.crs)


def _every(layer: Raster, step: int) -> Raster:
    """Every so many pixels of a layer, so that a large one need not be in memory."""
    if step < 2:
        return layer
    (height, width), (a, b, c, d, e, f) = layer.grid.shape, layer.grid.transform[:6]
    first = step // 2
    starts = range(0, height, BAND_ROWS * step)
    bands = [layer.read(slice(top, min(height, top + BAND_ROWS * step)), slice(0, width)) for top in starts]
    corner = first + 0.5 - step / 2
    affine = Affine(a * step, b * step, c + (a + b) * corner, d * step, e * step, f + (d + e) * corner)
    return as_raster(np.concatenate([band[first::step, first::step] for band in bands]), affine, layer.grid.crs)


def _by_component(phase: Raster, components: Raster, grid: Grid) -> Sums:
    """Each cell is the mean within one connected component: between two lies an unknown number of cycles."""

    def kept(which: np.ndarray) -> Sums:
        return sums({"unwrapped_phase": _where(phase, which)}, LAYERS, grid)["unwrapped_phase"]

    number = components.values
    majority = regrid({"component": _where(components, number > 0)}, LAYERS, grid)["component"]
    covered = kept(number > 0).covered
    part, weight = np.zeros((2, *grid.shape), np.float32)
    for each in np.unique(majority[majority > 0]):
        within, chosen = kept(number == each), majority == each
        part[chosen], weight[chosen] = within.parts[0][chosen], within.weight[chosen]
    return Sums([part], weight, covered)


def _wrapped(phase: Raster, coherence: Raster, grid: Grid) -> Sums:
    """Weighted by a coherence in pixels of another size."""
    weight = regrid({"coherence": coherence}, LAYERS, phase.grid, coverage=1e-3)["coherence"]
    return sums({"coherence": phase.with_values(weight), "wrapped_phase": phase}, LAYERS, grid)["wrapped_phase"]


def _where(layer: Raster, kept: np.ndarray) -> Raster:
    return layer.with_values(np.where(kept, layer.values, np.float32(np.nan)))


def local_incidence(elevation: Raster, look: Sequence[Raster]) -> Raster:
    """Incidence from the normal of the ground, in degrees: cos θ = n·l, with the normal n by central differences.

    Args:
        elevation: In m.
        look: East, north and up of the unit vector l from the ground to the radar, on any grid. Grid north is taken
            for north: in UTM they differ by less than 3°, which changes θ by less than 2° on a slope of 45°.

    Returns:
        On the grid of the elevation; NaN where the ground faces away.
    """
    east, north, up = regrid(dict(zip(LOOK, look, strict=True)), LAYERS, elevation.grid).values()
    crs = elevation.grid.crs
    to_east, to_north = gradient_of(
        elevation.values, *elevation.grid.axes, geographic=crs is not None and crs.is_geographic
    )
    cosine = (up - to_east * east - to_north * north) / np.sqrt(1 + to_east**2 + to_north**2)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return elevation.with_values(np.where(angle < 90, angle, np.nan))
