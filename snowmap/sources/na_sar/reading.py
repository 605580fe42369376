"""From the bytes of members to bands in physical units: workers read arrays, the device that trains does the rest."""

import io
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from snowmap.data.batch import Batch
from snowmap.data.sequences import WHOLE
from snowmap.sources.na_sar.layout import CHANNELS, DATES, POLARISATIONS, SIDE, VIEWS
from snowmap.sources.na_sar.stream import Fault

RELIEF_PERCENTILES = (5, 95)
OF_SECONDARY = slice(-1, None)


class MemberError(Exception):
    """A member that is not what the dataset card says; the text says why."""


def read_member(content: bytes, keys: Collection[str] = CHANNELS.keys()) -> dict[str, np.ndarray]:
    """The arrays of a member ``(channel, SIDE, SIDE)``.

    Args:
        content: The npz.
        keys: Names of the arrays that are wanted; no other is read.

    Raises:
        MemberError: When it is no npz, or an array is missing or of another shape or kind.
    """
    if not content.startswith(b"PK"):
        raise MemberError("is no npz")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            entries = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
        if missing := [key for key in keys if key not in entries]:
            raise MemberError(f"lacks {', '.join(missing)}")
        arrays = {key: _array(_unpacked(content, entries[key])) for key in keys}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError) as error:
        raise MemberError(f"is no whole npz ({' '.join(str(error).split())[:100]})") from error
    for key, values in arrays.items():
        shape = (CHANNELS[key], SIDE, SIDE)
        if values.shape != shape or values.dtype.kind != "f":
            raise MemberError(f"has {key} as {values.dtype} {values.shape}, not as floating-point numbers {shape}")
    return arrays


def _unpacked(content: bytes, entry: zipfile.ZipInfo) -> bytes:
    """A file of a zip archive in memory, at once: zipfile goes to and fro for each, which takes a tenth of all."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        raise ValueError(f"{entry.filename} is encrypted, or not compressed by NumPy")
    start = entry.header_offset + 30 + sum(struct.unpack_from("<HH", content, entry.header_offset + 26))
    packed = memoryview(content)[start : start + entry.compress_size]
    stored = entry.compress_type == zipfile.ZIP_STORED
    whole = bytes(packed) if stored else zlib.decompress(packed, -15, entry.file_size)
    if len(whole) != entry.file_size or zlib.crc32(whole) != entry.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {entry.filename!r}")
    return whole


def _array(content: bytes) -> np.ndarray:
    """The array of an npy; parsing its head takes longer than all the rest, and most heads are the same."""
    (shape, fortran, kind), offset = _head(content[: 10 + int.from_bytes(content[8:10], "little")])
    if kind.hasobject:
        raise ValueError("objects instead of numbers")
    return np.frombuffer(content, kind, offset=offset).reshape(shape, order="F" if fortran else "C")


@lru_cache(maxsize=256)
def _head(head: bytes) -> tuple[tuple[tuple[int, ...], bool, np.dtype], int]:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"npy of version {version}")
    return np.lib.format.read_array_header_1_0(stream), len(head)


def fault_of(arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with the values of a member, of which the rest can be used; empty if nothing is."""
    finite = {key: np.isfinite(values) for key, values in arrays.items()}
    broken = [key for key, known in finite.items() if not known.all()]
    if broken and not any(known.any() for known in finite.values()):
        return "has no value at any pixel"
    return f"has NaN or infinity in {', '.join(broken)}" if broken else ""


def keys_of(bands: Sequence[str], time: int) -> list[str]:
    """The arrays that some bands are made of.

    Args:
        bands: Keys of `snowmap.sources.na_sar.layout.BANDS`.
        time: 1 for the secondary date alone, 2 for both.
    """
    stems = {"coherence": "coh", "phase": "ifg", "incidence": "inc_angle"}
    named = {f"{stems[band]}_view_{view}" for band in bands if band in stems for view in VIEWS}
    if {*bands} & {*POLARISATIONS}:
        named |= {f"{date}_rtc_view_{view}" for date in DATES[-time:] for view in VIEWS}
    named |= {"dem"} if {*bands} & {"elevation", "relief"} else set()
    named |= {"slope_deg"} if "slope" in bands else set()
    return [key for key in CHANNELS if key in named]


