"""The ground: a fractal landscape or a DEM, its forest, its outline and how the radar looks at it."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import from_origin
from rasterio.warp import reproject, transform_bounds
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.special import ndtr

from snowmap.errors import SnowmapError
from snowmap.units import METRES_PER_DEGREE

CRS_OF_ARCHIVE = CRS.from_epsg(4326)
SHAPE_OF_ARCHIVE = (93, 211)
WEST, NORTH = 9.80, 46.40  # corner of the Trentino archive (dataset card links-ads/insar-regional-snow-mapping)
PIXEL_WIDTH, PIXEL_HEIGHT = (10.87 - 9.80) / SHAPE_OF_ARCHIVE[1], (46.40 - 45.93) / SHAPE_OF_ARCHIVE[0]  # degrees
LOWEST, HIGHEST = 65.0, 3500.0  # m: Lake Garda's shore; the ice of Adamello and Ortles within the frame
# 2-D spectral slope −2(H + 1) of topography, H = 0.9: fractal dimension 2.1 (Huang & Turcotte 1989: 2.1–2.6). With it
# half-kilometre pixels slope by 18° on average, 5 % of them by more than 38°; by 20° and 34° in the SRTM heights of the
# Ötztal Alps.
TERRAIN_EXPONENT = -3.8
RELIEF, HYPSOMETRY = 0.75, 1.6  # spread and skew of heights: mean about 1400 m as in Trentino, few summits, no plateaus
RIDGE_SPACING = 40_000.0  # m; Adamello, Brenta, Lagorai and Pale, with the valleys between, lie 20–40 km apart
TREE_LINE = 1950.0  # m, upper limit of closed forest in the central Alps (Körner & Paulsen 2004: about 1900–2200)
FOREST_COVER = 0.6  # of the land below the tree line; 63 % of Trentino is forest (Italian forest inventory INFC 2015)
WOOD_SCALE = 5_000.0  # m, the largest woods between clearings: valley sides are a few km wide
MIN_CANVAS = (128, 256)  # pixels; a small grid is a cut-out of a field of the archive's size, not a world of its own


class Terrain(NamedTuple):
    """The ground on the grid, rasters ``(y, x)``.

    Attributes:
        elevation: m above sea level, without gaps.
        valid: False where the DEM knows nothing and `elevation` is a stand-in.
        forest: Covered share of the pixel, 0–1.
        mask: True inside the study area.
        spacing: Pixel height and width in m.
        transform: Affine transform of the grid in EPSG:4326.
        source: Words for the origin.
    """

    elevation: NDArray[np.float64]
    valid: NDArray[np.bool_]
    forest: NDArray[np.float64]
    mask: NDArray[np.bool_]
    spacing: tuple[float, float]
    transform: Affine
    source: str

    @property
    def latitude(self) -> float:
        """Of the middle of the grid, in degrees."""
        return self.transform.f + self.transform.e * self.elevation.shape[0] / 2


def make_terrain(shape: tuple[int, int] | None, dem: Path | None, rng: np.random.Generator) -> Terrain:
    """The ground of a synthetic archive.

    Args:
        shape: Rows and columns; by default those of the DEM's extent at the archive's pixel size, else of the archive.
        dem: Raster of elevations in m, in any CRS; None makes a fractal landscape.
        rng: Source of randomness.

    Raises:
        SnowmapError: If the shape is too small, or the DEM cannot be read or placed.
    """
    if shape is not None and min(shape) < 2:
        raise SnowmapError(f"shape is {shape}; the slope of the ground needs at least 2 rows and 2 columns")
    if dem is not None:
        elevation, transform = _read_dem(dem, shape)
        source = f"DEM {dem.name}"
    else:
        shape = shape or SHAPE_OF_ARCHIVE
        transform = from_origin(WEST, NORTH, PIXEL_WIDTH, PIXEL_HEIGHT)
        field = power_law_field(shape, spacing_of(transform, shape[0]), TERRAIN_EXPONENT, rng, RIDGE_SPACING)
        elevation = LOWEST + (HIGHEST - LOWEST) * ndtr(RELIEF * field) ** HYPSOMETRY
        source = "fractal terrain"
    valid = np.isfinite(elevation)
    elevation = np.where(valid, elevation, elevation[valid].mean())
    spacing = spacing_of(transform, elevation.shape[0])
    forest = forest_cover(elevation, spacing, rng)
    mask = _outline(elevation.shape, rng) & valid
    if not mask.any():  # the DEM may cover only a corner
        mask = valid
    return Terrain(elevation, valid, forest, mask, spacing, transform, source)


def spacing_of(transform: Affine, height: int) -> tuple[float, float]:
    """Height and width of the middle pixel in m, for a transform in degrees."""
    latitude = transform.f + transform.e * height / 2
    return abs(transform.e) * METRES_PER_DEGREE, transform.a * METRES_PER_DEGREE * float(np.cos(np.radians(latitude)))


def power_law_field(
    shape: tuple[int, ...],
    spacing: tuple[float, float],
    exponent: float,
    rng: np.random.Generator,
    outer_scale: float = np.inf,
) -> NDArray[np.float64]:
    """Random field whose 2-D power spectrum falls as |k|^exponent, by spectral synthesis (Saupe 1988).

    Args:
        shape: Rows and columns.
        spacing: Pixel height and width in m: the field is isotropic on the ground.
        exponent: Slope of the spectrum, negative.
        rng: Source of randomness.
        outer_scale: Wavelength in m beyond which the spectrum is flat.

    Returns:
        The cut-out ``shape`` of a larger field with mean 0 and standard deviation 1. The larger field is there because
        a transformed field is periodic: opposite edges would match.
    """
    rows, columns = (
        cast(int, next_fast_len(max(size * 5 // 4, least))) for size, least in zip(shape, MIN_CANVAS, strict=True)
    )
    white = np.asarray(rfft2(rng.standard_normal((rows, columns))))
    field = np.asarray(irfft2(white * _amplitude(rows, columns, spacing, exponent, outer_scale), (rows, columns)))
    return field[: shape[0], : shape[1]] / field.std()


@lru_cache(maxsize=8)  # the storms of hundreds of days have the same
def _amplitude(
    rows: int, columns: int, spacing: tuple[float, float], exponent: float, outer_scale: float
) -> NDArray[np.float64]:
    wavenumber = np.hypot(np.fft.fftfreq(rows, spacing[0])[:, None], np.fft.rfftfreq(columns, spacing[1]))
    wavenumber = np.hypot(wavenumber, 1 / outer_scale)
    wavenumber[0, 0] = np.inf  # no mean
    return wavenumber ** (exponent / 2)


def surface_normal(elevation: NDArray[np.float64], spacing: tuple[float, float]) -> NDArray[np.float64]:
    """Unit normal of the ground, ``(3, y, x)``: east, north, up."""
    to_south, to_east = np.gradient(elevation, *spacing)
    normal = np.stack([-to_east, to_south, np.ones_like(elevation)])
    return normal / np.linalg.norm(normal, axis=0)


def _read_dem(path: Path, shape: tuple[int, int] | None) -> tuple[NDArray[np.float64], Affine]:
    """The DEM averaged onto an EPSG:4326 grid over its own extent; NaN where it has no data."""
    try:
        with rasterio.open(path) as source:
            if source.crs is None:
                raise SnowmapError(f"{path}: the DEM has no CRS; assign one, e.g. with `gdal_edit.py -a_srs`")
            west, south, east, north = transform_bounds(source.crs, CRS_OF_ARCHIVE, *source.bounds)
            if shape is None:
                shape = max(2, round((north - south) / PIXEL_HEIGHT)), max(2, round((east - west) / PIXEL_WIDTH))
            transform = from_origin(west, north, (east - west) / shape[1], (north - south) / shape[0])
            values = (
                source.read(1, masked=True).astype(np.float32).filled(np.nan) * source.scales[0] + source.offsets[0]
            )
            elevation = np.full(shape, np.nan, dtype=np.float32)
            reproject(
                np.where(values <= -9000, np.nan, values),  # a fill value that the file does not declare
                elevation,
                src_transform=source.transform,
                src_crs=source.crs,
                src_nodata=np.nan,
                dst_transform=transform,
                dst_crs=CRS_OF_ARCHIVE,
                dst_nodata=np.nan,
                resampling=Resampling.average if source.width > shape[1] else Resampling.bilinear,
            )
    except RasterioError as error:
        raise SnowmapError(f"{path}: cannot be read as a DEM ({error}); give a raster of elevations in m") from error
    if not np.isfinite(elevation).any():
        raise SnowmapError(f"{path}: the DEM holds no valid elevation; expected metres above sea level in band 1")
    return elevation.astype(np.float64), transform


def forest_cover(
    elevation: NDArray[np.float64],
    spacing: tuple[float, float],
    rng: np.random.Generator,
    tree_line: float = TREE_LINE,
) -> NDArray[np.float64]:
    """Covered share: patches below the tree line, in m, that thin out within about 100 m of height."""
    patches = ndtr(
        3 * power_law_field(elevation.shape, spacing, -3.0, rng, WOOD_SCALE)
    )  # mostly woods or meadows, little between
    cover = np.minimum(1, patches * 2 * FOREST_COVER)
    return cover / (1 + np.exp(np.clip((elevation - tree_line) / 50, -50, 50)))


def _outline(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A province with bays and capes: an ellipse whose radius wanders with the direction."""
    y, x = (np.linspace(-1, 1, size) for size in shape)
    direction = np.arctan2(y[:, None], x)
    radius = np.ones(shape)
    for order in range(2, 8):
        radius += rng.normal(0, 0.3 / order) * np.cos(order * direction + rng.uniform(0, 2 * np.pi))
    return np.hypot(y[:, None], x) < radius
