"""The bands of one pair on the region's grid."""

import numpy as np
import xarray as xr
from rasterio.transform import Affine

from snowmap.data.grid import Grid, gradient_of
from snowmap.physics import displacement
from snowmap.products.pairs import LAYERS, UNWRAPPED, Opener, Pair
from snowmap.products.rasters import as_raster, place_of, placed
from snowmap.products.regrid import MARGIN_PIXELS, clipped, pixels_per_cell, regrid

LOOK = ("look_east", "look_north", "look_up")
THIN_GRID = 400
"""Pixels on a side of the grid on which the largest connected component is found."""

Layers = dict[str, xr.DataArray]


def insar_bands(
    pair: Pair, grid: Grid, coverage: float, dem: Opener | None = None, component: int | None = None
) -> dict[str, np.ndarray]:
    """What a pair says of a grid, or of a piece of one.

    Args:
        pair: The pair.
        grid: The grid.
        coverage: Share of a cell that has to have a value.
        dem: Elevation in place of that of the product.
        component: The connected component whose unwrapped phase is kept, as `largest_component` finds it; None: all of
            them, each cell being the mean of one.

    Returns:
        Bands of the archive as far as the product has them, ``(y, x)`` float32.
    """
    openers = {**pair.layers, **({"elevation": dem} if dem else {})}
    unread = {"water", *(LOOK if "incidence" in openers else ())}
    openers = {name: opener for name, opener in openers.items() if name not in unread}
    layers = {name: open_layer() for name, open_layer in openers.items()}
    try:
        near = {name: piece for name, layer in layers.items() if (piece := _near(layer, grid)) is not None}
        return _on_grid(near, list(openers), grid, coverage, component, pair.wavelength_m)
    finally:
        for layer in layers.values():
            layer.close()


def _near(layer: xr.DataArray, grid: Grid) -> xr.DataArray | None:
    """What lies around the grid, in memory."""
    piece = clipped(layer, grid, 2 * (int(np.ceil(pixels_per_cell(layer, grid))) + MARGIN_PIXELS))
    return None if piece is None else piece.load()


def _on_grid(
    layers: Layers, names: list[str], grid: Grid, coverage: float, component: int | None, wavelength_m: float
) -> dict[str, np.ndarray]:
    nothing = np.full(grid.shape, np.nan, np.float32)
    if "wrapped_phase" not in names and "unwrapped_phase" in layers:
        layers["wrapped_phase"] = layers["unwrapped_phase"]  # the mean of complex numbers wraps it
    if "incidence" not in names and "elevation" in layers and layers.keys() >= {*LOOK}:
        layers["incidence"] = local_incidence(layers["elevation"], [layers[name] for name in LOOK])
    components, apart = layers.pop("component", None), {}
    together = {name: layer for name, layer in layers.items() if name not in LOOK}
    if components is not None and "unwrapped_phase" in together and components.shape == layers["unwrapped_phase"].shape:
        unwrapped = together.pop("unwrapped_phase")
        if component is None:
            apart["unwrapped_phase"] = _by_component(unwrapped, components, grid, coverage)
        else:
            together["unwrapped_phase"] = _where(unwrapped, components.values == component)
    if {"wrapped_phase", "coherence"} <= together.keys() and layers["wrapped_phase"].shape != layers["coherence"].shape:
        apart["wrapped_phase"] = _wrapped(together.pop("wrapped_phase"), layers["coherence"], grid, coverage)
    made = regrid(together, LAYERS, grid, coverage) | apart
    made = dict.fromkeys({*names, "wrapped_phase", "incidence"} - {*LOOK, "component"}, nothing) | made
    if "unwrapped_phase" in made:
        made["displacement"] = np.asarray(displacement(made["unwrapped_phase"], wavelength=wavelength_m), np.float32)
    return {_BANDS.get(name, name): values for name, values in made.items()}


_BANDS = {"wrapped_phase": "phase"}
"""Layers that the archive calls by another name."""


