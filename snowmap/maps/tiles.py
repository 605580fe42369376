"""Maps of scenes of any size: piece by piece of a Cube that may be larger than the memory, blended smoothly."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dask.config
import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from snowmap.baselines import Baseline
from snowmap.cluster import deal
from snowmap.data.classes import decided, is_class_map
from snowmap.data.cube import targets_of
from snowmap.data.pieces import OVERLAP, TILE, tiles
from snowmap.data.preprocessing import as_maps
from snowmap.data.sequences import season_of
from snowmap.distribution import distribution_of
from snowmap.maps.netcdf import targets_of_maps
from snowmap.tasks.pixel import SnowRegression

if TYPE_CHECKING:
    from distributed import Client

Place = tuple[slice, slice]
"""Rows and columns."""

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
    mapped by itself and the tiles are blended in the maps' units, quantiles alike, by the weights of `ramp`; of
    classes the probabilities are blended, which decide the class.
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

    def maps(
        self, client: "Client | None" = None, advance: Callable[[int], object] = lambda steps: None
    ) -> Iterator[tuple[list[int], xr.Dataset]]:
        """Each of `passes` with its maps, as the model's `predict` gives them.

        Args:
            client: Of `snowmap.cluster.connect`: its workers read and map the tiles, and this process blends them in
                the order in which it would map them by itself. None: this process does all.
            advance: Called with the number of `steps` that were done.
        """
        self.threads = torch.get_num_threads()
        work = [(some, places) for some in self.passes for places in self._strips(some)]
        results = deal(client, _map_places, self, work)
        for some in self.passes:
            yield some, self._joined(some, results, advance)

    def _joined(self, windows: list[int], results: Iterator[Any], advance: Callable[[int], object]) -> xr.Dataset:
        """The maps of a pass, from the results of its strips."""
        if self.whole:
            (maps,) = next(results)
            advance(1)
            return maps
        layers = self.model.layers
        blended = np.full((len(layers), len(windows), *self.size), np.nan, np.float32)
        for rows, columns in self.tiles:
            blended[..., rows, columns] = 0
        for places in self._strips(windows):
            for (rows, columns), values in zip(places, next(results), strict=True):
                weight = np.outer(
                    *(ramp(s, size, self.overlap) for s, size in zip((rows, columns), self.size, strict=True))
                )
                for of_layer, layer in zip(values, blended, strict=True):
                    layer[:, rows, columns] += weight * of_layer
            advance(len(places))
        maps = as_maps(self.cube, windows, blended, layers)
        for target in targets_of_maps(maps):
            if is_class_map(maps[target].attrs):  # a mean of classes is none
                maps[target].values[:] = decided(maps, target)
            elif (sigma := f"{target}_sigma") in maps:  # σ of blended quantiles is not the blended σ
                pixels = np.isfinite(maps[sigma].values)
                maps[sigma].values[pixels] = distribution_of(maps, target, pixels).std()
        return maps

    def _strips(self, windows: Sequence[int]) -> list[list[Place]]:
        """Tiles that are read at once; a place of the whole scene where it is mapped whole.

        They lie side by side, up to `READ_BYTES`, where a chunk of the Cube spans the full width, and else are single.
        """
        if self.whole:
            return [[(slice(None), slice(None))]]
        strips, last = list[list[Place]](), 0
        read = self.cube.sizes["band"] * (max(windows) + 1 - self._first_read(windows))
        spans = max(self.cube["features"].variable.chunksizes.get("x", (self.size[1],))) == self.size[1]
        for rows, columns in self.tiles:
            if not strips or rows != strips[-1][0][0] or columns.stop > last:
                most = READ_BYTES // (4 * read * (rows.stop - rows.start)) if spans else 0
                last = max(columns.stop, columns.start + most)
                strips.append([])
            strips[-1].append((rows, columns))
        return strips

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
    if _is_whole(model, cube, TILE) and not cube["features"].chunks:
        return model.predict(cube, windows)
    scene = Scene(model, cube, windows)
    return xr.concat([maps for _, maps in scene.maps()], "window", data_vars="minimal")


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


def _map_places(scene: Scene, work: tuple[list[int], list[Place]]) -> list[Any]:
    """What a scene's model gives for each of some places: values (layer, window, y, x), or maps of the whole scene."""
    torch.set_num_threads(scene.threads)  # of the process that deals: by another number sums are rounded differently
    windows, places = work
    first = scene._first_read(windows)
    rows, left, right = places[0][0], places[0][1].start, places[-1][1].stop
    with dask.config.set(scheduler="threads"):  # within a worker too, which would ask the cluster
        part = scene.cube.isel(window=slice(first, max(windows) + 1), y=rows, x=slice(left, right)).load()
    results = list[Any]()
    for _, columns in places:
        piece = part if scene.whole else part.isel(x=slice(columns.start - left, columns.stop - left))
        maps = scene.model.predict_piece(piece, [window - first for window in windows])
        results.append(maps if scene.whole else np.stack([maps[name].values for name in scene.model.layers]))
    return results
