"""What a run prints: its split, implausible values, the validation score, and where its files lie."""

import logging
from collections.abc import Sequence
from pathlib import Path

import xarray as xr
from pytorch_lightning.utilities import rank_zero_only

from snowmap.data.cube import archive_names, narrowed, window_names
from snowmap.data.plausibility import implausible
from snowmap.data.radar.phase import estimate_phase_sign
from snowmap.data.splits.split import Split
from snowmap.evaluation.kinds import kind_of
from snowmap.runs.folder import RunFolder
from snowmap.runs.selection import Fits
from snowmap.tables import print_table

logger = logging.getLogger(__name__)


@rank_zero_only
def print_splits(splits: Sequence[Split], cubes: Sequence[xr.Dataset]) -> None:
    """Print what of each Cube trains, validates and tests, with its dates."""
    for name, split, cube in zip(archive_names([cube.attrs for cube in cubes]), splits, cubes, strict=True):
        _print_split(f"split of {name}" if name else "split", split, cube)


def _print_split(title: str, split: Split, cube: xr.Dataset) -> None:
    names = window_names(cube)
    dates = {
        subset: " … ".join(dict.fromkeys((names[windows[0]], names[windows[-1]]))) if windows else "–"
        for subset, windows in split.subsets.items()
    }
    if split.validation_area is None:
        dates["validation"] = ", ".join(names[window] for window in split.validation)
    windows = [str(len(windows)) for windows in split.subsets.values()]
    print_table(title, {"subset": split.subsets, "windows": windows, "dates": dates.values()}, folded=["dates"])
    inside = cube["mask"].values
    pixels = {subset: int((inside & area).sum()) for subset, area in split.areas.items() if area is not None}
    if pixels:
        words = ", ".join(f"{subset} {count:,}" for subset, count in pixels.items())
        print(f"of {inside.sum():,} pixels: {words}")
    if split.note:
        print(f"note: {split.note}")


@rank_zero_only
def print_fits(fits: Fits) -> None:
    """Print what chooses the epoch, and which windows train in the end."""
    print(f"the epoch is chosen by {fits.chosen_by}{', in a first fit of its own' if fits.first else ''}")
    if not any(split.validation for split in fits.final):
        print("a final fit trains on the validation windows, too")


@rank_zero_only
def warn_of_values(
    splits: Sequence[Split], cubes: Sequence[xr.Dataset], targets: Sequence[str], phase_sign: int | None
) -> None:
    """Warn of training pixels outside the plausible range of their band or target, and of phases of another sign.

    Args:
        splits: Of each Cube.
        cubes: The Cubes that are trained on.
        targets: Names of the targets.
        phase_sign: What is configured; None if it is estimated, which takes the phase of all Cubes for of one sign.
    """
    signs = {}
    for name, split, cube in zip(archive_names([cube.attrs for cube in cubes]), splits, cubes, strict=True):
        if not split.train:
            continue
        windows = f"training windows of {name}" if name else "training windows"
        for sentence in implausible(cube, split, targets):
            logger.warning("%s: %s; mend the rasters or leave the windows out", windows, sentence)
        if "unwrapped_phase" in cube["band"].values and (phase_sign or len(cubes) > 1):
            signs[windows] = estimate_phase_sign([(narrowed(cube, split.train_area), split.train)])
    for windows, sign in signs.items():
        if sign != (phase_sign or next(iter(signs.values()))):
            expected = f"data.phase_sign={phase_sign}" if phase_sign else "the opposite in those before"
            logger.warning(
                "%s: the unwrapped phase %s with snow, against %s; multiply the phase of the archives of another "
                "processor by −1",
                *(windows, "grows" if sign > 0 else "falls", expected),
            )


def print_validation(run: RunFolder) -> None:
    """Print how long the training was and how the best checkpoint maps the validation windows."""
    epochs = f"{run.record['epochs']} epochs, " if run.record["epochs"] else ""
    validation, texts = run.record["validation"], []
    for name, scored in validation.items():
        main = kind_of(scored).columns[0]
        value = "unknown" if scored[main.score] is None else f"{scored[main.score]:.3g} {scored.get('unit', '')}"
        texts.append(f"{name.upper()} {value}".strip())
    score = kind_of(next(iter(validation.values()))).columns[0].head.format("").strip()
    print(f"\n{epochs}validation {score} {', '.join(texts)}")


def print_files(folder: Path, subset: str) -> None:
    """Print where things lie and the next command to type, once `subset` (or none) was scored."""
    best, out = folder / "checkpoints" / "best.ckpt", folder / "evaluation" / subset
    print(f"checkpoint   {best}")
    names = {"report": "report.html", "score table": "metrics.csv", "maps": "predictions.nc", "figure": "maps.png"}
    for words, name in names.items():
        for file in sorted(out.rglob(name)):  # of several archives, in a folder for each
            print(f"{words:<13}{file}")
    print(f"next         python evaluate.py ckpt={best} split={'validation' if subset == 'test' else 'test'}")
