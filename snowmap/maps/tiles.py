"""Maps of scenes of any size: piece by piece of a Cube that may be larger than the memory, blended smoothly."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from snowmap.baselines import Baseline
from snowmap.data.cube import targets_of
from snowmap.data.pieces import OVERLAP, TILE, tiles
from snowmap.data.preprocessing import as_maps
from snowmap.data.sequences import season_of
from snowmap.distribution import distribution_of
from snowmap.maps.netcdf import targets_of_maps
from snowmap.tasks.pixel import SnowRegression

ALIGNMENT = 32
"""Pixels. Tiles begin at multiples of it, if tile and overlap are: a net that halves the resolution up to five times
then puts the same pixels together in a tile as in the whole scene."""

READ_BYTES = 2**28
"""Of a row of tiles that are read at once: strips of GeoTIFF span the full width, and would be read for each tile."""

CUBE_BYTES = 2**29
"""Of a Cube that is read at once where it is mapped whole."""

MAP_BYTES = 3 * 2**29
"""Of maps in memory at once; a model that maps a whole season in one pass gets as many windows as fit."""


class Scene:
    """A Cube that is mapped by a model, window by window and tile by tile; see `docs/prediction.md`.

    Scenes up to the size of a tile, and models that need the whole scene, are mapped without tiles. Else each tile is
    mapped by itself and the tiles are blended in the maps' units, quantiles alike, by the weights of `ramp`.
    Gaps, season starts and the reference of the phase are those of the scene.

    Attributes:
        passes: Windows that are mapped at once, in order.
        tiles: Rows and columns of the tiles that hold a pixel of the study area; none where the scene is mapped whole.
        steps: Tiles of all passes, or 1 for each pass without tiles.
    """

    def __init__(
        self,
        model: SnowRegression | Baseline,
        cube: xr.Dataset,
        windows: Sequence[int],
        tile: int = TILE,
        overlap: int = OVERLAP,
    ) -> None:
        """Look at model and Cube.

        Args:
            model: What maps.
            cube: The Cube; its `features` may be a dask array. Targets are not looked at.
            windows: Indices of the windows to map.
            tile: Height and width of a tile in pixels.
            overlap: Pixels that neighbouring tiles share, at most half of `tile`.
        """
        self.model, self.tile, self.overlap = model, tile, overlap
        self.size = cube.sizes["y"], cube.sizes["x"]
        self.whole = _is_whole(model, cube, tile)
        cube = cube.drop_vars(targets_of(cube))
        if self.whole and (cube.nbytes <= CUBE_BYTES or not model.maps_pieces):
            cube = cube.load()
        self.start, self.end, inside = cube["start"].values, cube["end"].values, cube["mask"].values
        read = {index for window in windows for index in range(self._first_read([window]), window + 1)}
        self.cube = model.preprocessor.scene(cube, sorted(read))
        self.tiles = [] if self.whole else [t for t in tiles(self.size, tile, overlap) if inside[t].any()]
        self.passes = list(self._passes(windows))
        self.steps = len(self.passes) * (1 if self.whole else len(self.tiles))

    def predict(self, windows: Sequence[int], advance: Callable[[], object] = lambda: None) -> xr.Dataset:
        """The maps of one of `passes`, as the model's `predict` gives them.

        Args:
            windows: Indices of its windows.
            advance: Called after each of `steps`.
        """
        first = self._first_read(windows)
        part = self.cube.isel(window=slice(first, max(windows) + 1))
        chosen = [window - first for window in windows]
        if self.whole:
            maps = self.model.predict_piece(part.load(), chosen)
            advance()
            return maps
        layers = self.model.layers
        blended = np.full((len(layers), len(chosen), *self.size), np.nan, np.float32)
        for rows, columns in self.tiles:
            blended[..., rows, columns] = 0
        for rows, columns, piece in _pieces(part, self.tiles):
            maps = self.model.predict_piece(piece, chosen)
            weight = np.outer(
                *(ramp(s, size, self.overlap) for s, size in zip((rows, columns), self.size, strict=True))
            )
            for name, layer in zip(layers, blended, strict=True):
                layer[:, rows, columns] += weight * maps[name].values
            advance()
        maps = as_maps(part, chosen, blended, layers)
        for target in targets_of_maps(maps):  # σ of blended quantiles is not the blended σ
            if (sigma := f"{target}_sigma") in maps:
                pixels = np.isfinite(maps[sigma].values)
                maps[sigma].values[pixels] = distribution_of(maps, target, pixels).std()
        return maps

    def _first_read(self, windows: Sequence[int]) -> int:
        """The earliest window that the model looks at to map windows."""
        return self.model.preprocessor.first_window(self.start, self.end, windows, self.model.time)

    def _passes(self, windows: Sequence[int]) -> Iterator[list[int]]:
        if not self.model.maps_every_step:
            yield from ([window] for window in windows)
            return
        season = season_of(self.end)
        most = max(1, MAP_BYTES // (len(self.model.layers) * self.size[0] * self.size[1] * 4))
        for year in dict.fromkeys(season[list(windows)].tolist()):
            of_season = [window for window in windows if season[window] == year]
            yield from (of_season[first : first + most] for first in range(0, len(of_season), most))


def map_windows(model: SnowRegression | Baseline, cube: xr.Dataset, windows: Sequence[int]) -> xr.Dataset:
    """The maps of ``model.predict(cube, windows)``, by tiles where the scene is larger than one."""
    if _is_whole(model, cube, TILE):
        return model.predict(cube, windows)
    scene = Scene(model, cube, windows)
    return xr.concat([scene.predict(some) for some in scene.passes], "window", data_vars="minimal")


def _is_whole(model: SnowRegression | Baseline, cube: xr.Dataset, tile: int) -> bool:
    return not model.maps_pieces or max(cube.sizes["y"], cube.sizes["x"]) <= tile


def ramp(place: slice, size: int, overlap: int) -> Float[np.ndarray, " pixel"]:
    """Weight of each pixel of a tile along one side of the scene; the weights of all tiles add up to 1.

    It is 0 in the outer quarter of the overlap, where a tile knows least of a pixel's surroundings, 1 from its inner
    quarter on, and linear in between. At the rim of the scene it is 1.

    Args:
        place: The tile's first and last pixel.
        size: Pixels of the scene.
        overlap: Pixels that neighbouring tiles share.
    """
    centre = np.arange(place.start, place.stop) + 0.5
    before = centre - place.start if place.start > 0 else np.inf
    after = place.stop - centre if place.stop < size else np.inf
    edge = np.minimum(before, np.broadcast_to(after, centre.shape))
    return np.clip((edge - overlap / 4) / (max(overlap, 1) / 2), 0, 1).astype(np.float32)


def _pieces(cube: xr.Dataset, places: Sequence[tuple[slice, slice]]) -> Iterator[tuple[slice, slice, xr.Dataset]]:
    """Each place with that piece of the Cube in memory; tiles side by side are read at once, up to `READ_BYTES`."""
    strip, of_rows, first, last = cube, slice(0, 0), 0, 0
    for rows, columns in places:
        if rows != of_rows or columns.stop > last:
            column_bytes = 4 * cube.sizes["window"] * cube.sizes["band"] * (rows.stop - rows.start)
            of_rows, first, last = rows, columns.start, max(columns.stop, columns.start + READ_BYTES // column_bytes)
            strip = cube  # frees the strip before
            strip = cube.isel(y=rows, x=slice(first, last)).load()
        yield rows, columns, strip.isel(x=slice(columns.start - first, columns.stop - first))
