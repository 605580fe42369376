"""Rasters of an archive into arrays: in threads, sentinels to NaN, every fault gathered instead of raised."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio

from snowmap.data.cube import fingerprint
from snowmap.data.grid import fault_of_grid
from snowmap.errors import SnowmapError
from snowmap.sources.trentino.layout import Scan, Window, kind
from snowmap.sources.trentino.quantities import TARGETS
from snowmap.sources.trentino.raster import (
    GDAL_OPTIONS,
    ORIGIN_TAG,
    Grid,
    any_value,
    grid_of,
    mask_of,
    opened,
    read_cleaned,
)


@dataclass
class Reading:
    """What the rasters hold.

    Attributes:
        faults: What makes the archive unfit to open, one sentence each.
        excluded: Windows left out because a band or required target has no value inside the study area.
        windows: Those that are kept, sorted.
        grid: Of every raster.
        arrays: `features` (window, band, y, x), each target (window, y, x), float32; `mask` (y, x) bool; empty
            where there is nothing fit to be returned. `mask` alone where the plan is only to look, or the windows were
            visited.
        digest: Of values, dates and bands; empty where `arrays` holds the mask alone.
        origin: From the mask's tag, or empty.
        swe_unit_tag: The unit that the first SWE raster claims, or empty.
    """

    faults: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    grid: Grid | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    digest: str = ""
    origin: str = ""
    swe_unit_tag: str = ""


class _Task(NamedTuple):
    path: Path
    out: np.ndarray | None
    window: int
    name: str


@dataclass
class _Outcome:
    """Of one raster: its fault, or what else has to be known of it."""

    fault: str = ""
    other_grid: Grid | None = None
    empty: bool = False
    unit: str = ""


class Plan(NamedTuple):
    """What to read.

    Attributes:
        bands: In canonical order.
        targets: Those that every window must have.
        zero_is_missing: The bands in which 0 means no value.
        threads: How many read at once.
        look: Open every raster of a band and look whether it has a value, but keep none.
    """

    bands: tuple[str, ...]
    targets: tuple[str, ...]
    zero_is_missing: tuple[str, ...]
    threads: int
    look: bool = False


Visit = Callable[[Reading, Window, dict[str, np.ndarray]], None]


def read(scan: Scan, plan: Plan, visit: Visit | None = None) -> Reading:
    """Read every raster of a scan.

    Args:
        scan: The files.
        plan: What to read of them.
        visit: Is given what is known so far and a window with its arrays and the mask, one window after the other
            (those that are left out are passed over); the arrays of all windows are then never in memory at once.

    Returns:
        Values and, beside those of the scan, every fault and exclusion that only the content of the files shows.
    """
    reading = Reading(faults=list(scan.faults), excluded=list(scan.excluded))
    if not scan.windows:
        return reading
    mask = _read_mask(scan, reading)
    reading.grid = reading.grid or _first_grid(scan, reading)
    if reading.grid is None:
        return reading
    if fault := fault_of_grid(*reading.grid):
        reading.faults.append(f"{scan.mask}: {fault}")
        return reading
    arrays, tasks, outcomes = {}, [], []
    for first, windows in enumerate([[window] for window in scan.windows]) if visit else [(0, scan.windows)]:
        arrays, some = _allocate(scan, windows, first, plan, reading.grid.shape)
        of_some = _run(some, mask, reading.grid, plan)
        tasks += [task._replace(out=None) for task in some]  # lets go of the arrays
        outcomes += of_some
        if visit and mask is not None and not _empty(some, of_some, plan):
            visit(reading, windows[0], arrays | {"mask": mask})
    if other := [task.path for task, outcome in zip(tasks, outcomes, strict=True) if outcome.other_grid]:
        reading.faults += _grid_faults(tasks, outcomes, other, reading.grid, scan.mask)
    reading.faults += [outcome.fault for outcome in outcomes if outcome.fault]
    kept = _without_empty(scan, tasks, outcomes, plan, reading)
    if not any(kept) and not reading.faults:
        reading.faults.append(f"{scan.root}: no window left: " + "; ".join(reading.excluded))
    if not any(kept) or mask is None or len(other) == len(tasks):
        return reading
    _keep(reading, scan, kept, {} if visit else arrays, mask)
    if not (plan.look or visit):
        stacks = {name: values for name, values in reading.arrays.items() if name != "mask"}
        names = (plan.bands, list(stacks), [window.name for window in reading.windows])
        reading.digest = fingerprint(names, [mask, *stacks.values()])
    reading.swe_unit_tag = next((outcome.unit for outcome in outcomes if outcome.unit), "")
    return reading


def _read_mask(scan: Scan, reading: Reading) -> np.ndarray | None:
    if not scan.mask.is_file():
        return None
    try:
        with opened(scan.mask) as raster:
            reading.grid = grid_of(raster)
            reading.origin = raster.tags().get(ORIGIN_TAG, "")
            return mask_of(raster)
    except SnowmapError as error:
        reading.faults.append(str(error))
        return None


def _first_grid(scan: Scan, reading: Reading) -> Grid | None:
    """The grid of the first raster that can be opened, where the mask gives none; a fault for each if none can."""
    faults = []
    for path in (path for window in scan.windows for path in window.files.values()):
        try:
            with opened(path) as raster:
                return grid_of(raster)
        except SnowmapError as error:
            faults.append(str(error))
    reading.faults += faults
    return None


def _allocate(
    scan: Scan, windows: Sequence[Window], first: int, plan: Plan, shape: tuple[int, int]
) -> tuple[dict[str, np.ndarray], list[_Task]]:
    """Arrays for all values of windows of the scan, from its `first` on, and one task for each file."""
    if plan.look:
        return {}, [
            _Task(window.files[name], None, number, name)
            for number, window in enumerate(windows, first)
            for name in plan.bands
        ]
    count = len(windows)
    # filled, and so touched, before the threads start: threads that touch fresh pages wait for each other
    features = np.full((count, len(plan.bands), *shape), np.nan, np.float32)
    present = [name for name in TARGETS if name in plan.targets or any(name in window.files for window in scan.windows)]
    targets = {name: np.full((count, *shape), np.nan, np.float32) for name in present}
    tasks = []
    for index, window in enumerate(windows):
        number = first + index
        tasks += [_Task(window.files[name], features[index, b], number, name) for b, name in enumerate(plan.bands)]
        tasks += [
            _Task(window.files[name], targets[name][index], number, name) for name in present if name in window.files
        ]
    return {"features": features} | targets, tasks


def _run(tasks: list[_Task], mask: np.ndarray | None, grid: Grid, plan: Plan) -> list[_Outcome]:
    outcomes = [_Outcome() for _ in tasks]

    def work(first: int) -> None:
        with rasterio.Env(**GDAL_OPTIONS):  # one for each thread: GDAL's options belong to the thread that sets them
            for number in range(first, len(tasks), plan.threads):
                outcomes[number] = _read_one(tasks[number], mask, grid, plan.zero_is_missing)

    if plan.threads == 1:
        work(0)
    else:
        with ThreadPoolExecutor(plan.threads) as pool:
            list(pool.map(work, range(plan.threads)))
    return outcomes


def _read_one(task: _Task, mask: np.ndarray | None, grid: Grid, zero_is_missing: tuple[str, ...]) -> _Outcome:
    try:
        with opened(task.path) as raster:
            own_grid = grid_of(raster)
            if not own_grid.same(grid):
                _blank(task)
                return _Outcome(other_grid=own_grid)
            if task.out is None:
                return _Outcome(empty=mask is not None and not any_value(raster, mask, task.name in zero_is_missing))
            valid = read_cleaned(raster, task.out, task.name in zero_is_missing)
            unit = (raster.units[0] or "") if task.name == "swe" else ""
    except SnowmapError as error:
        _blank(task)
        return _Outcome(fault=str(error))
    empty = mask is not None and not (valid & mask).any()
    return _Outcome(empty=empty, unit=unit)


def _blank(task: _Task) -> None:
    if task.out is not None:
        task.out[:] = np.nan


def _grid_faults(tasks: list[_Task], outcomes: list[_Outcome], other: list[Path], grid: Grid, mask: Path) -> list[str]:
    """Name the odd ones out: the mask where most rasters differ from it, otherwise the rasters."""
    if 2 * len(other) > len(tasks):
        example = next(outcome.other_grid for outcome in outcomes if outcome.other_grid)
        return [
            f"{mask}: {grid}; but {len(other)} of {len(tasks)} rasters differ, e.g. {other[0]}: {example}; "
            "expected the mask on their grid"
        ]
    return [
        f"{task.path}: {outcome.other_grid}; expected the grid of the others: {grid}; resample the file to it"
        for task, outcome in zip(tasks, outcomes, strict=True)
        if outcome.other_grid
    ]


def _without_empty(
    scan: Scan, tasks: list[_Task], outcomes: list[_Outcome], plan: Plan, reading: Reading
) -> list[bool]:
    """Which windows have values inside the study area in every band and required target; the others are named."""
    empty: dict[int, list[str]] = {}
    for task in _empty(tasks, outcomes, plan):
        empty.setdefault(task.window, []).append(kind(task.name))
    reading.excluded += [
        f"{scan.windows[number].name}: no value inside the study area in {', '.join(names)}"
        for number, names in empty.items()
    ]
    reading.excluded.sort()
    return [number not in empty for number in range(len(scan.windows))]


def _empty(tasks: list[_Task], outcomes: list[_Outcome], plan: Plan) -> list[_Task]:
    required = (*plan.bands, *plan.targets)
    return [task for task, outcome in zip(tasks, outcomes, strict=True) if outcome.empty and task.name in required]


def _keep(reading: Reading, scan: Scan, kept: list[bool], arrays: dict[str, np.ndarray], mask: np.ndarray) -> None:
    reading.windows = [window for window, keep in zip(scan.windows, kept, strict=True) if keep]
    if not all(kept):
        for values in arrays.values():  # in place: a copy may not fit beside them
            for index, number in enumerate(np.flatnonzero(kept)):
                values[index] = values[number]
    reading.arrays = {name: values[: sum(kept)] for name, values in arrays.items()}
    reading.arrays["mask"] = mask