def largest_component(pair: Pair, grid: Grid) -> tuple[int | None, float]:
    """The connected component that covers most of a grid, and the share of the unwrapped pixels that lie in others.

    None where the product states no components.
    """
    if "component" not in pair.layers:
        return None, 0.0
    layer = pair.layers["component"]()
    try:
        step = max(1, -(-max(grid.shape) // THIN_GRID))
        height, width = (max(1, size // step) for size in grid.shape)
        a, b, c, d, e, f = grid.transform[:6]
        wider, higher = grid.shape[1] / width, grid.shape[0] / height
        thin = Grid((height, width), Affine(a * wider, b * higher, c, d * wider, e * higher, f), grid.crs)
        found = regrid({"component": _every(layer, int(pixels_per_cell(layer, thin) / 2))}, LAYERS, thin)["component"]
    finally:
        layer.close()
    numbers, counts = np.unique(found[found > 0], return_counts=True)
    if not len(numbers):
        return None, 0.0
    return int(numbers[counts.argmax()]), float(1 - counts.max() / counts.sum())


def _every(layer: xr.DataArray, step: int) -> xr.DataArray:
    """Every so many pixels of a layer, so that a large one need not be in memory."""
    if step < 2:
        return layer
    (a, b, c, d, e, f), crs = place_of(layer)[0][:6], place_of(layer)[1]
    first = step // 2
    thin = layer.isel(y=slice(first, None, step), x=slice(first, None, step))
    corner = first + 0.5 - step / 2
    affine = Affine(a * step, b * step, c + (a + b) * corner, d * step, e * step, f + (d + e) * corner)
    return placed(thin, affine, crs)


def _by_component(phase: xr.DataArray, components: xr.DataArray, grid: Grid, coverage: float) -> np.ndarray:
    """Each cell is the mean within one connected component: between two lies an unknown number of cycles."""

    def mean(of: xr.DataArray, covered: float) -> np.ndarray:
        return regrid({"phase": of}, {"phase": UNWRAPPED}, grid, covered)["phase"]

    number = components.values
    majority = regrid({"component": _where(components, number > 0)}, LAYERS, grid)["component"]
    out = np.full(grid.shape, np.nan, np.float32)
    for each in np.unique(majority[majority > 0]):
        out = np.where(majority == each, mean(_where(phase, number == each), 1e-3), out)
    return np.where(np.isfinite(mean(_where(phase, number > 0), coverage)), out, np.nan)


def _wrapped(phase: xr.DataArray, coherence: xr.DataArray, grid: Grid, coverage: float) -> np.ndarray:
    """Weighted by a coherence in pixels of another size."""
    own = Grid((phase.sizes["y"], phase.sizes["x"]), *place_of(phase))
    weight = regrid({"coherence": coherence}, LAYERS, own, coverage=1e-3)["coherence"]
    layers = {"coherence": as_raster(weight, own.transform, own.crs), "wrapped_phase": phase}
    return regrid(layers, LAYERS, grid, coverage)["wrapped_phase"]


def _where(layer: xr.DataArray, kept: np.ndarray) -> xr.DataArray:
    values = np.where(kept, layer.values, np.nan).astype(np.float32)
    return as_raster(values, *place_of(layer))


def local_incidence(elevation: xr.DataArray, look: list[xr.DataArray]) -> xr.DataArray:
    """Incidence from the normal of the ground, in degrees: cos θ = n·l, with the normal n by central differences.

    Args:
        elevation: ``(y, x)`` in m.
        look: East, north and up of the unit vector l from the ground to the radar, on any grid. Grid north is taken
            for north: in UTM they differ by less than 3°, which changes θ by less than 2° on a slope of 45°.

    Returns:
        On the grid of the elevation; NaN where the ground faces away.
    """
    grid = Grid((elevation.sizes["y"], elevation.sizes["x"]), *place_of(elevation))
    east, north, up = regrid(dict(zip(LOOK, look, strict=True)), LAYERS, grid).values()
    to_east, to_north = gradient_of(
        elevation.values, elevation["y"].values, elevation["x"].values, geographic=elevation.rio.crs.is_geographic
    )
    cosine = (up - to_east * east - to_north * north) / np.sqrt(1 + to_east**2 + to_north**2)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return as_raster(np.where(angle < 90, angle, np.nan).astype(np.float32), grid.transform, grid.crs)
