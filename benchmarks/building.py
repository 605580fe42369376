"""`snowmap build`: ``python -m benchmarks.building --pairs 30``.

Wall time of a build from HyP3 products ÷ that of a bare loop which warps the very same rasters with `rasterio.warp` and
writes as many GeoTIFFs; of 2 workers ÷ 1 worker, their start included; seconds of the build, and of a second run that
has nothing to do. Then the largest process for a quarter of the windows and for all of them.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import yaml
from rasterio.enums import Resampling
from rasterio.transform import Affine, from_origin
from rasterio.warp import reproject

from benchmarks.dealing import largest_process
from snowmap.build.building import build
from tests.products.writers import Scene, write_hyp3

CRS, FINE, COARSE = "EPSG:32632", 80, 400
BARE = ("unw_phase", "corr", "wrapped_phase", "amp", "dem", "inc_map", "conncomp", "water_mask")
"""The rasters that a build reads of each product."""


def write_products(folder: Path, pairs: int, size: int) -> Path:
    """Products of `size` pixels on a side, and the recipe of what they cover."""
    random = np.random.default_rng(0)
    layers = {name: random.random((size, size), np.float32) for name in ("coherence", "intensity", "incidence")}
    layers |= {"unwrapped_phase": random.normal(0, 2, (size, size)), "elevation": 2000 * layers["intensity"]}
    layers |= {"wrapped_phase": layers["unwrapped_phase"], "component": np.ones((size, size))}
    layers |= {name: np.full((size, size), 0.5) for name in ("look_east", "look_north", "look_up")}
    layers |= {"water": np.zeros((size, size))}
    first = np.datetime64("2020-01-01")
    for pair in range(pairs):
        start, end = str(first + 12 * pair), str(first + 12 * (pair + 1))
        scene = Scene(start, end, layers, from_origin(600_000, 5_200_000, FINE, FINE), CRS)
        write_hyp3(folder / "downloads", scene, orbit=20_000 + 175 * pair, identifier=f"{pair:04X}", nodata=0)
    side = size * FINE // COARSE * COARSE
    recipe = {
        "grid": {"bounds": [600_000, 5_200_000 - side, 600_000 + side, 5_200_000], "crs": CRS, "resolution": COARSE},
        "insar": {"source": "hyp3", "path": "downloads/*.zip"},
    }
    (folder / "region.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "region.yaml"


def warp_bare(recipe: Path, out: Path) -> None:
    """Every raster of every product, warped by its mean and written."""
    out.mkdir()
    size = round((yaml.safe_load(recipe.read_text())["grid"]["bounds"][2] - 600_000) / COARSE)
    grid = {"crs": CRS, "transform": Affine(COARSE, 0, 600_000, 0, -COARSE, 5_200_000)}
    form = {"driver": "GTiff", "height": size, "width": size, "count": 1, "dtype": "float32", **grid}
    for archive in sorted(recipe.parent.glob("downloads/*.zip")):
        for layer in BARE:
            warped = np.zeros((size, size), np.float32)
            with rasterio.open(f"/vsizip/{archive}/{archive.stem}/{archive.stem}_{layer}.tif") as raster:
                reproject(
                    raster.read(1).astype(np.float32), warped, src_transform=raster.transform, src_crs=raster.crs,
                    dst_transform=grid["transform"], dst_crs=CRS, resampling=Resampling.average,
                )  # fmt: skip
            with rasterio.open(out / f"{archive.stem}_{layer}.tif", "w", **form) as raster:
                raster.write(warped, 1)


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--size", type=int, default=1000, help="of a product in pixels (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        recipe = write_products(place, asked.pairs, asked.size)
        to_bare, to_one = [], []
        for number in range(asked.rounds):
            alone = seconds(lambda number=number: build(recipe, place / f"alone{number}"))
            bare = seconds(lambda number=number: warp_bare(recipe, place / f"bare{number}"))
            one, two = (
                seconds(
                    lambda number=number, workers=workers: build(recipe, place / f"{workers}-{number}", workers=workers)
                )
                for workers in (1, 2)
            )
            to_bare.append(alone / bare)
            to_one.append(two / one)
            again = seconds(lambda number=number: build(recipe, place / f"alone{number}"))
        print(f"build ÷ bare warp: {statistics.median(to_bare):.2f} ({asked.pairs} pairs of {asked.size}² px)")
        print(f"2 workers ÷ 1 worker: {statistics.median(to_one):.2f}")
        print(f"the last build took {alone:.1f} s, a second run {again:.2f} s")
        text = yaml.safe_load(recipe.read_text())
        last = str(np.datetime64("2020-01-01") + 12 * max(1, asked.pairs // 4))
        (few := place / "few.yaml").write_text(yaml.safe_dump(text | {"last": last}))
        peaks = [largest_process("build", str(path), str(place / path.stem)) for path in (few, recipe)]
        print(f"peak memory: {peaks[0]:.2f} GiB for a quarter of the windows, {peaks[1]:.2f} GiB for all of them")


if __name__ == "__main__":
    main()
