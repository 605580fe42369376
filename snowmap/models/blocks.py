"""The convolutional parts that several networks share."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from snowmap.models.net import Inputs

Images = Float[Tensor, "image channel height width"]
Volumes = Float[Tensor, "batch channel time height width"]


class ChannelNorm(nn.LayerNorm):
    """Normalises the channels of each pixel by themselves, as ConvNeXt does (Liu et al. 2022, arXiv:2201.03545).

    What a pixel's map is depends on its surroundings as far as the convolutions see, and on nothing else: not on the
    rest of the image, its size, or the batch. So large scenes can be mapped in tiles.
    """

    def forward(self, input: Images) -> Images:
        """Any height and width."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """A 3 × 3 convolution, its channels normalised, and an activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        ChannelNorm(outputs),
        nn.SiLU(),  # not in place: autograd copies a view that is changed in place, and the norm gives one
    )


class Encoder(nn.Module):
    """Features at one resolution after the other, each half as fine as the one before."""

    def __init__(self, inputs: int, channels: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(*convolution(a, b), *convolution(b, b)) for a, b in pairwise([inputs, *channels])
        )
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
        stages: dict[str, list[nn.Module]] = {f"encoder {i + 1}": [layers] for i, layers in enumerate(self.blocks)}
        stages[f"encoder {len(self.blocks)}"].append(self.dropout)
        return stages


class Decoder(nn.Module):
    """From the coarsest features back to the finest, with a skip at each resolution.

    Features are brought to the channels of the next resolution before they are upsampled: there it costs a quarter.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.before = nn.ModuleList(convolution(a, b) for a, b in pairwise(reversed(channels)))
        self.after = nn.ModuleList(convolution(2 * b, b) for b in reversed(channels[:-1]))

    def forward(self, levels: Sequence[Tensor]) -> Images:
        """Features at the finest resolution."""
        *skips, y = levels
        for before, after in zip(self.before, self.after, strict=True):
            # nearest, not bilinear: its backward pass is deterministic on CUDA too
            y = functional.interpolate(before(y), scale_factor=2.0, mode="nearest")
            y = after(torch.cat([y, skips.pop()], dim=1))
        return y

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """For `Net.stages`: a part for each resolution."""
        parts = zip(self.before, self.after, strict=True)
        return {f"decoder {i + 1}": list(both) for i, both in enumerate(parts)}


class TimeCollapse(nn.Module):
    """The features of one resolution over the windows that there are, as those of one."""

    def __init__(self, channels: int, way: str) -> None:
        """Build it.

        Args:
            channels: Of the features.
            way: ``last``, the target window; ``max``, the greatest over the windows; ``weights``, their mean with
                learned weights; ``last_and_weights``, the target window beside that mean, for what changes from window
                to window.
        """
        super().__init__()
        self.way = way
        self.outputs = 2 * channels if way == "last_and_weights" else channels
        self.weigh = nn.Conv3d(channels, 1, kernel_size=1) if way in ("weights", "last_and_weights") else None

    def forward(
        self, y: Volumes, known: Bool[Tensor, "batch 1 time 1 1"]
    ) -> Float[Tensor, "batch output height width"]:
        """Of `outputs` channels; `known` is false at the padded steps."""
        if self.way == "max":
            return y.masked_fill(~known, -torch.inf).amax(dim=2)
        if self.weigh is None:
            return y[:, :, -1]
        share = self.weigh(y).masked_fill(~known, -torch.inf).softmax(dim=2)
        mean = (share * y).sum(dim=2)
        return torch.cat([y[:, :, -1], mean], dim=1) if self.way == "last_and_weights" else mean


def pad_to_multiple(images: Tensor, levels: int) -> Tensor:
    """Repeat the last row and column until height and width can be halved `levels` − 1 times."""
    multiple = 2 ** (levels - 1)
    height, width = images.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return images
    return functional.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def stacked_channels(channels: int, steps: int) -> int:
    """Channels of `stacked` for so many channels of each step."""
    return (channels + 2) * steps


def stacked_names(channels: Sequence[str], steps: int) -> list[str]:
    """What each channel of `stacked` is, for the names of the channels of each step."""
    of_step = [*channels, "days before the target window", "whether there is a window"]
    back = [f", {step} before" if step else "" for step in reversed(range(steps))]
    return [f"{name}{before}" for before in back for name in of_step]


def stacked(inputs: Inputs, steps: int) -> Images:
    """The channels of the last `steps` windows, one behind the other, with the days before the target and validity."""
    batch, time, _, height, width = inputs.x.shape
    context = torch.stack([inputs.days / 100, inputs.step_valid.to(inputs.x.dtype)], dim=2)
    context = context.to(inputs.x.dtype)[..., None, None].expand(-1, -1, -1, height, width)
    known = inputs.step_valid[:, :, None, None, None]
    x = torch.where(known, torch.cat([inputs.x, context], dim=2), 0)
    missing = steps - time  # a batch of short sequences
    if missing:
        x = torch.cat([x.new_zeros(batch, missing, *x.shape[2:]), x], dim=1)
    return x.flatten(1, 2)
