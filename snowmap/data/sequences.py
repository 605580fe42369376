"""Which windows a network sees together: pure functions of the windows' dates.

A sequence ends at its target window and never looks ahead. Snow years begin on 1 September.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Shaped

from snowmap.errors import SnowmapError

Dates = Shaped[np.ndarray, " window"]
"""datetime64, one for each window."""

SEASON = "season"
"""The length of a sequence that begins on 1 September."""

BARE_DAYS = 30
"""A season's first window marks bare ground only if it begins within this time of 1 September: after a longer gap
there may be snow already."""


WHOLE = slice(None)


class Sample(NamedTuple):
    """One sequence, of whole maps or of a piece of them.

    Attributes:
        steps: Indices of its windows, by date; the last one is the target window.
        supervised: Of its last steps, or of all: whether the loss may look at the target.
        rows: Of the maps.
        columns: Of the maps.
        margin: Pixels along the edges of the piece, except those of the map, whose target is not looked at.
        cube: Index of the Cube that it is of.
    """

    steps: tuple[int, ...]
    supervised: tuple[bool, ...]
    rows: slice = WHOLE
    columns: slice = WHOLE
    margin: int = 0
    cube: int = 0


def season_of(end: Dates) -> Int[np.ndarray, " window"]:
    """The year in which the snow year of each window began, by the window's last day."""
    months = end.astype("datetime64[M]").astype(int)
    return 1970 + (months - 8) // 12


def season_starts(start: Dates, end: Dates) -> Bool[np.ndarray, " window"]:
    """True for the first window of a snow year, if it begins early enough for the ground to be bare."""
    season = season_of(end)
    first = np.diff(season, prepend=season[:1] - 1) > 0
    september = np.array([f"{year}-09-01" for year in season], "datetime64[D]").reshape(season.shape)
    return first & ((start.astype("datetime64[D]") - september).astype(int) <= BARE_DAYS)


def gap_days(start: Dates, end: Dates) -> Float32[np.ndarray, " window"]:
    """Days before each window that no window covers; 0 for the first. Windows are sorted by their end."""
    days = (start[1:] - end[:-1]).astype("timedelta64[D]").astype(np.float32)
    return np.concatenate([np.zeros(min(1, len(start)), np.float32), np.maximum(days, 0)])


def added_days(start: Dates, end: Dates) -> Float32[np.ndarray, " window"]:
    """Days of each window that no window before it covers: its length, less where windows overlap."""
    begin = np.concatenate([start[:1], np.maximum(start[1:], end[:-1])])
    return (end - begin).astype("timedelta64[D]").astype(np.float32)


def length_days(start: Dates, end: Dates) -> Float32[np.ndarray, " window"]:
    """Days for which the weather of each window stands: that of a single acquisition is that of a day."""
    return np.maximum((end - start).astype("timedelta64[D]").astype(np.float32), 1)


def history(end: Dates, target: int, time: int | str) -> tuple[int, ...]:
    """The windows up to `target`: the last `time` of the archive, or those of its season."""
    if time == SEASON:
        season = season_of(end[: target + 1])
        return tuple(np.flatnonzero(season == season[target]).tolist())
    return tuple(range(max(0, target + 1 - int(time)), target + 1))


def samples(
    end: Dates, targets: Sequence[int], time: int | str, *, maps_every_step: bool = False, allowed: Collection[int] = ()
) -> list[Sample]:
    """One sequence for each target window, or as few as hold them all.

    Args:
        end: Last day of each window, sorted.
        targets: Windows to map.
        time: Windows in a sequence, or `SEASON`.
        maps_every_step: Map every step instead of the last one alone. With whole seasons one sequence for each season
            is then enough, because a net that maps every step sees the same past in it.
        allowed: Windows whose target may be looked at as an earlier step; those of `targets` always may.

    Returns:
        The sequences, by their target window.
    """
    visible = {*targets, *allowed}
    if not maps_every_step:
        return [Sample(history(end, target, time), (True,)) for target in targets]
    last = {int(season_of(end)[target]): target for target in sorted(targets)} if time == SEASON else {}
    chosen = list(last.values()) if last else list(targets)
    sequences = [history(end, target, time) for target in chosen]
    return [Sample(steps, tuple(step in visible for step in steps)) for steps in sequences]


def longest_season(end: Dates) -> int:
    """Windows of the snow year that has most of them."""
    return int(np.unique(season_of(end), return_counts=True)[1].max())


def longest_sequence(start: Dates, end: Dates) -> int:
    """Windows of the longest sequence by their number: a season's; of single acquisitions, which know none, all."""
    return len(end) if (start == end).all() else longest_season(end)


def check_time(time: int | str, start: Dates, end: Dates) -> None:
    """Refuse a length that no sequence of the archive can have.

    Raises:
        SnowmapError: When `time` is longer than the archive or a season.
    """
    longest = longest_sequence(start, end)
    if time != SEASON and int(time) > longest:
        if (start == end).all():
            raise SnowmapError(
                f"data.time={time} is longer than the series, which has {longest} dates; ask for at most {longest}"
            )
        raise SnowmapError(
            f"data.time={time} is longer than the longest season of the archive ({longest} of {len(end)} windows); "
            f"ask for at most {longest}, or data.time={SEASON}"
        )


def jittered(sample: Sample, most: int) -> Sample:
    """The sequence with each of its steps but the last moved by up to `most` windows, none behind the last."""
    *before, last = sample.steps
    if not before:
        return sample
    moved = torch.tensor(before) + torch.randint(-most, most + 1, (len(before),))
    return sample._replace(steps=(*moved.clamp(0, last).sort().values.tolist(), last))
