"""Opening an archive as a Cube, and surveying one that may be broken."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.data.cube import band_coordinates
from snowmap.errors import SnowmapError
from snowmap.sources.trentino import cache as cached
from snowmap.sources.trentino import layout, reading
from snowmap.sources.trentino import swe_unit as swe_unit_of
from snowmap.sources.trentino.lazy import lazy_features
from snowmap.sources.trentino.quantities import BANDS, INSAR_BANDS, STANDARD_BANDS, SWE_IN_UNITS, TARGETS

MOST_FAULTS_SHOWN = 20
CLOCK_TICK_SECONDS = 0.05
"""File times advance in steps, of 10 ms at most on Linux: a file changed twice within one step looks unchanged."""

UNKNOWN = "unknown"
"""The unit of SWE as long as not all windows were looked at."""

logger = logging.getLogger(__name__)


def open_source(data: Mapping[str, Any], targets: Sequence[str]) -> xr.Dataset:
    """The Cube of ``data=archive``; see `snowmap.sources.Source`.

    Args:
        data: As `snowmap.config.schema.Archive` describes it.
        targets: Targets that every window must have; without any, the archive is opened by `open_lazily`.
    """
    keys = ["bands", "zero_is_missing", *(["swe_unit", "strict", "threads", "cache"] if targets else [])]
    options = {key: data[key] for key in keys if data[key] is not None}
    return open_archive(data["root"], targets=targets, **options) if targets else open_lazily(data["root"], **options)


def open_archive(
    root: str | Path,
    *,
    bands: Iterable[str] | None = None,
    targets: Iterable[str] = ("hs", "swe"),
    swe_unit: str = "auto",
    strict: bool = False,
    zero_is_missing: Iterable[str] = tuple(INSAR_BANDS),
    threads: int | None = None,
    cache: bool = True,
) -> xr.Dataset:
    """Open an archive in the Trentino layout as a Cube.

    Args:
        root: The folder that holds `INSAR/`, `ITSNOW/`, `S3/` and `master_mask.tif`.
        bands: Bands that every window must have; the nine of the public archive by default.
        targets: Targets that every window must have; another one on disk is read too, NaN where a window lacks it.
            Empty for prediction.
        swe_unit: "cm", "mm", or "auto": found from the ratio of SWE to HS. A contradiction is an error.
        strict: Whether a window that has to be left out is an error.
        zero_is_missing: Bands in which 0 means "no value".
        threads: How many read at once; one for each core by default, at most 8.
        cache: Whether the second opening may come from the cache.

    Returns:
        The Cube; `attrs` has `origin`, `archive`, `fingerprint` (of values, dates and bands) and `excluded` (one
        sentence for each window left out). Arrays from the cache are mapped copy-on-write: changing them never touches
        the file.

    Raises:
        SnowmapError: Naming every fault of the archive at once.
    """
    plan, root = _plan(bands, targets, zero_is_missing, threads), Path(root)
    arrays, metadata = _from_cache(root, plan) if cache else _content(_read(root, plan), plan)
    _report_excluded(root, metadata["excluded"], strict)
    unit = ""
    if "swe" in arrays:
        unit = swe_unit_of.decide(metadata["swe_per_hs"], swe_unit, metadata["swe_unit_tag"])
    return _assemble(root, arrays, metadata, unit)


def open_lazily(
    root: str | Path, *, bands: Iterable[str] | None = None, zero_is_missing: Iterable[str] = tuple(INSAR_BANDS)
) -> xr.Dataset:
    """Open an archive that may be larger than the memory, to be mapped: its rasters are read when they are looked at.

    The rules are those of `open_archive`. ``cube.isel(y=…, x=…).load()`` reads that piece of every raster and gives an
    ordinary Cube. Nothing is kept in the cache, and targets are not looked at.

    Args:
        root: As in `open_archive`.
        bands: As in `open_archive`.
        zero_is_missing: As in `open_archive`.

    Returns:
        The Cube without targets and without a fingerprint; `features` is a dask array.

    Raises:
        SnowmapError: Naming every fault of the archive at once.
    """
    plan, root = _plan(bands, (), zero_is_missing, None)._replace(look=True), Path(root)
    rasters = _read(root, plan)
    arrays, metadata = _content(rasters, plan)
    _report_excluded(root, metadata["excluded"], strict=False)
    features = lazy_features(rasters.windows, plan, arrays["mask"].shape)
    return _assemble(root, {**arrays, "features": features}, metadata, "")


def _report_excluded(root: Path, excluded: list[str], strict: bool) -> None:
    if strict and excluded:
        head = f"{root}: windows that would be left out, which data.strict=true forbids: {len(excluded)}"
        raise SnowmapError(_listed(head, excluded))
    if excluded:
        logger.warning("%s", _listed(f"{root}: windows left out: {len(excluded)}", excluded))


@dataclass
class Survey:
    """Everything that can be said about an archive, without raising: what `open_archive` would raise is in `faults`.

    Attributes:
        faults: What makes the archive unfit to open, one sentence each.
        excluded: Windows that are left out, one sentence each.
        windows: How many windows can be read, as far as that.
        origin: Where the data came from, as in the Cube.
        swe_unit: Of the archive's SWE; empty where it has none or where it is in doubt, which is a fault then.
        swe_per_hs: The median of SWE/HS that tells the unit of SWE; None where there is nothing to compare.
    """

    faults: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    windows: int = 0
    origin: str = ""
    swe_unit: str = ""
    swe_per_hs: float | None = None


def survey(
    root: str | Path,
    look: Callable[[xr.Dataset], None] = lambda cube: None,
    *,
    bands: Iterable[str] | None = None,
    targets: Iterable[str] = ("hs", "swe"),
    swe_unit: str = "auto",
    zero_is_missing: Iterable[str] = tuple(INSAR_BANDS),
    threads: int | None = None,
) -> Survey:
    """Look at an archive as `open_archive` does, but gather every fault instead of raising; for `snowmap check`.

    Args:
        root: The archive's folder.
        look: Is given the Cube of each window by date, one after the other: no two are in memory at once. Rasters with
            a fault are NaN. In which unit SWE is, the survey knows at its end.
        bands: As in `open_archive`.
        targets: As in `open_archive`.
        swe_unit: As in `open_archive`.
        zero_is_missing: As in `open_archive`.
        threads: As in `open_archive`.

    Returns:
        The survey.

    Raises:
        SnowmapError: If the request itself makes no sense, such as an unknown band; never for what is on disk.
    """
    plan, root = _plan(bands, targets, zero_is_missing, threads), Path(root)
    scan = layout.scan(root, plan.bands, plan.targets)
    ratios: list[np.ndarray] = []

    def visit(rasters: reading.Reading, window: layout.Window, arrays: dict[str, np.ndarray]) -> None:
        if "hs" in arrays and "swe" in arrays:
            values = arrays["swe"][0], arrays["hs"][0]
            ratios.append(swe_unit_of.ratios(*values, arrays["mask"], len(scan.windows)))
        look(_assemble(root, *_content(replace(rasters, windows=[window], arrays=arrays), plan), UNKNOWN))

    rasters = reading.read(scan, plan, visit)
    result = Survey(rasters.faults, rasters.excluded)
    if rasters.arrays:
        result.windows, result.origin = len(rasters.windows), rasters.origin or root.resolve().name
        result.swe_per_hs = swe_unit_of.median_ratio(ratios)
        if any("swe" in window.files for window in rasters.windows):
            try:
                result.swe_unit = swe_unit_of.decide(result.swe_per_hs, swe_unit, rasters.swe_unit_tag)
            except SnowmapError as error:
                result.faults.append(str(error))
    return result


def _plan(
    bands: Iterable[str] | None, targets: Iterable[str], zero_is_missing: Iterable[str], threads: int | None
) -> reading.Plan:
    """The request in canonical order; unknown names are an error."""
    chosen = list(STANDARD_BANDS) if bands is None else list(bands)
    if not chosen:
        raise SnowmapError(f"data.bands: found no band; expected at least one of {list(BANDS)}")
    if threads is not None and threads < 1:
        raise SnowmapError(f"threads: found {threads}; expected at least 1")
    return reading.Plan(
        _known("data.bands", chosen, BANDS),
        _known("targets", targets, TARGETS),
        _known("zero_is_missing", zero_is_missing, BANDS),
        threads or min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
    )


def _known(key: str, names: Iterable[str], known: Mapping[str, object]) -> tuple[str, ...]:
    wanted = list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise SnowmapError(f"{key}: found {unknown}; expected names among {list(known)}")
    return tuple(name for name in known if name in wanted)


def _from_cache(root: Path, plan: reading.Plan) -> tuple[dict[str, Any], dict]:
    """What `_content` gives, from the cache where it is up to date, otherwise from the rasters."""
    files = layout.find(root, plan.bands, plan.targets)
    if not _settled(files):
        time.sleep(CLOCK_TICK_SECONDS)
        files = layout.find(root, plan.bands, plan.targets)
    settled = _settled(files)
    key = cached.key_of([plan.bands, plan.targets, plan.zero_is_missing, [raster.stamp for raster in files]])
    if entry := cached.load(root, key):
        return entry
    with cached.one_reader(root):  # the jobs of a sweep begin at once; all but one of them wait for its entry
        if entry := cached.load(root, key):
            return entry
        content = _content(_read(root, plan), plan)
        if settled and layout.find(root, plan.bands, plan.targets) == files:
            cached.store(root, key, *content)
            return cached.load(root, key) or content  # mapped, the arrays are memory that can be had back at any time
        logger.warning("%s: files changed while they were read; not kept in the cache", root)
    return content


def _settled(files: list[layout.Found]) -> bool:
    """Whether the last change is so long ago that another one would show in the file's time."""
    newest_ns = max((raster.stamp.changed_ns for raster in files), default=0)
    return not 0 <= time.time_ns() - newest_ns < CLOCK_TICK_SECONDS * 1e9


