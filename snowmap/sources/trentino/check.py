"""Whether an archive is fit to train on: what it holds, against what is plausible, and every fault in one go."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from snowmap.data.cube import quantities_of, window_names
from snowmap.data.plausibility import Tally, values_inside
from snowmap.data.radar.network import overlap, parts, triplets
from snowmap.data.splits.dates import rolling
from snowmap.data.splits.split import Split
from snowmap.errors import SnowmapError
from snowmap.physics import SENTINEL_1_WAVELENGTH, phase_of_swe_oveisgharan
from snowmap.sources.trentino import survey
from snowmap.sources.trentino.layout import files_of
from snowmap.sources.trentino.opening import UNKNOWN, stated
from snowmap.sources.trentino.quantities import FURTHER_BANDS, INSAR_BANDS, SWE_IN_UNITS, TARGETS, WEATHER_BANDS
from snowmap.sources.trentino.raster import WAVELENGTH_TAG
from snowmap.sources.zarr import is_store, survey_store
from snowmap.tables import print_findings, print_table

IMPLAUSIBLE_SHARE = 0.01
"""More implausible pixels than this are a fault of the band (a wrong unit, a missed sentinel), fewer are bad data."""

PDD_TOLERANCE = 0.5
"""°C d: what rounding of daily means may take from the sum of positive degree days."""


CLOSURE_PIXELS = 10_000
"""Of each window, evenly spaced, by which the closure of triplets is judged."""


@dataclass
class Report:
    """The result of `check_archive`.

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
    targets: Iterable[str] | None = None,
    swe_unit: str = "auto",
) -> Report:
    """Check everything that can be checked without training.

    Args:
        root: The archive's folder, or a Zarr store.
        bands: Bands that every window must have; by default those that the archive states, or the nine of the public
            one, or all of a store.
        targets: Targets that every window must have, by default those that the archive states, or both; of a store, of
            which it must have one.
        swe_unit: ``auto``, ``cm`` or ``mm``.

    Returns:
        The report; the archive is fit to train on when it has no `faults`.

    Raises:
        SnowmapError: When a band or target is unknown.
    """
    statistics, targets = _Statistics(), list(stated(Path(root))[1] if targets is None else targets)
    stored = is_store(root)
    options = {"bands": bands, "targets": targets}
    result: Any = (
        survey_store(root, statistics.add, **options)
        if stored
        else survey(root, statistics.add, **options, swe_unit=swe_unit)
    )
    report = Report(Path(root), faults=list(result.faults), warnings=[f"left out: {line}" for line in result.excluded])
    if not result.windows:
        return report
    report.origin, report.windows = result.origin, statistics.rows
    for tally in statistics.tallies.values():
        _check_quantity(report, tally, result.swe_unit)
    start, end = (np.array(dates) for dates in zip(*statistics.dates, strict=True))
    if split := _check_split(report, start, end):
        _check_variation(report, statistics, targets, split.train)
    _check_time(report, start, end)
    _check_network(report, start, end, statistics.phases)
    _check_static_elevation(report, statistics)
    _check_positive_degree_days(report, statistics)
    if result.swe_unit and not stored:
        ratio = "no HS to compare with" if result.swe_per_hs is None else f"median of SWE/HS {result.swe_per_hs:.3f}"
        report.notes.append(f"SWE is in {result.swe_unit} ({ratio})")
    present = set() if stored else {file.name for file in files_of(report.root, FURTHER_BANDS)} - {"sidecar"}
    if further := sorted(present - statistics.tallies.keys()):
        report.notes.append(f"further bands lie there, read where data.bands names them: {', '.join(further)}")
    if statistics.phases:
        tag = "the store" if stored else f"the tag {WAVELENGTH_TAG}"
        source = f"from {tag}" if result.wavelength else "not stated: that of Sentinel-1"
        wavelength = result.wavelength or SENTINEL_1_WAVELENGTH
        cycle = 2 * np.pi / phase_of_swe_oveisgharan(1.0, 40.0, wavelength)
        report.notes.append(f"wavelength {wavelength:.4g} m ({source}): a cycle is {cycle:.3g} mm of SWE at 40°")
    inside = statistics.inside
    report.notes.append(f"study area: {inside.sum():,} of {inside.size:,} px ({inside.mean():.0%})")
    return report


