"""`snowmap check` on scenes of a SAR time series: what is there, and every scene that cannot be read."""

from pathlib import Path

import numpy as np

from snowmap.data.cube import is_synthetic, units_of
from snowmap.errors import SnowmapError
from snowmap.sources.sar_stack.labels import label_files
from snowmap.sources.sar_stack.layout import scene_roots
from snowmap.sources.sar_stack.opening import open_source
from snowmap.tables import print_findings, print_table

LOOKED_AT = 3
"""Dates of a scene of which values are looked at: the first, the last, and those in between."""


def holds_scenes(root: Path) -> bool:
    """Whether a folder has rasters in the layout of ``data=sar_stack``, and is no archive of interferograms."""
    if any((root / name).exists() for name in ("master_mask.tif", "INSAR", "ITSNOW", "S3")):
        return False
    try:
        return bool(scene_roots({}, str(root)))
    except SnowmapError:
        return False


def check_scenes(root: Path) -> bool:
    """Print a table of the scenes below a folder, and their faults; returns whether there are any."""
    rows, faults = [], []
    origin = ""
    for place in map(Path, scene_roots({}, str(root))):
        try:
            cube = open_source({"root": str(place)}, ())
            windows = np.unique(np.linspace(0, cube.sizes["window"] - 1, LOOKED_AT).round().astype(int))
            values = cube["features"].isel(window=windows).values
        except SnowmapError as error:
            faults.append(str(error))
            continue
        medians = [
            f"{name} {np.median(band[np.isfinite(band)]) if np.isfinite(band).any() else np.nan:.3g} {unit}"
            for (name, unit), band in zip(units_of(cube).items(), np.moveaxis(values, 1, 0), strict=True)
        ]
        days = np.datetime_as_string(cube["start"].values, "D")
        outlines, whole, dated = label_files(place)
        labels = [file.name for file in (outlines, whole) if file] + ([f"{len(dated)} × classes"] if dated else [])
        rows.append(
            (
                place.name,
                f"{len(days)}: {days[0]} … {days[-1]}",
                f"{cube.sizes['y']} × {cube.sizes['x']}",
                f"{cube['mask'].values.mean():.0%}",
                ", ".join(medians),
                ", ".join(labels) or "none",
            )
        )
        origin = str(cube.attrs["origin"]) if is_synthetic(cube) else origin
    heads = ("scene", "dates", "pixels", "cover", "median of each band", "labels")
    if rows:
        print_table("scenes", dict(zip(heads, zip(*rows, strict=True), strict=True)), folded=heads[1:])
    verdict = f"NOT fit to read: {len(faults)} faults" if faults else "fit to read with data=sar_stack"
    print_findings(f"{root}: {verdict}", faults, origin=origin)
    return bool(faults)
