"""All models, several seeds each, on the synthetic archive: writes docs/results-synthetic.md.

Each run is what a user would type, ``python train.py model=… split=winters seed=…``. The archive is written afresh;
test windows are scored once, at the end of each run, and the model is chosen by the validation winter alone.

python -m benchmarks.results [--seeds 0 1 2] [--height 93] [--width 211] [--jobs 2] [--out docs/results-synthetic.md]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import ROOT, spread, table
from snowmap.baselines import label_of
from snowmap.sources.synthetic import synthesize
from snowmap.sources.trentino import write_archive

FORMS = {
    "unet": ("model=unet",),
    "unet, without season sums": ("model=unet", "data.derived=[day_of_year]"),
    "unet, stack of 6": ("model=unet", "model.time=stack"),
    "convlstm": ("model=convlstm",),
    "transformer": ("model=transformer",),
    "unet3d": ("model=unet3d",),
    "massbalance": ("model=massbalance",),
}


class Run(NamedTuple):
    """One training: scores in cm, minutes of wall time, and the scores of the baselines."""

    validation: float
    test: float
    bias: float
    minutes: float
    baselines: dict[str, dict[str, Any]]


def train(form: str, seed: int, more: Sequence[str], archive: Path, folder: Path) -> Run:
    """Train and score one model in a process of its own, on one thread."""
    words = [*FORMS[form], f"seed={seed}", f"data.root={archive}", f"hydra.run.dir={folder}", *more]
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "train.py"), *words, "trainer.enable_progress_bar=false"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    minutes = (time.perf_counter() - start) / 60
    scores = json.loads((folder / "evaluation" / "test" / "metrics.json").read_text())["target"]["swe"]
    validation = json.loads((folder / "run.json").read_text())["validation"]["swe"]["rmse"]
    print(f"{form}, seed {seed}: validation {validation:.2f}, test {scores['model']['rmse']:.2f} cm", flush=True)
    return Run(validation, scores["model"]["rmse"], scores["model"]["bias"], minutes, scores["baselines"])


def report(runs: dict[str, list[Run]], asked: argparse.Namespace, origin: str) -> str:
    """The page."""
    chosen = min(runs, key=lambda form: statistics.mean(run.validation for run in runs[form]))
    rows = [
        (
            f"**{form}**" if form == chosen else form,
            spread([run.validation for run in found]),
            spread([run.test for run in found]),
            spread([run.bias for run in found]),
            f"{statistics.mean(run.minutes for run in found):.1f}",
        )
        for form, found in runs.items()
    ]
    baselines = next(iter(runs.values()))[0].baselines
    rows += [(label_of(name), "–", f"{found['rmse']:.2f}", f"{found['bias']:.2f}", "–")
             for name, found in baselines.items()]  # fmt: skip
    head = ("model", "validation RMSE, cm", "test RMSE, cm", "test bias, cm", "minutes")
    seeds = ", ".join(map(str, asked.seeds))
    shape = f" --height {asked.height} --width {asked.width}" if (asked.height, asked.width) != (93, 211) else ""
    more = f" --words {' '.join(asked.words)}" if asked.words != ["split=winters"] else ""
    return f"""# Results on synthetic data

**Synthetic: these figures prove that the pipeline works and compare the models with each other on made-up snow. They
are no measure of skill.** Archive: {origin}; {asked.height} × {asked.width} px.

SWE, mean ± standard deviation over the seeds {seeds}, each model with the settings of its file in `conf/model/`.
`{" ".join(asked.words)}`; the test windows are the last seven, in a snow drought. Bold is the model that the validation
windows choose; nothing was chosen by the test windows. Minutes are wall time on one thread, with evaluation,
whatever else ran on the machine. Baselines need no seed; the last-seen map needs a known past.

{table(head, rows)}

Made by `python -m benchmarks.results{shape}{more}`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--words", nargs="+", default=["split=winters"], help="for train.py, the same for all")
    parser.add_argument("--height", type=int, default=93)
    parser.add_argument("--width", type=int, default=211)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results-synthetic.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cube = synthesize(shape=(asked.height, asked.width))
        archive = write_archive(cube, Path(folder) / "Dataset_icip2026")
        jobs = [(form, seed) for seed in asked.seeds for form in asked.models]
        with ThreadPoolExecutor(asked.jobs) as pool:
            tasks = {
                job: pool.submit(train, *job, asked.words, archive, Path(folder) / f"run{number}")
                for number, job in enumerate(jobs)
            }
            runs = {form: [tasks[form, seed].result() for seed in asked.seeds] for form in asked.models}
    asked.out.write_text(report(runs, asked, cube.attrs["origin"]))
    print(asked.out)


if __name__ == "__main__":
    main()
