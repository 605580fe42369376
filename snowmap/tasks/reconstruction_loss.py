"""What a masked pre-training learns by: patches normalised by themselves, and the direction of wrapped phase.

A prediction is relative to what is visible of the same image and band: to its interpolation, by which the net need not
learn what continuity says already, in units of its standard deviation. Of wrapped phase cos and sin are interpolated,
weighted by coherence. What is missing is neither looked at nor scored, be it a pixel or a whole band.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from snowmap.models.interpolation import kriged
from snowmap.models.reconstruction import Patterns

EPSILON = 1e-6
"""Added to the variance of the visible pixels in scaled units, as by He et al. (2022, arXiv:2111.06377)."""

USUAL = 0.1
"""Standard deviation of a band of which nothing is visible, in scaled units."""

FLATTEST = 0.1
"""Standard deviation of a patch, in those of the visible pixels, below which it counts for this: what is level or cut
off has no pattern, and to scale it up would make of next to nothing what the net learns most from."""

SHORTEST = 0.1
"""Length of a predicted (cos, sin) below which its direction counts for less: else gradients have no bound."""

Channels = Float[Tensor, "image channel height width"]
Bands = Bool[Tensor, "image band height width"]
Pixels = Float[Tensor, "image 1 height width"]


class Truth(NamedTuple):
    """What a prediction is held against, image by image.

    Attributes:
        x: Channels of `Normalizer.encode`, without those of validity; anything finite where they are not valid.
        valid: True where a band has a value.
        keep: False at masked pixels, which are whole patches.
        hidden: True for bands that the encoder does not see at all.
        coherence: The weight of the phase.
    """

    x: Channels
    valid: Bands
    keep: Bool[Tensor, "image 1 height width"]
    hidden: Bool[Tensor, "image band 1 1"]
    coherence: Pixels


class Visible(NamedTuple):
    """What is known of each channel from its visible pixels.

    Attributes:
        mean: Of them; 0 where there are none.
        std: Their standard deviation; `USUAL` where there are none.
        interpolated: By each of `snowmap.models.interpolation.KERNELS`, relative to the mean.
    """

    mean: Float[Tensor, "image channel 1 1"]
    std: Float[Tensor, "image channel 1 1"]
    interpolated: Float[Tensor, "kernel image channel height width"]


class Reconstruction:
    """Predictions of the channels of `Normalizer.encode`, without those of validity, and what they cost."""

    def __init__(self, bands: Sequence[str], wrapped: Sequence[str], patch: int) -> None:
        """Set it up.

        Args:
            bands: Names of the bands.
            wrapped: Those that are wrapped phase: cos is in its place, sin behind the last band.
            patch: Pixels along a side of a masked patch.
        """
        self.patch = patch
        self.wrapped = [bands.index(name) for name in wrapped]
        self.scaled = [position for position in range(len(bands)) if position not in self.wrapped]
        self.channels = len(bands) + len(wrapped)
        self.sines = list(range(len(bands), self.channels))
        self.directions = [*self.wrapped, *self.sines]

    def visible(self, truth: Truth) -> Visible:
        """What predictions are relative to; what is masked is not looked at."""
        shown = truth.valid & truth.keep & ~truth.hidden
        weights = shown[:, [*range(len(shown[0])), *self.wrapped]].to(truth.x.dtype)
        weights[:, self.directions] *= truth.coherence
        total = weights.sum(dim=(2, 3), keepdim=True)
        mean = (weights * truth.x).sum(dim=(2, 3), keepdim=True) / total.clamp(min=EPSILON)
        variance = (weights * (truth.x - mean) ** 2).sum(dim=(2, 3), keepdim=True) / total.clamp(min=EPSILON)
        std = torch.where(total > 0, (variance + EPSILON).sqrt(), USUAL)
        return Visible(mean, std, kriged(truth.x - mean, weights, truth.keep))

    def predicted(self, patterns: Patterns, visible: Visible) -> Channels:
        """The scaled channels; (cos, sin) of wrapped phase have any length."""
        mean, std = (self._spread(each) for each in (patterns.mean, patterns.log_std.exp()))
        base = visible.mean + self._interpolation(patterns, visible)
        scaled = base + visible.std * (mean + std * patterns.pattern)
        scaled[:, self.directions] = (base + patterns.pattern)[:, self.directions]
        return scaled

    def _interpolation(self, patterns: Patterns, visible: Visible) -> Channels:
        """Of the visible pixels, relative to their mean."""
        return sum(
            (self._spread(share) * each for share, each in zip(patterns.shares, visible.interpolated, strict=True)),
            torch.zeros_like(patterns.pattern),
        )

    def loss(self, patterns: Patterns, truth: Truth) -> Float[Tensor, ""]:
        """The mean over the bands of what the masked and the hidden pixels cost; 0 where there are none.

        Of a band it is the mean squared error of the pattern of each patch, in standard deviations of the patch and of
        the visible pixels, and the Huber loss of its mean and of the logarithm of its standard deviation; of wrapped
        phase the mean of 1 − cos of the error, weighted by coherence.
        """
        visible, masked = self.visible(truth), truth.valid & (~truth.keep | truth.hidden)
        interpolation = self._interpolation(patterns, visible)
        costs, weights = [], []
        if self.scaled:
            x = truth.x[:, self.scaled]
            scored = masked[:, self.scaled].to(x.dtype)
            count = self._sums(scored)
            mean = self._sums(scored * x) / count.clamp(min=1)
            center, spread = visible.mean[:, self.scaled], visible.std[:, self.scaled]
            std = (self._sums(scored * (x - self._spread(mean)) ** 2) / count.clamp(min=1)).sqrt()
            std = std.maximum(FLATTEST * spread)
            normalised = (x - self._spread(mean)) / self._spread(std)
            base = interpolation[:, self.scaled] / spread
            level = self._sums(scored * base) / count.clamp(min=1)
            log_std = patterns.log_std[:, self.scaled]
            foreseen, scale = base - self._spread(level), self._spread(log_std.exp())
            # in units of the patch, what is nearly level would say how far an interpolation is to be trusted
            pattern = patterns.pattern[:, self.scaled] + foreseen.detach() / scale
            around = (x - self._spread(mean)) / spread - scale * patterns.pattern[:, self.scaled]
            pixels = scored * ((pattern - normalised) ** 2 + (foreseen - around) ** 2)
            of_patches = (
                (patterns.mean[:, self.scaled] + level, (mean - center) / spread),
                (log_std, (std / spread).log()),
            )
            patches = sum(functional.smooth_l1_loss(*pair, reduction="none") for pair in of_patches)
            costs += (pixels.sum(dim=(0, 2, 3)) + (count * patches).sum(dim=(0, 2, 3))).unbind()
            weights += count.sum(dim=(0, 2, 3)).unbind()
        for cos, sin in zip(self.wrapped, self.sines, strict=True):
            direction = (visible.mean + interpolation + patterns.pattern)[:, [cos, sin]]
            length = direction.square().sum(dim=1).clamp(min=SHORTEST**2).sqrt()
            cosine = (direction * truth.x[:, [cos, sin]]).sum(dim=1) / length
            weight = masked[:, cos] * truth.coherence[:, 0]
            costs.append((weight * (1 - cosine)).sum())
            weights.append(weight.sum())
        total, of_band = torch.stack(weights), torch.stack(costs)
        return (of_band / total.clamp(min=EPSILON)).sum() / (total > 0).sum().clamp(min=1)

    def _sums(self, maps: Float[Tensor, "image band height width"]) -> Float[Tensor, "image band rows columns"]:
        """Over each patch."""
        return functional.avg_pool2d(maps, self.patch) * self.patch**2

    def _spread(self, values: Float[Tensor, "image band rows columns"]) -> Float[Tensor, "image band height width"]:
        """A value for each patch, to all its pixels."""
        return values.repeat_interleave(self.patch, dim=2).repeat_interleave(self.patch, dim=3)
