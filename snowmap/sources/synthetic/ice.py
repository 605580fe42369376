"""The ground of synthetic glacier scenes: terrain, the ice that flows over it, and what else covers it."""

import heapq
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy.ndimage import binary_dilation, gaussian_filter, label
from scipy.special import ndtr

from snowmap.data.grid import SPHERE, Grid, moved
from snowmap.errors import SnowmapError
from snowmap.products.outlines import read_outlines
from snowmap.products.overlap import check_overlap
from snowmap.products.rasters import open_raster
from snowmap.sources.synthetic.terrain import TERRAIN_EXPONENT, Terrain, power_law_field, surface_normal

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]

SVALBARD = CRS.from_epsg(32633)
WEST, NORTH = 480_000.0, 8_700_000.0  # corner of the first fractal scene, central Spitsbergen
PIXEL = 40.0  # m
LOWEST, HIGHEST, HYPSOMETRY = 0.0, 1300.0, 1.4  # m; Spitsbergen's mountains reach 700–1700 m
SMOOTHING = 80.0  # m; scree and ice smooth what the spectrum leaves rough, and radar DEMs have 20–90 m
RIDGES = 8_000.0  # m; distance of the ridges between Spitsbergen's valleys
ELA_QUANTILE = 0.66  # of the heights of a fractal scene: some 400 m (Spitsbergen: 300–700 m, Hagen et al. 2003)
ELA_SPREAD = 150.0  # m by which snow drift and shade move it from cirque to cirque (Hagen et al. 2003: ±200 m)
BALANCE_GRADIENT = 0.004  # m w.e. a⁻¹ per m of height (Hagen et al. 2003: 0.3–0.5 per 100 m)
STEEPEST_ICE = 35.0  # degrees; steeper rock sheds its snow (avalanches begin at 30–50°, Schweizer et al. 2003)
CREST, CREST_WIDTH = 75.0, 300.0  # m; what stands out so far above its surroundings is blown bare (assumed)
THICKNESS, FLUX_EXPONENT = 14.0, 0.2  # m at a flux of 1 m³ a⁻¹ × width⁻¹; flux ∝ thickness^5 (Glen's n = 3)
VALLEY = 130.0  # m over which a glacier fills its cross-section
SMALLEST = 50_000.0  # m²; less is a patch of snow (Paul et al. 2009: inventories begin at 0.01–0.05 km²)
DEBRIS_SHARE = (
    0.15  # of the ice below the equilibrium line (Scherler et al. 2018: 4 % of all ice, 10–15 % on Alpine tongues)
)
VEGETATION_SHARE = 0.6  # of what lies below a third of the equilibrium line's height
LAKE_SLOPE = 2.5  # degrees; lakes lie on flatter ground


class Ground(NamedTuple):
    """A scene without snow, rasters ``(y, x)``.

    Attributes:
        terrain: Elevation, grid spacing and where the DEM is valid.
        crs: Of the grid.
        ice: Glacier ice, also under debris.
        debris: Ice under rock.
        vegetation: Tundra or meadows.
        lake: Fresh water.
        height: m above the equilibrium line, with drift and shade in it: what snow and firn follow.
    """

    terrain: Terrain
    crs: CRS
    ice: Mask
    debris: Mask
    vegetation: Mask
    lake: Mask
    height: Field


def fractal_ground(shape: tuple[int, int], number: int, rng: np.random.Generator) -> Ground:
    """A scene of a fractal landscape, beside those of other numbers; its glaciers follow from a mass balance."""
    spacing = (PIXEL, PIXEL)
    field = power_law_field(shape, spacing, TERRAIN_EXPONENT, rng, RIDGES)
    elevation = LOWEST + (HIGHEST - LOWEST) * ndtr(0.8 * gaussian_filter(field, SMOOTHING / PIXEL)) ** HYPSOMETRY
    transform = from_origin(WEST + number * (shape[1] + 50) * PIXEL, NORTH, PIXEL, PIXEL)
    whole = np.ones(shape, bool)
    terrain = Terrain(elevation, whole, np.zeros(shape), whole, spacing, transform, "fractal terrain")
    ela = float(np.quantile(elevation, ELA_QUANTILE))
    height = _height(terrain, ela, rng)
    return _covered(terrain, SVALBARD, _glaciers(terrain, height), height, ela, rng)


