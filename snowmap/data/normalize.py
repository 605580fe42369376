"""The Normalizer: bands in physical units to the channels of a net, fitted on training data only."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snowmap.data.batch import Statistical
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

    There are no default statistics: until `fit`, `set_ranges` or `load_state_dict` they are NaN.

    Attributes:
        bands: Names of the bands, in the order of the Cube.
        wrapped: Those that are wrapped phase.
        band_mean: Mean of each band, in its unit; 0 for wrapped phase. Shape (band,).
        band_std: Standard deviation of each band, in its unit; 1 for wrapped phase. Shape (band,).
        band_least: Least value of each band; −π for wrapped phase. Shape (band,).
        band_greatest: Greatest value of each band; π for wrapped phase. Shape (band,).
        band_low: Where each band is cut off below, before it is scaled; the least float32 if nowhere. Shape (band,).
        band_high: Where each band is cut off above. Shape (band,).
    """

    band_mean: Tensor
    band_std: Tensor
    band_least: Tensor
    band_greatest: Tensor
    band_low: Tensor
    band_high: Tensor

    def __init__(self, bands: Sequence[str], wrapped: Sequence[str] = ()) -> None:
        super().__init__()
        self.bands = tuple(bands)
        self.wrapped = tuple(band for band in bands if band in wrapped)
        self.register_buffer("band_mean", torch.full((len(bands),), torch.nan))
        self.register_buffer("band_std", torch.full((len(bands),), torch.nan))
        self.register_buffer("band_least", torch.full((len(bands),), torch.nan))
        self.register_buffer("band_greatest", torch.full((len(bands),), torch.nan))
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
        training: Sequence[tuple[Statistical, Sequence[int]]],
        clip_percentiles: Sequence[float] | None = None,
        clipped: Sequence[str] = (),
    ) -> None:
        """Take the statistics from the valid pixels of the training windows inside the study area.

        Args:
            training: Tensors of each Cube, with the bands of the Normalizer, and the indices of its training windows.
            clip_percentiles: Where the bands of `clipped` are cut off; None: nowhere.
            clipped: Names of bands whose extremes are no signal, such as backscatter in dB.

        Raises:
            SnowmapError: When a band has no valid pixel there.
        """
        for position in map(self.bands.index, (name for name in clipped if name in self.bands and clip_percentiles)):
            ends = _percentiles(training, position, clip_percentiles or ())
            self.band_low[position], self.band_high[position] = ends
        cut_off = list(zip(self.band_low.tolist(), self.band_high.tolist(), strict=True))
        constant, moments = [], [Moments() for _ in self.bands]
        scaled = [position for position, name in enumerate(self.bands) if name not in self.wrapped]
        for piece in (piece for tensors, train in training for piece in tensors.pieces(train)):
            for position in scaled:
                moments[position].add(piece.x[position][0].numpy()[piece.inside.numpy()], cut_off[position])
        for position, name in enumerate(self.bands):
            mean, std, ends = 0.0, 1.0, (-np.pi, np.pi)
            if position in scaled:
                mean, std = moments[position].mean_and_std(f"band '{name}'")
                ends = moments[position].range
            self.band_least[position], self.band_greatest[position] = ends
            if std == 0:
                constant.append(name)
                std = 1.0
            self.band_mean[position], self.band_std[position] = mean, std
        if constant:
            logger.warning("constant in the training windows, so they tell the net nothing: %s", ", ".join(constant))

    def set_ranges(self, ranges: Mapping[str, Sequence[float]]) -> None:
        """Scale each band by fixed ends instead of statistics: low → 0, high → 1, cut off there.

        Args:
            ranges: ``(low, high)`` of each band in its unit; those of wrapped phase, which has no scale, are left out.

        Raises:
            SnowmapError: When a band has none.
        """
        for position, name in enumerate(self.bands):
            if name in self.wrapped:
                low, high, mean, std = -np.pi, np.pi, 0.0, 1.0
            elif name in ranges:
                low, high = ranges[name]
                mean, std = low, high - low
                self.band_low[position], self.band_high[position] = low, high
            else:
                raise SnowmapError(f"the band {name} has no range, only {', '.join(ranges)} have; leave it out")
            self.band_least[position], self.band_greatest[position] = low, high
            self.band_mean[position], self.band_std[position] = mean, std

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

    def decode(self, scaled: Float[Tensor, "*batch channel height width"]) -> Bands:
        """The way back: scaled channels, without those of validity, to bands in physical units, cut off as before."""
        x = scaled[..., : len(self.bands), :, :] * self.band_std[:, None, None] + self.band_mean[:, None, None]
        x = x.clamp(self.band_low[:, None, None], self.band_high[:, None, None])
        for number, position in enumerate(map(self.bands.index, self.wrapped), start=len(self.bands)):
            x[..., position, :, :] = torch.atan2(scaled[..., number, :, :], scaled[..., position, :, :])
        return x


def mean_and_std(
    maps: Sequence[tuple[Float[np.ndarray, "_ _ _"], Sequence[int], Bool[np.ndarray, "_ _"]]], what: str
) -> tuple[float, float]:
    """Over the valid pixels, window by window.

    Args:
        maps: Of each Cube the maps ``(window, y, x)``, the windows that count and the pixels ``(y, x)`` that do.
        what: It is, for the error.

    Raises:
        SnowmapError: When there is no valid pixel.
    """
    moments = Moments()
    for of_cube, windows, inside in maps:
        for window in windows:
            moments.add(np.asarray(of_cube[window])[inside])
    return moments.mean_and_std(what)


class Moments:
    """Mean, standard deviation and range of values that come piece by piece (Chan et al. 1983, eq. 2.1)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares, self.range = 0, 0.0, 0.0, (np.inf, -np.inf)

    def add(self, values: Float[np.ndarray, " pixel"], ends: tuple[float, float] = (-np.inf, np.inf)) -> None:
        """Some more of them, cut off at `ends` except for the range; what is not finite does not count."""
        values = values[np.isfinite(values)].astype(np.float64)
        if values.size:
            self.range = min(self.range[0], values.min()), max(self.range[1], values.max())
            values = values.clip(*ends)
            total = self.count + values.size
            off = values.mean() - self.mean
            self.squares += values.var() * values.size + off**2 * self.count * values.size / total
            self.mean += off * values.size / total
            self.count = total

    def mean_and_std(self, what: str) -> tuple[float, float]:
        """Of all values; an error that says `what` they are of where there was none."""
        if self.count == 0:
            raise SnowmapError(
                f"{what} has no valid pixel inside the study area in any training window; leave it out or mend the "
                "rasters"
            )
        return float(self.mean), float(np.sqrt(self.squares / self.count))


def _percentiles(
    training: Sequence[tuple[Statistical, Sequence[int]]], band: int, wanted: Sequence[float]
) -> tuple[float, float]:
    """Two percentiles of a band over the valid pixels, of at most `MOST_PIXELS` that lie evenly among them."""
    step = max(1, -(-sum(int(maps.inside.sum()) * len(windows) for maps, windows in training) // MOST_PIXELS))
    pieces = (piece for maps, windows in training for piece in maps.pieces(windows))
    values = np.concatenate([piece.x[band][0].numpy()[piece.inside.numpy()][::step] for piece in pieces])
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, list(wanted)) if values.size else (0.0, 0.0)
    return float(low), float(high)
