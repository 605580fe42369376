"""Names in the Trentino layout: which file holds which band or target of which window. Opens no raster."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snowmap.data.cube import window_name
from snowmap.errors import SnowmapError
from snowmap.sources.trentino.quantities import TARGETS

MASK_NAME = "master_mask.tif"
PUBLIC_NAME = "Dataset_icip2026"
"""The folder inside the public `data.tar.gz`."""

WILDCARDS = {"IW1": "IW[1-3]", "VV": "[VH]{2}", "{pair}": ".+"}
"""What the words of a template may be in files of other processors."""


class RasterName(NamedTuple):
    """How the layout names the rasters of one band or target.

    Attributes:
        folder: Below the archive's root.
        template: What stands between the dates and `.tif`; `{pair}` is the date pair of the SNAP program.
        static: Whether one file, without dates, is for all windows.
    """

    folder: str
    template: str
    static: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """Of the names that are read: the template with `WILDCARDS`."""
        words = self.template
        for word, pattern in WILDCARDS.items():
            words = words.replace(word, pattern)
        return re.compile(words, re.IGNORECASE)


RASTER_NAMES: dict[str, RasterName] = {
    "coherence": RasterName("INSAR", "coh_IW1_VV_{pair}"),
    "displacement": RasterName("INSAR", "displacement_VV"),
    "elevation": RasterName("INSAR", "elevation_VV"),
    # the file of the same name without `_db` holds linear intensity and is never read
    "intensity": RasterName("INSAR", "Intensity_ifg_IW1_VV_{pair}_db"),
    "incidence": RasterName("INSAR", "localIncidenceAngle"),
    "phase": RasterName("INSAR", "Phase_ifg_IW1_VV_{pair}"),
    "unwrapped_phase": RasterName("INSAR", "Unw_Phase_ifg_{pair}_VV"),
    "component": RasterName("INSAR", "component"),
    "delay": RasterName("INSAR", "delay"),
    "mean_temperature": RasterName("S3", "meanTemp"),
    "pdd": RasterName("S3", "pdd"),
    "precipitation": RasterName("S3", "precipitation"),
    "forest_cover": RasterName("STATIC", "forest_cover", static=True),
    "glacier": RasterName("STATIC", "glacier", static=True),
    "layover_shadow": RasterName("STATIC", "layover_shadow", static=True),
    "hs": RasterName("ITSNOW/HS", "hs"),
    "swe": RasterName("ITSNOW/SWE", "swe"),
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # of no locale
SIDECARS = (".aux.xml", ".msk")
"""Endings of the files in which GDAL keeps the scale, the nodata value or the mask of a raster beside it."""
_RASTER = re.compile(
    rf"(?:(\d{{4}}-\d\d-\d\d)_(?:to_)?(\d{{4}}-\d\d-\d\d)_)?(.+)\.tiff?({'|'.join(map(re.escape, SIDECARS))})?",
    re.IGNORECASE,
)
YEARS = range(1678, 2262)
"""Those whose days `datetime64[ns]`, the time type of the Cube, can hold."""


class RasterFile(NamedTuple):
    """One raster of the layout, the mask or a sidecar.

    Attributes:
        start: ISO date, so that text order is time order; empty for the mask and for what is static.
        end: As `start`.
        name: A band, a target, ``mask`` or ``sidecar``.
        path: Of the file.
        size: In bytes; this and what follows changes when the file changes.
        modified_ns: Time of the last change of its content.
        changed_ns: Time of the last change of its content or status, which no program can set.
        inode: Of the file system.
    """

    start: str
    end: str
    name: str
    path: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class Window(NamedTuple):
    """One window and its files by band and target; dates as ISO text."""

    start: str
    end: str
    files: dict[str, str]

    @property
    def name(self) -> str:
        """E.g. ``2021-01-09_to_2021-01-21``."""
        return f"{self.start}_to_{self.end}"


class Scan(NamedTuple):
    """What the names alone tell about an archive.

    Attributes:
        root: The archive's folder.
        windows: Those with a file for every requested band and required target, in `snowmap.data.cube.date_order`.
        faults: What makes the archive unfit to open, one sentence each.
        excluded: Windows left out because a file is missing, e.g. ``"2021-03-10_to_2021-03-22: no raster for band
            'coherence'"``.
        files: All rasters and sidecars that were looked at, sorted.
    """

    root: Path
    windows: list[Window]
    faults: list[str]
    excluded: list[str]
    files: list[RasterFile]

    @property
    def mask(self) -> Path:
        """The study area's raster; it may be missing, which is then among the faults."""
        return self.root / MASK_NAME


