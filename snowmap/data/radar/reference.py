"""Ground to which the phase is relative: shapes of a vector file, and the pixels that they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool
from rasterio.features import rasterize

from snowmap.errors import SnowmapError

LOWEST_GROUND, NO_REFERENCE = "lowest_ground", "none"


def read_reference(path: str | Path) -> dict[str, Any]:
    """Polygons and points of a vector file in plain data: ``file``, ``crs`` and ``geometries`` as WKT.

    Raises:
        SnowmapError: When the file cannot be read, has no CRS, or holds neither polygons nor points.
    """
    import geopandas as gpd  # half a second, and most runs name no file
    from pyogrio.errors import DataLayerError, DataSourceError

    expected = f"expected {LOWEST_GROUND}, {NO_REFERENCE}, or a vector file of polygons or points"
    if not Path(path).exists():
        raise SnowmapError(f"data.reference={path} does not exist; {expected}")
    try:
        table = gpd.read_file(path)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise SnowmapError(f"data.reference={path} cannot be read ({error}); {expected}") from error
    shapes = [] if not isinstance(table, gpd.GeoDataFrame) else [shape for shape in table.geometry if shape is not None]
    shapes = [shape for shape in shapes if shape.geom_type.removeprefix("Multi") in ("Polygon", "Point")]
    if not shapes or table.crs is None:
        lack = "CRS; write one into the file" if shapes else f"polygon or point; {expected}"
        raise SnowmapError(f"data.reference={path} has no {lack}")
    return {"file": str(path), "crs": table.crs.to_wkt(), "geometries": [shape.wkt for shape in shapes]}


def reference_area(cube: xr.Dataset, reference: Mapping[str, Any]) -> Bool[np.ndarray, "y x"]:
    """Pixels of the study area whose centre lies in a polygon, or that hold a point.

    Raises:
        SnowmapError: When there is none.
    """
    import geopandas as gpd  # as above
    import shapely

    geometries = gpd.GeoSeries(shapely.from_wkt(reference["geometries"]), crs=reference["crs"]).to_crs(cube.rio.crs)
    shape = cube["mask"].shape
    burnt = rasterize(geometries[~geometries.is_empty], shape, transform=cube.rio.transform(), dtype="uint8")
    area = np.asarray(burnt, bool) & cube["mask"].values
    if not area.any():
        bounds = (", ".join(f"{edge:.6g}" for edge in each) for each in (geometries.total_bounds, cube.rio.bounds()))
        raise SnowmapError(
            f"data.reference={reference['file']}: no pixel of the study area lies in it; its shapes reach over "
            f"{next(bounds)}, the scene over {next(bounds)} (west, south, east, north in the CRS of the scene); give a "
            f"file of this scene, or {LOWEST_GROUND}"
        )
    return area
