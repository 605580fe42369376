"""The light decoder of a masked pre-training, which is thrown away after it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from snowmap.models.blocks import convolution
from snowmap.models.masking import Mask, visible_cells

FINEST = 4
"""Pixels along a side of the finest cells that are decoded: finer detail of a masked patch cannot be predicted."""

LAYERS = 4
"""Convolutions over patches, each of which looks one patch further."""


class Patterns(NamedTuple):
    """The prediction for each scaled channel; see `snowmap.tasks.reconstruction_loss` for what it is relative to.

    Attributes:
        pattern: Values, normalised by mean and standard deviation of their patch.
        mean: Of each patch.
        log_std: Natural logarithm of the standard deviation in each patch.
    """

    pattern: Float[Tensor, "image channel height width"]
    mean: Float[Tensor, "image channel rows columns"]
    log_std: Float[Tensor, "image channel rows columns"]


class ReconstructionDecoder(nn.Module):
    """Convolutions over patches, then over finer cells, with the features of the encoder at each resolution.

    In masked cells stands a learned vector (Tian et al. 2023, arXiv:2301.03580). Untrained, it predicts next to 0.
    """

    def __init__(self, encoded: Sequence[int], cell: int, channels: int, *, patch: int, width: int) -> None:
        """Build it.

        Args:
            encoded: `Net.encoded`.
            cell: `Net.cell`, which divides `patch`.
            channels: Channels that are predicted.
            patch: Pixels along a side of a masked patch.
            width: Its own channels.
        """
        super().__init__()
        self.patch, self.cell, self.finest = patch, cell, min(FINEST, cell)
        sizes = [patch >> halved for halved in range((patch // self.finest).bit_length())]
        of_encoder = {cell >> halved: size for halved, size in enumerate(reversed(encoded))}
        self.project = nn.Conv2d(encoded[-1], width, kernel_size=1)
        self.masked = nn.Parameter(torch.zeros(len(sizes), width, 1, 1))
        self.over_patches = nn.ModuleList(convolution(width, width) for _ in range(LAYERS))
        self.finer = nn.ModuleList(convolution(width, width) for _ in sizes[1:])
        self.skips = nn.ModuleDict(
            {str(size): nn.Conv2d(of_encoder[size], width, kernel_size=1) for size in sizes[1:] if size in of_encoder}
        )
        self.pattern = nn.Conv2d(width, channels * self.finest**2, kernel_size=1)
        self.statistics = nn.Conv2d(width, 2 * channels, kernel_size=1)
        nn.init.trunc_normal_(self.masked, std=0.02)
        for layer in (self.pattern, self.statistics):
            nn.init.trunc_normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Float[Tensor, "batch step _ _ _"]], keep: Mask) -> Patterns:
        """The channels of all steps of all sequences, one behind the other.

        Args:
            levels: Of `Net.encode`; height and width are multiples of `patch`.
            keep: False at masked pixels, which are whole patches.
        """
        images = [level.flatten(0, 1) for level in levels]
        steps = len(images[0]) // len(keep)
        size = self.patch
        y = self._filled(functional.avg_pool2d(self.project(images[-1]), size // self.cell), keep, steps, 0)
        for layers in self.over_patches:
            y = y + layers(y)
        for number, layers in enumerate(self.finer, start=1):
            size //= 2
            y = functional.interpolate(y, scale_factor=2.0, mode="nearest")
            if str(size) in self.skips:
                image = images[-1 - (self.cell // size).bit_length() + 1]
                y = y + self._filled(self.skips[str(size)](image), keep, steps, number)
            y = y + layers(y)
        mean, log_std = self.statistics(functional.avg_pool2d(y, self.patch // size)).float().chunk(2, dim=1)
        return Patterns(functional.pixel_shuffle(self.pattern(y), size).float(), mean, log_std)

    def _filled(self, y: Tensor, keep: Mask, steps: int, number: int) -> Tensor:
        """The learned vector in masked cells."""
        visible = visible_cells(keep, keep.shape[-1] // y.shape[-1]).repeat_interleave(steps, dim=0)
        return torch.where(visible, y, self.masked[number].to(y.dtype))
