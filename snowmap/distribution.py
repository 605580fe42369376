"""The distribution of a pixel's value, from which its σ, quantiles, CRPS, likelihood and coverage all come.

It is what the five layers of a map with uncertainty state: the map is the median, beside it stand four quantiles.
Between neighbouring quantiles, and beyond the outer ones, the value is linear in the normal deviate z (a normal
distribution has one straight line, a skewed one has four), and what lies below the lower bound lies on it: snow is
censored at zero (Tobin 1958, Econometrica 26), so the probability of bare ground is a point mass.
"""

from statistics import NormalDist

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor
from torch.special import log_ndtr, ndtr

from snowmap.units import INTERVALS, QUANTILES, SNOW_DEPTH_M, snow_threshold

Values = Float[Tensor, "*pixels"]

LEVELS = dict(sorted({**QUANTILES, "": 0.5}.items(), key=lambda layer: layer[1]))
"""Of the quantiles that state a distribution, ascending, by the names of their layers; the median is the map itself."""

NAMES, DEVIATES = list(LEVELS), [NormalDist().inv_cdf(level) for level in LEVELS.values()]
"""Names of these layers, and their normal deviates."""

LEAST_RATIO = 1.1
"""Of the distances of the outer and the inner quantile from the median: whatever widens them, they differ."""

FAR = 1e9
"""A normal deviate beyond which nothing lies; infinity times zero would be NaN."""


class Distribution:
    """Of each pixel: pieces of normal distributions joined at the quantiles, censored at a lower bound.

    Args:
        quantiles: Those of `LEVELS`. Shape (level, …).
        least: Lower bound, in the same unit; −∞ for none. Broadcast against the pixels.
    """

    def __init__(self, quantiles: Float[Tensor, "level ..."], least: float | Tensor = -torch.inf) -> None:
        self.quantiles, self.median = quantiles, quantiles[NAMES.index("")]
        self.least = torch.as_tensor(least, dtype=quantiles.dtype, device=quantiles.device)
        rise = quantiles.diff(dim=0) / torch.tensor(np.diff(DEVIATES), dtype=quantiles.dtype).to(quantiles.device).view(
            -1, *[1] * self.median.ndim
        )
        edges = [-FAR, *DEVIATES[1:-1], FAR]
        self.pieces = list(zip(edges[:-1], edges[1:], rise, strict=True))
        """Least and greatest normal deviate of each piece, and its standard deviation."""
        self.z_least = self.z(self.least.expand_as(self.median))

    def z(self, values: Values) -> Values:
        """Normal deviates of values, those below the lower bound uncensored."""
        lower, near, above, upper = (rise for *_, rise in self.pieces)
        _, q25, median, q75, _ = self.quantiles
        _, z25, _, z75, _ = DEVIATES
        below = torch.where(values < q25, z25 + (values - q25) / lower, (values - median) / near)
        beyond = torch.where(values > q75, z75 + (values - q75) / upper, (values - median) / above)
        return torch.where(values < median, below, beyond)

    def std(self) -> Values:
        """Standard deviation, exact."""
        first = ndtr(self.z_least) * torch.where(self.least.isfinite(), self.least - self.median, 0)
        second = ndtr(self.z_least) * torch.where(self.least.isfinite(), self.least - self.median, 0) ** 2
        for (low, high, rise), knot in zip(self.pieces, (1, 2, 2, 3), strict=True):
            at_zero = self.quantiles[knot] - self.median - rise * DEVIATES[knot]
            ends = self.z_least.clamp(low, high), torch.full_like(rise, high)
            share, density, product = (function(ends[1]) - function(ends[0]) for function in (ndtr, _phi, _z_phi))
            first = first + at_zero * share - rise * density
            second = second + at_zero**2 * share - 2 * at_zero * rise * density + rise**2 * (share - product)
        return (second - first**2).clamp(min=0).sqrt()

    def crps(self, observed: Values) -> Values:
        """Continuous ranked probability score, ∫ (F(x) − 1{x ≥ observed})² dx, in the unit of the values.

        Exact: each piece is the closed form of a normal distribution (Gneiting & Raftery 2007, JASA 102, eq. 21;
        Jordan, Krüger & Lerch 2019, J. Stat. Softw. 90 for the censored one). The absolute error where the
        distribution is a single value.
        """
        z = self.z(observed.clamp(min=self.least))
        total = torch.zeros_like(observed)
        for low, high, rise in self.pieces:
            below = _squared(z.clamp(max=high)) - _squared(self.z_least.clamp(min=low))
            above = _squared(-z.clamp(min=low)) - _squared(torch.full_like(z, -high))
            total = total + rise * (below.clamp(min=0) + above.clamp(min=0))
        return total

    def nll(self, observed: Values) -> Values:
        """−ln of the density at the observed values, and −ln of the point mass where they are the lower bound."""
        z = self.z(observed)
        rise = self.pieces[-1][2]
        for _, high, of_piece in reversed(self.pieces[:-1]):
            rise = torch.where(z < high, of_piece, rise)
        density = 0.5 * z**2 + 0.5 * np.log(2 * np.pi) + rise.log()
        return torch.where(observed <= self.least, -log_ndtr(self.z_least), density)

    def inside(self, observed: Values, share: float) -> Values:
        """By how much each value lies inside the central interval of this share: 1, 0, or a part of a point mass.

        A point mass takes up the levels from 0 to its probability P; of these the part inside the interval counts
        (the non-randomised PIT of Czado, Gneiting & Held 2009, Biometrics 65). So values that are drawn from
        the distribution lie inside with the probability `share`, whether or not there is a point mass.
        """
        low, reach = (1 - share) / 2, NormalDist().inv_cdf((1 + share) / 2)
        mass = ndtr(self.z_least)
        part = (mass.clamp(max=1 - low) - mass.clamp(max=low)) / mass.clamp(min=torch.finfo(mass.dtype).tiny)
        return torch.where(observed <= self.least, part, (self.z(observed).abs() <= reach).to(mass.dtype))

    def width(self, share: int) -> Values:
        """Width of the central interval of this share in per cent, a key of `snowmap.units.INTERVALS`."""
        low, high = (self.quantiles[NAMES.index(name)].clamp(min=self.least) for name in INTERVALS[share])
        return high - low