def real_grounds(dem: Path, outlines: Path | None, scenes: int, rng: np.random.Generator) -> list[Ground]:
    """So many strips of a DEM from west to east, with given outlines, or with glaciers of a mass balance."""
    raster = open_raster(dem)
    (_, transform, crs), elevation = raster.grid, raster.values.astype(np.float64)
    assert crs is not None
    elevation[elevation <= -9000] = np.nan
    valid = np.isfinite(elevation)
    if not valid.any():
        raise SnowmapError(f"{dem}: the DEM holds no elevation; expected m above sea level")
    elevation = np.where(valid, elevation, np.nanmin(elevation))
    metres = np.radians(1) * SPHERE if crs.is_geographic else 1.0
    middle = np.radians(transform.f + transform.e * elevation.shape[0] / 2) if crs.is_geographic else 0.0
    spacing = abs(transform.e) * metres, abs(transform.a) * metres * float(np.cos(middle))
    terrain = Terrain(elevation, valid, np.zeros_like(elevation), valid, spacing, transform, f"DEM {dem.name}")
    ice = None
    if outlines is not None:
        table = read_outlines(outlines)
        check_overlap(table, str(outlines), Grid(valid.shape, transform, crs))
        ice = np.asarray(rasterize(table.to_crs(crs).geometry, elevation.shape, transform=transform), bool) & valid
        if not ice.any():
            raise SnowmapError(f"{outlines}: no outline covers the middle of a pixel of {dem}")
    known = elevation[ice] if ice is not None else elevation[valid]
    ela = float(np.median(known) if ice is not None else np.quantile(known, ELA_QUANTILE))
    height = _height(terrain, ela, rng)
    ground = _covered(terrain, crs, _glaciers(terrain, height) & valid if ice is None else ice, height, ela, rng)
    return [_strip(ground, columns) for columns in np.array_split(np.arange(elevation.shape[1]), scenes)]


def _strip(ground: Ground, columns: np.ndarray) -> Ground:
    first, last = int(columns[0]), int(columns[-1]) + 1
    terrain = ground.terrain
    cut = terrain._replace(
        **{name: getattr(terrain, name)[:, first:last] for name in ("elevation", "valid", "forest", "mask")},
        transform=moved(terrain.transform, first, 0),
    )
    names = ("ice", "debris", "vegetation", "lake", "height")
    return ground._replace(terrain=cut, **{name: getattr(ground, name)[:, first:last] for name in names})


def _height(terrain: Terrain, ela: float, rng: np.random.Generator) -> Field:
    """Height above the equilibrium line: drift moves it at random, and shade lowers it on slopes to the north."""
    drift = power_law_field(terrain.elevation.shape, terrain.spacing, -3.0, rng, 3_000.0)
    north = gaussian_filter(surface_normal(terrain.elevation, terrain.spacing)[1], 2)
    return terrain.elevation - ela + ELA_SPREAD * drift + 2 * ELA_SPREAD * north


