"""The Normalizer: bands in physical units to the channels of a net, fitted on training data only."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snowmap.data.batch import CubeTensors
from snowmap.errors import SnowmapError

logger = logging.getLogger(__name__)

MOST_PIXELS = 2**22
"""That percentiles are taken from."""

Bands = Float[Tensor, "*batch band height width"]


class Normalizer(nn.Module):
    """Scales bands by statistics that are part of its state.

    Wrapped phase enters as (cos, sin), so that −π and π are neighbours; it has no scale. Every other band is centred
    and divided by its standard deviation. What is missing becomes 0 after scaling, and a validity channel for each
    band says so to the network.

    There are no default statistics: until `fit` or `load_state_dict` they are NaN.

    Attributes:
        bands: Names of the bands, in the order of the Cube.
        wrapped: Those that are wrapped phase.
        band_mean: Mean of each band, in its unit; 0 for wrapped phase. Shape (band,).
        band_std: Standard deviation of each band, in its unit; 1 for wrapped phase. Shape (band,).
        band_low: Where each band is cut off below, before it is scaled; the least float32 if nowhere. Shape (band,).
        band_high: Where each band is cut off above. Shape (band,).
    """

    band_mean: Tensor
    band_std: Tensor
    band_low: Tensor
    band_high: Tensor

    def __init__(self, bands: Sequence[str], wrapped: Sequence[str] = ()) -> None:
        super().__init__()
        self.bands = tuple(bands)
        self.wrapped = tuple(band for band in bands if band in wrapped)
        self.register_buffer("band_mean", torch.full((len(bands),), torch.nan))
        self.register_buffer("band_std", torch.full((len(bands),), torch.nan))
        least, greatest = torch.finfo(torch.float32).min, torch.finfo(torch.float32).max
        self.register_buffer("band_low", torch.full((len(bands),), least))
        self.register_buffer("band_high", torch.full((len(bands),), greatest))

    @property
    def channels(self) -> int:
        """Channels that `encode` gives for each step."""
        return 2 * len(self.bands) + len(self.wrapped)

    @property
    def channel_names(self) -> list[str]:
        """What each channel of `encode` is, in order: bands and ``… (known)``, their validity."""
        names = [f"{name} (cos)" if name in self.wrapped else name for name in self.bands]
        sines = [f"{name} (sin)" for name in self.wrapped]
        return [*names, *sines, *(f"{name} (known)" for name in self.bands)]

    def fit(
        self,
        training: Sequence[tuple[CubeTensors, Sequence[int]]],
        clip_percentiles: Sequence[float] | None = None,
        clipped: Sequence[str] = (),
    ) -> None:
        """Take the statistics from the valid pixels of the training windows inside the study area.

        Args:
            training: Tensors of each Cube, with the bands of the Normalizer, and the indices of its training windows.
            clip_percentiles: Where the bands of `clipped` are cut off.
            clipped: Names of bands whose extremes are no signal, such as backscatter in dB.

        Raises:
            SnowmapError: When a band has no valid pixel there.
        """
        constant = []
        for position, name in enumerate(self.bands):
            if name in self.wrapped:
                mean, std = 0.0, 1.0
            else:
                maps = [(tensors.x[position].numpy(), train, tensors.inside.numpy()) for tensors, train in training]
                ends = None
                if clip_percentiles and name in clipped:
                    ends = percentiles(maps, clip_percentiles)
                    self.band_low[position], self.band_high[position] = ends
                mean, std = mean_and_std(maps, f"band '{name}'", ends)
            if std == 0:
                constant.append(name)
                std = 1.0
            self.band_mean[position], self.band_std[position] = mean, std
        if constant:
            logger.warning("constant in the training windows, so they tell the net nothing: %s", ", ".join(constant))

    def unusual(self, x: Bands) -> Bands:
        """How far each value is from the mean of the training, in standard deviations."""
        return ((x - self.band_mean[:, None, None]) / self.band_std[:, None, None]).abs()

    def encode(
        self, x: Bands, valid: Bool[Tensor, "*batch band height width"]
    ) -> Float[Tensor, "*batch channel height width"]:
        """Bands in physical units to the channels that a network reads.

        Args:
            x: Bands, in the units of the Cube; any value, also NaN, where `valid` is false.
            valid: True where the band has a value.

        Returns:
            Scaled bands (wrapped phase as cos, and as sin behind the last band), 0 where missing; then one validity
            channel for each band.
        """
        clipped = x.clamp(self.band_low[:, None, None], self.band_high[:, None, None])
        scaled = clipped.sub_(self.band_mean[:, None, None]).div_(self.band_std[:, None, None])
        shown = valid
        for position in map(self.bands.index, self.wrapped):
            phase = x[..., position, :, :]
            scaled = torch.cat([scaled, phase.sin().unsqueeze(-3)], dim=-3)
            scaled[..., position, :, :] = phase.cos()
            shown = torch.cat([shown, valid[..., position : position + 1, :, :]], dim=-3)
        return torch.cat([torch.where(shown, scaled, 0), valid.to(scaled.dtype)], dim=-3)


def mean_and_std(
    maps: Sequence[tuple[Float[np.ndarray, "_ _ _"], Sequence[int], Bool[np.ndarray, "_ _"]]],
    what: str,
    ends: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Over the valid pixels, window by window: a Cube may be larger than the memory (Chan et al. 1983, eq. 2.1).

    Args:
        maps: Of each Cube the maps ``(window, y, x)``, the windows that count and the pixels ``(y, x)`` that do.
        what: It is, for the error.
        ends: Where values are cut off.

    Raises:
        SnowmapError: When there is no valid pixel.
    """
    count, mean, squares = 0, 0.0, 0.0
    for values in (of_cube[window][inside] for of_cube, windows, inside in maps for window in windows):
        values = values[np.isfinite(values)].astype(np.float64)
        values = values if ends is None else values.clip(*ends)
        if values.size:
            total = count + values.size
            off = values.mean() - mean
            squares += values.var() * values.size + off**2 * count * values.size / total
            mean += off * values.size / total
            count = total
    if count == 0:
        raise SnowmapError(
            f"{what} has no valid pixel inside the study area in any training window; leave it out or mend the rasters"
        )
    return float(mean), float(np.sqrt(squares / count))


def percentiles(
    maps: Sequence[tuple[Float[np.ndarray, "_ _ _"], Sequence[int], Bool[np.ndarray, "_ _"]]], wanted: Sequence[float]
) -> tuple[float, float]:
    """Two percentiles over the valid pixels, of at most `MOST_PIXELS` that lie evenly among them.

    Args:
        maps: As for `mean_and_std`.
        wanted: From 0 to 100.
    """
    step = max(1, -(-sum(int(inside.sum()) * len(windows) for _, windows, inside in maps) // MOST_PIXELS))
    values = np.concatenate([of_cube[w][inside][::step] for of_cube, windows, inside in maps for w in windows])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, list(wanted)) if values.size else (0.0, 0.0)
    return float(low), float(high)
