"""3-D convolutions over time and space (Çiçek et al. 2016, arXiv:1606.06650), time collapsed at the skips."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from snowmap.models.blocks import ChannelNorm, Decoder, TimeCollapse, Volumes, pad_to_multiple
from snowmap.models.net import Features, Inputs, Maps, Net, Specification


class UNet3D(Net):
    """A 3-D encoder, whose features are brought to one step at each skip, and a 2-D decoder."""

    time = 8
    minimum_time = 2

    def __init__(self, specification: Specification, *, channels: Sequence[int], collapse: str, dropout: float) -> None:
        """Build the net.

        Args:
            specification: What it is built for.
            channels: Channels at each resolution; each further one halves height and width, never time.
            collapse: What the decoder gets of each resolution, as for `TimeCollapse`.
            dropout: Share of channels dropped at the coarsest resolution while training.
        """
        super().__init__()
        self.levels = len(channels)
        self.blocks = nn.ModuleList(_block(a, b) for a, b in pairwise([specification.channels + 1, *channels]))
        self.collapse: Sequence[TimeCollapse] = nn.ModuleList(TimeCollapse(size, collapse) for size in channels)  # type: ignore[assignment]
        self.dropout = nn.Dropout2d(dropout)
        self.encoded = [layer.outputs for layer in self.collapse]
        self.decoder = Decoder(self.encoded)
        self.head = nn.Conv2d(self.encoded[0], specification.outputs, kernel_size=1)

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """Encoder with what weighs its steps, decoder, head."""
        levels = enumerate(zip(self.blocks, self.collapse, strict=True))
        encoder: dict[str, list[nn.Module]] = {f"encoder {i + 1}": list(parts) for i, parts in levels}
        encoder[f"encoder {self.levels}"].append(self.dropout)
        return {**encoder, **self.decoder.stages, "head": [self.head]}

    def reads(self, channels: Sequence[str]) -> dict[str, list[str]]:
        """The channels, and the days to the target window."""
        return {"blocks.0.0.convolve": [*channels, "days before the target window"]}

    def features(self, inputs: Inputs) -> list[Features]:
        """Those of all windows, as one step."""
        batch, _, _, height, width = inputs.x.shape
        known = inputs.step_valid[:, None, :, None, None]
        days = (inputs.days / 100).to(inputs.x.dtype)[:, :, None, None, None].expand(-1, -1, 1, height, width)
        images = pad_to_multiple(torch.cat([inputs.x, days], dim=2).flatten(0, 1), self.levels)
        y = torch.where(known, images.unflatten(0, (batch, -1)).transpose(1, 2), 0)
        skips = []
        for index, (layers, collapse) in enumerate(zip(self.blocks, self.collapse, strict=True)):
            y = functional.max_pool3d(y, (1, 2, 2)) if index else y
            for layer in layers:  # type: ignore[union-attr]
                # what a padded step holds must not reach its neighbours
                y = torch.where(known, layer(y), 0)
            skips.append(collapse(y, known))
        skips[-1] = self.dropout(skips[-1])
        return [skip[:, None] for skip in skips]

    def forward(self, inputs: Inputs) -> Maps:
        """Maps of the target window."""
        height, width = inputs.x.shape[-2:]
        maps = self.head(self.decoder([level.squeeze(1) for level in self.encode(inputs)]))
        return maps[:, None, :, :height, :width]


class _Convolution(nn.Module):
    """3 × 3 × 3, then the channels of each pixel and step normalised by themselves."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolve = nn.Conv3d(inputs, outputs, kernel_size=3, padding=1, bias=False)
        self.norm = ChannelNorm(outputs)

    def forward(self, y: Volumes) -> Float[Tensor, "batch output time height width"]:
        batch = len(y)
        images = self.convolve(y).transpose(1, 2).flatten(0, 1)
        return functional.silu(self.norm(images)).unflatten(0, (batch, -1)).transpose(1, 2)


def _block(inputs: int, outputs: int) -> nn.ModuleList:
    return nn.ModuleList([_Convolution(inputs, outputs), _Convolution(outputs, outputs)])
