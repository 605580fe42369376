"""A Cube that stays in its store while a model learns from it: each piece is read when it is looked at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import dask.config
import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool
from torch import Tensor

from snowmap.data.batch import Batch, CubeTensors
from snowmap.data.preprocessing import PIXEL_COORDINATES, Preprocessor
from snowmap.data.sequences import Sample, season_of

NEIGHBOURS = ("slope", "aspect")
"""Derived features that look at the pixels beside each: for them a rim of one is read around a piece."""


@dataclass(frozen=True)
class LazyTensors:
    """What `CubeTensors` is of a Cube in memory, of one whose `features` are a dask array.

    The Batches are the same to the bit: a piece of a scene gets what it cannot know by itself from the scene's
    coordinates, as a tile that is mapped does.

    Attributes:
        preprocessor: Of the model.
        cube: From ``preprocessor.scene``.
        targets: Names of targets.
        inside: True inside the study area.
        with_bands: Whether the bands are read; without them, targets alone.
    """

    preprocessor: Preprocessor
    cube: xr.Dataset
    targets: Sequence[str]
    inside: Bool[Tensor, "height width"]
    with_bands: bool = True

    @classmethod
    def of(cls, preprocessor: Preprocessor, cube: xr.Dataset, targets: Sequence[str]) -> "LazyTensors":
        """Of a Cube as `Preprocessor.scene` gives it; its maps of one value for each pixel are read now."""
        maps = {name: cube[name].compute() for name in PIXEL_COORDINATES if name in cube.coords}
        return cls(preprocessor, cube.assign_coords(maps), list(targets), torch.from_numpy(cube["mask"].values))

    nbytes = 0
    """What moves to an accelerator: nothing but the Batches."""

    @property
    def chunk(self) -> tuple[int, int]:
        """Height and width of the store's chunks."""
        sizes = self.cube["features"].variable.chunksizes
        return max(sizes["y"]), max(sizes["x"])

    def to(self, device: torch.device) -> "LazyTensors":
        """Itself."""
        return self

    def narrowed_to(self, inside: Bool[Tensor, "height width"]) -> "LazyTensors":
        """The same with another study area."""
        return replace(self, inside=inside)

    def targets_alone(self) -> "LazyTensors":
        """The same without bands."""
        return replace(self, with_bands=False)

    def collate(self, samples: Sequence[Sample], area: Bool[Tensor, "height width"] | None = None) -> Batch:
        """As `CubeTensors.collate`."""
        time = max(len(sample.steps) for sample in samples)
        supervised = max(len(sample.supervised) for sample in samples)
        return Batch(
            *map(torch.cat, zip(*(self._batch(sample, area, time, supervised) for sample in samples), strict=True))
        )

    def _batch(self, sample: Sample, area: Bool[Tensor, "height width"] | None, time: int, supervised: int) -> Batch:
        first, tensors, rows, columns = self._read(sample.steps, sample.rows, sample.columns)
        steps = tuple(step - first for step in sample.steps)
        inner = [
            slice(some.start - read.start, some.stop - read.start)
            for some, read in zip(self._extent(sample.rows, sample.columns), (rows, columns), strict=True)
        ]
        shifted = sample._replace(steps=steps, rows=inner[0], columns=inner[1])
        batch = tensors.collate([shifted], None if area is None else area[rows, columns], time, supervised)
        return batch._replace(window=batch.window + first)

    def pieces(self, windows: Sequence[int]) -> Iterator[CubeTensors]:
        """The windows one by one, chunk by chunk: each value once."""
        season = season_of(self.cube["end"].values)
        seasons = [[w for w in windows if season[w] == year] for year in np.unique(season[list(windows)])]
        spans = [
            [slice(start, min(start + size, length)) for start in range(0, length, size)]
            for size, length in zip(self.chunk, self.inside.shape, strict=True)
        ]
        for rows, columns in product(*spans):
            if not self.inside[rows, columns].any():
                continue
            for some in seasons:
                first, tensors, read_rows, read_columns = self._read(some, rows, columns)
                cut = (
                    slice(rows.start - read_rows.start, rows.stop - read_rows.start),
                    slice(columns.start - read_columns.start, columns.stop - read_columns.start),
                )
                for window in some:
                    yield tensors.cut(window - first, *cut)

    def _extent(self, *places: slice) -> list[slice]:
        return [slice(*place.indices(length)[:2]) for place, length in zip(places, self.inside.shape, strict=True)]

    def _read(self, steps: Sequence[int], rows: slice, columns: slice) -> tuple[int, CubeTensors, slice, slice]:
        """The piece that holds some windows, its first window, and the rows and columns that were read."""
        start, end = self.cube["start"].values, self.cube["end"].values
        first = self.preprocessor.first_window(start, end, [min(steps)], 1) if self.with_bands else min(steps)
        rim = int(self.with_bands and any(name in self.preprocessor.derived for name in NEIGHBOURS))
        rows, columns = (
            slice(max(0, place.start - rim), min(place.stop + rim, length))
            for place, length in zip(self._extent(rows, columns), self.inside.shape, strict=True)
        )
        piece = self.cube.isel(window=slice(first, max(steps) + 1), y=rows, x=columns)
        if not self.with_bands:
            piece = piece.isel(band=slice(0, 0))
        with dask.config.set(scheduler="threads"):
            piece = piece.load()
        tensors = (
            self.preprocessor.tensors(piece, self.targets)
            if self.with_bands
            else CubeTensors.of(piece, [], self.targets)
        )
        return first, tensors._replace(inside=self.inside[rows, columns]), rows, columns
