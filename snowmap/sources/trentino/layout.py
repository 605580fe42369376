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


class RasterName(NamedTuple):
    """How the layout names the rasters of one band or target.

    Attributes:
        folder: Below the archive's root.
        pattern: What stands between the dates and `.tif`; `.+` is the date pair of the SNAP program.
        template: A name that fits, for writing; `{pair}` is the date pair.
    """

    folder: str
    pattern: re.Pattern[str]
    template: str


def _name(folder: str, pattern: str, template: str) -> RasterName:
    return RasterName(folder, re.compile(pattern, re.IGNORECASE), template)


_CHANNEL = "IW[1-3]_[VH]{2}"
RASTER_NAMES: dict[str, RasterName] = {
    "coherence": _name("INSAR", f"coh_{_CHANNEL}_.+", "coh_IW1_VV_{pair}"),
    "displacement": _name("INSAR", "displacement_[VH]{2}", "displacement_VV"),
    "elevation": _name("INSAR", "elevation_[VH]{2}", "elevation_VV"),
    # the file of the same name without `_db` holds linear intensity and is never read
    "intensity": _name("INSAR", f"Intensity_ifg_{_CHANNEL}_.+_db", "Intensity_ifg_IW1_VV_{pair}_db"),
    "incidence": _name("INSAR", "localIncidenceAngle", "localIncidenceAngle"),
    "phase": _name("INSAR", f"Phase_ifg_{_CHANNEL}_.+", "Phase_ifg_IW1_VV_{pair}"),
    "unwrapped_phase": _name("INSAR", "Unw_Phase_ifg_.+_[VH]{2}", "Unw_Phase_ifg_{pair}_VV"),
    "mean_temperature": _name("S3", "meanTemp", "meanTemp"),
    "pdd": _name("S3", "pdd", "pdd"),
    "hs": _name("ITSNOW/HS", "hs", "hs"),
    "swe": _name("ITSNOW/SWE", "swe", "swe"),
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # of no locale
SIDECARS = (".aux.xml", ".msk")
"""Endings of the files in which GDAL keeps the scale, the nodata value or the mask of a raster beside it."""
_DATED = re.compile(
    rf"(\d{{4}}-\d\d-\d\d)_(?:to_)?(\d{{4}}-\d\d-\d\d)_(.+)\.tiff?({'|'.join(map(re.escape, SIDECARS))})?",
    re.IGNORECASE,
)
YEARS = range(1678, 2262)
"""Those whose days `datetime64[ns]`, the time type of the Cube, can hold."""


class Stamp(NamedTuple):
    """What changes when a file changes: the cache compares it."""

    path: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class Found(NamedTuple):
    """One raster of the layout, the mask or a sidecar; dates as ISO text, so that text order is time order.

    The `name` is a band, a target, ``mask`` (which has no dates) or ``sidecar``.
    """

    start: str
    end: str
    name: str
    path: str
    stamp: Stamp


class Window(NamedTuple):
    """One window and its files by band and target; dates as ISO text."""

    start: str
    end: str
    files: dict[str, Path]

    @property
    def name(self) -> str:
        """E.g. ``2021-01-09_to_2021-01-21``."""
        return f"{self.start}_to_{self.end}"


class Scan(NamedTuple):
    """What the names alone tell about an archive.

    Attributes:
        root: The archive's folder.
        windows: Those with a file for every requested band and required target, sorted by start, then end.
        faults: What makes the archive unfit to open, one sentence each.
        excluded: Windows left out because a file is missing, e.g. ``"2021-03-10_to_2021-03-22: no raster for band
            'coherence'"``.
        mask: The study area's raster; it may be missing, which is then among the faults.
    """

    root: Path
    windows: list[Window]
    faults: list[str]
    excluded: list[str]
    mask: Path


def find(root: Path, bands: Iterable[str], targets: Iterable[str]) -> list[Found]:
    """The rasters of the requested bands, of every target, the mask, and their sidecars; sorted.

    Raises:
        SnowmapError: When a folder or a file cannot be looked at, or GDAL could not open the path.
    """
    _refuse_undecodable(str(root.absolute()))
    names = [name for name in RASTER_NAMES if name in {*bands, *targets, *TARGETS}]
    folders = dict.fromkeys(RASTER_NAMES[name].folder for name in names)
    files = [
        raster
        for folder in folders
        for raster in list_rasters(root / folder, [name for name in names if RASTER_NAMES[name].folder == folder])
    ]
    mask = root / MASK_NAME
    for path in (mask, *(Path(f"{mask}{ending}") for ending in SIDECARS)):
        if path.is_file():
            name = "mask" if path == mask else "sidecar"
            files.append(Found("", "", name, str(path), _stamp(path.name, path.stat())))
    return sorted(files)


def list_rasters(folder: Path, names: Iterable[str]) -> list[Found]:
    """The rasters of the named bands and targets in one folder, and their sidecars; all else in it is passed over.

    Raises:
        SnowmapError: When the folder or a file cannot be looked at.
    """
    files = []
    patterns = {name: RASTER_NAMES[name].pattern for name in names}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                dated = _DATED.fullmatch(entry.name)
                name = next((name for name in patterns if patterns[name].fullmatch(dated[3])), None) if dated else None
                if dated and name and entry.is_file():
                    _refuse_undecodable(entry.path)
                    stamp = _stamp(f"{folder.name}/{entry.name}", entry.stat())
                    files.append(Found(dated[1], dated[2], "sidecar" if dated[4] else name, entry.path, stamp))
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


def _stamp(path: str, status: os.stat_result) -> Stamp:
    return Stamp(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def scan(root: Path, bands: Iterable[str], targets: Iterable[str]) -> Scan:
    """Find and match the files of an archive by their names, without raising and without opening a raster.

    Args:
        root: The folder that holds `INSAR/`, `ITSNOW/`, `S3/` and `master_mask.tif`.
        bands: Bands that every window must have.
        targets: Targets that every window must have; rasters of the others are matched too where they exist.

    Returns:
        The scan; its `faults` name a missing folder, files for one band twice, impossible dates, no window at all.
    """
    mask = root / MASK_NAME
    required = [*bands, *targets]
    try:
        files = find(root, bands, targets)
    except SnowmapError as error:
        return Scan(root, [], [str(error)], [], mask)
    if not files and not root.is_dir():
        return Scan(root, [], [_missing_root(root)], [], mask)
    windows, faults = match(files)
    complete, excluded = split_complete(windows, required)
    if not complete and (excluded or not faults):
        faults.append(_no_window(root, excluded))
    if windows and not mask.is_file():
        faults.append(f"{mask}: no such file; expected the study area's raster, 1 inside, 0 outside")
    return Scan(root, complete, faults, excluded, mask)


def match(rasters: Iterable[Found]) -> tuple[list[Window], list[str]]:
    """Gather rasters by their pair of dates.

    Returns:
        The windows sorted by start, then end, whatever they hold; and the faults: impossible dates, two files.
    """
    by_dates: dict[tuple[str, str], dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for raster in rasters:
        if raster.name in RASTER_NAMES:
            by_dates[raster.start, raster.end][raster.name].append(Path(raster.path))
    windows, faults = [], []
    for (start, end), files in sorted(by_dates.items()):
        window = Window(start, end, {name: min(paths) for name, paths in files.items()})
        if not _is_period(start, end):
            faults.append(
                f"{min(window.files.values())}: {window.name} is no period; expected two dates of the years "
                f"{YEARS[0]} to {YEARS[-1]}, the earlier one first"
            )
            continue
        windows.append(window)
        for name, paths in files.items():
            if len(paths) > 1:
                listed = ", ".join(path.name for path in sorted(paths))
                faults.append(
                    f"{window.name}: {len(paths)} files for {kind(name)} in {min(paths).parent}: {listed}; "
                    "expected one; move the others away"
                )
    return windows, faults


def _is_period(start: str, end: str) -> bool:
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        return False
    return first <= last and first.year in YEARS and last.year in YEARS


def split_complete(windows: Iterable[Window], required: list[str]) -> tuple[list[Window], list[str]]:
    """The windows that have a file for every required band and target, and one sentence for each that has not."""
    complete, excluded = [], []
    for window in windows:
        missing = [name for name in required if name not in window.files]
        if missing:
            excluded.append(f"{window.name}: no raster for {', '.join(map(kind, missing))}")
        else:
            complete.append(window)
    return complete, excluded


def kind(name: str) -> str:
    """A band or target as messages name it, e.g. ``band 'coherence'``."""
    return f"target '{name}'" if name in TARGETS else f"band '{name}'"


def raster_path(root: Path, name: str, start: np.datetime64, end: np.datetime64) -> Path:
    """Where the layout keeps a band or target of one window."""
    first, last = start.astype("datetime64[D]").item(), end.astype("datetime64[D]").item()
    words = RASTER_NAMES[name].template.format(pair=f"{_snap_date(first)}_{_snap_date(last)}")
    dates = window_name(start, end) if name in TARGETS else f"{first}_{last}"
    return root / RASTER_NAMES[name].folder / f"{dates}_{words}.tif"


def _snap_date(day: date) -> str:
    return f"{day.day:02d}{_MONTHS[day.month - 1]}{day.year}"


def _missing_root(root: Path) -> str:
    return (
        f"{root}: no such folder; expected an archive with INSAR/, ITSNOW/, S3/ and {MASK_NAME}; fetch the public one "
        "with `snowmap download`, write a synthetic one with `snowmap synthesize OUT`, or name yours with data.root=..."
    )


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
