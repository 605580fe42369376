"""The convolutional parts that several networks share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Images = Float[Tensor, "image channel height width"]


class ChannelNorm(nn.LayerNorm):
    """Normalises the channels of each pixel by themselves, as ConvNeXt does (Liu et al. 2022, arXiv:2201.03545).

    What a pixel's map is depends on its surroundings as far as the convolutions see, and on nothing else: not on the
    rest of the image, its size, or the batch. So large scenes can be mapped in tiles.
    """

    def forward(self, input: Images) -> Images:
        """Any height and width."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3 × 3 convolutions, each with its channels normalised."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, kernel_size=3, padding=1, bias=False),
            ChannelNorm(outputs),
            nn.SiLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Features at one resolution after the other, each half as fine as the one before."""

    def __init__(self, inputs: int, channels: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block(a, b) for a, b in pairwise([inputs, *channels]))
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, images: Images) -> list[Tensor]:
        """From the finest to the coarsest; height and width must be multiples of 2^(levels − 1)."""
        levels = []
        y = images.contiguous(memory_format=torch.channels_last)
        for index, layers in enumerate(self.blocks):
            y = layers(functional.max_pool2d(y, 2) if index else y)
            levels.append(y)
        levels[-1] = self.dropout(levels[-1])
        return levels

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """For `Net.stages`: a part for each resolution."""
        found: dict[str, list[nn.Module]] = {f"encoder {i + 1}": [layers] for i, layers in enumerate(self.blocks)}
        found[f"encoder {len(self.blocks)}"].append(self.dropout)
        return found


class Decoder(nn.Module):
    """From the coarsest features back to the finest, with a skip at each resolution."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block(a + b, b) for a, b in pairwise(reversed(channels)))

    def forward(self, levels: Sequence[Tensor]) -> Images:
        """Features at the finest resolution."""
        *skips, y = levels
        for layers in self.blocks:
            # nearest, not bilinear: its backward pass is deterministic on CUDA too
            y = layers(torch.cat([functional.interpolate(y, scale_factor=2.0, mode="nearest"), skips.pop()], dim=1))
        return y

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """For `Net.stages`: a part for each resolution."""
        return {f"decoder {i + 1}": [layers] for i, layers in enumerate(self.blocks)}


def pad_to_multiple(images: Tensor, levels: int) -> Tensor:
    """Repeat the last row and column until height and width can be halved `levels` − 1 times."""
    multiple = 2 ** (levels - 1)
    height, width = images.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return images
    return functional.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