def _glaciers(terrain: Terrain, height: Field) -> Mask:
    """Ice of a steady state: what falls above the equilibrium line flows down until it has melted.

    The flux follows the lowest way to the edge of the map (`_ways`); its ice fills the valley up to the thickness that
    carries the flux, which is why tongues reach far below the line and steep rock stands out above it.
    """
    smooth = gaussian_filter(terrain.elevation, 1.5)
    order, into = _ways(smooth)
    slope = np.degrees(np.arccos(surface_normal(terrain.elevation, terrain.spacing)[2]))
    area = terrain.spacing[0] * terrain.spacing[1]
    balance = BALANCE_GRADIENT * np.minimum(height, 400) * area  # no more snow falls further up
    crest = terrain.elevation - gaussian_filter(terrain.elevation, CREST_WIDTH / terrain.spacing[0]) > CREST
    bare = (slope > STEEPEST_ICE) | crest
    balance = np.where(bare & (balance > 0), 0, balance).ravel()
    flux = [0.0] * len(order)
    for cell in reversed(order):
        carried = max(0.0, flux[cell] + balance[cell])
        flux[cell] = carried
        if into[cell] >= 0:
            flux[into[cell]] += carried
    carrying = np.reshape(flux, smooth.shape) / terrain.spacing[1]
    flowing: Mask = carrying > 1.0
    weight = np.where(flowing, carrying**0.5, 0)
    surface = smooth + THICKNESS * np.where(flowing, carrying, 0) ** FLUX_EXPONENT
    wide = VALLEY / terrain.spacing[0]
    near = gaussian_filter(weight, wide)
    level = gaussian_filter(weight * surface, wide) / np.maximum(near, 1e-9)
    near_enough = np.asarray(near > 0.3 * np.quantile(near[flowing], 0.5) if flowing.any() else flowing, bool)
    ice = (terrain.elevation < level) & near_enough
    accumulating = (height > 0) & np.asarray(binary_dilation(ice, iterations=4), bool)
    whole = gaussian_filter(((ice | accumulating) & ~bare).astype(float), 1.5) > 0.5
    pieces, _ = cast(tuple[NDArray[np.int32], int], label(whole))
    return whole & (np.bincount(pieces.ravel())[pieces] * area > SMALLEST)


def _ways(elevation: Field) -> tuple[list[int], list[int]]:
    """The cells in the order in which rising water reaches them from the edge, and the cell that each drains into.

    Priority-flood (Barnes, Lehman & Mulla 2014): hollows drain over their lowest sill.
    """
    rows, columns = elevation.shape
    level = elevation.ravel().tolist()
    into, order = [-2] * len(level), []
    edge = [*range(columns), *range(len(level) - columns, len(level))]
    edge += [row * columns + side for row in range(rows) for side in (0, columns - 1)]
    queue = []
    for cell in dict.fromkeys(edge):
        into[cell] = -1
        queue.append((level[cell], cell))
    heapq.heapify(queue)
    while queue:
        height, cell = heapq.heappop(queue)
        order.append(cell)
        row, column = divmod(cell, columns)
        for y in range(max(0, row - 1), min(rows, row + 2)):
            for x in range(max(0, column - 1), min(columns, column + 2)):
                other = y * columns + x
                if into[other] == -2:
                    into[other] = cell
                    heapq.heappush(queue, (max(level[other], height), other))
    return order, into


def _covered(terrain: Terrain, crs: CRS, ice: Mask, height: Field, ela: float, rng: np.random.Generator) -> Ground:
    """Debris on tongues, vegetation below, lakes on flat ground."""
    shape, spacing = terrain.elevation.shape, terrain.spacing
    slope = np.degrees(np.arccos(surface_normal(terrain.elevation, spacing)[2]))
    patches = power_law_field(shape, spacing, -2.6, rng, 600.0)
    tongue = ice & (height < 0)
    margin = tongue & np.asarray(binary_dilation(~ice, iterations=2), bool)  # lateral moraines
    load = patches + margin - height / 300.0
    debris = tongue & (load > np.quantile(load[tongue], 1 - DEBRIS_SHARE)) if tongue.any() else tongue
    woods = power_law_field(shape, spacing, -2.6, rng, 1_500.0)
    low = ~ice & (height < -max(250.0, ela / 3))
    vegetation = low & (woods > np.quantile(woods[low], 1 - VEGETATION_SHARE)) if low.any() else low
    waters = power_law_field(shape, spacing, -3.0, rng, 800.0)
    lake = ~ice & np.asarray(gaussian_filter(slope, 2) < LAKE_SLOPE, bool) & (waters > 0.8)
    return Ground(terrain, crs, ice, debris, vegetation & ~lake, lake, height)
