"""Patches per second of a segmentation, through train.py's own data module, task and Trainer ÷ a bare PyTorch loop.

Both train the same net on patches of the same synthetic scene, in one process and taking turns; the patches of the bare
loop are gathered and scaled beforehand, and are neither turned nor drawn anew. Printed is the median over epochs.

python -m benchmarks.patches [--rounds 3] [--epochs 2] [--side 512] [--crop 128] [--dates 15]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.common import bare_epochs, configuration, framework_epochs
from snowmap.runs.training import quiet
from snowmap.sources import open_cubes
from snowmap.sources.synthetic.scenes import synthesize_glaciers

LIMIT = 1.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs in each round, after one to warm up")
    parser.add_argument("--side", type=int, default=512, help="pixels of the scene")
    parser.add_argument("--crop", type=int, default=128, help="pixels of a patch")
    parser.add_argument("--dates", type=int, default=15)
    parser.add_argument("--patches", type=int, default=16, help="patches in an epoch")
    parser.add_argument("--channels", default="[16,32,64]", help="of the net")
    asked = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "scenes"
        synthesize_glaciers(root, scenes=1, dates=asked.dates, shape=(asked.side, asked.side))
        config = configuration(
            *("experiment=svalbard_glaciers_3d", f"data.root={root}", f"data.time={asked.dates}", "trainer=cpu"),
            *(
                f"data.crop=[{asked.crop},{asked.crop}]",
                f"data.patches={asked.patches}",
                f"model.channels={asked.channels}",
            ),
            *("data.class_share=0.5", "data.time_jitter=0", "trainer.accelerator=cpu"),
        )
        (cube,) = open_cubes(config["data"], config["target"]["names"])
        ours, theirs = [], []
        for _ in range(asked.rounds):  # taking turns, so that a slow spell of the machine meets both
            ours += framework_epochs(config, cube, asked.epochs + 1)[1:]
            theirs += bare_epochs(config, cube, asked.epochs + 1)[1:]
    speeds = [asked.patches / statistics.median(seconds) for seconds in (ours, theirs)]
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"patches per second: {speeds[0]:.2f}, bare loop {speeds[1]:.2f}")
    print(f"training epoch / bare loop {ratio:.3f} (limit {LIMIT:.2f})")


if __name__ == "__main__":
    main()
