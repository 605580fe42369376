"""Where a grid lies on the Earth, and how large its cells are on the ground."""

from typing import NamedTuple

import numpy as np
import rasterio.crs
import xarray as xr
from jaxtyping import Float64
from pyproj import CRS, Proj
from rasterio.transform import Affine

from snowmap.errors import SnowmapError

Areas = Float64[np.ndarray, "y x"]

STRIP_ROWS = 256
"""Rows of which areas are computed at once."""

SPHERE = 6_371_000.0
"""Mean radius of the Earth in m."""


class Grid(NamedTuple):
    """Where the pixels lie."""

    shape: tuple[int, int]
    transform: Affine
    crs: rasterio.crs.CRS | None

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Y of the middle of each row, and x of each column."""
        (height, width), transform = self.shape, self.transform
        y = transform.f + transform.e * (np.arange(height) + 0.5)
        return y, transform.c + transform.a * (np.arange(width) + 0.5)

    def __str__(self) -> str:
        height, width = self.shape
        corner = f"({self.transform.c:.10g}, {self.transform.f:.10g})"
        step = f"({self.transform.a:.10g}, {self.transform.e:.10g})"
        return f"{height} × {width} px, corner {corner}, step {step}, {self.crs.to_string() if self.crs else 'no CRS'}"

    def same(self, other: "Grid") -> bool:
        """Whether pixels fall on each other to a thousandth of a pixel, which forgives floating-point noise."""
        if self.shape != other.shape or self.crs != other.crs:
            return False
        if self.transform == other.transform:
            return True
        height, width = self.shape
        a, b, c, d, e, f = (mine - theirs for mine, theirs in zip(self.transform[:6], other.transform[:6], strict=True))
        shift = max(abs(c), abs(f), abs(c + a * width + b * height), abs(f + d * width + e * height))
        step = min(abs(self.transform.a) + abs(self.transform.b), abs(self.transform.d) + abs(self.transform.e))
        return shift <= 1e-3 * step


def moved(transform: Affine, columns: int, rows: int) -> Affine:
    """The transform of a grid whose corner lies that many columns to the right and rows down."""
    a, b, c, d, e, f = transform[:6]
    return Affine(a, b, a * columns + b * rows + c, d, e, d * columns + e * rows + f)


def fault_of_grid(shape: tuple[int, int], transform: Affine, crs: rasterio.crs.CRS | None) -> str:
    """Why a grid cannot be mapped and measured: found and expected in a few words; empty for a sound one."""
    if crs is None:
        return "no CRS; expected one, e.g. EPSG:4326"
    place = CRS.from_user_input(crs.to_wkt())
    if not (place.is_geographic or place.is_projected):
        return f"the CRS is '{place.name}', {place.type_name}; expected a geographic or projected one, e.g. EPSG:4326"
    (height, width), (a, b, c, d, e, f) = shape, transform[:6]
    steps = f"({a:g}, {b:g}; {d:g}, {e:g})"
    if not (np.isfinite(transform[:6]).all() and a and e):
        return f"the steps from pixel to pixel are {steps}; expected finite ones, not 0"
    if abs(b) * height > 1e-3 * abs(a) or abs(d) * width > 1e-3 * abs(e):
        return f"the grid is rotated or sheared, {steps}; expected rows along x: warp it with gdalwarp"
    x, y = c + a * width * np.array([0, 1, 0, 1]), f + e * height * np.array([0, 0, 1, 1])
    if not _on_the_earth(place, x, y, max(abs(a), abs(e))):
        return (
            f"the corner ({c:.10g}, {f:.10g}) with steps {steps} is off the Earth in {crs.to_string()}; "
            "expected coordinates in its unit: mend the transform or the CRS"
        )
    return ""


def _on_the_earth(crs: CRS, x: np.ndarray, y: np.ndarray, step: float) -> bool:
    """Whether every corner is that of a place, to a pixel; an edge may lie beyond a pole by one."""
    if crs.is_geographic:
        turn = 2 * np.pi / crs.axis_info[0].unit_conversion_factor
        return bool((abs(y) <= turn / 4 + step).all() and (abs(x) <= turn + step).all() and np.ptp(x) <= turn + step)
    projection = Proj(crs)
    back = projection(*projection(x, y, inverse=True))  # infinite, or another point, where there is none
    return bool((np.hypot(back[0] - x, back[1] - y) <= step).all())


def cell_areas(cube: xr.Dataset) -> Areas:
    """The true area of every cell of a grid, in m².

    On a geographic CRS the closed form on the CRS's own ellipsoid: a cell of the width Δλ between two parallels has the
    area ½ a² Δλ (q₂ − q₁), with the authalic q of Snyder (1987, USGS Professional Paper 1395, eq. 3-12). On a projected
    CRS the corners are carried over to Lambert's azimuthal equal-area projection (Snyder 1987, section 24) about the
    middle of the grid, on the same ellipsoid; that edges bend there costs less than 1e-8 of the area for cells of 1 km.
    The areal scale that PROJ gives for a projection would do as well, were it not of a sphere for Web Mercator.

    Args:
        cube: Any dataset with dims ``y, x`` and the CRS and transform of its grid.
    """
    crs = CRS.from_user_input(cube.rio.crs.to_wkt())
    transform, (height, width) = cube.rio.transform(), (cube.sizes["y"], cube.sizes["x"])
    if crs.is_geographic:
        radian = crs.axis_info[0].unit_conversion_factor
        parallels = radian * (transform.f + transform.e * np.arange(height + 1))
        rows = abs(radian * transform.a) * _zones(np.clip(parallels, -np.pi / 2, np.pi / 2), *_axes(crs))
        return np.repeat(rows[:, None], width, axis=1)
    a, b, c, d, e, f = transform[:6]
    middle = (a * width + b * height) / 2 + c, (d * width + e * height) / 2 + f
    areas = np.empty((height, width))
    for first in range(0, height, STRIP_ROWS):  # the corners of a large scene would fill the memory
        rows = np.arange(first, min(height, first + STRIP_ROWS) + 1)
        columns, lines = np.meshgrid(np.arange(width + 1), rows)
        x, y = a * columns + b * lines + c, d * columns + e * lines + f
        corners = np.stack(_equal_area(crs, x, y, middle), axis=-1)
        falling, rising = corners[1:, 1:] - corners[:-1, :-1], corners[:-1, 1:] - corners[1:, :-1]
        diagonals = falling[..., 0] * rising[..., 1] - falling[..., 1] * rising[..., 0]
        areas[first : first + len(rows) - 1] = 0.5 * np.abs(diagonals)
    return areas


def stretch(grid: xr.Dataset | xr.DataArray) -> float:
    """Height of a unit of y over width of a unit of x on the ground."""
    return 1 / np.cos(np.deg2rad(float(grid["y"].mean()))) if grid.rio.crs.is_geographic else 1.0


def gradient(cube: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the ground per m to the east and to the north, ``(window, y, x)``; NaN beside missing elevation."""
    elevation = cube["features"].sel(band="elevation").values
    return gradient_of(elevation, cube["y"].values, cube["x"].values, geographic=cube.rio.crs.is_geographic)