class Members(NamedTuple):
    """What workers read: the samples of a Batch, and which of their views it has.

    Attributes:
        arrays: One behind the other; NaN where a member cannot be used.
        names: Of the arrays: `keys_of` the bands, and ``relief``.
        sample: Of each item, its index in `arrays`.
        view: Of each item.
        window: Of each item, the row of its sample in the metadata; −1 where it fills the Batch up.
        dates: Of each item, days between the dates, and the day of the year of each of them.
        bands: Names of the bands to make.
        time: Dates of an item.
        faults: Of the members.
    """

    arrays: Float[Tensor, "sample channel y x"]
    names: list[str]
    sample: Int[Tensor, " item"]
    view: Int[Tensor, " item"]
    window: Int[Tensor, " item"]
    dates: Float[Tensor, "item 3"]
    bands: tuple[str, ...]
    time: int
    faults: list[Fault]

    def batch(self) -> Batch:
        """The Batch, in physical units, on the device where the arrays are."""
        items, time, device = len(self.view), self.time, self.arrays.device
        x = torch.empty(items, time, len(self.bands), SIDE, SIDE, device=device)
        x_valid = torch.zeros_like(x, dtype=torch.bool)
        for index, name in enumerate(self.bands):
            x[:, :-1, index] = torch.nan
            for steps, values in self._maps(name):
                x[:, steps, index] = values[:, None]
                x_valid[:, steps, index] = values[:, None].abs() < torch.inf
        length = self.dates[:, :1].expand(-1, time)
        none = torch.zeros(items, time, device=device)
        nothing = torch.zeros(items, 1, 0, SIDE, SIDE, device=device)
        return Batch(
            x=x,
            x_valid=x_valid,
            step_valid=none == 0,
            days=torch.cat([length[:, :1], none[:, :1]], 1)[:, -time:],
            gap_days=none,
            length_days=length,
            added_days=length,
            season_start=none > 0,
            day_of_year=self.dates[:, -time:],
            y=nothing,
            y_valid=nothing > 0,
            window=self.window,
        )

    def _maps(self, name: str) -> Iterator[tuple[slice, Float[Tensor, "item y x"]]]:
        """The maps of a band, and the dates of each."""
        if name in POLARISATIONS:
            for step, date in enumerate(DATES[-self.time :]):
                backscatter = self._of_view(f"{date}_rtc", POLARISATIONS.index(name))
                yield slice(step, step + 1), torch.where(backscatter > 0, torch.log1p(20 * backscatter), torch.nan)
        elif name == "coherence":
            yield OF_SECONDARY, self._of_view("coh")
        elif name == "phase":
            cosine, sine = self._of_view("ifg"), self._of_view("ifg", 1)
            yield OF_SECONDARY, torch.atan2(sine, cosine).masked_fill_((cosine == 0) & (sine == 0), torch.nan)
        elif name == "incidence":
            yield WHOLE, self._of_view("inc_angle")
        else:
            key = {"elevation": "dem", "slope": "slope_deg"}.get(name, name)
            yield WHOLE, self.arrays[self.sample, first_channel(self.names, key)]

    def _of_view(self, stem: str, channel: int = 0) -> Float[Tensor, "item y x"]:
        first, second = (first_channel(self.names, f"{stem}_view_{view}") for view in VIEWS)
        return self.arrays[self.sample, first + channel + self.view * (second - first)]


def first_channel(names: Sequence[str], key: str) -> int:
    """Where an array begins among those that lie one behind the other."""
    return sum(CHANNELS.get(name, 1) for name in names[: names.index(key)])


def relief(elevation: np.ndarray) -> np.ndarray:
    """Elevation between two percentiles of the patch, [0, 1]; 0 where it is flat, NaN where there is none."""
    known = elevation[np.isfinite(elevation)]
    low, high = np.percentile(known, RELIEF_PERCENTILES).astype(np.float64) if known.size else (0.0, 0.0)
    return ((elevation - low) / (high - low if high > low else np.inf)).clip(0, 1)
