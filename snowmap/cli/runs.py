"""Commands on many runs: `summarize`, `runs`."""

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Add the parsers of the commands."""
    summarize = commands.add_parser("summarize", help="compare the runs of a sweep: over folds, or of an ablation")
    summarize.add_argument("sweep", type=Path, help="the folder of the sweep, with a run in each of its folders")
    summarize.set_defaults(run=_summarize)

    runs = commands.add_parser("runs", help="a table of all runs below a folder, sorted by a validation score")
    runs.add_argument("folder", type=Path, help="e.g. outputs; runs may lie in it at any depth")
    runs.add_argument(
        "--by", help="e.g. mae, r2, or swe.rmse where there are several targets (default: rmse, of classes iou)"
    )
    runs.add_argument("--each", action="store_true", help="a row for each run, not one for all seeds")
    runs.add_argument("--out", type=Path, help="folder for runs.csv, .json, .md and .png (default: the folder)")
    runs.set_defaults(run=_runs)


def _summarize(options: argparse.Namespace) -> None:
    from snowmap.sweeps import summarize

    summarize(options.sweep)


def _runs(options: argparse.Namespace) -> None:
    from snowmap.sweeps.output import publish
    from snowmap.sweeps.runs_table import runs_table

    publish(runs_table(options.folder, options.by, options.each), options.out or options.folder)
