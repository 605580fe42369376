"""`snowmap build`: ``python -m benchmarks.building --pairs 30``.

A build from HyP3 products ÷ a bare loop of `rasterio.warp` in turns, by wall time and by CPU time. The loop reads and
warps every raster that the build reads, each by itself, with the same kind of average, and writes the same GeoTIFFs:
values become NaN where a raster says so, the majority's connected component is found and kept, phase (weighted by
coherence) and incidence are averaged as complex numbers, σ⁰ becomes dB. It neither asks how much of a pixel is covered
nor waits until the disk has what it writes.

Then 2 workers ÷ 1 worker of a cluster that runs already, how long its start takes, seconds of the build, and of a
second run that has nothing to do; and the largest process for a quarter of the windows and for all of them.
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
from snowmap.cluster import connect
from snowmap.physics import SENTINEL_1_WAVELENGTH, displacement
from tests.products.writers import Scene, write_hyp3

CRS, FINE, COARSE = "EPSG:32632", 80, 400
READ = ("corr", "unw_phase", "wrapped_phase", "amp", "dem", "inc_map", "conncomp")
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
    """What a build gives, by the shortest loop over its products."""
    out.mkdir()
    size = round((yaml.safe_load(recipe.read_text())["grid"]["bounds"][2] - 600_000) / COARSE)
    place = Affine(COARSE, 0, 600_000, 0, -COARSE, 5_200_000)
    form = {"driver": "GTiff", "height": size, "width": size, "count": 1, "dtype": "float32", "nodata": np.nan}
    for archive in sorted(recipe.parent.glob("downloads/*.zip")):
        for name, values in bands_bare(archive, size, place).items():
            with rasterio.open(out / f"{archive.stem}_{name}.tif", "w", crs=CRS, transform=place, **form) as raster:
                raster.write(values, 1)


def bands_bare(archive: Path, size: int, place: Affine) -> dict[str, np.ndarray]:
    """The bands of a product on the region's grid."""
    read, transform = {}, None
    for layer in READ:
        with rasterio.open(f"/vsizip/{archive}/{archive.stem}/{archive.stem}_{layer}.tif") as raster:
            transform, read[layer] = raster.transform, raster.read(1, masked=True).astype(np.float32).filled(np.nan)

    def warped(*planes: np.ndarray, way: Resampling = Resampling.average) -> np.ndarray:
        out = np.full((len(planes), size, size), np.nan, np.float32)
        return reproject(
            np.stack(planes), out, src_transform=transform, src_crs=CRS, dst_transform=place, dst_crs=CRS,
            resampling=way, src_nodata=np.nan, dst_nodata=np.nan,
        )[0]  # fmt: skip

    numbers, counts = np.unique(warped(read["conncomp"], way=Resampling.mode), return_counts=True)
    kept = read["conncomp"] == numbers[counts.argmax()]
    unwrapped = warped(np.where(kept, read["unw_phase"], np.float32(np.nan)))[0]
    real, imaginary = warped(*(read["corr"] * part(read["wrapped_phase"]) for part in (np.cos, np.sin)))
    east, up = warped(*(part(read["inc_map"]) for part in (np.cos, np.sin)))
    return {
        "coherence": warped(read["corr"])[0],
        "unwrapped_phase": unwrapped,
        "displacement": np.asarray(displacement(unwrapped, wavelength=SENTINEL_1_WAVELENGTH), np.float32),
        "phase": np.arctan2(imaginary, real),
        "intensity": 10 * np.log10(warped(read["amp"])[0]),
        "elevation": warped(read["dem"])[0],
        "incidence": np.degrees(np.arctan2(up, east)),
    }


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def with_workers(recipe: Path, out: Path, workers: int) -> tuple[float, float]:
    """Seconds until a cluster can begin, and of a build by it."""
    begin = time.perf_counter()
    with connect(workers) as client:
        assert client is not None
        client.run(__import__, "snowmap.build.building")
        start = time.perf_counter() - begin
        scheduler: str = client.scheduler.address  # type: ignore[union-attr]
        return start, seconds(lambda: build(recipe, out, scheduler=scheduler))[0]


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
            out = place / f"alone{number}"
            alone = seconds(lambda out=out: build(recipe, out))
            bare = seconds(lambda number=number: warp_bare(recipe, place / f"bare{number}"))
            again = seconds(lambda out=out: build(recipe, out))
            to_bare.append([one / other for one, other in zip(alone, bare, strict=True)])
            starts, times = zip(*(with_workers(recipe, place / f"{n}-{number}", n) for n in (1, 2)), strict=True)
            to_one.append(times[1] / times[0])
        wall, cpu = (statistics.median(ratios) for ratios in zip(*to_bare, strict=True))
        print(
            f"build ÷ bare warp: {wall:.2f}, of CPU time {cpu:.2f} ({asked.pairs} pairs of {asked.size}² px; limit 1.3)"
        )
        print(f"2 workers ÷ 1 worker: {statistics.median(to_one):.2f} (limit 0.6 where two cores are free)")
        print(f"before that, 1 worker starts in {starts[0]:.1f} s, 2 workers in {starts[1]:.1f} s")
        print(f"the last build took {alone[0]:.1f} s, a second run {again[0]:.2f} s")
        text = yaml.safe_load(recipe.read_text())
        last = str(np.datetime64("2020-01-01") + 12 * max(1, asked.pairs // 4))
        (few := place / "few.yaml").write_text(yaml.safe_dump(text | {"last": last}))
        peaks = [largest_process("build", str(path), str(place / path.stem)) for path in (few, recipe)]
        print(f"peak memory: {peaks[0]:.2f} GiB for a quarter of the windows, {peaks[1]:.2f} GiB for all of them")


if __name__ == "__main__":
    main()
