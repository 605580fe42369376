"""Models on archives by code that is not the package's (tests/winters.py): writes docs/results-other-archives.md, with
precipitation docs/results-precipitation.md.

Each run is what a user would type, ``python train.py model=… split=winters seed=…``. Runs are kept in the folder, where
a finished one is not repeated.

python -m benchmarks.other_archives [--archives 10 … 19] [--models massbalance] [--seeds 0 1] [--precipitation]
"""

import argparse
import statistics
from collections.abc import Mapping
from datetime import date
from itertools import product
from pathlib import Path

from benchmarks.common import ROOT, spread, table
from benchmarks.results import FORMS, Run, train
from snowmap.baselines import label_of
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.winters import every, write_winters

WINDOWS = every(12, date(2019, 9, 3), date(2022, 4, 15))
WITH_PRECIPITATION = f"data.bands=[{','.join(STANDARD_BANDS)},precipitation]"
PRECIPITATION = """All models and baselines may read the precipitation of a reanalysis: the same for all pixels, off by
a fifth over the years and by a third in each storm (assumed).

"""
NEEDS_PAST = "persistence"
"""The baseline that no model is asked to beat."""

AIM = 0.65
"""Error ÷ that of the best baseline, as mean over archives."""

OfArchive = Mapping[str, list[Run]]
"""The runs of each model, one for each seed."""


def report(archives: Mapping[int, OfArchive], asked: argparse.Namespace) -> str:
    """The page."""
    rows, ratios = [], []
    for number, runs in archives.items():
        chosen = min(runs, key=lambda form: statistics.mean(run.validation for run in runs[form]))
        tests = [run.test for run in runs[chosen]]
        baselines = {name: scores["rmse"] for name, scores in runs[chosen][0].baselines.items() if name != NEEDS_PAST}
        best = min(baselines, key=lambda name: baselines[name])
        ratios.append(statistics.mean(tests) / baselines[best])
        validation = spread([run.validation for run in runs[chosen]])
        beside = (label_of(best), f"{baselines[best]:.2f}", f"{ratios[-1]:.2f}")
        rows.append((str(number), chosen, validation, spread(tests), *beside))
    head = ("archive", "model", "validation RMSE, cm", "test RMSE, cm", "best baseline", "its test RMSE, cm", "ratio")
    choice = f"Of {', '.join(asked.models)} the validation winter of each archive chooses the model"
    choice = choice if len(asked.models) > 1 else f"The model is {asked.models[0]}, with nothing to choose from"
    missed = "" if statistics.mean(ratios) <= AIM else f" The aim of {AIM} is missed."
    options = {"archives": archives, "models": asked.models, "seeds": asked.seeds, "words": asked.words}
    words = " ".join(f"--{key} {' '.join(map(str, values))}" for key, values in options.items())
    precipitation = PRECIPITATION if asked.precipitation else ""
    return f"""# Archives by other code{", with precipitation" * asked.precipitation}

**Synthetic: these figures are no measure of skill.** `tests/winters.py` shares no code with the package, and no formula
but the permittivity of dry snow: melt by temperature and sun (Pellicciotti et al. 2005), speckle by averaging looks,
storms and atmosphere unwrapped by scikit-image, no phase through wet snow. {len(WINDOWS)} windows of 12 days over three
winters, {asked.height} × {asked.width} px; `{" ".join(asked.words)}`, whose test is the last seven windows.

{precipitation}{choice}; errors are mean ± standard deviation over the seeds {", ".join(map(str, asked.seeds))}.
The best baseline is that with the lowest error on the test windows of all that need no known past: no choice by
validation would do better.

{table(head, rows)}

Mean ratio (archives: {len(ratios)}): {spread(ratios)}.{missed}

Made by `python -m benchmarks.other_archives {words}{" --precipitation" * asked.precipitation}`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", nargs="+", type=int, default=[*range(10, 20)], help="their seeds")
    parser.add_argument("--models", nargs="+", choices=list(FORMS), default=["massbalance"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--words", nargs="+", default=["split=winters"], help="for train.py, the same for all")
    parser.add_argument("--precipitation", action="store_true", help="of a reanalysis is among the bands")
    parser.add_argument("--height", type=int, default=40)
    parser.add_argument("--width", type=int, default=56)
    parser.add_argument("--folder", type=Path, default=Path("outputs/other_archives"))
    parser.add_argument("--out", type=Path, help="the page, if another")
    asked = parser.parse_args()
    page = "results-precipitation.md" if asked.precipitation else "results-other-archives.md"
    out = asked.out or ROOT / "docs" / page
    folder, archives = asked.folder.absolute(), {}
    words = [*asked.words, *[WITH_PRECIPITATION] * asked.precipitation]
    kind = " with precipitation" * asked.precipitation
    for number in asked.archives:
        root = folder / f"archive{number}{kind}"
        if not (root / "master_mask.tif").is_file():
            shape = (asked.height, asked.width)
            write_winters(root, WINDOWS, seed=number, shape=shape, precipitation=asked.precipitation)
        runs: dict[str, list[Run]] = {form: [] for form in asked.models}
        for form, seed in product(asked.models, asked.seeds):
            runs[form].append(train(form, seed, words, root, folder / f"{number} {form} {seed}{kind}"))
        archives[number] = runs
    out.write_text(report(archives, asked))
    print(out)


if __name__ == "__main__":
    main()
