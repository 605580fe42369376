"""Which samples there are, by the metadata alone: no shard is opened for a sample that is left out."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from snowmap.errors import SnowmapError
from snowmap.sources.na_sar.layout import COLUMNS, DATES, FOLDER, METADATA, REQUIRED, SUMMARY, USUAL_DAYS
from snowmap.sources.na_sar.stream import Opening, first_key, is_remote
from snowmap.tables import listed
from snowmap.units import METRES_PER_DEGREE

SUBSETS = ("train", "validation", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patches:
    """Samples of two views each, shard by shard in the order of their members.

    Attributes:
        table: ``key``, ``shard`` (index in `shards`), ``longitude``, ``latitude`` (degrees; NaN where unknown),
            ``days`` between the two dates, ``prime_day`` and ``secondary_day`` (of the year). Its index is the number
            of the row in the metadata.
        shards: Paths or URLs.
        attributes: ``archive``, ``origin`` (begins with "synthetic" for synthetic data) and ``fingerprint``, as a
            Cube has them.
    """

    table: pd.DataFrame
    shards: tuple[str, ...]
    attributes: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.table)

    def where(self, chosen: np.ndarray) -> "Patches":
        """Those samples that a boolean array, or an array of positions in ascending order, chooses."""
        return replace(self, table=self.table.loc[chosen] if chosen.dtype == bool else self.table.iloc[chosen])


def open_patches(data: Mapping[str, Any]) -> Patches:
    """The samples that the configuration's ``data`` group describes.

    Args:
        data: The group, `snowmap.config.sources.NaSar`.

    Raises:
        SnowmapError: When the metadata cannot be read, lacks a column that is needed, does not match the shards, or no
            sample is left.
    """
    root = data["root"].rstrip("/")
    place = f"{root}/{METADATA}"
    opening = Opening(data["cache_gb"], data["retries"])
    content = opening.whole(place)
    try:
        parquet = pq.ParquetFile(pa.BufferReader(content))
        columns = _columns(place, parquet.schema_arrow.names, data["columns"] or {})
        frame = parquet.read(columns=[*dict.fromkeys(columns.values())]).to_pandas()
    except pa.ArrowException as error:
        raise SnowmapError(f"{place} is no whole Parquet file ({str(error).splitlines()[0]}); copy it again") from error
    fields = {role: frame[column] for role, column in columns.items()}
    if frame[[columns["shard"], columns["key"]]].duplicated().any():
        raise SnowmapError(f"{place} lists a sample of a shard twice; each one is to be there once")
    table = pd.DataFrame({"key": fields["key"].astype("string[pyarrow]"), "shard": fields["shard"].map(_file_name)})
    table["position"] = fields["position"]
    table["longitude"], table["latitude"] = _centres(place, fields)
    table = table.assign(**_times(fields)).loc[_chosen(place, fields, table, data)]
    if table.empty:
        raise SnowmapError(
            f"{place}: none of its {len(frame)} samples is within data.quality, data.polarisations and data.bounds; "
            "widen them"
        )
    table, shards = _with_shards(root, table, data["shards"])
    _refuse_others(place, fields["key"], shards)
    attributes = {
        "archive": root if is_remote(root) else str(Path(root).absolute()),
        "origin": _origin(root),
        "fingerprint": hashlib.sha256(content).hexdigest()[:32],
    }
    return Patches(table.drop(columns="position"), tuple(shards), attributes)


def split_patches(patches: Patches, split: Mapping[str, Any]) -> dict[str, Patches]:
    """Blocks of the Earth validate and test, the others train: none of a block's samples is in two subsets.

    Args:
        patches: The samples.
        split: The configuration's ``split`` group, `snowmap.config.splits.Geography`.

    Raises:
        SnowmapError: When the samples have no place, or a subset is empty.
    """
    places = patches.table[["longitude", "latitude"]].to_numpy()
    if np.isnan(places).any():
        raise SnowmapError(
            f"split=geography: the metadata of {patches.attributes['archive']} gives "
            f"{int(np.isnan(places).any(1).sum())} of {len(patches)} samples no place; name its columns, "
            "e.g. data.columns={longitude: lon, latitude: lat}"
        )
    degrees = split["degrees"]
    blocks, of_sample, counts = np.unique(_block(places, degrees), return_inverse=True, return_counts=True)
    order = np.random.default_rng(split["seed"]).permutation(len(blocks))
    before = np.cumsum(counts[order]) - counts[order]
    subset_of = np.zeros(len(blocks), np.int8)
    first, wanted = 0, 0.0
    for code, share in ((2, split["test"]), (1, split["validation"])):
        wanted += share * len(patches)
        last = max(first + 1, int(np.searchsorted(before, wanted)))
        subset_of[order[first:last]] = code
        first = last
    subset = subset_of[of_sample]
    north = split["buffer_km"] * 1000 / METRES_PER_DEGREE
    east = north / np.cos(np.radians(places[:, 1])).clip(0.05)
    beside = subset
    ways = np.linspace(-1, 1, 1 + 2 * int(np.ceil(east.max() / degrees)))  # none of them leaps over a block
    for right in ways:
        for up in ways:
            moved = _block(places + np.column_stack([right * east, np.full(len(places), up * north)]), degrees)
            at = np.searchsorted(blocks, moved).clip(0, len(blocks) - 1)
            beside = np.maximum(beside, np.where(blocks[at] == moved, subset_of[at], 0))
    parts = {name: patches.where((subset == code) & (beside == code)) for code, name in enumerate(SUBSETS)}
    if empty := [name for name, part in parts.items() if not len(part)]:
        raise SnowmapError(
            f"split=geography leaves no sample for {' and '.join(empty)}: {len(patches)} samples lie in {len(blocks)} "
            f"blocks of {degrees:g}°; give a smaller split.degrees, split.buffer_km or other shares"
        )
    return parts


def _block(places: np.ndarray, degrees: float) -> np.ndarray:
    """A number for the block of each place (longitude, latitude)."""
    column, row = np.floor((places + np.array([180, 90])) / degrees).astype(np.int64).T
    return (column % int(np.ceil(360 / degrees))) * 10**6 + row


def _columns(place: str, names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The column of each role that the metadata has."""
    if unknown := [role for role in given if role not in COLUMNS]:
        raise SnowmapError(f"data.columns: '{unknown[0]}' is none of {', '.join(COLUMNS)}")
    columns = {}
    for role, known in COLUMNS.items():
        if role in given and given[role] not in names:
            raise SnowmapError(f"data.columns.{role}={given[role]}: {place} has the columns {', '.join(names)}")
        column = given.get(role) or next((name for name in known if name in names), None)
        if column:
            columns[role] = column
        elif role in REQUIRED:
            raise _missing(place, role, names)
    return columns


