"""The evaluation on disk: metrics.json, metrics.csv, predictions.nc, maps.png and report.html."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from snowmap.baselines import baseline_maps
from snowmap.config.schema import Scoring
from snowmap.evaluation.figures import maps_figure
from snowmap.evaluation.printing import as_frame
from snowmap.evaluation.report import write_report
from snowmap.evaluation.tables import score_maps
from snowmap.files import as_png, whole_folder, write_whole
from snowmap.maps.netcdf import write_predictions
from snowmap.tables import as_csv


def evaluate_maps(
    maps: xr.Dataset,
    cube: xr.Dataset,
    windows: Sequence[int],
    train: Sequence[int],
    targets: Sequence[str],
    out: Path,
    provenance: Mapping[str, Any],
    scoring: Mapping[str, Any] | None = None,
    known: xr.Dataset | None = None,
) -> dict[str, Any]:
    """Score maps beside the baselines and write the five files; files of an earlier evaluation there are replaced.

    Args:
        maps: Predictions ``(window, y, x)``, one variable for each target.
        cube: The Cube that was mapped.
        windows: Index in the Cube of each window of `maps`.
        train: Indices of the training windows.
        targets: Names of the targets.
        out: Folder for the files.
        provenance: Kept in the files; ``part`` and ``scored_archive`` are shown.
        scoring: Thresholds, classes and resamples, of `snowmap.config.schema.Scoring`; its defaults if None.
        known: The Cube whose targets the baselines may see, if not all of those of `cube`.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        SnowmapError: When there is no valid pixel to score, or `out` cannot be written.
    """
    options = asdict(Scoring()) if scoring is None else scoring
    baselines = baseline_maps(cube if known is None else known, train, windows, targets)
    scored = score_maps(maps, baselines, cube, windows, targets, options)
    result = {**scored, "provenance": {**provenance, "scoring": dict(options)}}
    with whole_folder(out) as unfinished:
        write_whole(unfinished / "metrics.json", json.dumps(result, indent=2))
        write_whole(unfinished / "metrics.csv", as_csv(as_frame(result)))
        write_predictions(maps, cube, list(windows), unfinished / "predictions.nc", provenance)
        write_whole(unfinished / "maps.png", as_png(maps_figure(maps, cube, windows, targets)))
        write_report(result, maps, cube, windows, unfinished / "report.html")
    return result
