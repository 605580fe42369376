"""Windows as a network of interferograms between acquisition dates, and sums over them in which no day counts twice.

Several baselines or tracks give windows that overlap. Their changes are inverted to those between neighbouring dates by
weighted least squares, pixel by pixel; where the network leaves these open, because parts of it share no date or a
pixel has no value, the solution has the least rates (SBAS; Berardino et al. 2002). Windows are in `date_order`.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import xarray as xr
from jaxtyping import Float32

from snowmap.data.sequences import Dates, season_of

Maps = Float32[np.ndarray, "window y x"]

WEAKNESS = 1e6
"""Variance of the rates of which nothing is known, against that of the worst measurement: large enough to leave known
ones as they are to a millionth, small enough for double precision."""

CHUNK_BYTES = 2**26
"""Of covariances in memory at once."""

COHERENCE_BOUNDS = 0.05, 0.99
"""Beyond which coherence says no more of the phase: an estimate of it is never quite 0 or 1."""


def overlap(start: Dates, end: Dates) -> bool:
    """Whether a window begins before an earlier one has ended."""
    return bool((start[1:] < end[:-1]).any())


def phase_variance(coherence: np.ndarray) -> np.ndarray:
    """Variance of the phase of one look, (1 − γ²)/(2γ²) rad² (Rodriguez & Martin 1992); a missing γ is the worst."""
    bounded = np.clip(np.nan_to_num(coherence), *COHERENCE_BOUNDS).astype(np.float64) ** 2
    return (1 - bounded) / (2 * bounded)


def increments(change: Maps, variance: np.ndarray, start: Dates, end: Dates) -> Maps:
    """What each window adds to the change since 1 September, as it and the windows before it tell.

    Where no window overlaps another one that is its own change. Otherwise it is how the best estimate of the whole
    change moves with the window: that of the days that it adds, and the correction of what was estimated before. Sums
    over the windows of a season are then the estimate at the end of the last of them.

    Args:
        change: Of a quantity that adds up, from the beginning to the end of each window; NaN = missing.
        variance: Of each change, ``(window, y, x)``, up to a common factor.
        start: First day of each window.
        end: Last day of each window.

    Returns:
        NaN where the window has no change.
    """
    added = change.copy()
    for first, last in _clusters(start, end):
        if last - first > 1:
            part = slice(first, last)
            changes_between_dates(change[part], variance[part], start[part], end[part], added[part])
    return added


def _clusters(start: Dates, end: Dates) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of the windows between dates that no window of the season spans."""
    season, first = season_of(end), 0
    begins = np.minimum.accumulate(start[::-1])[::-1]  # of this window and all after it
    for index in range(1, len(end) + 1):
        if index == len(end) or season[index] > season[first] or begins[index] >= end[index - 1]:
            yield first, index
            first = index


def changes_between_dates(
    change: Maps, variance: np.ndarray, start: Dates, end: Dates, added: Maps | None = None
) -> Float32[np.ndarray, "interval y x"]:
    """The changes between neighbouring dates that fit all windows best.

    Recursive least squares: one window after the other moves the rates and their covariance.

    Args:
        change: As in `increments`.
        variance: As in `increments`.
        start: First day of each window.
        end: Last day of each window.
        added: Where the `increments` go on the way.
    """
    dates = np.unique([start, end])
    days = np.diff(dates) / np.timedelta64(1, "D")
    spans = (start[:, None] <= dates[:-1]) & (dates[1:] <= end[:, None])
    counted = (dates[1:] <= end[:, None]) & (season_of(dates[1:]) == season_of(end)[:, None])
    until = np.where(counted, days, 0)  # from the first date of the season to the end of each window
    known = np.isfinite(change)
    worst = variance[known].max(initial=0) or 1
    prior = WEAKNESS * worst / days.mean() ** 2
    changes = np.empty((len(days), *change.shape[1:]), np.float32)
    rows = max(1, CHUNK_BYTES // (8 * len(days) ** 2 * change.shape[2]))
    for place in (slice(row, row + rows) for row in range(0, change.shape[1], rows)):
        rates = np.zeros((*change[0, place].shape, len(days)))
        covariance = prior * np.broadcast_to(np.eye(len(days)), (*rates.shape, len(days)))
        total = np.zeros(rates.shape[:2])
        for index, span in enumerate(spans * days):
            observed = known[index, place]
            along = covariance @ span
            gain = along / (variance[index, place] + along @ span)[..., None]
            gain = np.where(observed[..., None], gain, 0)
            missed = np.where(observed, change[index, place] - rates @ span, 0)
            rates += gain * missed[..., None]
            covariance = covariance - gain[..., :, None] * along[..., None, :]
            before, total = total, rates @ until[index]
            if added is not None:
                added[index, place] = np.where(observed, total - before, np.nan)
        changes[:, place] = np.moveaxis(rates * days, -1, 0)
    return changes


def season_sum(change: Maps, cube: xr.Dataset) -> Maps:
    """Running sum since 1 September; a missing change counts as none, NaN until a pixel has had a value."""
    total = np.empty(change.shape, np.float32)
    sums: dict[int, np.ndarray] = {}
    for index, (year, of_window) in enumerate(zip(season_of(cube["end"].values).tolist(), change, strict=True)):
        before = sums.get(year, np.full(of_window.shape, np.nan))
        sums[year] = np.where(np.isfinite(of_window), np.nan_to_num(before) + of_window, before)
        total[index] = sums[year]
    return total


def triplets(start: Dates, end: Dates) -> list[tuple[int, int, int]]:
    """Windows a → b, b → c and a → c, the last of which closes the triplet, since it comes after the others."""
    places = {
        (first, last): index for index, (first, last) in enumerate(zip(start.tolist(), end.tolist(), strict=True))
    }
    return sorted(
        (
            (places[first, middle], places[middle, last], places[first, last])
            for first, middle, last in combinations(np.unique([start, end]).tolist(), 3)
            if {(first, middle), (middle, last), (first, last)} <= places.keys()
        ),
        key=lambda triplet: triplet[2],
    )


def closure(phase: np.ndarray, start: Dates, end: Dates) -> tuple[np.ndarray, np.ndarray]:
    """How far the phase of each window is from the sum of two others, which together cover the same days.

    Args:
        phase: Unwrapped and referenced, rad, ``(window, y, x)``; NaN = missing.
        start: First day of each window.
        end: Last day of each window.

    Returns:
        The mean of |φ_ab + φ_bc − φ_ac| in rad over the triplets that a window closes, and 1 where most of them are
        nearest to a whole number of cycles other than none, 0 elsewhere; NaN where a window closes none.
    """
    total, slips, count = (np.zeros(phase.shape, np.float32) for _ in range(3))
    for first, second, whole in triplets(start, end):
        closed = phase[first] + phase[second] - phase[whole]
        known = np.isfinite(closed)
        total[whole] += np.where(known, np.abs(closed), 0)
        slips[whole] += known & (np.abs(closed) > np.pi)
        count[whole] += known
    none = np.where(count > 0, np.float32(0), np.float32(np.nan))
    return total / np.maximum(count, 1) + none, (2 * slips > count) + none


def parts(start: Dates, end: Dates) -> int:
    """Groups of windows that share no acquisition date with windows of another group."""
    groups: list[set] = []
    for dates in zip(start.tolist(), end.tolist(), strict=True):
        joined = [group for group in groups if not group.isdisjoint(dates)]
        groups = [group for group in groups if group.isdisjoint(dates)] + [set(dates).union(*joined)]
    return len(groups)
