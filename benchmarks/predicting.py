"""Mapping a scene larger than the memory: ``python -m benchmarks.predicting --size 5000 --windows 4``.

The time of `snowmap predict` (reading, derived features, blending, writing of NetCDF and GeoTIFF) as a ratio to the
bare forward passes of the same net over the same tiles from memory, alternating window by window in one process, as the
median over the windows. Where other programs come and go, the ratio to the forward passes within the same run is the
steadier one. Then the peak memory of the command in a process of its own. The scene is a small synthetic one, repeated
in both directions.

``--parts series --size 5000`` prints the peak memory of the command on a scene of 15 radar dates, with a small net of
``experiment=svalbard_glaciers_3d`` after one epoch, whose maps have many outlines.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import rasterio
import torch
import xarray as xr

from benchmarks.common import ROOT, configuration, parts, peak_gibibytes
from snowmap.data.cube import window_names
from snowmap.data.pieces import tiles
from snowmap.data.sequences import samples
from snowmap.maps.predict import predict_archive
from snowmap.models.net import Inputs, Maps
from snowmap.models.unet import UNet
from snowmap.sources.synthetic import synthesize
from snowmap.sources.synthetic.scenes import synthesize_glaciers
from snowmap.sources.trentino import open_lazily
from snowmap.sources.trentino.layout import MASK_NAME, raster_path
from snowmap.tasks.pixel import SnowRegression


def write_scene(cube: xr.Dataset, root: Path, size: int, windows: int, targets: Sequence[str] = ()) -> None:
    """An archive of the Cube's windows, repeated until the scene has its size."""
    form = {"driver": "GTiff", "count": 1, "height": size, "width": size, "crs": cube.rio.crs}
    form["transform"] = cube.rio.transform()
    repeats = [-(-size // cube.sizes[axis]) for axis in ("y", "x")]

    def write(path: Path, values: np.ndarray, **options: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(path, "w", **form, dtype=values.dtype.name, **options) as raster:
            raster.write(np.tile(values, repeats)[:size, :size], 1)

    for window in range(windows):
        start, end = cube["start"].values[window], cube["end"].values[window]
        for band, name in enumerate(cube["band"].values.tolist()):
            write(raster_path(root, name, start, end), cube["features"].values[window, band], nodata=np.nan)
        for name in targets:
            write(raster_path(root, name, start, end), cube[name].values[window], nodata=np.nan)
    write(root / MASK_NAME, np.ones(cube["mask"].shape, np.uint8))


def write_checkpoint(cube: xr.Dataset, path: Path) -> None:
    """A U-Net after one step: its skill costs no time."""
    task, datamodule, _ = parts(configuration("model=unet", f"data.root={path.parent}"), cube)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, enable_model_summary=False, **options)
    trainer.fit(task, datamodule)
    trainer.save_checkpoint(path)


def bare_seconds(task: SnowRegression, cube: xr.Dataset, window: int, tile: int, overlap: int) -> float:
    """Of the net's forward passes alone; its inputs are ready in memory."""
    seconds = 0.0
    for inputs in ready_tiles(task, cube.isel(window=[window]), tile, overlap):
        begin = time.perf_counter()
        with torch.inference_mode():
            task.net(inputs)
        seconds += time.perf_counter() - begin
    return seconds


def ready_tiles(task: SnowRegression, cube: xr.Dataset, tile: int, overlap: int) -> Iterator[object]:
    size = cube.sizes["y"], cube.sizes["x"]
    for rows, columns in tiles(size, tile, overlap):
        piece = cube.isel(y=rows, x=columns).load()
        tensors = task.preprocessor.tensors(piece, list(task.targets))
        yield task._inputs(tensors.collate(samples(piece["end"].values, [0], task.time)))


class Stopwatch:
    """Adds up the seconds that a U-Net's forward passes take, wherever they happen."""

    def __init__(self) -> None:
        self.seconds, self.forward = 0.0, UNet.forward

    def __enter__(self) -> "Stopwatch":
        def timed(net: UNet, inputs: Inputs) -> Maps:
            begin = time.perf_counter()
            maps = self.forward(net, inputs)
            self.seconds += time.perf_counter() - begin
            return maps

        UNet.forward = timed  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        UNet.forward = self.forward  # type: ignore[method-assign]


def measure(root: Path, checkpoint: Path, out: Path, tile: int, overlap: int) -> list[tuple[float, float, float]]:
    """Seconds of predicting, of the forward passes in it, and of the bare ones, for each window."""
    task = SnowRegression.load_from_checkpoint(checkpoint).eval()
    cube = open_lazily(root, bands=task.archive_bands)
    seconds = []
    for window, name in enumerate(window_names(cube)):
        with Stopwatch() as within:
            begin = time.perf_counter()
            predict_archive(checkpoint, root, out, windows=[name], tile=tile, overlap=overlap)
            predicting = time.perf_counter() - begin
        seconds.append((predicting, within.seconds, bare_seconds(task, cube, window, tile, overlap)))
    return seconds


def series_peak(place: Path, size: int) -> float:
    """Peak memory of predicting a scene of 15 dates, GiB."""
    small, large = place / "glaciers", place / "series"
    synthesize_glaciers(small, scenes=1, shape=(250, 250))
    words = ["experiment=svalbard_glaciers_3d", f"data.root={small}", f"hydra.run.dir={place}/run", "evaluate=none"]
    words += ["model.channels=[4,8]", "data.crop=[64,64]", "data.patches=8", "trainer.max_epochs=1"]
    subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, check=True, capture_output=True)
    large.mkdir()
    for path in sorted(small.glob("*/*.tif")):
        with rasterio.open(path) as raster:
            values, form = raster.read(1), {**raster.profile, "height": size, "width": size}
        form |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": None}
        with rasterio.open(large / path.name, "w", **form) as raster:
            raster.write(np.tile(values, [-(-size // 250)] * 2)[:size, :size], 1)
    checkpoint = place / "run" / "checkpoints" / "best.ckpt"
    return peak_gibibytes("-m", "snowmap.cli", "predict", str(checkpoint), str(large), str(place / "classes"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2000, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--windows", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--parts", nargs="+", choices=["time", "memory", "series"], default=["time", "memory"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        cube = synthesize(windows=max(14, asked.windows), shape=(min(250, asked.size),) * 2)
        checkpoint, root = place / "unet.ckpt", place / "scene"
        write_checkpoint(cube, checkpoint)
        write_scene(cube, root, asked.size, asked.windows)
        print(f"U-Net, {asked.windows} windows of {asked.size} × {asked.size} px, {torch.get_num_threads()} threads")
        if "time" in asked.parts:
            seconds = measure(root, checkpoint, place / "out", asked.tile, asked.overlap)
            to_bare = statistics.median(predicting / bare for predicting, _, bare in seconds)
            to_own = statistics.median(predicting / within for predicting, within, _ in seconds)
            told = ", ".join(f"{predicting:.1f} / {within:.1f} / {bare:.1f} s" for predicting, within, bare in seconds)
            print(f"predicting / bare forward passes: {to_bare:.2f}, / those in it: {to_own:.2f} (limit 1.3); {told}")
        if "memory" in asked.parts:
            words = ["predict", checkpoint, root, place / "out", "--tile", asked.tile, "--overlap", asked.overlap]
            peak = peak_gibibytes("-m", "snowmap.cli", *map(str, words))
            print(f"peak memory of the command: {peak:.2f} GiB (limit 4)")
        if "series" in asked.parts:
            print(f"peak memory with 15 dates: {series_peak(place, asked.size):.2f} GiB (limit 4)")


if __name__ == "__main__":
    main()
