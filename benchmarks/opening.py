"""Opening an archive, as ratios within one process: ``python -m benchmarks.opening``.

The archive is synthetic and has the full size of the public one (64 windows, 93 × 211 px). The bare limit is a loop of
``rasterio.open(file).read(1)`` over the same files. Everything else that an opening does is inside its time: listing,
matching, sentinels to NaN, the content's fingerprint, the unit of SWE, writing the cache.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import rasterio

from snowmap import open_archive, write_archive
from snowmap.sources.synthetic import synthesize

ROUNDS = 15

PEAK = """
import sys
from pathlib import Path
import snowmap.sources.trentino

def peak_kilobytes():  # not getrusage: that begins with the peak of the parent process
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak_kilobytes()
cube = snowmap.sources.trentino.open_archive(sys.argv[1], threads=2)
print((peak_kilobytes() - before) * 1024 / cube.nbytes)
"""


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(root: Path, cache: Path) -> dict[str, float]:
    """Medians of the ratios; the parts of one ratio are timed one right after the other."""
    files = sorted(root.rglob("*.tif"))

    def bare() -> None:
        for file in files:
            rasterio.open(file).read(1)

    def first(threads: int) -> None:
        open_archive(root, threads=threads)

    ratios: dict[str, list[float]] = {"one thread": [], "two threads": [], "second": []}
    bare()  # files into the system's memory
    for _ in range(ROUNDS):
        limit = seconds(bare)
        shutil.rmtree(cache, ignore_errors=True)
        ratios["one thread"].append(seconds(lambda: first(1)) / limit)
        shutil.rmtree(cache, ignore_errors=True)
        limit = seconds(bare)
        two = seconds(lambda: first(2))
        ratios["two threads"].append(two / limit)
        ratios["second"].append(seconds(lambda: open_archive(root)) / two)
    return {name: statistics.median(values) for name, values in ratios.items()}


def peak_memory(root: Path, cache: Path) -> float:
    """Of a first opening in a process of its own, beyond interpreter and imports, in Cubes; Linux only."""
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-c", PEAK, str(root)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        os.environ["SNOWMAP_CACHE"] = str(cache)
        root = write_archive(synthesize(), Path(folder) / "archive")
        found = measure(root, cache)
        print(f"first opening / bare loop, 1 thread: {found['one thread']:.2f} (limit 1.3)")
        print(f"first opening / bare loop, 2 threads: {found['two threads']:.2f} (limit 1.0)")
        print(f"second opening / first: {found['second']:.3f} (limit 0.05)")
        print(f"peak memory of the first opening / Cube: {peak_memory(root, cache):.2f} (limit 4)")


if __name__ == "__main__":
    main()
