"""Datasets of HDF5 files as arrays that open their file only while a piece of them is read."""

from pathlib import Path
from typing import Any

import dask.array
import h5py
import numpy as np


class _Dataset:
    """A map of an HDF5 file for dask: holds no open file, so it can be sent to other processes."""

    ndim = 2

    def __init__(self, path: Path, name: str, layer: int | None) -> None:
        self.path, self.name, self.layer = path, name, layer
        with h5py.File(path) as file:
            dataset = file[name]
            assert isinstance(dataset, h5py.Dataset)
            self.shape, self.dtype = dataset.shape[-2:], dataset.dtype
            self.chunks = dataset.chunks and dataset.chunks[-2:]

    def __getitem__(self, index: Any) -> np.ndarray:
        with h5py.File(self.path) as file:
            return np.asarray(file[self.name][index if self.layer is None else (self.layer, *index)])  # pyright: ignore[reportIndexIssue]


def lazily(path: Path, name: str, layer: int | None = None) -> dask.array.Array:
    """A dataset ``(y, x)``, or one layer of a dataset ``(layer, y, x)``, of which nothing is read yet."""
    return dask.array.from_array(_Dataset(path, name, layer), chunks="auto")
