"""Opening an archive as a Cube, and surveying one that may be broken."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.data.cube import fingerprint
from snowmap.data.radar.components import in_largest_component
from snowmap.errors import SnowmapError
from snowmap.sources.trentino import cache as cached
from snowmap.sources.trentino import layout
from snowmap.sources.trentino.quantities import BANDS, INSAR_BANDS, STANDARD_BANDS, TARGETS, as_cube
from snowmap.sources.trentino.raster import BANDS_TAG, TARGETS_TAG, choose_wavelength, opened
from snowmap.sources.trentino.reading import Plan, Reader
from snowmap.sources.trentino.swe_unit import check_snow_depth, decide

MOST_FAULTS_SHOWN = 20
CLOCK_TICK_SECONDS = 0.05
"""File times advance in steps, of 10 ms at most on Linux: a file changed twice within one step looks unchanged."""

UNKNOWN = "unknown"
"""The unit of SWE as long as not all windows were looked at."""

Content = tuple[dict[str, Any], dict[str, Any]]
"""What a Cube is made of, as the cache keeps it: `layers` and `mask`, and metadata that JSON can hold."""

logger = logging.getLogger(__name__)


def open_source(data: Mapping[str, Any], targets: Sequence[str]) -> xr.Dataset:
    """The Cube of ``data=archive``; see `snowmap.sources.Source`.

    Args:
        data: As `snowmap.config.sources.Archive` describes it.
        targets: Targets that every window must have; without any, the archive is opened by `open_lazily`.
    """
    keys = [
        "bands",
        "zero_is_missing",
        "wavelength_m",
        *(["swe_unit", "strict", "threads", "cache"] if targets else []),
    ]
    options = {key: data[key] for key in keys if data.get(key) is not None}
    return open_archive(data["root"], targets=targets, **options) if targets else open_lazily(data["root"], **options)


def open_archive(
    root: str | Path,
    *,
    bands: Iterable[str] | None = None,
    targets: Iterable[str] | None = None,
    swe_unit: str = "auto",
    strict: bool = False,
    zero_is_missing: Iterable[str] = tuple(INSAR_BANDS),
    wavelength_m: float | None = None,
    threads: int | None = None,
    cache: bool = True,
) -> xr.Dataset:
    """Open an archive in the Trentino layout as a Cube.

    Args:
        root: The folder that holds `INSAR/`, `ITSNOW/`, `S3/` and `master_mask.tif`.
        bands: Bands that every window must have; by default those that the archive states, as `snowmap build` writes
            it, else the nine of the public archive. With `layover_shadow` the bands of the radar have no value where
            it is 1; with `component` see `in_largest_component`.
        targets: Targets that every window must have, by default those that the archive states, else both; another one
            on disk is read too, NaN where a window lacks it.
            Empty for prediction.
        swe_unit: "cm", "mm", or "auto": found from the ratio of SWE to HS. A contradiction is an error.
        strict: Whether a window that has to be left out is an error.
        zero_is_missing: Bands in which 0 means "no value".
        wavelength_m: Of the radar; by default that of the rasters' tags, else Sentinel-1's. Contradictions are errors.
        threads: How many read at once; one for each core by default, at most 8.
        cache: Whether the second opening may come from the cache.

    Returns:
        The Cube; `attrs` has `origin`, `archive`, `fingerprint` (of values, dates and bands) and `excluded` (one
        sentence for each window left out). Arrays from the cache are mapped copy-on-write: changing them never touches
        the file.

    Raises:
        SnowmapError: Naming every fault of the archive at once.
    """
    root = Path(root)
    plan = _plan(root, bands, targets, zero_is_missing, threads)
    arrays, metadata = _from_cache(root, plan) if cache else _read(layout.scan(root, plan.bands, plan.targets), plan)
    _report_excluded(root, metadata["excluded"], strict)
    swe_unit = _unit_of_swe(metadata, swe_unit)
    return _assemble(root, arrays, metadata, swe_unit, wavelength_m)


def open_lazily(
    root: str | Path,
    *,
    bands: Iterable[str] | None = None,
    zero_is_missing: Iterable[str] = tuple(INSAR_BANDS),
    wavelength_m: float | None = None,
) -> xr.Dataset:
    """Open an archive that may be larger than the memory, to be mapped: its rasters are read when they are looked at.

    The rules are those of `open_archive`. ``cube.isel(y=…, x=…).load()`` reads that piece of every raster and gives an
    ordinary Cube. Nothing is kept in the cache, where a large scene would take up as much disk again, and targets are
    not looked at.

    Args:
        root: As in `open_archive`.
        bands: As in `open_archive`.
        zero_is_missing: As in `open_archive`.
        wavelength_m: As in `open_archive`.

    Returns:
        The Cube without targets and without a fingerprint; `features` is a dask array.

    Raises:
        SnowmapError: Naming every fault of the archive at once.
    """
    root = Path(root)
    plan = _plan(root, bands, (), zero_is_missing, None)
    reader = Reader(layout.scan(root, plan.bands, ()), plan)
    reader.read(reader.scan.windows, keep=False)
    _raise_faults(reader)
    _report_excluded(root, reader.excluded, strict=False)
    metadata = _metadata(reader) | {"layers": plan.bands}
    return _assemble(root, {"layers": reader.lazily(), "mask": reader.mask}, metadata, wavelength_m=wavelength_m)


def survey(
    root: str | Path,
    look: Callable[[xr.Dataset], None] = lambda cube: None,
    *,
    bands: Iterable[str] | None = None,
    targets: Iterable[str] | None = None,
    swe_unit: str = "auto",
) -> Reader:
    """Look at an archive as `open_archive` does, but gather every fault instead of raising; for `snowmap check`.

    Args:
        root: The archive's folder.
        look: Is given the Cube of each window by date, one after the other: no two are in memory at once. Rasters with
            a fault are NaN. In which unit SWE is, is known at the end.
        bands: As in `open_archive`.
        targets: As in `open_archive`.
        swe_unit: As in `open_archive`.

    Returns:
        What was gathered: `faults` has what `open_archive` would raise, `swe_unit` is empty where the archive has no
        SWE, or where its unit is in doubt.

    Raises:
        SnowmapError: If the request itself makes no sense, such as an unknown band; never for what is on disk.
    """
    root = Path(root)
    plan = _plan(root, bands, targets, tuple(INSAR_BANDS), None)
    reader = Reader(layout.scan(root, plan.bands, plan.targets), plan)
    for window in reader.scan.windows:
        values = reader.read([window])
        if len(values) and reader.mask is not None:
            metadata = _metadata(reader) | {"start": [window.start], "end": [window.end]}
            look(_assemble(root, {"layers": values, "mask": reader.mask}, metadata, UNKNOWN))
    reader.finish()
    if reader.windows and reader.grid is not None:
        try:
            reader.swe_unit = _unit_of_swe(_metadata(reader), swe_unit)
        except SnowmapError as error:
            reader.faults.append(str(error))
    return reader


def _unit_of_swe(metadata: Mapping[str, Any], configured: str) -> str:
    """Empty without SWE; an error where snow depth is in no unit that it can be compared with."""
    tags, depths = metadata["unit_tags"], metadata["depths"]
    if "hs" in metadata["layers"]:
        check_snow_depth(tags.get("hs", ""), depths["hs"])
    if "swe" not in metadata["layers"]:
        return ""
    return decide(metadata["swe_per_hs"], configured, tags.get("swe", ""), depths["swe"])


def _plan(
    root: Path,
    bands: Iterable[str] | None,
    targets: Iterable[str] | None,
    zero_is_missing: Iterable[str],
    threads: int | None,
) -> Plan:
    """The request in canonical order; unknown names are an error."""
    of_archive = stated(root) if bands is None or targets is None else ((), ())
    chosen = list(of_archive[0] if bands is None else bands)
    if not chosen:
        raise SnowmapError(f"data.bands: found no band; expected at least one of {list(BANDS)}")
    if threads is not None and threads < 1:
        raise SnowmapError(f"threads: found {threads}; expected at least 1")
    return Plan(
        _known("data.bands", chosen, BANDS),
        _known("targets", of_archive[1] if targets is None else targets, TARGETS),
        _known("zero_is_missing", zero_is_missing, BANDS),
        threads or min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
    )


def stated(root: Path) -> tuple[list[str], list[str]]:
    """The bands and the targets that an archive says it has, else those of the public one."""
    tags: dict[str, str] = {}
    with contextlib.suppress(SnowmapError), opened(root / layout.MASK_NAME) as raster:  # its faults are found later
        tags = raster.tags()
    defaults = {BANDS_TAG: STANDARD_BANDS, TARGETS_TAG: TARGETS}
    bands, targets = (
        [*filter(None, tags[tag].split(","))] if tag in tags else [*names] for tag, names in defaults.items()
    )
    return bands, targets


def _known(key: str, names: Iterable[str], known: Mapping[str, object]) -> tuple[str, ...]:
    wanted = list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise SnowmapError(f"{key}: found {unknown}; expected names among {list(known)}")
    return tuple(name for name in known if name in wanted)


def _from_cache(root: Path, plan: Plan) -> Content:
    """What `_read` gives, from the cache where it is up to date, otherwise from the rasters."""
    scan = layout.scan(root, plan.bands, plan.targets)
    if not _settled(scan):
        time.sleep(CLOCK_TICK_SECONDS)
        scan = layout.scan(root, plan.bands, plan.targets)
    if scan.faults:
        return _read(scan, plan)
    settled = _settled(scan)
    files = [(file.path.removeprefix(str(root)), *file[4:]) for file in scan.files]
    key = cached.key_of([plan.bands, plan.targets, plan.zero_is_missing, files])
    if entry := cached.load(root, key):
        return entry
    with cached.one_reader(root):  # the jobs of a sweep begin at once; all but one of them wait for its entry
        if entry := cached.load(root, key):
            return entry
        content = _read(scan, plan)
        if settled and layout.scan(root, plan.bands, plan.targets).files == scan.files:
            cached.store(root, key, *content)
            return cached.load(root, key) or content  # mapped, the arrays are memory that can be had back at any time
        logger.warning("%s: files changed while they were read; not kept in the cache", root)
    return content


def _settled(scan: layout.Scan) -> bool:
    """Whether the last change is so long ago that another one would show in the file's time."""
    newest_ns = max((file.changed_ns for file in scan.files), default=0)
    return not 0 <= time.time_ns() - newest_ns < CLOCK_TICK_SECONDS * 1e9


