"""Vision transformer of timm, an optional dependency, as masked autoencoders have it (He et al., arXiv:2111.06377)."""

from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from snowmap.errors import SnowmapError
from snowmap.models.blocks import ChannelNorm, convolution, pad_to_multiple
from snowmap.models.masking import Cells
from snowmap.models.net import Features, Inputs, Maps, Net, Specification

LONGEST_PERIOD = 10_000.0
"""Of the positions, in patches, as in the reference implementation."""


class MAE(Net):
    """Each patch of the target window is a token; of a masked image, only the visible ones enter the transformer.

    Every token attends to all others: maps of tiles may then differ from that of the scene.
    """

    def __init__(self, specification: Specification, *, patch: int, width: int, depth: int, heads: int) -> None:
        """Build the net.

        Args:
            specification: What it is built for.
            patch: Pixels along a side of a token, a power of two.
            width: Channels of a token.
            depth: Layers of the transformer.
            heads: Heads of attention.

        Raises:
            SnowmapError: When timm is not installed.
            ValueError: When the width cannot be divided among the heads, or into sines and cosines of two directions.
        """
        super().__init__()
        if width % heads or width % 4:
            raise ValueError(f"width={width} is no multiple of heads={heads} and 4")
        self.levels, self.encoded = patch.bit_length(), [width]
        transformer = _library().VisionTransformer(
            img_size=patch,
            patch_size=patch,
            in_chans=specification.channels,
            num_classes=0,
            global_pool="",
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            class_token=False,
            pos_embed="none",
            dynamic_img_size=True,
        )
        self.patch_embed, self.blocks, self.norm = transformer.patch_embed, transformer.blocks, transformer.norm
        sizes = [max(16, width >> halved) for halved in range(self.levels)]
        up = ((*convolution(a, b), nn.Upsample(scale_factor=2.0)) for a, b in pairwise(sizes))
        self.up = nn.Sequential(*(part for parts in up for part in parts))
        self.detail = nn.Conv2d(specification.channels, sizes[-1], kernel_size=3, padding=1)
        self.join = nn.Sequential(ChannelNorm(sizes[-1]), nn.SiLU())
        self.head = nn.Conv2d(sizes[-1], specification.outputs, kernel_size=1)

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """A stage for each layer of the transformer, after that of the patches."""
        layers = [self.patch_embed, *self.blocks]
        encoder = {f"encoder {number}": [layer] for number, layer in enumerate(layers, start=1)}
        encoder[f"encoder {len(layers)}"].append(self.norm)
        return {**encoder, "decoder": [self.up, self.detail, self.join], "head": [self.head]}

    def reads(self, channels: Sequence[str]) -> dict[str, list[str]]:
        """The channels, twice: patch by patch, and for the detail of the map."""
        return {"patch_embed.proj": list(channels), "detail": list(channels)}

    def features(self, inputs: Inputs) -> list[Features]:
        """The tokens of the target window."""
        return [self._tokens(self._images(inputs), None)]

    def visible_features(self, inputs: Inputs, cells: Cells) -> list[Features]:
        """The same from the visible tokens alone."""
        return [self._tokens(self._images(inputs), cells)]

    def forward(self, inputs: Inputs) -> Maps:
        """Maps of the target window."""
        height, width = inputs.x.shape[-2:]
        (tokens,) = self.encode(inputs)
        features = self.join(self.up(tokens.squeeze(1)) + self.detail(self._images(inputs)))
        return self.head(features)[:, None, :, :height, :width]

    def _images(self, inputs: Inputs) -> Float[Tensor, "batch _ height width"]:
        return pad_to_multiple(inputs.x[:, -1], self.levels)

    def _tokens(self, images: Float[Tensor, "batch _ height width"], cells: Cells | None) -> Features:
        """The transformer; 0 where a token is left out."""
        grid = self.patch_embed(images)  # batch, rows, columns, channel
        tokens = (grid + positions(*grid.shape[1:]).to(grid)).flatten(1, 2)
        kept = mask = None
        if cells is not None:
            shown = cells.flatten(1)
            counts = shown.sum(dim=1).clamp(min=1)
            fewest, most = torch.aminmax(counts)
            kept = shown.byte().argsort(dim=1, descending=True, stable=True)[:, : int(most), None]
            kept = kept.expand(-1, -1, tokens.shape[-1])
            tokens = tokens.gather(1, kept)
            if fewest < most:
                mask = (torch.arange(kept.shape[1], device=counts.device) < counts[:, None])[:, None, None]
        for block in self.blocks:  # type: ignore[union-attr]
            tokens = block(tokens, attn_mask=mask)
        tokens = self.norm(tokens)
        if kept is not None:
            tokens = tokens.new_zeros(len(tokens), grid.shape[1] * grid.shape[2], grid.shape[3]).scatter(
                1, kept, tokens
            )
        return tokens.unflatten(1, grid.shape[1:3]).permute(0, 3, 1, 2)[:, None]


def positions(rows: int, columns: int, width: int) -> Float[Tensor, "rows columns width"]:
    """Row and column as sines and cosines, for images of any size."""
    frequency = LONGEST_PERIOD ** (-torch.arange(width // 4) / (width // 4))
    along = [torch.arange(size)[:, None] * frequency for size in (rows, columns)]
    row, column = (torch.cat([angle.sin(), angle.cos()], dim=1) for angle in along)
    return torch.cat([row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1)], dim=2)


def _library() -> ModuleType:
    try:
        return import_module("timm.models.vision_transformer")
    except ImportError as error:
        raise SnowmapError(f'model=mae: {error}; pip install "snowmap[mae]"') from error