def scan(root: Path, bands: Iterable[str], targets: Iterable[str]) -> Scan:
    """Find and match the files of an archive by their names, without raising and without opening a raster.

    Args:
        root: The folder that holds `INSAR/`, `ITSNOW/`, `S3/` and `master_mask.tif`.
        bands: Bands that every window must have.
        targets: Targets that every window must have; rasters of the others are matched too where they exist.

    Returns:
        The scan; its `faults` name a missing folder, files for one band twice, impossible dates, no window at all.
    """
    required = [*bands, *targets]
    try:
        files = _find(root, required)
    except SnowmapError as error:
        return Scan(root, [], [str(error)], [], [])
    if not files and not root.is_dir():
        fault = (
            f"{root}: no such folder; expected an archive with INSAR/, ITSNOW/, S3/ and {MASK_NAME}; fetch the public "
            "one with `snowmap download`, write a synthetic one with `snowmap synthesize OUT`, or name yours with "
            "data.root=..."
        )
        return Scan(root, [], [fault], [], [])
    windows, faults, excluded = match(files, required)
    if not windows and (excluded or not faults):
        faults.append(_no_window(root, excluded))
    if (windows or excluded) and not any(file.name == "mask" for file in files):
        faults.append(f"{root / MASK_NAME}: no such file; expected the study area's raster, 1 inside, 0 outside")
    return Scan(root, windows, faults, excluded, files)


def _find(root: Path, required: Iterable[str]) -> list[RasterFile]:
    """The rasters of the required bands, of every target, the mask, and their sidecars; sorted."""
    _refuse_undecodable(str(root.absolute()))
    files = files_of(root, [name for name in RASTER_NAMES if name in {*required, *TARGETS}])
    for ending in ("", *SIDECARS):
        path = root / f"{MASK_NAME}{ending}"
        if path.is_file():
            files.append(RasterFile("", "", "sidecar" if ending else "mask", str(path), *_stamp(path.stat())))
    return sorted(files)


