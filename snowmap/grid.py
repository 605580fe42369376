"""True areas of a grid's pixels."""

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from jaxtyping import Float64
from pyproj import CRS, Proj, Transformer


def cell_areas(cube: xr.Dataset) -> Float64[np.ndarray, "y x"]:
    """Area of each pixel on the ellipsoid of the CRS, in m².

    Geographic grids: the closed form of Snyder (1987), Map Projections, eq. 3-12. Projected grids: the pixel's area in
    the projection over the projection's areal scale at its centre.

    Args:
        cube: A Cube or maps: `x`, `y`, CRS and transform.
    """
    crs, transform = CRS.from_user_input(cube.rio.crs), cube.rio.transform()
    ellipsoid = crs.get_geod()
    assert ellipsoid is not None
    if crs.is_geographic:
        edges = np.radians(transform.f + transform.e * np.arange(cube.sizes["y"] + 1))
        e, sine = max(np.sqrt(ellipsoid.es), 1e-9), np.sin(edges)
        q = (1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e)
        rows = ellipsoid.a**2 * np.radians(abs(transform.a)) * np.abs(np.diff(q)) / 2
        return np.repeat(rows[:, None], cube.sizes["x"], axis=1)
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    scale = Proj(crs).get_factors(*to_degrees.transform(*np.meshgrid(cube["x"], cube["y"]))).areal_scale
    return abs(transform.determinant) * crs.axis_info[0].unit_conversion_factor ** 2 / np.asarray(scale)
