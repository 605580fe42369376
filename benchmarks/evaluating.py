"""How long the evaluation of every window takes: maps, six baselines, all scores and intervals, figures and files.

Prints seconds, and how much of them each part takes, for the U-Net (untrained, which costs the same) on the synthetic
archive.

python -m benchmarks.evaluating [--windows 64] [--height 93] [--width 211] [--target swe]
"""

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import configuration, parts, table
from snowmap.baselines import baseline_maps
from snowmap.config.schema import Scoring
from snowmap.evaluation import evaluate_maps
from snowmap.evaluation.map_scores import ScoredMaps, score_maps
from snowmap.evaluation.scoring import provenance_of
from snowmap.sources.synthetic import synthesize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--height", type=int, default=93)
    parser.add_argument("--width", type=int, default=211)
    parser.add_argument("--target", default="swe", choices=["swe", "hs", "both"])
    asked = parser.parse_args()
    cube = synthesize(windows=asked.windows, shape=(asked.height, asked.width)).assign_attrs(archive="memory")
    config = configuration("model=unet", "data.root=memory", f"target={asked.target}")
    task, _, split = parts(config, cube)
    windows, targets = list(range(asked.windows)), list(task.targets)
    provenance = {"checkpoint": "memory", "subset": "all", **provenance_of(task.metadata, cube)}

    start = time.perf_counter()
    maps = task.predict(cube, windows)
    mapped = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        scored = ScoredMaps(maps, baseline_maps(cube, split.train, windows, targets), cube, windows)
        evaluate_maps(scored, targets, Path(folder), provenance)
    whole = time.perf_counter() - start

    start = time.perf_counter()
    baselines = baseline_maps(cube, split.train, windows, targets)
    fitted = time.perf_counter() - start
    score_maps(ScoredMaps(maps, baselines, cube, windows), targets, asdict(Scoring()))
    scored = time.perf_counter() - start - fitted
    seconds = {"maps of the net": mapped, "baselines": fitted, "scores and intervals": scored}
    seconds["figures, report, files"] = whole - sum(seconds.values())
    print(f"evaluation of {asked.windows} windows of {asked.height} × {asked.width} px: {whole:.0f} s")
    print(table(("part", "seconds", "share"), [(name, f"{s:.1f}", f"{s / whole:.0%}") for name, s in seconds.items()]))


if __name__ == "__main__":
    main()
