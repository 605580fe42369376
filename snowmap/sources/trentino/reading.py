"""Rasters of an archive into arrays: in threads, sentinels to NaN, every fault gathered instead of raised."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import rasterio
from dask.array.core import normalize_chunks
from rasterio.windows import Window as Piece

from snowmap.data.grid import Grid, fault_of_grid
from snowmap.errors import SnowmapError
from snowmap.sources.trentino.layout import Scan, Window, kind
from snowmap.sources.trentino.quantities import TARGETS
from snowmap.sources.trentino.raster import (
    GDAL_OPTIONS,
    ORIGIN_TAG,
    PIECE_ROWS,
    SAME_WAVELENGTH,
    SIGN_TAG,
    WAVELENGTH_TAG,
    any_value,
    grid_of,
    mask_of,
    opened,
    read_cleaned,
)
from snowmap.sources.trentino.swe_unit import median_and_peak, median_ratio, ratios, snow_of

WAVELENGTHS = 0.005, 2.0
"""Metres that a radar may have: Ka to P band, and a little more."""


class Plan(NamedTuple):
    """What to read.

    Attributes:
        bands: In canonical order.
        targets: Those that every window must have.
        zero_is_missing: The bands in which 0 means no value.
        threads: How many read at once.
    """

    bands: tuple[str, ...]
    targets: tuple[str, ...]
    zero_is_missing: tuple[str, ...]
    threads: int


class _Task(NamedTuple):
    window: int
    name: str
    path: str
    out: np.ndarray | None  # where the values go; None to look whether there is one


class _Outcome(NamedTuple):
    """Of one raster: its fault, or what else has to be known of it."""

    fault: str = ""
    other_grid: Grid | None = None
    empty: bool = False
    unit: str = ""
    wavelength: str = ""


class Reader:
    """Reads windows of an archive; what is wrong with them is gathered, not raised.

    Attributes:
        faults: What makes the archive unfit to open, one sentence each; all of them after `finish`.
        excluded: Windows left out because a file is missing, or a band or required target has no value inside the study
            area; one sentence each.
        windows: Those that were read and are kept, in order.
        layers: The bands of the plan, then the targets, in the order in which `read` gives them.
        grid: Of every raster; None where there is none to be mapped.
        mask: The study area (y, x) bool; None where it cannot be read.
        origin: Where the data came from: the mask's tag, else the name of the folder.
        wavelength: Of the radar, m, as the tags say; None where there is none.
        phase_sign: +1 where the phase grows with snow, −1 where it falls, as the mask's tag says; None without.
        unit_tags: Of each target the unit that its first raster claims, where one does.
        swe_unit: Of SWE, once it is decided.
    """

    def __init__(self, scan: Scan, plan: Plan) -> None:
        """Read the mask.

        Args:
            scan: The files.
            plan: What to read of them.
        """
        self.scan, self.plan = scan, plan
        self.faults, self.excluded = list(scan.faults), list(scan.excluded)
        self.windows: list[Window] = []
        present = {name for window in scan.windows for name in window.files}
        self.layers = [*plan.bands, *(name for name in TARGETS if name in present)]
        self.grid: Grid | None = None
        self.mask: np.ndarray | None = None
        self.origin, self.swe_unit = "", ""
        self.unit_tags: dict[str, str] = {}
        self.wavelength: float | None = None
        self.phase_sign: int | None = None
        self._ratios: list[np.ndarray] = []
        self._snow: dict[str, list[np.ndarray]] = {name: [] for name in TARGETS}
        self._rasters, self._others = 0, list[tuple[str, Grid]]()
        if scan.windows:
            self._read_mask()

    @property
    def swe_per_hs(self) -> float | None:
        """The median of SWE/HS, which tells the unit of SWE; None where there is nothing to compare."""
        return median_ratio(self._ratios)

    @property
    def depths(self) -> dict[str, tuple[float, float] | None]:
        """Median and peak of each target where there is snow, in the unit of its rasters."""
        return {name: median_and_peak(of_windows) for name, of_windows in self._snow.items()}

    def read(self, windows: Sequence[Window], *, keep: bool = True) -> np.ndarray:
        """Read windows; those without a value in a band or required target are left out.

        Args:
            windows: Some of the scan.
            keep: Whether the values are kept; if not, a raster is read only until its first value.

        Returns:
            (window, layer, y, x) float32 of the windows that are not left out, NaN = missing, also where a file is
            missing or has a fault; without windows if nothing is kept or there is no grid.
        """
        if self.grid is None:
            return np.empty((0, len(self.layers), 1, 1), np.float32)
        shape = (len(windows) if keep else 0, len(self.layers), *self.grid.shape)
        # filled, and so touched, before the threads start: threads that touch fresh pages wait for each other
        values = np.full(shape, np.nan, np.float32)
        tasks = [
            _Task(number, name, window.files[name], values[number, layer] if keep else None)
            for number, window in enumerate(windows)
            for layer, name in enumerate(self.layers if keep else self.plan.bands)
            if name in window.files
        ]
        empty: dict[int, list[str]] = {}
        for task, outcome in zip(tasks, self._read_rasters(tasks), strict=True):
            self._note(task, outcome)
            if outcome.empty and task.name in (*self.plan.bands, *self.plan.targets):
                empty.setdefault(task.window, []).append(kind(task.name))
        self.excluded += [
            f"{windows[number].name}: no value inside the study area in {', '.join(names)}"
            for number, names in empty.items()
        ]
        kept = [number for number in range(len(windows)) if number not in empty]
        self.windows += [windows[number] for number in kept]
        if empty and keep:
            for index, number in enumerate(kept):  # in place: a copy of all may not fit beside them
                values[index] = values[number]
        return self._compare(values[: len(kept)])

    def lazily(self) -> da.Array:
        """The bands (window, band, y, x) of the windows that are kept, read when they are looked at.

        In strips of rows, since a strip of a GeoTIFF spans the full width. A raster is opened for each of them:
        thousands cannot be held open at once.
        """
        assert self.grid is not None  # otherwise there is a fault
        windows, plan, shape = self.windows, self.plan, (len(self.windows), len(self.plan.bands), *self.grid.shape)

        def piece(block_info: Any = None) -> np.ndarray:
            (window, _), (band, _), rows, columns = block_info[None]["array-location"]
            values = np.empty((rows[1] - rows[0], columns[1]), np.float32)
            with opened(windows[window].files[plan.bands[band]]) as raster:
                read_cleaned(raster, values, plan.bands[band] in plan.zero_is_missing, Piece.from_slices(rows, columns))
            return values[None, None]

        chunks = normalize_chunks((1, 1, PIECE_ROWS, -1), shape, dtype=np.float32)
        return da.map_blocks(piece, chunks=chunks, dtype=np.float32, meta=np.empty((0,) * 4, np.float32))

    def finish(self) -> None:
        """Say what only all windows together show: which grid is the odd one out, and whether a window is left."""
        self.excluded.sort()
        if 2 * len(self._others) > self._rasters:
            path, grid = self._others[0]
            self.faults.append(
                f"{self.scan.mask}: {self.grid}; but {len(self._others)} of {self._rasters} rasters differ, e.g. "
                f"{path}: {grid}; expected the mask on their grid"
            )
        else:
            self.faults += [
                f"{path}: {grid}; expected the grid of the others: {self.grid}; resample the file to it"
                for path, grid in self._others
            ]
        if not self.windows and not self.faults:
            self.faults.append(f"{self.scan.root}: no window left: " + "; ".join(self.excluded))
        if self.mask is None or len(self._others) == self._rasters:
            self.windows = []

    def _read_mask(self) -> None:
        self.origin = self.scan.root.resolve().name
        if self.scan.mask.is_file():
            try:
                with opened(self.scan.mask) as raster:
                    self.grid = grid_of(raster)
                    self.origin = raster.tags().get(ORIGIN_TAG) or self.origin
                    self.phase_sign = {"1": 1, "-1": -1}.get(raster.tags().get(SIGN_TAG, ""))
                    self.mask = mask_of(raster)
            except SnowmapError as error:
                self.faults.append(str(error))
        self.grid = self.grid or self._first_grid()
        if self.grid and (fault := fault_of_grid(*self.grid)):
            self.faults.append(f"{self.scan.mask}: {fault}")
            self.grid = None

    def _first_grid(self) -> Grid | None:
        """The grid of the first raster that can be opened; a fault for each if none can."""
        faults = []
        for path in (path for window in self.scan.windows for path in window.files.values()):
            try:
                with opened(path) as raster:
                    return grid_of(raster)
            except SnowmapError as error:
                faults.append(str(error))
        self.faults += faults
        return None

    def _read_rasters(self, tasks: list[_Task]) -> list[_Outcome]:
        outcomes = [_Outcome() for _ in tasks]

        def work(first: int) -> None:
            with rasterio.Env(**GDAL_OPTIONS):  # one for each thread: GDAL's options belong to the one that sets them
                for number in range(first, len(tasks), self.plan.threads):
                    outcomes[number] = self._read_raster(tasks[number])

        with ThreadPoolExecutor(self.plan.threads) as pool:
            list(pool.map(work, range(self.plan.threads)))
        return outcomes

    def _read_raster(self, task: _Task) -> _Outcome:
        assert self.grid is not None  # otherwise nothing is read
        zero_is_missing = task.name in self.plan.zero_is_missing
        try:
            with opened(task.path) as raster:
                if not (grid := grid_of(raster)).same(self.grid):
                    return _Outcome(other_grid=grid)
                wavelength = raster.tags().get(WAVELENGTH_TAG, "") if task.name == "unwrapped_phase" else ""
                if task.out is None:
                    empty = self.mask is not None and not any_value(raster, self.mask, zero_is_missing)
                    return _Outcome(empty=empty, wavelength=wavelength)
                valid = read_cleaned(raster, task.out, zero_is_missing)
                unit = (raster.units[0] or "") if task.name in TARGETS else ""
                empty = self.mask is not None and not (valid & self.mask).any()
                return _Outcome(empty=empty, unit=unit, wavelength=wavelength)
        except SnowmapError as error:
            if task.out is not None:
                task.out[:] = np.nan
            return _Outcome(fault=str(error))

    def _note(self, task: _Task, outcome: _Outcome) -> None:
        self._rasters += 1
        if outcome.unit:
            self.unit_tags.setdefault(task.name, outcome.unit)
        if outcome.wavelength:
            self._note_wavelength(task.path, outcome.wavelength)
        if outcome.fault:
            self.faults.append(outcome.fault)
        if outcome.other_grid:
            self._others.append((task.path, outcome.other_grid))

    def _note_wavelength(self, path: str, tag: str) -> None:
        try:
            value = float(tag)
        except ValueError:
            value = np.nan
        if not WAVELENGTHS[0] <= value <= WAVELENGTHS[1]:
            low, high = WAVELENGTHS
            self.faults.append(
                f"{path}: the tag {WAVELENGTH_TAG} is '{tag}'; expected metres, from {low:g} to {high:g}"
            )
        elif self.wavelength is None:
            self.wavelength = value
        elif abs(value / self.wavelength - 1) > SAME_WAVELENGTH:
            self.faults.append(
                f"{path}: the tag {WAVELENGTH_TAG} is {tag}, in other rasters {self.wavelength:g}; expected one radar: "
                "make an archive of each"
            )

    def _compare(self, values: np.ndarray) -> np.ndarray:
        """The values, after their units were looked at."""
        if self.mask is None:
            return values
        windows, positions = len(self.scan.windows), {n: i for i, n in enumerate(self.layers) if n in TARGETS}
        for of_window in values:
            for name, position in positions.items():
                self._snow[name].append(snow_of(of_window[position], self.mask, windows))
            if {"hs", "swe"} <= positions.keys():
                swe, hs = (of_window[positions[name]] for name in ("swe", "hs"))
                self._ratios.append(ratios(swe, hs, self.mask, windows))
        return values
