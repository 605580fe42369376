"""What masked pre-training is worth: from scratch, frozen and fine-tuned × share of the training × seeds.

It writes docs/results-pretraining.md. Patches, snow and glaciers are synthetic. Each seed has a pre-training of its
own, by the command that a user types. A share of the snow's training windows, or of the rectangles that train on
glaciers, is drawn by the seed, the smaller shares out of the larger ones, the same for all three ways; what validates
and tests stays as it is. Every run takes the same number of steps. The validation chooses the epoch, and for each way
the learning rate.

python -m benchmarks.transfer [--seeds 0 1 2] [--shares 0.1 0.25 0.5 1] [--rates 2e-3 5e-4] [--steps 600] [--jobs 1]
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import count, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from benchmarks.common import configuration, table
from snowmap.data.splits import split_cubes
from snowmap.data.splits.split import Split
from snowmap.evaluation.scoring import scores_of
from snowmap.runs.training import make_trainer, quiet
from snowmap.sources import open_cubes
from snowmap.tasks.build import make_parts
from snowmap.tasks.pixel import SnowRegression

ROOT = Path(__file__).parents[1]
RECTANGLES = 4
"""Of a scene of glaciers, on a side."""


class Kind(NamedTuple):
    """What is mapped: words for `train.py`, target and score, its words and whether more of it is better."""

    words: tuple[str, ...]
    target: str
    score: str
    shown: str
    digits: int
    sign: int


KINDS = {
    "snow": Kind(
        ("split=winters", "data.derived=[day_of_year,slope,cumulative_pdd,cumulative_phase_swe]"),
        *("swe", "rmse", "RMSE of SWE, cm", 2, -1),
    ),
    "glaciers": Kind(
        (
            *("data=sar_stack", "target=glacier", "task=segmentation", "data.derived=[slope]", "split=scenes"),
            *("data.crop=[64,64]", "data.patches=16"),
        ),
        *("glacier", "iou", "IoU of glaciers", 3, 1),
    ),
}
RECIPE = (
    *("data.batch_size=8", "optimizer.learning_rate=1e-3", "optimizer.reference_batch=null", "trainer.max_epochs=8"),
    *("optimizer.warmup_steps=20", "pretraining.width=16", "pretraining.probe=0"),
)
"""Of few patches; that of the experiment is of a million."""

WAYS = {"from scratch": (), "frozen": ("init_from={}", "freeze=encoder"), "fine-tuned": ("init_from={}",)}


class Job(NamedTuple):
    """One training."""

    kind: str
    share: float
    way: str
    seed: int
    rate: float


class Scores(NamedTuple):
    """Of one training, on what chose its epoch and on what is scored once."""

    validation: float
    test: float


def share_of(kind: str, cubes: Sequence[xr.Dataset], splits: Sequence[Split], share: float, seed: int) -> list[Split]:
    """The splits with a share of what trains; a smaller one is part of a larger one of the same seed."""
    if kind == "snow":
        ((split,), order) = splits, np.random.default_rng(seed).permutation(splits[0].train)
        return [replace(split, train=sorted(order[: _part(share, order)].tolist()))]
    for attempt in count():
        part, smallest = (
            [
                _rectangles(cube, [seed, attempt, number], size) if split.train else split.train_area
                for number, (cube, split) in enumerate(zip(cubes, splits, strict=True))
            ]
            for size in (share, min(share, 0.1))
        )
        ice = [cube["glacier"].values[-1][area] for cube, area in zip(cubes, smallest, strict=True) if area is not None]
        if {0, 1} <= set(np.concatenate(ice)):  # both classes
            return [replace(split, train_area=area) for split, area in zip(splits, part, strict=True)]
    raise AssertionError


def _rectangles(cube: xr.Dataset, seed: list[int], share: float) -> np.ndarray:
    y, x = (np.arange(cube.sizes[side]) * RECTANGLES // cube.sizes[side] for side in ("y", "x"))
    order = np.random.default_rng(seed).permutation(RECTANGLES**2)
    return np.isin(y[:, None] * RECTANGLES + x, order[: _part(share, order)])


def _part(share: float, order: np.ndarray) -> int:
    return max(1, round(share * len(order)))


def train(job: Job, asked: argparse.Namespace, root: Path, folder: Path) -> Scores:
    """Train in `folder`, and score the epoch that the validation chose."""
    quiet()
    torch.set_num_threads(1)
    kind, checkpoint = KINDS[job.kind], root / f"pretraining_{job.seed}" / "checkpoints" / "best.ckpt"
    words = [word.format(checkpoint) for word in WAYS[job.way]]
    words += [*kind.words, f"data.root={root / job.kind}", f"model.channels={asked.channels}", f"seed={job.seed}"]
    config = configuration("model=unet", *words, f"optimizer.learning_rate={job.rate}", "callbacks.ema=null")
    cubes = open_cubes(config["data"], config["target"]["names"])
    splits = share_of(job.kind, cubes, split_cubes(cubes, config["split"]), job.share, job.seed)
    with contextlib.redirect_stdout(io.StringIO()):  # the table of what is taken is the same for all of a way
        task, datamodule = make_parts(config, cubes, splits)
    epochs = max(1, round(asked.steps / len(datamodule.train_dataloader())))
    config["trainer"] |= {"max_epochs": epochs, "check_val_every_n_epoch": max(1, epochs // asked.validations)}
    make_trainer(config, folder).fit(task, datamodule)
    model = SnowRegression.load_from_checkpoint(folder / "checkpoints" / "best.ckpt")
    validation, test = (
        float(scores_of(model, cubes, subset)[kind.target][kind.score]) for subset in ("validation", "test")
    )
    print(f"{', '.join(map(str, job))}: validation {validation:.3f}, test {test:.3f}", flush=True)
    return Scores(validation, test)


def prepare(asked: argparse.Namespace, root: Path) -> None:
    """Write the synthetic data, and pre-train with each seed."""
    rows, columns = (str(size) for size in asked.shape)
    side = str(asked.scene)
    synthesize = [sys.executable, "-m", "snowmap.cli", "synthesize"]
    _run(*synthesize, root / "snow", "--shape", rows, columns)
    _run(*synthesize, root / "glaciers", "--kind", "glaciers", "--scenes", 5, "--shape", side, side)
    _run(*synthesize, root / "patches", "--kind", "na_sar", "--patches", asked.patches, "--shards", 4)
    for seed in asked.seeds:
        words = [f"data.root={root / 'patches'}", "model=unet", f"model.channels={asked.channels}", f"seed={seed}"]
        words += [*RECIPE, "logger=none", f"hydra.run.dir={root / f'pretraining_{seed}'}", *asked.pretraining]
        _run(sys.executable, ROOT / "train.py", "experiment=na_sar_pretraining", *words)


def _run(*command: Any) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    print(" ".join(words[1:]), flush=True)


def chosen(runs: dict[Job, Scores], asked: argparse.Namespace) -> dict[tuple[str, float, str], list[Scores]]:
    """Of each kind, share and way the runs of all seeds at the learning rate that the validation prefers."""
    best = {}
    for kind, share, way in product(asked.kinds, asked.shares, WAYS):
        of_rates = [[runs[Job(kind, share, way, seed, rate)] for seed in asked.seeds] for rate in asked.rates]
        best[kind, share, way] = max(
            of_rates, key=lambda found: KINDS[kind].sign * statistics.mean(run.validation for run in found)
        )
    return best


def report(runs: dict[Job, Scores], asked: argparse.Namespace, command: str) -> str:
    """The page."""
    parts, best, helps = [], chosen(runs, asked), {way: [] for way in list(WAYS)[1:]}
    for name in asked.kinds:
        kind, rows = KINDS[name], []
        for share, way in product(asked.shares, WAYS):
            found, scratch = best[name, share, way], best[name, share, "from scratch"]
            gains = [kind.sign * (run.test - other.test) for run, other in zip(found, scratch, strict=True)]
            verdict = "–"
            if way in helps:
                verdict = "yes" if min(gains) > 0 else "no, it harms" if max(gains) < 0 else "not shown"
                helps[way].append(verdict == "yes")
            scores = [_spread(values, kind.digits) for values in zip(*found, strict=True)]
            rows.append((f"{share:.0%}", way, *scores, _spread(gains, kind.digits) if way in helps else "–", verdict))
        head = ("share", "way", f"validation, {kind.shown}", f"test, {kind.shown}", "gain over scratch", "helps")
        parts.append(f"## {name.capitalize()}\n\n{table(head, rows)}\n")
    said = [f"{way} encoders help in {sum(of_way)} of {len(of_way)} rows" for way, of_way in helps.items()]
    tables, seeds, rates = (
        "\n".join(parts),
        ", ".join(map(str, asked.seeds)),
        ", ".join(map("{:g}".format, asked.rates)),
    )
    return f"""# What masked pre-training is worth

