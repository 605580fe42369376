"""Whether an archive is fit to train on: what it holds, against what is plausible, and every fault in one go."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from snowmap.archive import Survey, survey
from snowmap.cube import BANDS, INSAR_BANDS, TARGETS, WEATHER_BANDS, Quantity, targets_of, window_names
from snowmap.errors import SnowmapError
from snowmap.splits import rolling
from snowmap.tables import plain_console

IMPLAUSIBLE_SHARE = 0.01
"""More implausible pixels than this are a fault of the band (a wrong unit, a missed sentinel), fewer are bad data."""

RADIANS = 1.6
"""No local incidence angle above this, in degrees, means that it is in radians (π/2 = 1.57)."""

PDD_TOLERANCE = 0.5
"""°C d: what rounding of daily means may take from the sum of positive degree days."""


@dataclass
class Report:
    """What `check_archive` found.

    Attributes:
        root: The archive's folder.
        origin: Where the data came from; begins with "synthetic" for synthetic data.
        faults: What makes training on the archive wrong, one sentence each.
        warnings: What a user should know, one sentence each.
        notes: Facts, one sentence each.
        windows: Rows of the table of windows: name, days, and coverage of InSAR, weather and each target.
        quantities: Rows of the table of bands and targets: name, unit, coverage, least, median, greatest, verdict.
    """

    root: Path
    origin: str = ""
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    windows: list[tuple[str, ...]] = field(default_factory=list)
    quantities: list[tuple[str, ...]] = field(default_factory=list)


def check_archive(
    root: str | Path,
    *,
    bands: Iterable[str] | None = None,
    targets: Iterable[str] = ("hs", "swe"),
    swe_unit: str = "auto",
) -> Report:
    """Check everything that can be checked without training.

    Args:
        root: The archive's folder.
        bands: Bands that every window must have; the nine of the public archive by default.
        targets: Targets that every window must have.
        swe_unit: ``auto``, ``cm`` or ``mm``.

    Returns:
        The report; the archive is fit to train on when it has no `faults`.

    Raises:
        SnowmapError: When a band or target is unknown.
    """
    found = survey(root, bands=bands, targets=targets, swe_unit=swe_unit)
    report = Report(Path(root), faults=list(found.faults), warnings=[f"left out: {line}" for line in found.excluded])
    cube = found.cube
    if cube is None:
        return report
    report.origin = str(cube.attrs["origin"])
    report.windows = _windows(cube)
    for name in (*cube["band"].values.tolist(), *targets_of(cube)):
        _check_quantity(report, cube, name)
    _check_split(report, cube)
    _check_time(report, cube)
    _check_static_elevation(report, cube)
    _check_positive_degree_days(report, cube)
    _note_swe_unit(report, cube, found)
    inside = cube["mask"].values
    report.notes.append(f"study area: {inside.sum():,} of {inside.size:,} px ({inside.mean():.0%})")
    return report


def _values(cube: xr.Dataset, name: str) -> np.ndarray:
    """(window, pixel) inside the study area."""
    maps = cube[name] if name in TARGETS else cube["features"].sel(band=name)
    return maps.values[:, cube["mask"].values]


def _windows(cube: xr.Dataset) -> list[tuple[str, ...]]:
    def coverage(names: Iterable[str]) -> list[str]:
        valid = [np.isfinite(_values(cube, name)).mean(axis=1) for name in names]
        return [f"{share:.0%}" for share in np.mean(valid, axis=0)] if valid else ["–"] * cube.sizes["window"]

    bands = cube["band"].values.tolist()
    days = ((cube["end"] - cube["start"]) / np.timedelta64(1, "D")).values.astype(int)
    columns = [window_names(cube), [str(count) for count in days]]
    columns += [coverage(name for name in bands if name in group) for group in (INSAR_BANDS, WEATHER_BANDS)]
    columns += [coverage([name] if name in cube else []) for name in TARGETS]
    return list(zip(*columns, strict=True))


def _check_quantity(report: Report, cube: xr.Dataset, name: str) -> None:
    quantity = BANDS.get(name) or _target_quantity(cube, name)
    values = _values(cube, name)
    valid = values[np.isfinite(values)].astype(np.float64)
    coverage = valid.size / values.size if values.size else 0.0
    if not valid.size:
        report.quantities.append((name, quantity.unit, "0%", "–", "–", "–", "empty"))
        return
    outside = float(((valid < quantity.low) | (valid > quantity.high)).mean())
    verdict = "ok"
    if outside > IMPLAUSIBLE_SHARE:
        verdict = "implausible"
        report.faults.append(
            f"'{name}': {outside:.1%} of the values lie outside {quantity.low:g} … {quantity.high:g} {quantity.unit} "
            f"(found {valid.min():g} … {valid.max():g}); check the unit and the no-data value of these rasters"
        )
    elif outside:
        verdict = "outliers"
        report.warnings.append(
            f"'{name}': {outside:.2%} of the values lie outside {quantity.low:g} … {quantity.high:g} {quantity.unit}"
        )
    if name == "incidence" and valid.max() < RADIANS:
        verdict = "implausible"
        report.faults.append(f"'incidence' reaches only {valid.max():.2f}: it is in radians; expected degrees")
    report.quantities.append(
        (
            name,
            quantity.unit,
            f"{coverage:.0%}",
            *(f"{value:.3g}" for value in (valid.min(), np.median(valid), valid.max())),
            verdict,
        )
    )


def _target_quantity(cube: xr.Dataset, name: str) -> Quantity:
    """Bounds in the unit that the target has in this archive."""
    quantity, unit = TARGETS[name], cube[name].attrs["units"]
    scale = 10 if unit == "mm" else 1
    return quantity._replace(unit=unit, low=quantity.low * scale, high=quantity.high * scale)


def _check_split(report: Report, cube: xr.Dataset) -> None:
    try:
        split = rolling(cube["start"].values, cube["end"].values)
    except SnowmapError as error:
        report.faults.append(str(error))
        return
    counts = ", ".join(f"{len(windows)} {part}" for part, windows in split.parts.items())
    report.notes.append(f"split=rolling: {counts}")


def _check_time(report: Report, cube: xr.Dataset) -> None:
    start, end = (cube[name].values.astype("datetime64[D]") for name in ("start", "end"))
    days = (end - start).astype(int)
    if len(set(days.tolist())) > 1:
        report.warnings.append(
            f"windows of {days.min()} to {days.max()} days: their changes cannot be compared directly"
        )
    shared = sum(bool((end == first).any()) for first in start)
    report.notes.append(f"{shared} of {len(start)} windows begin with the acquisition that ended another one")
    for previous, following in zip(end[:-1], start[1:], strict=True):
        if following > previous:
            report.warnings.append(
                f"gap of {(following - previous).astype(int)} days: no window from {previous} to {following}"
            )


def _check_static_elevation(report: Report, cube: xr.Dataset) -> None:
    if "elevation" in cube["band"].values:
        heights = _values(cube, "elevation")
        spread = np.fmax.reduce(heights, axis=0) - np.fmin.reduce(heights, axis=0)
        if (changed := float(np.nanmax(spread, initial=0))) > 1:
            report.warnings.append(f"'elevation' changes between windows by up to {changed:.0f} m")


def _check_positive_degree_days(report: Report, cube: xr.Dataset) -> None:
    """PDD ≥ days · max(mean temperature, 0), since the mean of positive parts is no less than the part of the mean."""
    if not {"mean_temperature", "pdd"} <= set(cube["band"].values.tolist()):
        return
    days = ((cube["end"] - cube["start"]) / np.timedelta64(1, "D")).values[:, None]
    least = days * np.maximum(_values(cube, "mean_temperature"), 0)
    pdd = _values(cube, "pdd")
    both = np.isfinite(least) & np.isfinite(pdd)
    share = float((pdd[both] < least[both] - PDD_TOLERANCE).mean()) if both.any() else 0.0
    if share:
        report.warnings.append(
            f"'pdd' is below days × max(mean temperature, 0) in {share:.1%} of the pixels: not a sum over daily means"
        )
    else:
        report.notes.append("PDD ≥ days × max(mean temperature, 0) everywhere")


def _note_swe_unit(report: Report, cube: xr.Dataset, found: Survey) -> None:
    if "swe" in cube:
        ratio = "no HS to compare with" if found.swe_per_hs is None else f"median of SWE/HS {found.swe_per_hs:.3f}"
        report.notes.append(f"SWE is in {cube['swe'].attrs['units']} ({ratio})")


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the tables, then notes, warnings, every fault and the verdict."""
    console = console or plain_console()
    for title, heads, rows in (
        (
            "windows (coverage inside the study area)",
            ("window", "days", "InSAR", "weather", *(name.upper() for name in TARGETS)),
            report.windows,
        ),
        ("bands and targets", ("name", "unit", "cover", "least", "median", "greatest", "verdict"), report.quantities),
    ):
        if rows:
            table = Table(title=title, title_justify="left")
            for head in heads:
                table.add_column(head, justify="left" if head in ("window", "name", "unit", "verdict") else "right")
            for row in rows:
                table.add_row(*row)
            console.print(table)
    if report.origin.startswith("synthetic"):
        console.print(
            f"SYNTHETIC data ({report.origin}): it proves the pipeline, never skill", style="bold red", soft_wrap=True
        )
    for label, style, lines in (
        ("note", "", report.notes),
        ("warning", "yellow", report.warnings),
        ("FAULT", "bold red", report.faults),
    ):
        for line in lines:
            console.print(f"{label}: {line}", style=style, soft_wrap=True)
    verdict = f"NOT fit to train on: {len(report.faults)} faults" if report.faults else "fit to train on"
    console.print(f"{report.root}: {verdict}", style="bold", soft_wrap=True)