def widened(quantiles: Float[Tensor, "level ..."], factors: Float[Tensor, "level ..."]) -> Tensor:
    """Quantiles whose distances from the median are multiplied; the outer ones stay beyond the inner ones."""
    median = quantiles[NAMES.index("")]
    low, near_low, _, near_high, high = factors * (quantiles - median)
    low, high = torch.minimum(low, LEAST_RATIO * near_low), torch.maximum(high, LEAST_RATIO * near_high)
    return median + torch.stack([low, near_low, torch.zeros_like(low), near_high, high])


def distribution_of(
    maps: xr.Dataset, target: str, pixels: Bool[np.ndarray, "window y x"], calibrated: bool = True
) -> Distribution:
    """The distribution that the layers of a target state at some pixels, in float64.

    Args:
        maps: Maps with uncertainty.
        target: Name of the target.
        pixels: Where.
        calibrated: False undoes the ``conformal_factor`` of the layers.
    """
    layers = [maps[f"{target}_{name}" if name else target] for name in NAMES]
    quantiles = torch.from_numpy(np.stack([layer.values[pixels] for layer in layers]).astype(np.float64))
    if not calibrated:
        factors = [layer.attrs.get("conformal_factor", 1.0) for layer in layers]
        quantiles = widened(quantiles, 1 / torch.tensor(factors, dtype=torch.float64)[:, None])
    return Distribution(quantiles, float(maps[f"{target}_sigma"].attrs.get("lower_bound", -np.inf)))


def shows_snow(maps: xr.Dataset, target: str) -> Bool[np.ndarray, "window y x"]:
    """Where the map is not bare: the pixels over which its distribution is calibrated; all of a target without snow."""
    values = maps[target].values
    if target not in SNOW_DEPTH_M:
        return np.isfinite(values)
    return values >= snow_threshold(target, maps[target].attrs["units"])


def _phi(z: Values) -> Values:
    return torch.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def _z_phi(z: Values) -> Values:
    return z * _phi(z)


def _squared(z: Values) -> Values:
    """∫ Φ(t)² dt from −∞ to z."""
    return z * ndtr(z) ** 2 + 2 * _phi(z) * ndtr(z) - ndtr(np.sqrt(2) * z) / np.sqrt(np.pi)