class _Statistics:
    """What is kept of the windows, which are looked at one after the other.

    Attributes:
        inside: True inside the study area.
        dates: Start and end of each window.
        rows: Of the table of windows.
        tallies: Of each band and target.
        ranges: Least and greatest value of each band and target, for each window; NaN where it has none.
        lowest, highest: Elevation of each pixel of the study area over the windows.
        phases: Unwrapped phase of each window, of at most `CLOSURE_PIXELS` pixels.
        pdd_pixels, pdd_below: With both PDD and temperature; of these, those whose PDD is too low.
    """

    def __init__(self) -> None:
        self.inside = np.zeros((0, 0), bool)
        self.dates: list[tuple[np.datetime64, np.datetime64]] = []
        self.rows: list[tuple[str, ...]] = []
        self.tallies: dict[str, Tally] = {}
        self.ranges: list[dict[str, tuple[float, float]]] = []
        self.phases: list[np.ndarray] = []
        self.lowest = self.highest = np.empty(0, np.float32)
        self.pdd_pixels = self.pdd_below = 0

    def add(self, window: xr.Dataset) -> None:
        """Add the Cube of one window."""
        quantities = quantities_of(window)
        values = {name: values_inside(window, name) for name in quantities}
        for name, quantity in quantities.items():
            possible = SWE_IN_UNITS if name == "swe" and quantity.unit == UNKNOWN else {quantity.unit: quantity}
            self.tallies.setdefault(name, Tally(name, possible)).add(values[name])
        self.ranges.append({name: (np.fmin.reduce(maps), np.fmax.reduce(maps)) for name, maps in values.items()})
        self.inside = window["mask"].values
        self.dates.append((window["start"].values[0], window["end"].values[0]))
        days = (self.dates[-1][1] - self.dates[-1][0]) // np.timedelta64(1, "D")
        groups = [[name for name in values if name in group] for group in (INSAR_BANDS, WEATHER_BANDS)]
        groups += [[name] if name in values else [] for name in TARGETS]
        covered = [np.mean([np.isfinite(values[name]).mean() for name in group]) if group else None for group in groups]
        coverage = ["–" if share is None else f"{share:.0%}" for share in covered]
        self.rows.append((window_names(window)[0], str(days), *coverage))
        if "unwrapped_phase" in values:
            self.phases.append(values["unwrapped_phase"][:: 1 + values["unwrapped_phase"].size // CLOSURE_PIXELS])
        if "elevation" in values:
            first = not self.lowest.size
            self.lowest = values["elevation"] if first else np.fmin(self.lowest, values["elevation"])
            self.highest = values["elevation"] if first else np.fmax(self.highest, values["elevation"])
        if {"mean_temperature", "pdd"} <= values.keys():
            # PDD ≥ days · max(mean temperature, 0): the mean of positive parts is no less than the part of the mean
            least = days * np.maximum(values["mean_temperature"], 0)
            both = np.isfinite(least) & np.isfinite(values["pdd"])
            self.pdd_pixels += int(both.sum())
            self.pdd_below += int((values["pdd"][both] < least[both] - PDD_TOLERANCE).sum())


def _check_quantity(report: Report, tally: Tally, swe_unit: str) -> None:
    name = tally.name
    unit = swe_unit if swe_unit in tally.quantities else next(iter(tally.quantities))
    shown = "unknown" if name == "swe" and not swe_unit else unit
    if not tally.valid:
        report.quantities.append((name, shown, "0%", "–", "–", "–", "empty"))
        return
    verdict, doubts = "ok", tally.doubts(unit)
    if tally.outside[unit] > IMPLAUSIBLE_SHARE * tally.valid:
        verdict = "implausible"
        report.faults.append(f"{doubts.pop(0)}; check the unit and the no-data value of these rasters")
    elif tally.outside[unit]:
        verdict = "outliers"
        report.warnings.append(doubts.pop(0))
    if doubts:
        verdict = "implausible"
        report.faults += doubts
    numbers = (f"{value:.3g}" for value in (tally.least, tally.median, tally.greatest))
    report.quantities.append((name, shown, f"{tally.valid / tally.pixels:.0%}", *numbers, verdict))


def _check_split(report: Report, start: np.ndarray, end: np.ndarray) -> Split | None:
    try:
        split = rolling(start, end)
    except SnowmapError as error:
        report.faults.append(str(error))
        return None
    counts = ", ".join(f"{len(windows)} {subset}" for subset, windows in split.subsets.items())
    report.notes.append(f"split=rolling: {counts}")
    return split


def _check_variation(report: Report, statistics: _Statistics, targets: Sequence[str], train: Sequence[int]) -> None:
    for name in targets:
        ranges = np.array([statistics.ranges[window][name] for window in train])
        if (value := np.nanmin(ranges, initial=np.inf)) == np.nanmax(ranges, initial=-np.inf):
            report.faults.append(
                f"target '{name}' is {value:g} everywhere in the training windows of split=rolling; "
                "expected one that varies: mend the rasters, there is nothing to learn"
            )


def _check_time(report: Report, start: np.ndarray, end: np.ndarray) -> None:
    start, end = start.astype("datetime64[D]"), end.astype("datetime64[D]")
    days = (end - start).astype(int)
    if len(set(days.tolist())) > 1:
        counts = ", ".join(
            f"{count} of {length}" for length, count in zip(*np.unique(days, return_counts=True), strict=True)
        )
        report.warnings.append(
            f"windows of {days.min()} to {days.max()} days ({counts}): their changes cannot be compared directly"
        )
    shared = sum(bool((np.delete(end, index) == first).any()) for index, first in enumerate(start))
    report.notes.append(f"{shared} of {len(start)} windows begin with the acquisition that ended another one")
    following_starts = np.minimum.accumulate(start[::-1])[::-1]  # windows may overlap
    for previous, following in zip(end[:-1], following_starts[1:], strict=True):
        if following > previous and days.any():  # between single acquisitions there is always one
            report.warnings.append(
                f"gap of {(following - previous).astype(int)} days: no window from {previous} to {following}"
            )


def _check_network(report: Report, start: np.ndarray, end: np.ndarray, phases: Sequence[np.ndarray]) -> None:
    if not overlap(start, end):
        return
    dates, closing = len(np.unique([start, end])), triplets(start, end)
    report.notes.append(
        f"windows overlap: a network of {len(start)} windows between {dates} dates in {parts(start, end)} connected "
        f"parts, which close {len(closing)} triplets; it is inverted to changes between dates before these are summed"
    )
    if closing and phases:
        closed = np.stack([phases[first] + phases[second] - phases[whole] for first, second, whole in closing])
        with warnings.catch_warnings(action="ignore"):  # of triplets without a value
            closed -= np.nanmedian(closed, axis=1, keepdims=True)  # the arbitrary constants of the three
            median, slips = np.nanmedian(np.abs(closed)), np.mean(np.abs(closed[np.isfinite(closed)]) > np.pi)
        report.notes.append(
            f"closure of these triplets: median {median:.2f} rad; {slips:.1%} of their pixels are off by whole cycles"
        )


def _check_static_elevation(report: Report, statistics: _Statistics) -> None:
    if statistics.lowest.size and (changed := float(np.nanmax(statistics.highest - statistics.lowest, initial=0))) > 1:
        report.warnings.append(f"'elevation' changes between windows by up to {changed:.0f} m")


def _check_positive_degree_days(report: Report, statistics: _Statistics) -> None:
    if not {"mean_temperature", "pdd"} <= statistics.tallies.keys():
        return
    if statistics.pdd_below:
        share = statistics.pdd_below / statistics.pdd_pixels
        report.warnings.append(
            f"'pdd' is below days × max(mean temperature, 0) in {share:.1%} of the pixels: not a sum over daily means"
        )
    else:
        report.notes.append("PDD ≥ days × max(mean temperature, 0) everywhere")


def print_report(report: Report) -> None:
    """Print the tables, then notes, warnings, every fault and the verdict."""
    heads = ("window", "days", "InSAR", "weather", *(name.upper() for name in TARGETS))
    _print_rows("windows (coverage inside the study area)", heads, report.windows)
    heads = ("name", "unit", "cover", "least", "median", "greatest", "verdict")
    _print_rows("bands and targets", heads, report.quantities)
    verdict = f"NOT fit to train on: {len(report.faults)} faults" if report.faults else "fit to train on"
    print_findings(f"{report.root}: {verdict}", report.faults, report.warnings, report.notes, report.origin)


def _print_rows(title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        columns = dict(zip(heads, zip(*rows, strict=True), strict=True))
        print_table(title, columns, folded=("unit", "verdict"))