def _read(scan: layout.Scan, plan: Plan) -> Content:
    reader = Reader(scan, plan)
    layers = reader.read(scan.windows)
    _raise_faults(reader)
    assert reader.mask is not None  # otherwise there is a fault
    count = len(plan.bands)
    names = (plan.bands, ["features", *reader.layers[count:]], [window.name for window in reader.windows])
    digest = fingerprint(names, [reader.mask, layers[:, :count], *np.moveaxis(layers[:, count:], 1, 0)])
    return {"layers": layers, "mask": reader.mask}, _metadata(reader) | {"fingerprint": digest}


def _raise_faults(reader: Reader) -> None:
    reader.finish()
    if reader.faults:
        head = f"{reader.scan.root}: {len(reader.faults)} faults" if len(reader.faults) > 1 else ""
        raise SnowmapError(_listed(head, reader.faults))


def _report_excluded(root: Path, excluded: list[str], strict: bool) -> None:
    if strict and excluded:
        head = f"{root}: windows that would be left out, which data.strict=true forbids: {len(excluded)}"
        raise SnowmapError(_listed(head, excluded))
    if excluded:
        logger.warning("%s", _listed(f"{root}: windows left out: {len(excluded)}", excluded))


def _listed(head: str, lines: list[str]) -> str:
    """The lines below a head; a single line without a head stands alone."""
    if not head:
        return lines[0]
    hidden = len(lines) - MOST_FAULTS_SHOWN
    more = [f"and {hidden} more; `snowmap check` lists all"] if hidden > 0 else []
    return "\n  - ".join([f"{head}:", *lines[:MOST_FAULTS_SHOWN], *more])


