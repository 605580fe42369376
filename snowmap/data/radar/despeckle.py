"""Filters of speckle on linear power: boxcar, Lee (1980), PPB (Deledalle, Denis & Tupin 2009).

Each takes and gives power ``(y, x)``, NaN = missing. A missing pixel stays missing and enters no mean, as does what
lies beyond the edges. No pixel farther than `reach` from another one changes it, so tiles with that margin give what
the whole gives. The work is done by torch, on the GPU where there is one.
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 16
"""Height and width in pixels of the blocks in which looks are counted."""

HOMOGENEOUS = 0.9
"""Quantile of the blocks' looks that stands for the speckle alone: most blocks vary by more than their speckle."""

PATCHES = 20_000
"""Pairs of patches that are simulated for the bandwidth of PPB."""


def despeckle(power: Float32[np.ndarray, "y x"], looks: float, data: Mapping[str, Any]) -> Float32[np.ndarray, "y x"]:
    """Power after the filter that ``data.despeckle`` names, by the keys of `snowmap.config.sources.SarStack`.

    Args:
        power: Linear and positive, NaN = missing.
        looks: Equivalent number of looks of the speckle, at least 1.
        data: The keys of the data group.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    values = torch.from_numpy(np.array(power)).to(device)
    # one thread for each piece: pieces run side by side, and threads within such short operations wait for one another
    with torch.inference_mode(), threadpool_limits(1, user_api="openmp"):
        if data["despeckle"] == "ppb":
            filtered = ppb(values, looks, **data["ppb"])
        elif data["despeckle"] == "lee":
            filtered = lee(values, looks, data["despeckle_window"])
        else:
            filtered = boxcar(values, data["despeckle_window"])
    return filtered.cpu().numpy()


def reach(data: Mapping[str, Any]) -> int:
    """Pixels to each side that a filtered pixel depends on."""
    if data["despeckle"] != "ppb":
        return data["despeckle_window"] // 2
    keys = data["ppb"]
    return keys["iterations"] * (keys["search"] // 2 + keys["patch"] // 2)


def equivalent_looks(pieces: Iterable[np.ndarray]) -> float | None:
    """Equivalent number of looks of speckle by the method of moments, mean² / variance, in homogeneous blocks.

    Args:
        pieces: Of linear power ``(y, x)``.

    Returns:
        Their `HOMOGENEOUS` quantile over blocks of `BLOCK` × `BLOCK` px, at least 1, to a tenth; about 10 % too high
        on a wholly homogeneous scene. None without a block that is free of missing pixels.
    """
    looks = []
    for piece in pieces:
        rows, columns = (size // BLOCK for size in piece.shape)
        blocks = piece[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
        blocks = blocks.reshape(rows * columns, BLOCK**2).astype(np.float64)
        blocks = blocks[np.isfinite(blocks).all(axis=1)]
        spread = blocks.var(axis=1)
        looks.append(blocks.mean(axis=1)[spread > 0] ** 2 / spread[spread > 0])
    pooled = np.concatenate(looks) if looks else np.empty(0)
    return round(max(1.0, float(np.quantile(pooled, HOMOGENEOUS))), 1) if pooled.size else None


def boxcar(power: Float[Tensor, "y x"], window: int) -> Float[Tensor, "y x"]:
    """Mean of the valid pixels of a window."""
    mean, _ = _moments(power, window)
    return torch.where(power.isfinite(), mean, torch.nan).to(power.dtype)


def lee(power: Float[Tensor, "y x"], looks: float, window: int) -> Float[Tensor, "y x"]:
    """Filter of Lee (1980, IEEE TPAMI 2(2), 165-168) for multiplicative noise, of mean 1 and variance 1 / looks here.

    With the mean m and the variance s² of the window, the variance of the scene is
    Q = (s² + m²) / (1 / looks + 1) − m², at least 0, and the estimate m + k (power − m) with k = Q / (m² / looks + Q).
    """
    mean, variance = _moments(power, window)
    scene = ((variance + mean**2) / (1 / looks + 1) - mean**2).clamp(min=0)
    gain = scene / (mean**2 / looks + scene)
    return torch.where(power.isfinite(), mean + gain * (power - mean), torch.nan).to(power.dtype)


def ppb(
    power: Float[Tensor, "y x"],
    looks: float,
    *,
    search: int = 21,
    patch: int = 7,
    alpha: float = 0.92,
    iterations: int = 1,
    kl_scale: float = 0.2,
) -> Float[Tensor, "y x"]:
    """Probabilistic patch-based weights of Deledalle, Denis & Tupin (2009, IEEE TIP 18(12), 2661-2672).

    The weighted maximum-likelihood estimate R(s) = Σ w(s, t) power(t) / Σ w(s, t) over the search window around s, with

        −log w(s, t) = Σ_k [ (2 looks − 1) / h log(a / a′ + a′ / a) + looks / (T n) (r − r′)² / (r r′) ]

    over the n pixels k of the patches around s and t: a, a′ are their amplitudes, r, r′ their estimates in the last
    iteration. The first iteration has no second term: ``iterations=1`` is the non-iterative filter. h is the `alpha`
    quantile of Σ_k (2 looks − 1) log(…) between two patches of pure speckle, less its mean. T divides the mean of the
    Kullback-Leibler term over the patch, as the authors' own program does, and s itself weighs as much as the pixel
    that is most like it.

    A sum over a patch with missing pixels is that over its valid pairs, scaled to n.

    Args:
        power: Linear and positive, NaN = missing.
        looks: Equivalent number of looks.
        search: Height and width of the search window, odd.
        patch: Height and width of the patches, odd.
        alpha: Of the quantile; nearer to 1 is smoother.
        iterations: Over estimates.
        kl_scale: T; smaller trusts the last estimate more.
    """
    valid = power.isfinite()
    if not bool(valid.any()):
        return power
    whole = bool(valid.all())
    unit = power[valid].median()
    power = torch.where(valid, power / unit, 1.0)
    amplitude, estimate = power.sqrt(), None
    scale = bandwidth(looks, patch, alpha)
    kl = 2 * looks / (kl_scale * patch**2) * scale
    half = search // 2
    for _ in range(iterations):
        total, weights, most = (torch.zeros_like(power) for _ in range(3))
        # every pair of pixels is in one of these shifts: w(s, t) = w(t, s)
        for down, right in ((y, x) for y in range(half + 1) for x in range(-half, half + 1) if y or x > 0):
            if down >= power.shape[0] or abs(right) >= power.shape[1]:
                continue
            ours, theirs = _shifted(power.shape, down, right)
            distance = _log_(_unlike(amplitude, ours, theirs))
            if estimate is not None:
                distance.add_(_unlike(estimate, ours, theirs).sub_(1), alpha=kl)
            pairs = None if whole else (valid[ours] & valid[theirs]).to(power.dtype)
            # exp2 is several times as fast as exp in PyTorch, and stays so where weights become subnormal
            weight = _patch_mean(distance, pairs, patch).mul_(-(patch**2) / scale / math.log(2)).exp2_()
            if pairs is not None:
                weight *= pairs
            for pixel, partner in ((ours, theirs), (theirs, ours)):
                total[pixel].addcmul_(weight, power[partner])
                weights[pixel].add_(weight)
                torch.maximum(most[pixel], weight, out=most[pixel])
        most.clamp_(min=1e-30)  # a pixel unlike all others stays as it is
        estimate = total.addcmul_(most, power).div_(weights.add_(most))
    assert estimate is not None
    return torch.where(valid, estimate * unit, torch.nan)


@lru_cache
def bandwidth(looks: float, patch: int, alpha: float) -> float:
    """The h / (2 looks − 1) of `ppb`, from simulated pairs of patches.

    The ratio of two powers with the same mean follows the F distribution with 2 × looks degrees of freedom each.
    """
    ratio = np.random.default_rng(0).f(2 * looks, 2 * looks, (PATCHES, patch**2))
    sums = np.log(np.sqrt(ratio) + 1 / np.sqrt(ratio)).sum(axis=1)
    return float(np.quantile(sums, alpha) - sums.mean())


def _shifted(shape: torch.Size, down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where pixels lie whose partner at a shift exists, and where the partners lie."""
    height, width = shape
    pixels = slice(0, height - down), slice(max(0, -right), width - max(0, right))
    partners = slice(down, height), slice(max(0, right), width + min(0, right))
    return pixels, partners


