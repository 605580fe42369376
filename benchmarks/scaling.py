"""Cost as the work grows: windows × 1, 4, 16 and pixels × 1, 4, 16, against a cost that is proportional.

Each size runs in a process of its own, which measures a training epoch, divided by its windows (and by the growth of
their pixels), and the memory that it held beyond what Python and the libraries need. Above 1 is worse than linear.

python -m benchmarks.scaling [--models unet …] [--sizes 1 4 16]
"""

import argparse
import statistics
import threading
import time

import psutil

from benchmarks.common import MODELS, configuration, framework_epochs, parts, table
from snowmap.runs.training import quiet
from tests.commands import begin
from tests.cubes import make_cube

WINDOWS, HEIGHT, WIDTH = 20, 48, 64
"""The size 1."""


def measure(model: str, windows: int, height: int, width: int) -> None:
    """Print seconds for each training window (the test windows do not grow with the archive) and peak bytes."""
    quiet()
    process = psutil.Process()
    # sequences of equal length: the season's would grow with nothing but the archive's first months
    config = configuration(f"model={model}", *(() if model == "unet" else ("data.time=4",)))
    framework_epochs(config, make_cube(20, (16, 16)), 1)  # what is loaded on first use
    before, peak, over = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not over.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = framework_epochs(config, make_cube(windows, (height, width)), 3)[1:]
    over.set()
    watcher.join()
    trained = len(parts(config, make_cube(windows, (8, 8)))[1].train)
    print(statistics.median(seconds) / trained, peak[0] - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--one", nargs=4, metavar=("MODEL", "WINDOWS", "HEIGHT", "WIDTH"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        measure(asked.one[0], *map(int, asked.one[1:]))
        return
    rows = []
    for model in asked.models:
        for what in ("windows", "pixels"):
            first: tuple[float, float] | None = None
            for size in asked.sizes:
                scale = round(size**0.5) if what == "pixels" else 1
                shape = (WINDOWS * (size if what == "windows" else 1), HEIGHT * scale, WIDTH * scale)
                said, _ = begin("benchmarks/scaling.py", "--one", model, *map(str, shape)).communicate(timeout=600)
                seconds, memory = map(float, said.split()[-2:])
                seconds /= scale**2  # for as many pixels as the size 1 has
                first = first or (seconds, memory / size)
                time_ratio, memory_ratio = seconds / first[0], memory / size / first[1]
                cost = (
                    f"{1000 * seconds:.1f} ms",
                    f"{memory / 2**20:.0f} MiB",
                    f"{time_ratio:.2f}",
                    f"{memory_ratio:.2f}",
                )
                rows.append((model, f"{what} × {size}", *cost))
                print(*rows[-1], sep="  ", flush=True)
    print("\n" + table(("model", "size", "a window", "memory", "time ÷ linear", "memory ÷ linear"), rows))


if __name__ == "__main__":
    main()