def _read(root: Path, plan: reading.Plan) -> reading.Reading:
    rasters = reading.read(layout.scan(root, plan.bands, plan.targets), plan)
    if rasters.faults:
        head = f"{root}: {len(rasters.faults)} faults" if len(rasters.faults) > 1 else ""
        raise SnowmapError(_listed(head, rasters.faults))
    return rasters


def _listed(head: str, lines: list[str]) -> str:
    """The lines below a head; a single line without a head stands alone."""
    if not head:
        return lines[0]
    hidden = len(lines) - MOST_FAULTS_SHOWN
    more = [f"and {hidden} more; `snowmap check` lists all"] if hidden > 0 else []
    return "\n  - ".join([f"{head}:", *lines[:MOST_FAULTS_SHOWN], *more])


def _content(rasters: reading.Reading, plan: reading.Plan) -> tuple[dict[str, Any], dict]:
    """What a Cube is made of, as the cache keeps it: arrays, and metadata that JSON can hold."""
    assert rasters.grid is not None  # with arrays comes a grid
    arrays, crs = rasters.arrays, rasters.grid.crs
    both = "hs" in arrays and "swe" in arrays
    return arrays, {
        "bands": list(plan.bands),
        "start": [window.start for window in rasters.windows],
        "end": [window.end for window in rasters.windows],
        "crs": crs.to_wkt() if crs else "",
        "transform": list(rasters.grid.transform[:6]),
        "excluded": rasters.excluded,
        "fingerprint": rasters.digest,
        "origin": rasters.origin,
        "swe_per_hs": swe_unit_of.swe_per_hs(arrays["swe"], arrays["hs"], arrays["mask"]) if both else None,
        "swe_unit_tag": rasters.swe_unit_tag,
    }