def _missing(place: str, role: str, names: Sequence[str]) -> SnowmapError:
    return SnowmapError(
        f"{place} has no column {' or '.join(COLUMNS[role])}, but {', '.join(names)}; name the one that is meant as "
        f"data.columns={{{role}: NAME}}"
    )


def _centres(place: str, fields: Mapping[str, pd.Series]) -> tuple[Any, Any]:
    """Longitude and latitude of the middle of each sample, degrees; NaN where the metadata has no places."""
    if fields.keys() >= {"longitude", "latitude"}:
        longitude, latitude = (fields[role].to_numpy(float) for role in ("longitude", "latitude"))
    elif fields.keys() >= {"west", "south", "east", "north"}:
        west, south, east, north = (fields[role].to_numpy(float) for role in ("west", "south", "east", "north"))
        longitude, latitude = west + (east - west) % 360 / 2, (south + north) / 2
    elif "geometry" in fields:
        shapes = fields["geometry"].to_numpy()
        text = isinstance(shapes[0], str) if len(shapes) else True
        try:
            centres = shapely.centroid((shapely.from_wkt if text else shapely.from_wkb)(shapes))
        except (shapely.errors.ShapelyError, TypeError) as error:
            raise SnowmapError(f"{place}: the column {fields['geometry'].name} is neither WKB nor WKT") from error
        longitude, latitude = shapely.get_x(centres), shapely.get_y(centres)
    else:
        return np.nan, np.nan
    if (np.abs(latitude) > 90).any() or (np.abs(longitude) > 360).any():
        raise SnowmapError(
            f"{place} has places beyond ±90° of latitude or ±360° of longitude, so they are no degrees; name columns "
            "that are, e.g. data.columns={longitude: lon, latitude: lat}"
        )
    return (longitude + 180) % 360 - 180, latitude


