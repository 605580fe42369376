"""One training epoch through train.py's own data module, task and Trainer ÷ a bare PyTorch loop of the same net.

Both see the same sequences, batch size, optimiser and thread count, in one process and taking turns; the bare loop
reads Batches that are already gathered and scaled. Printed is the median over epochs of each, and the ratio.

python -m benchmarks.training [--models unet massbalance …] [--rounds 3] [--epochs 2] [--height 93] [--width 211]
"""

import argparse
import statistics

from benchmarks.common import MODELS, bare_epochs, configuration, framework_epochs, table
from snowmap.runs.training import quiet
from snowmap.sources.synthetic import synthesize

LIMIT = 1.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs in each round, after one to warm up")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--height", type=int, default=93)
    parser.add_argument("--width", type=int, default=211)
    asked = parser.parse_args()
    quiet()
    cube = synthesize(windows=asked.windows, shape=(asked.height, asked.width))
    rows = []
    for model in asked.models:
        config = configuration(f"model={model}")
        ours, theirs = [], []
        for _ in range(asked.rounds):  # taking turns, so that a slow spell of the machine meets both
            ours += framework_epochs(config, cube, asked.epochs + 1)[1:]
            theirs += bare_epochs(config, cube, asked.epochs + 1)[1:]
        ratio = statistics.median(ours) / statistics.median(theirs)
        rows.append((model, f"{statistics.median(ours):.2f} s", f"{statistics.median(theirs):.2f} s", f"{ratio:.3f}"))
        print(f"{model}: training epoch / bare loop {ratio:.3f} (limit {LIMIT:.2f})", flush=True)
    print("\n" + table(("model", "epoch", "bare loop", "ratio"), rows))


if __name__ == "__main__":
    main()
