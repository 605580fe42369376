"""NA-SAR shards for the tests, in the layout of its dataset card, written with tarfile, NumPy and pyarrow alone."""

import io
import json
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIZE = 128
CHANNELS = {
    **{f"{date}_rtc_view_{view}": 2 for date in ("prime", "secondary") for view in (0, 1)},
    **{f"inc_angle_view_{view}": 1 for view in (0, 1)},
    **{f"ifg_view_{view}": 2 for view in (0, 1)},
    **{f"coh_view_{view}": 1 for view in (0, 1)},
    "dem": 1,
    "slope_deg": 1,
}
WEST, SOUTH, STEP, PATCH_DEGREES = -150.0, 30.0, 2.0, 0.035
ACROSS = 40
"""Patches lie on a grid of `STEP` degrees, so many in a row, from the south-west corner on."""


def patch_arrays(index: int, *, absent: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of a patch: few levels that recur compress fast; the dem begins with `index` in m.

    Args:
        index: Number of the patch in the metadata.
        absent: `co_pol`, `cross_pol` or both: a polarisation that is zero throughout.
    """
    rng = np.random.default_rng(index)

    def levels(low: float, high: float, channels: int = 1) -> np.ndarray:
        steps = np.tile(rng.integers(0, 16, (channels, 16, SIZE), dtype=np.uint8), (SIZE // 16, 1))
        return low + np.float32(high - low) / 15 * steps.astype(np.float32)

    arrays = {}
    for view in (0, 1):
        for date in ("prime", "secondary"):
            rtc = np.concatenate([levels(0.01, 0.5), levels(0.002, 0.1)])
            for channel, name in enumerate(("co_pol", "cross_pol")):
                rtc[channel] *= name not in absent
            arrays[f"{date}_rtc_view_{view}"] = rtc
        phase = levels(-3, 3)
        arrays[f"inc_angle_view_{view}"] = levels(25, 50)
        arrays[f"ifg_view_{view}"] = np.concatenate([np.cos(phase), np.sin(phase)])
        arrays[f"coh_view_{view}"] = levels(0.05, 0.95)
    arrays["dem"] = levels(index, index + 600)
    arrays["dem"][0, 0, 0] = index
    arrays["slope_deg"] = levels(0, 40)
    return arrays


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a compressed npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _cropped(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return arrays | {"dem": arrays["dem"][:, :64, :64]}


def _with_nan(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    arrays["coh_view_1"][0, 3, 5] = np.nan
    return arrays


FAULTS: dict[str, Callable[[int], bytes]] = {
    "text": lambda index: b"this is no npz",
    "empty": lambda index: b"",
    "truncated": lambda index: packed(patch_arrays(index))[:5000],
    "flipped": lambda index: _flipped(packed(patch_arrays(index))),
    "lacks_key": lambda index: packed({k: v for k, v in patch_arrays(index).items() if k != "coh_view_0"}),
    "other_shape": lambda index: packed(_cropped(patch_arrays(index))),
    "nan": lambda index: packed(_with_nan(patch_arrays(index))),
    "whole_numbers": lambda index: packed(patch_arrays(index) | {"dem": np.zeros((1, SIZE, SIZE), np.int16)}),
    "all_invalid": lambda index: packed({key: np.full_like(v, np.nan) for key, v in patch_arrays(index).items()}),
}
"""What a faulty member holds in place of the npz of its patch."""

IMPLAUSIBLE: dict[str, Callable[[int], bytes]] = {
    "decibels": lambda index: packed(patch_arrays(index) | {"prime_rtc_view_0": _decibels(index)}),
}
"""What can be read and cannot be right."""


def _decibels(index: int) -> np.ndarray:
    return 10 * np.log10(patch_arrays(index)["prime_rtc_view_0"])


def _flipped(whole: bytes) -> bytes:
    """With some bytes of the compressed data changed, so that the CRC of an array does not match."""
    middle = len(whole) // 2
    return whole[:middle] + bytes(255 - value for value in whole[middle : middle + 64]) + whole[middle + 64 :]


def bounds_of(index: int) -> tuple[float, float, float, float]:
    """West, south, east and north of a patch in degrees."""
    west, south = WEST + STEP * (index % ACROSS), SOUTH + STEP * (index // ACROSS)
    return west, south, west + PATCH_DEGREES, south + PATCH_DEGREES


def write_shards(
    root: Path,
    shards: int = 2,
    patches: int = 4,
    *,
    faults: Mapping[int, str] | None = None,
    absent: Mapping[int, tuple[str, ...]] | None = None,
    leave_out: tuple[int, ...] = (),
    unlisted: tuple[int, ...] = (),
    cut: Mapping[int, int] | None = None,
    geometry: str = "wkb",
    columns: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Write a folder in the layout of the dataset card.

    Args:
        root: The folder that gets ``data/``, ``metadata.parquet`` and ``webdataset_summary.json``.
        shards: Number of tar files.
        patches: In each of them; patches are numbered through all shards.
        faults: Patch -> key of `FAULTS` or `IMPLAUSIBLE`.
        absent: Patch -> polarisations that are zero.
        leave_out: Patches that the metadata lists and the shard lacks.
        unlisted: Patches that the shard has and the metadata does not list.
        cut: Shard -> bytes that are left of it.
        geometry: `wkb` or `wkt`: how the outline of a patch (EPSG:4326) is written.
        columns: Columns to add or replace; None in place of the values drops the column.

    Returns:
        The metadata as it was written.
    """
    faults, absent, cut = dict(faults or {}), dict(absent or {}), dict(cut or {})
    (root / "data").mkdir(parents=True)
    rows = []
    for shard in range(shards):
        path = root / "data" / f"nasar-train-{shard:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for position in range(patches):
                index = shard * patches + position
                key = f"patch_{index:08d}"
                missing = absent.get(index, ())
                rows.append(_row(index, key, path.relative_to(root).as_posix(), shard, position, missing, geometry))
                if index in leave_out:
                    continue
                fault = faults.get(index)
                content = (FAULTS | IMPLAUSIBLE)[fault](index) if fault else packed(patch_arrays(index, absent=missing))
                member = tarfile.TarInfo(f"{key}.npz")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        if shard in cut:
            path.write_bytes(path.read_bytes()[: cut[shard]])
    table = pa.Table.from_pylist([row for index, row in enumerate(rows) if index not in unlisted])
    for name, values in (columns or {}).items():
        if name in table.column_names:
            table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, pa.array(values))
    pq.write_table(table, root / "metadata.parquet")
    names = [f"data/nasar-train-{shard:05d}.tar" for shard in range(shards)]
    summary = {"num_samples": shards * patches, "num_shards": shards, "shards": names}
    (root / "webdataset_summary.json").write_text(json.dumps(summary))
    return table


def _row(
    index: int, key: str, path: str, shard: int, position: int, absent: tuple[str, ...], geometry: str
) -> dict[str, object]:
    west, south, east, north = bounds_of(index)
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    if geometry == "wkt":
        outline: object = f"POLYGON (({', '.join(f'{x} {y}' for x, y in ring)}))"
    else:
        outline = struct.pack("<BIII", 1, 3, 1, 5) + b"".join(struct.pack("<dd", *point) for point in ring)
    return {
        "sample_key": key,
        "shard_path": path,
        "shard_index": shard,
        "sample_index_in_shard": position,
        "quality_score": 0.54 + 0.4 * (index % 10) / 10,
        "has_co_pol": "co_pol" not in absent,
        "has_cross_pol": "cross_pol" not in absent,
        "geometry": outline,
        "prime_date": "2023-01-05",
        "secondary_date": "2023-01-17",
        "source": "tests",
    }
