"""The light decoder of a masked pre-training, which is thrown away after it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from snowmap.models.blocks import convolution
from snowmap.models.interpolation import KERNELS
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
        shares: How far to trust the interpolations of the visible pixels in each patch, one by one.
    """

    pattern: Float[Tensor, "image channel height width"]
    mean: Float[Tensor, "image channel rows columns"]
    log_std: Float[Tensor, "image channel rows columns"]
    shares: Float[Tensor, "kernel image channel rows columns"]


class ReconstructionDecoder(nn.Module):
    """Convolutions over patches, then over finer cells, with the features of the encoder at each resolution.

    In masked cells stands a learned vector (Tian et al. 2023, arXiv:2301.03580). Untrained, it adds next to nothing to
    the mean of the interpolations.
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
        self.patch, finest = patch, min(FINEST, cell)
        self.sizes = [patch >> halved for halved in range((patch // finest).bit_length())]
        levels = range(len(encoded))
        joins = [(level, max(finest, cell >> (len(encoded) - 1 - level))) for level in levels]
        self.joins = list(dict.fromkeys([*joins, (levels[-1], patch)]))  # level of the encoder, size of the cells
        self.project = nn.ModuleList(nn.Conv2d(encoded[level], width, kernel_size=1) for level, _ in self.joins)
        self.masked = nn.Parameter(torch.empty(len(self.sizes), width, 1, 1))
        depths = (1 if size < patch else LAYERS for size in self.sizes)
        self.layers: Sequence[nn.ModuleList] = nn.ModuleList(  # type: ignore[assignment]
            nn.ModuleList(convolution(width, width) for _ in range(depth)) for depth in depths
        )
        # of what is partly visible and of what is hidden: the ones are small corrections, the others are not
        self.pattern = nn.Conv2d(width, 2 * channels * finest**2, kernel_size=1)
        self.statistics = nn.Conv2d(width, (4 + len(KERNELS)) * channels, kernel_size=1)
        nn.init.trunc_normal_(self.masked, std=0.02)
        for layer in (self.pattern, self.statistics):
            nn.init.trunc_normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(
        self,
        levels: Sequence[Float[Tensor, "batch step _ _ _"]],
        keep: Mask,
        hidden: Bool[Tensor, "batch channel 1 1"],
    ) -> Patterns:
        """The channels of all steps of all sequences, one behind the other.

        Args:
            levels: Of `Net.encode`; height and width are multiples of `patch`.
            keep: False at masked pixels, which are whole patches.
            hidden: True for channels that were not visible anywhere.
        """
        images, steps = [level.flatten(0, 1) for level in levels], levels[0].shape[1]
        y = torch.zeros((), device=keep.device)
        for number, (size, layers) in enumerate(zip(self.sizes, self.layers, strict=True)):
            if number:
                y = functional.interpolate(y, scale_factor=2.0, mode="nearest")
            cells, width = visible_cells(keep, size).repeat_interleave(steps, dim=0), keep.shape[-1] // size
            for (level, joined), project in zip(self.joins, self.project, strict=True):
                if joined == size:
                    pooled = functional.avg_pool2d(images[level], images[level].shape[-1] // width)
                    y = y + torch.where(cells, project(pooled), self.masked[number])
            for layer in layers:
                y = y + layer(y)
        hidden = hidden.repeat_interleave(steps, dim=0)
        patterns = functional.pixel_shuffle(self.pattern(y), self.sizes[-1]).float().chunk(2, dim=1)
        of_patches = self.statistics(functional.avg_pool2d(y, self.patch // self.sizes[-1])).float()
        *statistics, shares = of_patches.split([2 * hidden.shape[1]] * 2 + [len(KERNELS) * hidden.shape[1]], dim=1)
        mean, log_std = torch.where(hidden.repeat(1, 2, 1, 1), *reversed(statistics)).chunk(2, dim=1)
        shares = torch.stack(shares.chunk(len(KERNELS), dim=1)) + 1 / len(KERNELS)
        return Patterns(torch.where(hidden, *reversed(patterns)), mean, log_std, shares)