def _metadata(reader: Reader) -> dict[str, Any]:
    assert reader.grid is not None  # otherwise there is a fault
    assert reader.grid.crs is not None
    return {
        "bands": reader.plan.bands,
        "layers": reader.layers,
        "start": [window.start for window in reader.windows],
        "end": [window.end for window in reader.windows],
        "crs": reader.grid.crs.to_wkt(),
        "transform": reader.grid.transform[:6],
        "excluded": reader.excluded,
        "fingerprint": "",
        "origin": reader.origin,
        "wavelength": reader.wavelength,
        "phase_sign": reader.phase_sign,
        "swe_per_hs": reader.swe_per_hs,
        "unit_tags": reader.unit_tags,
        "depths": reader.depths,
    }


def _assemble(
    root: Path,
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any],
    swe_unit: str = "cm",
    wavelength_m: float | None = None,
) -> xr.Dataset:
    layers, count = arrays["layers"], len(metadata["bands"])
    targets = {name: layers[:, layer] for layer, name in enumerate(metadata["layers"]) if layer >= count}
    cube = as_cube(
        {"features": layers[:, :count], **targets, "mask": arrays["mask"]},
        metadata["bands"],
        np.array(metadata["start"], "datetime64[ns]"),
        np.array(metadata["end"], "datetime64[ns]"),
        CRS.from_wkt(metadata["crs"]),
        Affine(*metadata["transform"]),
        swe_unit,
    )
    if "component" in metadata["bands"]:
        cube = cube.assign(features=in_largest_component(cube))
    if "layover_shadow" in metadata["bands"]:
        hidden = cube["features"].isel(window=0).sel(band="layover_shadow", drop=True) == 1
        cube = cube.assign(features=cube["features"].where((cube["group"] != "sar") | ~hidden))
    attributes = {key: metadata[key] for key in ("origin", "fingerprint", "excluded")}
    if metadata["phase_sign"] is not None:
        attributes["phase_sign"] = metadata["phase_sign"]
    wavelength = choose_wavelength(root, metadata["wavelength"], wavelength_m)
    return cube.assign_attrs(archive=str(root.absolute()), wavelength=wavelength, **attributes)
