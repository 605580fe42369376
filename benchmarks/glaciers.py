"""Both published forms of the glacier experiment, several seeds each, against every baseline of classes.

A synthetic year of radar scenes is laid over a DEM with given outlines; each run is what a user would type,
``python train.py experiment=svalbard_glaciers_3d data.root=… seed=… split=outlines split.seed=…``. The seed draws the
outlines that test, too: net and baselines of one run are scored on the same pixels, and differences are paired.
Scenes and runs are kept in the folder, where an interrupted run is resumed and a finished one is not repeated.

python -m benchmarks.glaciers --dem DEM --outlines OUTLINES [--inventory OLDER] [--small] [--seeds 0 1 2] [--jobs 1]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import ROOT, spread, table
from snowmap.baselines import label_of
from snowmap.runs.record import read_record
from snowmap.sources.synthetic.scenes import synthesize_glaciers

SMALL = (
    *("model.channels=[8,16,32]", "data.crop=[128,128]", "data.batch_size=2"),
    *("data.patches=32", "data.class_share=0.5"),  # so few patches seldom hold ice
    *("trainer.max_epochs=12", "optimizer.restarts=[4,12]"),
)
SPLIT = "split=outlines"  # blocks that are drawn at random may hold no ice
FORMS = {"svalbard_glaciers_3d": (), "svalbard_glaciers_lstm": ("model.hidden=[32]",)}
"""Experiments, and what `SMALL` is for one of them alone."""


class Run(NamedTuple):
    """IoU of a net and of the baselines on the same test pixels; weights; minutes of work, scoring included."""

    iou: float
    baselines: dict[str, float]
    weights: int
    minutes: float


def train(words: Sequence[str], seed: int, scenes: Path, folder: Path, threads: int) -> Run:
    """Train and score one model in a process of its own, unless the folder holds that run."""
    more = (f"data.root={scenes}", f"seed={seed}", f"split.seed={seed}", f"hydra.run.dir={folder}")
    command = [sys.executable, str(ROOT / "train.py"), *words, *more, "trainer.enable_progress_bar=false"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
    )
    record = read_record(folder)
    if done.returncode or record is None:
        raise SystemExit(f"{' '.join([*words, *more])} failed:\n{done.stderr}")
    scores = json.loads((folder / "evaluation" / "test" / "metrics.json").read_text())["target"]["glacier"]
    run = Run(
        scores["model"]["iou"],
        {name: of_baseline["iou"] for name, of_baseline in scores["baselines"].items()},
        record["parameters"],
        record["wall_s"] / 60,
    )
    print(f"{folder.name}: IoU {run.iou:.3f} in {run.minutes:.1f} minutes, baselines {run.baselines}", flush=True)
    return run


def report(runs: dict[str, list[Run]], inventories: Sequence[Run], seeds: Sequence[int]) -> str:
    """The table, and what it is of; `inventories` are the runs of the last inventory, if there is one."""
    any_form = next(iter(runs.values()))
    baselines = {name: [run.baselines[name] for run in any_form] for name in any_form[0].baselines}
    baselines |= {"last_inventory": [run.iou for run in inventories]} if inventories else {}
    rows = [
        (
            name,
            spread([run.iou for run in found], 3),
            *(
                spread([run.iou - other for run, other in zip(found, of_baseline, strict=True)], 3)
                for of_baseline in baselines.values()
            ),
            f"{found[0].weights:,}",
            f"{statistics.mean(run.minutes for run in found):.1f}",
        )
        for name, found in runs.items()
    ]
    rows += [(label_of(name), spread(ious, 3), *["–"] * len(baselines), "–", "–") for name, ious in baselines.items()]
    head = ("map", "IoU", *(f"− {label_of(name)}" for name in baselines), "weights", "minutes")
    missing = "" if inventories else " No older inventory was given."
    return f"""{table(head, rows)}

**Synthetic.** Mean ± standard deviation over the seeds {", ".join(map(str, seeds))}, of IoU on glaciers that no net
was trained on, and of its difference from each baseline on the same pixels. Minutes are of a run with its
scoring.{missing}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dem", type=Path, required=True, help="elevation in m, any raster")
    parser.add_argument("--outlines", type=Path, required=True, help="glaciers on it, any vector file")
    parser.add_argument("--inventory", type=Path, help="older outlines, for the baseline last_inventory")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument(
        "--small", action="store_true", help="of a processor: fewer channels, smaller patches, 12 epochs"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, among which the cores are divided")
    parser.add_argument("--folder", type=Path, default=Path("outputs/glaciers"), help="of scenes, runs and the table")
    parser.add_argument("--words", nargs="+", default=[], help="for train.py, the same for all")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    scenes, threads = folder / "scenes", max(1, (os.cpu_count() or 1) // asked.jobs)
    if not scenes.exists():
        synthesize_glaciers(scenes, scenes=1, dem=asked.dem, outlines=asked.outlines)

    def words_of(form: str) -> list[str]:
        return [f"experiment={form}", SPLIT, *((*SMALL, *FORMS[form]) if asked.small else ()), *asked.words]

    older = ("model=last_inventory", "data=sar_stack", "target=glacier", "task=segmentation", SPLIT)
    jobs = {(form, seed): words_of(form) for seed in asked.seeds for form in asked.forms}
    if asked.inventory:
        jobs |= {
            ("last_inventory", seed): [*older, f"model.path={asked.inventory.absolute()}", *asked.words]
            for seed in asked.seeds
        }
    with ThreadPoolExecutor(asked.jobs) as pool:
        size = "small" if asked.small else "published"
        tasks = {
            (name, seed): pool.submit(train, words, seed, scenes, folder / f"{name}_{size}_seed{seed}", threads)
            for (name, seed), words in jobs.items()
        }
        runs = {form: [tasks[form, seed].result() for seed in asked.seeds] for form in asked.forms}
        inventories = [tasks["last_inventory", seed].result() for seed in asked.seeds] if asked.inventory else []
    text = report(runs, inventories, asked.seeds)
    (folder / f"table_{size}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
