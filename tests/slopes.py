"""Ground simple enough for closed forms."""

import numpy as np
from rasterio.transform import from_origin

from snowmap.sources.synthetic.terrain import Terrain


def slope_terrain(rise_to_east: float = 0.0, shape: tuple[int, int] = (40, 60)) -> Terrain:
    """Open ground at 1000 m that rises by `rise_to_east` m per m."""
    elevation = 1000 + rise_to_east * 400.0 * np.arange(shape[1]) + np.zeros(shape)
    everywhere = np.ones(shape, dtype=bool)
    transform = from_origin(9.8, 46.4, 0.005, 0.005)
    return Terrain(elevation, everywhere, np.zeros(shape), everywhere, (560.0, 400.0), transform, "a slope")
