"""`snowmap check` on NA-SAR: every member of every shard is read, and each fault is named."""

import contextlib
import tarfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from snowmap.cluster import connect, deal
from snowmap.config.sources import NaSar
from snowmap.errors import SnowmapError
from snowmap.sources.na_sar.index import Patches, open_patches
from snowmap.sources.na_sar.layout import BANDS, CHANNELS, SHARDS
from snowmap.sources.na_sar.reading import MemberError, fault_of, read_member
from snowmap.sources.na_sar.stream import Fault, Opening
from snowmap.tables import print_findings, print_table

RANGES: dict[str, tuple[float, float]] = {
    "prime_rtc": (0.0, np.inf),  # in dB it would be negative
    "secondary_rtc": (0.0, np.inf),
    "ifg": (-1.001, 1.001),  # cosine and sine, rounded
    **{
        stem: (BANDS[band].valid_min, BANDS[band].valid_max)
        for stem, band in [
            ("inc_angle", "incidence"),
            ("coh", "coherence"),
            ("dem", "elevation"),
            ("slope_deg", "slope"),
        ]
    },
}
"""Plausible values of each array, by its key without the view."""


class Shard(NamedTuple):
    """What was found in a shard.

    Attributes:
        whole: Samples without a fault.
        faults: A line for each fault.
        ranges: Least and greatest value by key, of the whole samples.
    """

    whole: int
    faults: list[str]
    ranges: dict[str, tuple[float, float]]


def check_patches(root: Path, workers: int | None = None) -> bool:
    """Print what the shards hold, and every fault; returns whether there are any.

    Args:
        root: The folder with the metadata and ``data/``.
        workers: Processes that read; by default this one.

    Raises:
        SnowmapError: When the metadata cannot be read, or names none of the shards.
    """
    data = vars(NaSar()) | {"root": str(root), "quality": 0.0, "polarisations": [], "bounds": None, "retries": 0}
    patches = open_patches(data)
    keys = [patches.table.loc[patches.table["shard"] == index, "key"].tolist() for index in range(len(patches.shards))]
    with connect(workers) as client:
        shards = list(deal(client, _check_shard, None, zip(patches.shards, keys, strict=True)))
    further = {path.name for path in root.glob(SHARDS) if path.is_file()} - {Path(path).name for path in patches.shards}
    faults = [f"{name}: the metadata lists none of its samples" for name in sorted(further)]
    faults += [line for shard in shards for line in shard.faults]
    _print(root, patches, shards, [len(names) for names in keys], faults)
    return bool(faults)


def _check_shard(_: None, piece: tuple[str, Sequence[str]]) -> Shard:
    path, keys = piece
    name, whole, lost, faults = Path(path).name, 0, list[Fault](), list[str]()
    ranges: dict[str, tuple[float, float]] = {}
    try:
        for key, content in zip(keys, Opening(retries=0).members(path, keys), strict=True):
            result = content if isinstance(content, Fault) else _read(path, key, content)
            if isinstance(result, Fault):
                lost.append(result)
                continue
            whole += 1
            for label, values in result.items():
                least, greatest = ranges.get(label, (np.inf, -np.inf))
                ranges[label] = min(least, float(values.min())), max(greatest, float(values.max()))
    except SnowmapError as error:
        faults.append(str(error))
    faults += [f"{name}: {unlisted} is not in the metadata" for unlisted in _unlisted(path, set(keys))]
    for (of_shard, words), group in groupby(lost, lambda fault: (fault.of_shard, fault.words)):
        alike = [fault.key for fault in group]
        if of_shard:
            faults.append(f"{name} {words}: {len(alike)} samples are lost, from {alike[0]} on")
        else:
            faults += [f"{name}: {key} {words}" for key in alike]
    return Shard(whole, faults, ranges)


def _read(path: str, key: str, content: bytes) -> dict[str, np.ndarray] | Fault:
    try:
        arrays = read_member(content)
    except MemberError as error:
        return Fault(path, key, str(error))
    words = fault_of(arrays) or _implausible(arrays)
    return Fault(path, key, words) if words else arrays


def _implausible(arrays: dict[str, np.ndarray]) -> str:
    if not any(values.any() for key, values in arrays.items() if "_rtc_" in key):
        return "has no backscatter at any pixel"
    for key, values in arrays.items():
        low, high = RANGES[key.split("_view")[0]]
        if values.min() < low or values.max() > high:
            return f"has {key} from {values.min():.4g} to {values.max():.4g}, outside {low:g} … {high:g}"
    return ""


def _unlisted(path: str, keys: set[str]) -> list[str]:
    with contextlib.suppress(OSError, EOFError, tarfile.TarError), tarfile.open(path) as tar:  # a fault already
        return [member.name for member in tar if member.isfile() and PurePosixPath(member.name).stem not in keys]
    return []


def _print(root: Path, patches: Patches, shards: Sequence[Shard], counts: Sequence[int], faults: Sequence[str]) -> None:
    names = [Path(path).name for path in patches.shards]
    whole = [shard.whole for shard in shards]
    print_table("shards", {"shard": names, "samples": map(str, counts), "whole": map(str, whole)})
    known = [key for key in CHANNELS if any(key in shard.ranges for shard in shards)]
    least = {key: min(shard.ranges[key][0] for shard in shards if key in shard.ranges) for key in known}
    greatest = {key: max(shard.ranges[key][1] for shard in shards if key in shard.ranges) for key in known}
    columns = {"array": known, "least": (f"{v:.4g}" for v in least.values())}
    print_table("values of whole samples", columns | {"greatest": (f"{v:.4g}" for v in greatest.values())})
    notes = []
    if len(places := patches.table[["longitude", "latitude"]].dropna().to_numpy()):
        (west, south), (east, north) = places.min(axis=0), places.max(axis=0)
        notes.append(f"places: {west:.1f}° … {east:.1f}° E, {south:.1f}° … {north:.1f}° N")
    verdict = f"{sum(whole)} of {len(patches)} samples are whole"
    fit = f"{len(faults)} faults, which training passes over" if faults else "fit to train on with data=na_sar"
    print_findings(f"{root}: {verdict}; {fit}", faults, notes=notes, origin=patches.attributes["origin"])
