"""A sweep of ten trainings in one process ÷ ten times one training by itself, and how often the rasters were read.

The training by itself is `Trainer.fit` with the same callbacks, checkpoints and validation, on parts that are already
there; the sweep adds composing, opening the archive, the parts, run folders, validation scores and the table.

python -m benchmarks.sweeping [--jobs 10] [--epochs 5] [--rounds 3] [--height 93] [--width 211]
"""

import argparse
import contextlib
import io
import os
import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import CONF, configuration
from snowmap.data.splits import split_cubes
from snowmap.runs.folder import working_in
from snowmap.runs.selection import plan_fits
from snowmap.runs.training import fit, quiet
from snowmap.sources import open_cubes
from snowmap.sources.synthetic import synthesize
from snowmap.sources.trentino import write_archive
from snowmap.sources.trentino.reading import Reader
from snowmap.tasks.build import make_parts

LIMIT = 1.15


def words(root: Path, epochs: int) -> list[str]:
    return [
        *(f"data.root={root}", f"trainer.max_epochs={epochs}", "logger=none", "callbacks.patience=null"),
        *("trainer.enable_progress_bar=false", "evaluate=none"),
    ]


def train_alone(root: Path, epochs: int, folder: Path) -> float:
    """Seconds of one training."""
    config = configuration(*words(root, epochs))
    cubes = open_cubes(config["data"], config["target"]["names"])
    fits = plan_fits(config, split_cubes(cubes, config["split"]), cubes)
    parts = make_parts(config, cubes, fits.final, fits.chosen_by)
    with working_in(folder, config) as run:
        began = time.perf_counter()
        fit(config, run, cubes, fits, parts, None)
        return time.perf_counter() - began


def sweep(root: Path, epochs: int, jobs: int, folder: Path) -> float:
    """Seconds of `python train.py -m seed=0,1,…` from the command line to the table, without imports."""
    seeds = f"seed={','.join(map(str, range(jobs)))}"
    sys.argv = [str(CONF.parent / "train.py"), "-m", *words(root, epochs), seeds, f"hydra.sweep.dir={folder}"]
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(sys.argv[0], run_name="__main__")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="trainings by themselves, of which the median counts")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--height", type=int, default=93)
    parser.add_argument("--width", type=int, default=211)
    asked = parser.parse_args()
    quiet()
    times_read, read = 0, Reader.read

    def counted(*arguments, **options):
        nonlocal times_read
        times_read += 1
        return read(*arguments, **options)

    Reader.read = counted
    with tempfile.TemporaryDirectory() as place:
        os.environ["SNOWMAP_CACHE"] = f"{place}/cache"
        root = write_archive(
            synthesize(windows=asked.windows, shape=(asked.height, asked.width)), Path(place, "archive")
        )
        alone = [train_alone(root, asked.epochs, Path(place, "warm"))]  # imports and first steps; not counted
        os.environ["SNOWMAP_CACHE"] = f"{place}/empty"
        before = times_read
        swept = sweep(root, asked.epochs, asked.jobs, Path(place, "sweep"))
        opened = times_read - before
        alone = [train_alone(root, asked.epochs, Path(place, f"alone{i}")) for i in range(asked.rounds)]
    ratio = swept / (asked.jobs * statistics.median(alone))
    print(f"{asked.jobs} jobs: {swept:.1f} s; one training by itself: {statistics.median(alone):.1f} s")
    print(f"sweep / trainings by themselves: {ratio:.3f} (limit {LIMIT:.2f})")
    print(f"rasters read: {opened} time{'s' if opened != 1 else ''}")


if __name__ == "__main__":
    main()