def _assemble(root: Path, arrays: Mapping[str, Any], metadata: Mapping[str, Any], unit_of_swe: str) -> xr.Dataset:
    transform, (height, width) = Affine(*metadata["transform"]), arrays["mask"].shape
    variables = {"features": (("window", "band", "y", "x"), arrays["features"]), "mask": (("y", "x"), arrays["mask"])}
    for name in TARGETS:
        if name in arrays:
            quantity = SWE_IN_UNITS.get(unit_of_swe, TARGETS[name]) if name == "swe" else TARGETS[name]
            unit = {"units": unit_of_swe} if name == "swe" else {}
            variables[name] = (("window", "y", "x"), arrays[name], {**quantity.attributes, **unit})
    coordinates = {
        "start": ("window", np.array(metadata["start"], "datetime64[ns]")),
        "end": ("window", np.array(metadata["end"], "datetime64[ns]")),
        **band_coordinates({name: BANDS[name] for name in metadata["bands"]}),
        "y": transform.f + transform.e * (np.arange(height) + 0.5),
        "x": transform.c + transform.a * (np.arange(width) + 0.5),
    }
    attributes = {
        "origin": metadata["origin"] or root.resolve().name,
        "archive": str(root.absolute()),
        "fingerprint": metadata["fingerprint"],
        "excluded": metadata["excluded"],
    }
    cube = xr.Dataset(variables, coordinates, attributes)
    # in place: otherwise rioxarray copies every array, twice
    cube.rio.write_crs(CRS.from_wkt(metadata["crs"]), inplace=True)
    return cube.rio.write_transform(transform, inplace=True)
