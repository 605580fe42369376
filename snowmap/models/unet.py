"""U-Net for one window (Ronneberger et al. 2015, arXiv:1505.04597), with group normalisation for small batches."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

DAYS_OF_YEAR = 365.25


class UNet(nn.Module):
    """Encoder and decoder with skips, from the target window alone.

    Attributes:
        sequence: Whether the net reads the windows before the target window too.
        minimum_time: Steps that it needs at least.
    """

    sequence = False
    minimum_time = 1

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        channels: Sequence[int] = (24, 48, 96, 192),
        dropout: float = 0.0,
        season: bool = True,
    ) -> None:
        """Build the net.

        Args:
            inputs: Channels of each step, as `Normalizer.encode` gives them.
            outputs: Maps to produce.
            channels: Channels at each resolution; each further one halves height and width.
            dropout: Share of channels dropped at the coarsest resolution while training.
            season: Feed the day of the year, as cos and sin, beside the bands.
        """
        super().__init__()
        self.season = season
        self.multiple = 2 ** (len(channels) - 1)
        first = inputs + (2 if season else 0)
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise([first, *channels]))
        self.dropout = nn.Dropout2d(dropout)
        upward = list(reversed(channels))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in pairwise(upward))
        self.head = nn.Conv2d(channels[0], outputs, kernel_size=1)

    def forward(
        self,
        x: Float[Tensor, "batch time channel height width"],
        days: Float[Tensor, "batch time"],
        day_of_year: Float[Tensor, "batch time"],
        step_valid: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch output height width"]:
        """Maps of the target window, the last step, in network units.

        Args:
            x: Scaled channels; any height and width.
            days: Days before the target window; not used by a net without memory.
            day_of_year: Day of the year of each step, 1 … 366.
            step_valid: True where the step is a window; the last one always is.
        """
        window = x[:, -1]
        height, width = window.shape[-2:]
        if self.season:
            angle = 2 * torch.pi * day_of_year[:, -1] / DAYS_OF_YEAR
            season = torch.stack([angle.cos(), angle.sin()], dim=1).to(window.dtype)
            window = torch.cat([window, season[:, :, None, None].expand(-1, -1, height, width)], dim=1)
        window = functional.pad(window, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        return self._decode(self._encode(window.contiguous(memory_format=torch.channels_last)))[..., :height, :width]

    def _encode(self, y: Tensor) -> list[Tensor]:
        levels = []
        for index, block in enumerate(self.down):
            y = block(functional.max_pool2d(y, 2) if index else y)
            levels.append(y)
        levels[-1] = self.dropout(levels[-1])
        return levels

    def _decode(self, levels: list[Tensor]) -> Tensor:
        y = levels.pop()
        for block in self.up:
            # nearest, not bilinear: its backward pass is deterministic on CUDA too
            y = block(torch.cat([functional.interpolate(y, scale_factor=2.0, mode="nearest"), levels.pop()], dim=1))
        return self.head(y)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(num_groups=min(8, outputs), num_channels=outputs),
            nn.SiLU(inplace=True),
        ]
    return nn.Sequential(*layers)