**Synthetic shards, snow and glaciers: these figures prove the path and no more. What pre-training on NA-SAR is worth,
they do not say.**

{"; ".join(said).capitalize()}: there the test is better than from scratch with every seed, as chance alone would have
it in one row of {2 ** len(asked.seeds)}. Where a row says "no" or "not shown", pre-training did not help.

A U-Net of {asked.channels} channels, pre-trained on {asked.patches} patches
(`{" ".join(["experiment=na_sar_pretraining", *RECIPE, *asked.pretraining])}`),
then {asked.steps} steps in every run. Mean ± standard deviation over the seeds {seeds}, each with a pre-training of its
own. The share is that of the training windows (snow), or of the rectangles that train (glaciers), the same for the
three ways; what validates and tests stays as it is. The validation chooses the epoch and the learning rate of each way,
one of {rates}; the test is scored once. Gains are paired: the test score of the way against that from scratch with the
same seed, positive where it is better.

What patches and archive have in common is taken: of snow coherence, phase, incidence, elevation and slope, of glaciers
elevation and slope. Backscatter is in other units (`log(1 + 20 γ⁰)` there, dB here) and begins at zero, as do weather
and unwrapped phase: a frozen encoder never reads them.

{tables}
Made by `python -m benchmarks.transfer{command}`.
"""


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.1, 0.25, 0.5, 1.0])
    parser.add_argument("--rates", nargs="+", type=float, default=[2e-3, 5e-4], help="learning rates to choose from")
    parser.add_argument("--steps", type=int, default=600, help="of every run")
    parser.add_argument("--validations", type=int, default=12, help="of every run")
    parser.add_argument("--channels", default="[16,48,96,192]")
    parser.add_argument("--patches", type=int, default=1024)
    parser.add_argument("--pretraining", nargs="*", default=[], help="further words for train.py")
    parser.add_argument("--shape", nargs=2, type=int, default=[93, 211], help="of the archive of snow, px")
    parser.add_argument("--scene", type=int, default=256, help="side of a scene of glaciers, px")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, each on one thread")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results-pretraining.md")
    asked = parser.parse_args()
    given = sys.argv[1:]
    if "--out" in given:
        del given[given.index("--out") : given.index("--out") + 2]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(asked, root)
        jobs = [Job(*job) for job in product(asked.kinds, asked.shares, WAYS, asked.seeds, asked.rates)]
        with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
            tasks = {
                job: pool.submit(train, job, asked, root, root / f"run_{number}") for number, job in enumerate(jobs)
            }
            runs = {job: done.result() for job, done in tasks.items()}
    asked.out.write_text(report(runs, asked, "".join(f" {word}" for word in given)))
    print(asked.out)


if __name__ == "__main__":
    main()
