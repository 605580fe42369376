"""Maps of scenes of any size: piece by piece of a Cube that may be larger than the memory, blended smoothly."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from snowmap.data.cube import targets_of
from snowmap.data.pieces import OVERLAP, TILE, tiles
from snowmap.data.preprocessing import WINDOW_COORDINATES
from snowmap.data.sequences import SEASON, season_of
from snowmap.tasks.pixel import SnowRegression

ALIGNMENT = 32
"""Pixels. Tiles begin at multiples of it, if tile and overlap are: a net that halves the resolution up to five times
then puts the same pixels together in a tile as in the whole scene."""

LEAST_WEIGHT = 1e-3
"""At the rim of a scene no other tile has a say."""

READ_BYTES = 2**28
"""Of a row of tiles that are read at once: strips of GeoTIFF span the full width, and would be read for each tile."""

CUBE_BYTES = 2**29
"""Of a Cube that is read at once where it is mapped whole."""

MAP_BYTES = 3 * 2**29
"""Of maps that are held at once; a net that maps a whole season in one pass gets as many windows as fit."""


@runtime_checkable
class Model(Protocol):
    """What maps a Cube."""

    def predict(self, cube: xr.Dataset, windows: Sequence[int] | None = None) -> xr.Dataset:
        """Maps ``(window, y, x)``; see `SnowRegression.predict`."""
        ...


class Scene:
    """A Cube that is mapped by a model, window by window and tile by tile.

    Scenes up to the size of a tile, and models that know one grid only, are mapped whole, by `model.predict`. Else each
    tile is mapped by itself and the tiles are blended in the maps' units, σ and quantiles alike, by weights that fall
    linearly to 0 at a tile's edge (`ramp`). Nothing that a tile is told of time and phase depends on the tile: gaps,
    season starts and the reference of the phase are those of the scene.

    The nets look at surroundings, never at the image as a whole, so a tile differs from the scene only as far from its
    edge as a net sees, where it hardly counts; see `docs/prediction.md` for how much.

    Attributes:
        passes: Windows that are mapped at once, in order.
        steps: Tiles of all passes, or 1 for each pass without tiles.
    """

    def __init__(
        self, model: Model, cube: xr.Dataset, windows: Sequence[int], tile: int = TILE, overlap: int = OVERLAP
    ) -> None:
        """Look at model and Cube.

        Args:
            model: What maps; a `SnowRegression`, or a model that is asked for whole maps.
            cube: The Cube; its `features` may be a dask array. Targets are not looked at.
            windows: Indices of the windows to map.
            tile: Height and width of a tile in pixels.
            overlap: Pixels that neighbouring tiles share, fewer than `tile`.
        """
        self.model, self.tile, self.overlap = model, tile, overlap
        self.size = cube.sizes["y"], cube.sizes["x"]
        self.whole = not isinstance(model, SnowRegression) or max(self.size) <= tile
        cube = cube.drop_vars(targets_of(cube))
        if self.whole and (cube.nbytes <= CUBE_BYTES or not isinstance(model, SnowRegression)):
            cube = cube.load()
        if isinstance(model, SnowRegression):
            end = cube["end"].values
            read = {w for window in windows for w in range(_first_read(model, end, [window]), window + 1)}
            cube = model.preprocessor.scene(cube, sorted(read))
        self.cube = cube
        self.template = model.layers if isinstance(model, SnowRegression) else {}
        self.passes = list(self._passes(windows))
        self.steps = len(self.passes) * (1 if self.whole else len(tiles(self.size, tile, overlap)))

    def predict(self, windows: Sequence[int], advance: Callable[[], object] = lambda: None) -> xr.Dataset:
        """The maps of one of `passes`, as `SnowRegression.predict` gives them.

        Args:
            windows: Indices of its windows.
            advance: Called after each of `steps`.
        """
        first = _first_read(self.model, self.cube["end"].values, windows)
        part = self.cube.isel(window=slice(first, max(windows) + 1))
        chosen = [window - first for window in windows]
        if self.whole:
            part = part.load()
            maps = (
                self.model.predict_piece(part, chosen)
                if isinstance(self.model, SnowRegression)
                else self.model.predict(part, chosen)
            )
            advance()
            return maps
        from monai.inferers.utils import sliding_window_inference  # seconds, and most scenes are mapped whole

        assert isinstance(self.model, SnowRegression)
        tiles = _Tiles(self.model, part, chosen, list(self.template), advance)
        aligned = [-(-size // ALIGNMENT) * ALIGNMENT for size in self.size]
        height, width = (min(self.tile, size) for size in aligned)
        values = sliding_window_inference(
            torch.zeros(1).expand(1, 1, *aligned),  # takes no memory: a tile's place is all that is needed
            (height, width),
            sw_batch_size=1,
            predictor=tiles,
            # as shares of the tile, which MONAI rounds down to steps of whole pixels
            overlap=(max(self.overlap - 0.5, 0) / self.tile,) * 2,
            roi_weight_map=ramp((height, width), self.overlap)[None, None],
            with_coord=True,
        )
        assert isinstance(values, Tensor)
        named = values[0, :, : self.size[0], : self.size[1]].numpy()
        named = named.reshape(len(self.template), len(windows), *self.size)
        of_window = (
            part[["start", "end", "mask"]].isel(window=chosen).drop_vars(["mask", *WINDOW_COORDINATES], errors="ignore")
        )
        return of_window.assign(
            {
                name: (("window", "y", "x"), named[index], attributes)
                for index, (name, attributes) in enumerate(self.template.items())
            }
        )

    def _passes(self, windows: Sequence[int]) -> Iterator[list[int]]:
        model = self.model
        if not (isinstance(model, SnowRegression) and model.net.maps_every_step and model.time == SEASON):
            yield from ([window] for window in windows)
            return
        season = season_of(self.cube["end"].values)
        most = max(1, MAP_BYTES // (len(self.template) * self.size[0] * self.size[1] * 4))
        for year in dict.fromkeys(season[list(windows)].tolist()):
            own = [window for window in windows if season[window] == year]
            yield from (own[first : first + most] for first in range(0, len(own), most))


class _Tiles:
    """The predictor that MONAI calls with the place of a tile."""

    def __init__(
        self,
        model: SnowRegression,
        cube: xr.Dataset,
        windows: list[int],
        names: list[str],
        advance: Callable[[], object],
    ) -> None:
        self.model, self.windows, self.names, self.advance = model, windows, names, advance
        self.inside, self.pieces = cube["mask"].values, _Pieces(cube)

    def __call__(self, data: Tensor, places: list[list[slice]]) -> Float[Tensor, "1 map height width"]:
        (_, _, rows, columns) = places[0]
        shape = rows.stop - rows.start, columns.stop - columns.start
        values = np.full((len(self.names), len(self.windows), *shape), np.nan, np.float32)
        # the last tiles reach beyond the scene; they are cut there, and the net pads them as it does whole scenes
        height, width = self.inside.shape
        rows, columns = slice(rows.start, min(rows.stop, height)), slice(columns.start, min(columns.stop, width))
        if self.inside[rows, columns].any():
            maps = self.model.predict_piece(self.pieces.get(rows, columns), self.windows)
            for name, into in zip(self.names, values, strict=True):
                into[:, : rows.stop - rows.start, : columns.stop - columns.start] = maps[name].values
        self.advance()
        return torch.from_numpy(values.reshape(1, -1, *shape))


class _Pieces:
    """Pieces of a Cube in memory; tiles side by side are read at once, as many as `READ_BYTES` hold."""

    def __init__(self, cube: xr.Dataset) -> None:
        self.cube = cube
        self.rows, self.columns, self.held = slice(0, 0), slice(0, 0), cube

    def get(self, rows: slice, columns: slice) -> xr.Dataset:
        if rows != self.rows or columns.start < self.columns.start or columns.stop > self.columns.stop:
            sizes = self.cube.sizes
            column_bytes = 4 * sizes["window"] * sizes["band"] * (rows.stop - rows.start)
            wide = max(columns.stop - columns.start, READ_BYTES // column_bytes)
            self.rows, self.columns = rows, slice(columns.start, min(columns.start + wide, sizes["x"]))
            self.held = self.cube  # lets go of the piece before
            self.held = self.cube.isel(y=self.rows, x=self.columns).load()
        first = self.columns.start
        return self.held.isel(x=slice(columns.start - first, columns.stop - first))


def map_windows(model: Model, cube: xr.Dataset, windows: Sequence[int]) -> xr.Dataset:
    """The maps of ``model.predict(cube, windows)``, by tiles where the scene is larger than one."""
    scene = Scene(model, cube, windows)
    if scene.whole:
        return model.predict(cube, windows)
    return xr.concat([scene.predict(some) for some in scene.passes], "window", data_vars="minimal").transpose(
        "window", "y", "x"
    )


def ramp(shape: tuple[int, int], overlap: int) -> Float[Tensor, "height width"]:
    """Weight of each pixel of a tile: nearly 0 in the outer quarter of the overlap, 1 from its inner quarter on.

    Near its edge a tile sees least of a pixel's surroundings. Between the quarters the weight is linear, so those of
    two neighbours add up to 1. MONAI's Gaussian weights fall to 0.001 in a tile's corners only, and leave seams there.
    """
    weights = []
    for size in shape:
        position = torch.arange(size) + 0.5
        inside = torch.minimum(position, size - position) - overlap / 4
        weights.append((inside / max(overlap / 2, 1)).clamp(LEAST_WEIGHT, 1))
    return weights[0][:, None] * weights[1]


def _first_read(model: Model, end: np.ndarray, windows: Sequence[int]) -> int:
    """The earliest window that the model looks at to map windows."""
    return model.preprocessor.first_window(end, windows, model.time) if isinstance(model, SnowRegression) else 0
