"""Baselines that map classes without the radar: from the terrain, and from an older inventory."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import xarray as xr
from jaxtyping import Int
from rasterio.transform import Affine

from snowmap.baselines.class_base import ClassBaseline, Columns, Places, Probabilities, Trees, of_two, window_values
from snowmap.data.classes import Classes, named_of_two
from snowmap.data.grid import Grid, steepness
from snowmap.errors import SnowmapError
from snowmap.products.outlines import pixels_inside, read_outlines


class Terrain(Trees):
    """Boosted trees on elevation and slope alone: what a map of altitude would say."""

    name = "terrain"
    needs = ("elevation",)

    def columns(self, cube: xr.Dataset, window: int, places: Places) -> Columns:
        """Elevation in m and slope in degrees."""
        part = cube.isel(window=[window])
        elevation = window_values(part.sel(band="elevation"), "features", 0)
        return np.stack([elevation.flat[places], steepness(part)[0].flat[places]], axis=1).astype(np.float32)

    def estimator(self) -> Any:
        """Scikit-learn's histogram gradient boosting, as it comes."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(random_state=0)


class LastInventory(ClassBaseline):
    """An older inventory: the class that is sought is where its outlines are. The option ``path`` is the file."""

    name = "last_inventory"
    stands_beside = False

    def columns(self, cube: xr.Dataset, window: int, places: Places) -> Columns:
        """1 for a pixel whose middle lies in an outline, else 0."""
        if self.options["path"] is None:
            raise SnowmapError(f"model={self.name} needs an older inventory: give a vector file as model.path=")
        grid = Grid((cube.sizes["y"], cube.sizes["x"]), transform_of(cube), cube.rio.crs)
        return pixels_inside(inventory(self.options["path"]), grid).flat[places][:, None].astype(np.float32)

    def learn_classes(self, pixels: Columns, labels: Int[np.ndarray, " pixel"], classes: Classes) -> dict[str, Any]:
        """Which class the outlines are of."""
        if not pixels.any():
            raise SnowmapError(f"{self.options['path']}: no training pixel lies in one of its outlines")
        return {"sought": named_of_two(classes, f"model={self.name}")}

    def probabilities(self, pixels: Columns, learned: dict[str, Any], count: int) -> Probabilities:
        """1 or 0."""
        return of_two(pixels[:, 0], learned["sought"])


@lru_cache(maxsize=1)
def inventory(path: str) -> gpd.GeoDataFrame:
    """The outlines of a file, which is read once for all pieces of a scene."""
    return read_outlines(Path(path))


def transform_of(cube: xr.Dataset) -> Affine:
    """The transform of a Cube or of a piece of one, whose `spatial_ref` is that of the whole."""
    whole = cube.rio.transform()
    x, y = float(cube["x"].values[0]), float(cube["y"].values[0])
    return Affine(whole.a, 0, x - whole.a / 2, 0, whole.e, y - whole.e / 2)