def _unlike(values: Tensor, ours: tuple[slice, slice], theirs: tuple[slice, slice]) -> Tensor:
    """(a / b + b / a) / 2 of pairs of values: 1 where they are equal."""
    ratio = values[ours] / values[theirs]
    return ratio.add_(ratio.reciprocal()).mul_(0.5)


def _log_(values: Tensor) -> Tensor:
    """In place; on a CPU by NumPy, which takes a third of PyTorch's time where MKL does not know the processor."""
    if values.device.type != "cpu":
        return values.log_()
    np.log(values.numpy(), out=values.numpy())
    return values


def _patch_mean(values: Tensor, valid: Tensor | None, patch: int) -> Tensor:
    """Mean over each patch of what lies within the array and, where `valid` says so, is valid."""
    if valid is not None:
        return _box(values * valid, patch) / _box(valid, patch).clamp(min=1)
    rows, columns = (_box(values.new_ones(shape), patch) for shape in ((values.shape[0], 1), (1, values.shape[1])))
    return _box(values, patch).div_(rows).div_(columns)


def _moments(power: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Mean and variance, float64, of the valid pixels of a window."""
    valid = power.isfinite().double()
    count = _box(valid, window).clamp(min=1)
    values = torch.where(power.isfinite(), power, 0).double()
    mean = _box(values, window) / count
    return mean, (_box(values**2, window) / count - mean**2).clamp(min=0)


def _box(values: Tensor, size: int) -> Tensor:
    """Sums over windows of `size` × `size` px, 0 beyond the edges."""
    return pad(values, (size // 2,) * 4).unfold(0, size, 1).sum(-1).unfold(1, size, 1).sum(-1)
