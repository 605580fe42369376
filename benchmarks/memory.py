"""Training on maps larger than the memory: ``python -m benchmarks.memory --size 3000``.

Peak memory of `snowmap check` and of a training by crops, in processes of their own, on an archive whose Cube lies in
the cache as a file that is mapped: what counts is what a process holds beside it. The first training reads the rasters
and fills the cache, the second finds it there. The scene is a small synthetic one, repeated in both directions.
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.common import peak_gibibytes, table
from benchmarks.predicting import write_scene
from snowmap.sources.synthetic import synthesize
from snowmap.sources.trentino.quantities import STANDARD_BANDS, TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=3000, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--windows", type=int, default=13, help="default: %(default)s")
    parser.add_argument("--crop", type=int, default=128, help="height and width in pixels (default: %(default)s)")
    parser.add_argument("--words", nargs="*", default=["evaluate=none"], help="of train.py (default: %(default)s)")
    parser.add_argument("--folder", help="for the files, 10 GB at the default size; a temporary one by default")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        place, small = Path(folder), min(250, asked.size)
        cube = synthesize(windows=asked.windows, shape=(small, small))
        write_scene(cube, place / "scene", asked.size, asked.windows, list(TARGETS))
        os.environ["SNOWMAP_CACHE"] = str(place / "cache")
        gibibytes = 4 * asked.windows * (len(STANDARD_BANDS) + len(TARGETS)) * asked.size**2 / 2**30
        words = [f"data.root={place}/scene", f"data.crop=[{asked.crop},{asked.crop}]", "data.batch_size=1"]
        words += ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", *asked.words]
        commands = {"check": ["-m", "snowmap.cli", "check", str(place / "scene")]}
        commands |= {
            f"{which} training": ["train.py", *words, f"hydra.run.dir={place}/{which}"] for which in ("first", "second")
        }
        peaks = {name: peak_gibibytes(*command) for name, command in commands.items()}
    rows = [
        (name, f"{peak:.2f}", f"{peak - (0 if name == 'check' else gibibytes):.2f}") for name, peak in peaks.items()
    ]
    print(f"{asked.windows} windows of {asked.size} × {asked.size} px: a Cube of {gibibytes:.2f} GiB")
    print(table(("command", "peak memory (GiB)", "beyond the Cube (GiB, limit 4)"), rows))


if __name__ == "__main__":
    main()
