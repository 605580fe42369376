"""From the bytes of a member to bands in physical units."""

import io
import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from snowmap.sources.na_sar.layout import CHANNELS, DATES, OF_PAIR, POLARISATIONS, SIDE, VIEWS

RELIEF_PERCENTILES = (5, 95)


class MemberError(Exception):
    """A member that is not what the dataset card says; the text says why."""


def read_member(content: bytes, keys: Collection[str] = CHANNELS.keys()) -> dict[str, np.ndarray]:
    """The arrays of a member, float32 ``(channel, SIDE, SIDE)``.

    Args:
        content: The npz.
        keys: Names of the arrays that are wanted; no other is read.

    Raises:
        MemberError: When it is no npz, or an array is missing or of another shape or kind.
    """
    if not content.startswith(b"PK"):
        raise MemberError("is no npz")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            if missing := [key for key in keys if key not in file]:
                raise MemberError(f"lacks {', '.join(missing)}")
            arrays = {key: file[key] for key in keys}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise MemberError(f"is no whole npz ({' '.join(str(error).split())[:100]})") from error
    for key, values in arrays.items():
        shape = (CHANNELS[key], SIDE, SIDE)
        if values.shape != shape or values.dtype.kind != "f":
            raise MemberError(f"has {key} as {values.dtype} {values.shape}, not as floating-point numbers {shape}")
    return {key: values.astype(np.float32, copy=False) for key, values in arrays.items()}


def fault_of(arrays: dict[str, np.ndarray]) -> str:
    """What is wrong with the values of a member, of which the rest can be used; empty if nothing is."""
    unfinished = [key for key, values in arrays.items() if not np.isfinite(values).all()]
    if len(unfinished) == len(arrays) and not any(np.isfinite(values).any() for values in arrays.values()):
        return "has no value at any pixel"
    return f"has NaN or infinity in {', '.join(unfinished)}" if unfinished else ""


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


def fill(into: Tensor, arrays: dict[str, np.ndarray], view: int, bands: Sequence[str]) -> None:
    """Write the bands of a view in physical units, NaN where there is no value.

    Args:
        into: ``(time, band, SIDE, SIDE)``, with one or two dates; the last is the secondary one.
        arrays: Of the member.
        view: 0 or 1.
        bands: Keys of `snowmap.sources.na_sar.layout.BANDS`, in the order of `into`.
    """
    for index, name in enumerate(bands):
        if name in POLARISATIONS:
            for step, date in zip(into, DATES[-len(into) :], strict=True):
                backscatter = torch.from_numpy(arrays[f"{date}_rtc_view_{view}"])[POLARISATIONS.index(name)]
                step[index] = torch.where(backscatter > 0, torch.log1p(20 * backscatter), torch.nan)
        elif name in OF_PAIR:
            into[:-1, index] = torch.nan
            into[-1, index] = _OF_VIEW[name](arrays, view)
        else:
            into[:, index] = _OF_VIEW[name](arrays, view)


def _phase(arrays: dict[str, np.ndarray], view: int) -> Tensor:
    cosine, sine = torch.from_numpy(arrays[f"ifg_view_{view}"])
    return torch.atan2(sine, cosine).masked_fill_((cosine == 0) & (sine == 0), torch.nan)


def _relief(arrays: dict[str, np.ndarray], view: int) -> Tensor:
    """Elevation between two percentiles of the patch, [0, 1]; 0 where it is flat."""
    elevation = arrays["dem"][0].astype(np.float64)
    known = elevation[np.isfinite(elevation)]
    low, high = np.percentile(known, RELIEF_PERCENTILES) if known.size else (0.0, 0.0)
    return torch.from_numpy(((elevation - low) / (high - low if high > low else np.inf)).clip(0, 1))


_OF_VIEW: dict[str, Callable[[dict[str, np.ndarray], int], Tensor]] = {
    "coherence": lambda arrays, view: torch.from_numpy(arrays[f"coh_view_{view}"])[0],
    "phase": _phase,
    "incidence": lambda arrays, view: torch.from_numpy(arrays[f"inc_angle_view_{view}"])[0],
    "elevation": lambda arrays, view: torch.from_numpy(arrays["dem"])[0],
    "slope": lambda arrays, view: torch.from_numpy(arrays["slope_deg"])[0],
    "relief": _relief,
}
"""The maps of a view that are the same at every date that they belong to."""