def gradient_of(
    elevation: np.ndarray, y: np.ndarray, x: np.ndarray, *, geographic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the ground per m to the east and to the north, by central differences; NaN beside missing elevation.

    Args:
        elevation: ``(…, y, x)`` in m.
        y: Of the rows, in degrees or m.
        x: Of the columns.
        geographic: Whether these are degrees.
    """
    metres = np.ones((len(y), 1)), np.ones((len(y), 1))
    if geographic:
        degree = np.radians(1) * SPHERE
        metres = np.full((len(y), 1), degree), degree * np.cos(np.radians(y))[:, None]
    elevation = elevation.astype(np.float64)
    to_north = np.gradient(elevation, y, axis=-2) / metres[0] if len(y) > 1 else np.zeros_like(elevation)
    to_east = np.gradient(elevation, x, axis=-1) / metres[1] if len(x) > 1 else np.zeros_like(elevation)
    return to_east, to_north


def steepness(cube: xr.Dataset) -> np.ndarray:
    """Slope of the ground in degrees, ``(window, y, x)``, by central differences of elevation; NaN as in `gradient`."""
    return np.degrees(np.arctan(np.hypot(*gradient(cube))))


def _zones(parallels: Float64[np.ndarray, " edge"], a: float, b: float) -> Float64[np.ndarray, " y"]:
    """Area in m² between neighbouring parallels in rad, for each rad of width, on an ellipsoid with semi-axes in m."""
    e = np.sqrt(1 - (b / a) ** 2)
    sine = np.sin(parallels)
    q = (1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e) if e else 2 * sine
    return 0.5 * a**2 * np.abs(np.diff(q))


def _equal_area(crs: CRS, x: np.ndarray, y: np.ndarray, middle: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    projection, (a, b) = Proj(crs), _axes(crs)
    longitude, latitude = projection(x, y, inverse=True)
    centre = projection(*middle, inverse=True)
    return Proj(proj="laea", lon_0=centre[0], lat_0=centre[1], a=a, b=b)(longitude, latitude)


def _axes(crs: CRS) -> tuple[float, float]:
    """Semi-axes of the ellipsoid in m."""
    if crs.ellipsoid is None:
        raise SnowmapError(f"the CRS {crs.name} stands on no ellipsoid, so its cells have no area in m²")
    return crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