def files_of(root: Path, names: Iterable[str]) -> list[RasterFile]:
    """The rasters of the named bands and targets of an archive; errors as of `list_rasters`."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[RASTER_NAMES[name].folder].append(name)
    return [file for folder, inner in by_folder.items() for file in list_rasters(root / folder, inner)]


def list_rasters(folder: Path, names: Iterable[str]) -> list[RasterFile]:
    """The rasters of the named bands and targets in one folder, and their sidecars; all else in it is passed over.

    Raises:
        SnowmapError: When the folder or a file cannot be looked at.
    """
    files = []
    patterns = {(name, RASTER_NAMES[name].static): RASTER_NAMES[name].pattern for name in names}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                named = _RASTER.fullmatch(entry.name)
                fits = (
                    name
                    for (name, static), pattern in patterns.items()
                    if named and static == (named[1] is None) and pattern.fullmatch(named[3])
                )
                if named and (name := next(fits, None)) and entry.is_file():
                    _refuse_undecodable(entry.path)
                    name = "sidecar" if named[4] else name
                    files.append(RasterFile(named[1] or "", named[2] or "", name, entry.path, *_stamp(entry.stat())))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a path with a null character
        return []
    except OSError as error:
        raise SnowmapError(
            f"{error.filename}: cannot be looked at ({error.strerror}); set the permissions or mend the link"
        ) from error
    return files


def _refuse_undecodable(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        shown = path.encode(errors="backslashreplace").decode()
        raise SnowmapError(
            f"{shown}: the path is not UTF-8, so GDAL cannot open it; rename the file or folder"
        ) from error


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def match(files: Iterable[RasterFile], required: Iterable[str]) -> tuple[list[Window], list[str], list[str]]:
    """Gather rasters by their pair of dates.

    Args:
        files: What `list_rasters` gives.
        required: Bands and targets that every window must have.

    Returns:
        The complete windows in `snowmap.data.cube.date_order`; the faults, which are impossible dates and two files for
        one band; and a sentence for each window that lacks a file.
    """
    by_dates: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        if file.name in RASTER_NAMES:
            by_dates[file.start, file.end][file.name].append(file.path)
    static = by_dates.pop(("", ""), {})
    windows, excluded = [], []
    faults = [_repeated("every window", name, several) for name, several in static.items() if len(several) > 1]
    latest_first = sorted(by_dates.items(), reverse=True)
    for (start, end), of_window in sorted(latest_first, key=lambda item: item[0][1]):
        paths = of_window | static
        window = Window(start, end, {name: min(several) for name, several in paths.items()})
        if not _is_period(start, end):
            faults.append(
                f"{min(window.files.values())}: {window.name} is no period; expected two dates of the years "
                f"{YEARS[0]} to {YEARS[-1]}, the earlier one first"
            )
            continue
        faults += [_repeated(window.name, name, several) for name, several in of_window.items() if len(several) > 1]
        if missing := [kind(name) for name in required if name not in paths]:
            excluded.append(f"{window.name}: no raster for {', '.join(missing)}")
        else:
            windows.append(window)
    return windows, faults, excluded


def _is_period(start: str, end: str) -> bool:
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        return False
    return first <= last and first.year in YEARS and last.year in YEARS


def _repeated(window: str, name: str, paths: list[str]) -> str:
    listed = ", ".join(sorted(Path(path).name for path in paths))
    return (
        f"{window}: {len(paths)} files for {kind(name)} in {Path(paths[0]).parent}: {listed}; "
        "expected one; move the others away"
    )


def kind(name: str) -> str:
    """A band or target as messages name it, e.g. ``band 'coherence'``."""
    return f"target '{name}'" if name in TARGETS else f"band '{name}'"


def raster_path(root: Path, name: str, start: np.datetime64, end: np.datetime64) -> Path:
    """Where the layout keeps a band or target of one window."""
    first, last = start.astype("datetime64[D]").item(), end.astype("datetime64[D]").item()
    place = RASTER_NAMES[name]
    words = place.template.format(pair=f"{_snap_date(first)}_{_snap_date(last)}")
    dates = "" if place.static else f"{window_name(start, end)}_" if name in TARGETS else f"{first}_{last}_"
    return root / place.folder / f"{dates}{words}.tif"


def _snap_date(day: date) -> str:
    return f"{day.day:02d}{_MONTHS[day.month - 1]}{day.year}"


def _no_window(root: Path, excluded: list[str]) -> str:
    inner = sorted(path.parent for path in root.glob(f"*/{MASK_NAME}"))
    if excluded:
        shown = "".join(f"\n      {line}" for line in excluded[:5])
        return (
            f"{root}: none of the {len(excluded)} windows is complete, for example{shown}\n    expected at least one; "
            "leave a band out with data.bands=[...], or complete the archive"
        )
    if inner:
        return f"{root}: no window found here, but {inner[0]} is an archive; name that folder: data.root={inner[0]}"
    return (
        f"{root}: no window found; expected names such as INSAR/2021-01-09_2021-01-21_displacement_VV.tif below it; "
        "`snowmap download` fetches the public archive, `snowmap synthesize OUT` writes a synthetic one"
    )
