"""Mapping a Zarr store by several processes: ``python -m benchmarks.dealing --size 2000``.

Wall time of `snowmap predict` with 2 workers ÷ that with 1, the start of the workers included, in turns in one process.
Then the largest process of the command (its workers are processes, too) for few windows and for four times as many:
reading is piece by piece, so the ratio should be 1. The scene is a small synthetic one, repeated in both directions.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import xarray as xr

from benchmarks.common import CONF
from benchmarks.predicting import write_checkpoint
from snowmap.data.cube import targets_of
from snowmap.maps.predict import predict_archive
from snowmap.sources.synthetic import synthesize
from snowmap.sources.zarr import CHUNK, create_zarr, finish_zarr, write_piece


def write_store(cube: xr.Dataset, path: Path, size: int, windows: int) -> Path:
    """A store of the Cube's first windows, repeated until the scene has its size; written chunk by chunk."""
    some = cube.drop_vars(targets_of(cube)).isel(window=slice(windows))
    rows, columns = (np.arange(size) % cube.sizes[axis] for axis in ("y", "x"))
    scene = some.isel(y=0, x=0, drop=True).drop_vars(["features", "mask"])
    step = [float(some[axis][1] - some[axis][0]) for axis in ("y", "x")]
    scene = scene.assign_coords(
        y=float(some["y"][0]) + step[0] * np.arange(size), x=float(some["x"][0]) + step[1] * np.arange(size)
    )
    shape = (windows, cube.sizes["band"], size, size)
    scene["features"] = ("window", "band", "y", "x"), np.broadcast_to(np.float32(np.nan), shape)
    scene["mask"] = ("y", "x"), np.ones((size, size), bool)
    create_zarr(scene.rio.write_crs(some.rio.crs).rio.write_transform(some.rio.transform()), path)
    values = some["features"].values
    for window in range(windows):
        for row in range(0, size, CHUNK):
            piece = values[window][:, rows[row : row + CHUNK]][:, :, columns]
            write_piece(path, window, {"features": piece}, slice(row, min(row + CHUNK, size)))
    finish_zarr(path)
    return path


def seconds(checkpoint: Path, store: Path, out: Path, workers: int) -> float:
    begin = time.perf_counter()
    predict_archive(checkpoint, store, out, form="geotiff", workers=workers)
    return time.perf_counter() - begin


def largest_process(*words: str) -> float:
    """GiB of the largest process of ``snowmap <words>``, among it and those that it starts."""
    process = subprocess.Popen([sys.executable, "-m", "snowmap.cli", *words], cwd=CONF.parent)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            for one in (parent := psutil.Process(process.pid), *parent.children(recursive=True)):
                with contextlib.suppress(OSError, psutil.Error):
                    lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
                    peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2000, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--windows", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        cube = synthesize(windows=max(14, 4 * asked.windows), shape=(min(250, asked.size),) * 2)
        checkpoint = place / "unet.ckpt"
        write_checkpoint(cube, checkpoint)
        few, many = (
            write_store(cube, place / f"{windows}.zarr", asked.size, windows)
            for windows in (asked.windows, 4 * asked.windows)
        )
        ratios = []
        for _ in range(asked.rounds):
            one, two = (seconds(checkpoint, few, place / "out", workers) for workers in (1, 2))
            ratios.append(two / one)
            print(f"{asked.windows} windows of {asked.size} × {asked.size} px: {one:.1f} s, 2 workers {two:.1f} s")
        print(f"2 workers ÷ 1 worker: {statistics.median(ratios):.2f} (limit 0.6 where two cores are free)")
        words = ("--format", "geotiff", "--workers", "1")
        peaks = [largest_process("predict", *map(str, (checkpoint, s, place / "out")), *words) for s in (few, many)]
        print(f"largest process: {peaks[0]:.2f} GiB; at 4 × the windows × {peaks[1] / peaks[0]:.2f} (limit 1.1)")


if __name__ == "__main__":
    main()
