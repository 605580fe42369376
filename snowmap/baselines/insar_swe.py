"""The closed form of dry-snow interferometry as a baseline: ΔSWE from phase, summed over the season."""

from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from snowmap.baselines.base import Maps, QuantityBaseline
from snowmap.data.radar.network import season_sum
from snowmap.data.radar.phase import added_change, phase_swe_change


class InsarSwe(QuantityBaseline):
    """ΔSWE of dry snow from the unwrapped phase, weighted by coherence and summed since 1 September; never negative.

    Phase to ΔSWE is `phase_swe_change`; windows that overlap are inverted before the sum (`added_change`). The variance
    of the phase is (1 − γ²)/(2Lγ²) (Rodriguez & Martin 1992), so that a phase of coherence γ deserves a weight that
    falls as γ² where γ is small. To multiply ΔSWE by the weight would shrink it wherever coherence is lost, which is
    where much snow fell. Instead a pixel takes the rest from its surroundings, w·value + (1 − w)·surroundings with
    w = γ², and the surroundings are their mean weighted by w (normalised convolution, Knutsson & Westin 1993): an even
    snowfall stays what it is, however poor the coherence.

    Nothing is learnt but the sign of the phase. HS is by Guyennon's density of the date. The option
    ``smoothing_pixels`` is the standard deviation of the Gaussian that weighs the surroundings.
    """

    name = "insar_swe"
    needs = ("coherence", "elevation", "incidence", "unwrapped_phase")
    derived = ("phase_swe",)  # so that the reference is that of the scene

    def learn(self, inputs: xr.Dataset, train: list[int], known: Maps, target: str) -> dict[str, Any]:
        """Nothing: the sign of the phase is all."""
        return {}

    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """NaN where neither a pixel nor its surroundings had a phase in the season so far."""
        phase = self.preprocessor.phase
        change = phase_swe_change(inputs, phase)
        coherence = inputs["features"].sel(band="coherence").values
        change = weighted_by_coherence(change, coherence, inputs["mask"].values, self.options["smoothing_pixels"])
        water = np.maximum(season_sum(added_change(change, inputs, phase), inputs)[windows], 0)
        return self.in_unit(water, inputs["end"].values[windows], target)


def weighted_by_coherence(change: Maps, coherence: Maps, inside: np.ndarray, smoothing_pixels: float) -> Maps:
    """Each pixel's own value and that of its surroundings, by coherence², as `InsarSwe` describes.

    Args:
        change: ΔSWE in any unit, NaN = missing.
        coherence: 0 … 1; where it is missing the value counts for nothing.
        inside: The study area ``(y, x)``; what lies outside has no influence.
        smoothing_pixels: Standard deviation of the Gaussian.

    Returns:
        ΔSWE; NaN where neither the pixel nor its surroundings have a value.
    """
    weight = np.where(np.isfinite(change) & inside, np.nan_to_num(coherence) ** 2, 0).astype(np.float64)
    value = np.nan_to_num(change)
    sigma = (0, smoothing_pixels, smoothing_pixels)
    total, around = (gaussian_filter(values, sigma, mode="constant") for values in (weight * value, weight))
    known = around > 0
    surroundings = np.divide(total, around, out=np.zeros_like(total), where=known)
    return np.where(known, weight * value + (1 - weight) * surroundings, np.nan).astype(np.float32)
