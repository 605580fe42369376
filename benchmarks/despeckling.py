"""PPB ÷ plain NumPy on the same pixels: ``python -m benchmarks.despeckling``.

Two references: the definition pixel by pixel, and array operations over the image for each shift and each pixel of the
patch. All run in one thread, as a piece of a scene does; seconds are of the processor.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from snowmap.data.radar.despeckle import bandwidth, ppb

LOOKS = 4.0
LIMIT = 10


def plain(
    power: np.ndarray,
    looks: float,
    *,
    search: int = 21,
    patch: int = 7,
    alpha: float = 0.92,
    iterations: int = 1,
    kl_scale: float = 0.2,
    rows: slice = slice(None),
) -> np.ndarray:
    """What `snowmap.data.radar.despeckle.ppb` defines, in float64, pixel by pixel; iterations need all rows."""
    half, part = search // 2, patch // 2
    scale, estimate = bandwidth(looks, patch, alpha), np.ones(power.shape)
    for _ in range(iterations):
        padded, last = (np.pad(values.astype(float), part, constant_values=np.nan) for values in (power, estimate))
        result = np.full(power.shape, np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch))
        estimates = np.lib.stride_tricks.sliding_window_view(last, (patch, patch))
        for y in range(*rows.indices(power.shape[0])):
            for x in range(power.shape[1]):
                if not np.isfinite(power[y, x]):
                    continue
                around = slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1)
                likeness = np.log(np.sqrt(windows[y, x] / windows[around]) + np.sqrt(windows[around] / windows[y, x]))
                ratio = estimates[y, x] / estimates[around]
                terms = (likeness - np.log(2)) / scale + looks / kl_scale / patch**2 * (ratio + 1 / ratio - 2)
                valid = np.isfinite(terms)
                count = np.maximum(valid.sum(axis=(2, 3)), 1)
                weights = np.exp(-np.where(valid, terms, 0).sum(axis=(2, 3)) / count * patch**2)
                weights[~np.isfinite(power[around])] = 0
                own = y - around[0].start, x - around[1].start
                weights[own] = 0
                weights[own] = max(weights.max(), 1e-30)
                result[y, x] = (weights * np.nan_to_num(power[around])).sum() / weights.sum()
        estimate = result
    return estimate


def by_shifts(power: np.ndarray, looks: float, *, search: int = 21, patch: int = 7, alpha: float = 0.92) -> np.ndarray:
    """The non-iterative filter by one shift after the other, float32, on an image without gaps."""
    half, part = search // 2, patch // 2
    scale = np.float32(bandwidth(looks, patch, alpha))
    height, width = power.shape
    logs = np.pad(np.log(power) / 2, half + part)
    wide, there = np.pad(power, half + part), np.pad(np.ones_like(power), half + part)
    total, weights, most = (np.zeros_like(power) for _ in range(3))
    inner = slice(half, half + height + 2 * part), slice(half, half + width + 2 * part)
    for down in range(-half, half + 1):
        for right in range(-half, half + 1):
            if not down and not right:
                continue
            other = (
                slice(inner[0].start + down, inner[0].stop + down),
                slice(inner[1].start + right, inner[1].stop + right),
            )
            both = there[inner] * there[other]
            terms = np.log(np.where(both > 0, wide[inner] + wide[other], 1)) - both * (logs[inner] + logs[other])
            terms -= both * np.float32(np.log(2))
            distance, count = (
                sum(
                    values[row : row + height, column : column + width]
                    for row in range(patch)
                    for column in range(patch)
                )
                for values in (terms, both)
            )
            weight = np.exp(-distance / np.maximum(count, 1) * patch**2 / scale)
            centre = (
                slice(other[0].start + part, other[0].stop - part),
                slice(other[1].start + part, other[1].stop - part),
            )
            weight *= there[centre]
            total += weight * wide[centre]
            weights += weight
            most = np.maximum(most, weight)
    most = np.maximum(most, 1e-30)
    return (total + most * power) / (weights + most)


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    work()
    return clock() - begin


def measure(size: int, rounds: int) -> dict[str, list[float]]:
    """Ratios of both references to the filter; the parts of one ratio are timed one right after the other."""
    rng = np.random.default_rng(0)
    power = (rng.gamma(LOOKS, 1 / LOOKS, (size, size)) * np.where(np.arange(size) < size / 2, 1, 4)).astype(np.float32)
    tensor, some = torch.from_numpy(power), slice(size // 2, size // 2 + 8)
    ratios: dict[str, list[float]] = {"pixel by pixel": [], "by shifts": []}
    clock = time.process_time
    with torch.inference_mode(), threadpool_limits(1, user_api="openmp"):
        ppb(tensor, LOOKS)
        for _ in range(rounds):
            ours = seconds(lambda: ppb(tensor, LOOKS), clock)
            ratios["pixel by pixel"].append(
                seconds(lambda: plain(power, LOOKS, rows=some), clock) * size / (some.stop - some.start) / ours
            )
            ratios["by shifts"].append(seconds(lambda: by_shifts(power, LOOKS), clock) / ours)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description="PPB ÷ plain NumPy on the same pixels.")
    parser.add_argument("--size", type=int, default=512, help="height and width, px")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name, ratios in measure(arguments.size, arguments.rounds).items():
        print(f"NumPy {name} ÷ PPB: {statistics.median(ratios):.1f} (at least {LIMIT})")


if __name__ == "__main__":
    main()