def _times(fields: Mapping[str, pd.Series]) -> dict[str, Any]:
    """Days between the dates, and the day of the year of each of them."""
    absent = pd.Series(pd.NaT, fields["key"].index)
    given = [fields.get(f"{date}_date", absent) for date in DATES]
    given = [dates.astype(str) if pd.api.types.is_integer_dtype(dates) else dates for dates in given]  # 20230105
    prime, secondary = (pd.to_datetime(dates, errors="coerce", utc=True) for dates in given)
    days = (secondary.dt.normalize() - prime.dt.normalize()).dt.days.abs().replace(0, np.nan)
    return {
        "days": days.fillna(USUAL_DAYS).astype(np.float32),
        "prime_day": prime.dt.day_of_year.fillna(1).astype(np.float32),
        "secondary_day": secondary.dt.day_of_year.fillna(1).astype(np.float32),
    }


def _chosen(place: str, fields: Mapping[str, pd.Series], table: pd.DataFrame, data: Mapping[str, Any]) -> np.ndarray:
    """Which samples the filters leave."""
    chosen = np.ones(len(table), bool)
    wanted = (["quality"] if data["quality"] > 0 else []) + data["polarisations"]
    for role in wanted:
        if role not in fields:
            raise _missing(place, role, [str(series.name) for series in fields.values()])
        values = fields[role].to_numpy()
        chosen &= values >= data["quality"] if role == "quality" else values == True  # noqa: E712  None is not
    if data["bounds"]:
        longitude = table["longitude"].to_numpy()
        if np.isnan(longitude).all():
            raise _missing(place, "longitude", [str(series.name) for series in fields.values()])
        west, south, east, north = data["bounds"]
        within = (longitude >= west, longitude <= east)
        chosen &= (within[0] & within[1]) if west <= east else (within[0] | within[1])  # across the 180th meridian
        chosen &= table["latitude"].between(south, north).to_numpy()
    return chosen


def _with_shards(root: str, table: pd.DataFrame, given: Sequence[str] | None) -> tuple[pd.DataFrame, list[str]]:
    """The table sorted by shard and member, with the index of its shard, and where the shards lie."""
    names = sorted(table["shard"].unique())
    places = {name: f"{root}/{FOLDER}/{name}" for name in names}
    if given:
        urls = [url for pattern in given for url in braceexpand.braceexpand(pattern)]
        places = {_file_name(url): url for url in urls}
    lacking = [name for name in names if name not in places or not (is_remote(places[name]) or _exists(places[name]))]
    where = "data.shards" if given else f"{root}/{FOLDER}"
    if len(lacking) == len(names):
        raise SnowmapError(
            f"{where} has none of the {len(names)} shards that {METADATA} names ({listed(names)}); copy some of them, "
            "or give another data.root"
        )
    if lacking:
        without = table["shard"].isin(lacking)
        logger.warning(
            "%s lacks %d of the %d shards that %s names (%s): their %d samples are left out",
            *(where, len(lacking), len(names), METADATA, listed(lacking), without.sum()),
        )
        table, names = table.loc[~without], [name for name in names if name not in lacking]
    shards = [places[name] for name in names]
    table = table.assign(shard=pd.Categorical(table["shard"], names).codes.astype(np.int32))
    return table.sort_values(["shard", "position"], kind="stable"), shards


def _refuse_others(place: str, keys: pd.Series, shards: Sequence[str]) -> None:
    """Refuse metadata of other shards, as far as the first members of those on this machine tell."""
    first = ""
    for shard in shards:
        key = None if is_remote(shard) else first_key(shard)
        if key is not None and (keys == key).any():
            return
        first = first or (f"{shard} begins with {key}" if key is not None else "")
    if first:
        raise SnowmapError(f"{place} is of other shards: {first}, which it does not list; give both of one release")


def _exists(path: str) -> bool:
    return Path(path).is_file()


def _file_name(path: str) -> str:
    return str(path).rpartition("/")[2]


def _origin(root: str) -> str:
    """What the summary beside the metadata says of where the data came from, else the name of the folder."""
    if not is_remote(root):
        try:
            origin = json.loads(Path(root, SUMMARY).read_text()).get("origin")
        except (OSError, ValueError, AttributeError):
            origin = None
        if isinstance(origin, str):
            return origin
    return _file_name(root)
