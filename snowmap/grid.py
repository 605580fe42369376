"""How large the cells of a grid are on the ground."""

import numpy as np
import xarray as xr
from jaxtyping import Float64
from pyproj import CRS, Proj

from snowmap.errors import SnowmapError

Areas = Float64[np.ndarray, "y x"]


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
    columns, lines = np.meshgrid(np.arange(width + 1), np.arange(height + 1))
    x = transform.a * columns + transform.b * lines + transform.c
    y = transform.d * columns + transform.e * lines + transform.f
    corners = np.stack(_equal_area(crs, x, y), axis=-1)
    falling, rising = corners[1:, 1:] - corners[:-1, :-1], corners[:-1, 1:] - corners[1:, :-1]
    return 0.5 * np.abs(falling[..., 0] * rising[..., 1] - falling[..., 1] * rising[..., 0])  # of the diagonals


def _zones(parallels: Float64[np.ndarray, " edge"], a: float, b: float) -> Float64[np.ndarray, " y"]:
    """Area in m² between neighbouring parallels in rad, for each rad of width, on an ellipsoid with semi-axes in m."""
    e = np.sqrt(1 - (b / a) ** 2)
    sine = np.sin(parallels)
    q = (1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e) if e else 2 * sine
    return 0.5 * a**2 * np.abs(np.diff(q))


def _equal_area(crs: CRS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    projection, (a, b) = Proj(crs), _axes(crs)
    longitude, latitude = projection(x, y, inverse=True)
    middle = projection(x.mean(), y.mean(), inverse=True)
    return Proj(proj="laea", lon_0=middle[0], lat_0=middle[1], a=a, b=b)(longitude, latitude)


def _axes(crs: CRS) -> tuple[float, float]:
    """Semi-axes of the ellipsoid in m."""
    if crs.ellipsoid is None:
        raise SnowmapError(f"the CRS {crs.name} stands on no ellipsoid, so its cells have no area in m²")
    return crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
