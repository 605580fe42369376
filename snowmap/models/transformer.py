"""Temporal attention per pixel over a shared spatial encoder, after U-TAE (Garnot & Landrieu, arXiv:2107.07933)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from snowmap.models.blocks import Decoder, Encoder, pad_to_multiple
from snowmap.models.net import Features, Inputs, Maps, Net, Specification

LONGEST_PERIOD_DAYS = 1000.0
"""Of the positional encoding, as in U-TAE."""

FIRST_OF_SEPTEMBER = 244
"""Days are counted from it, not to the target window: what a step says must not depend on where its sequence ends."""


class Transformer(Net):
    """The windows' coarsest features attend to the past, pixel by pixel; the attention also weighs the skips."""

    time = "season"
    maps_every_step = True
    stage_names = {"layers": "attention", "weigh": "attention"}  # noqa: RUF012  no net changes it

    def __init__(
        self,
        specification: Specification,
        *,
        channels: Sequence[int],
        heads: int,
        layers: int,
        dropout: float,
    ) -> None:
        """Build the net.

        Args:
            specification: What it is built for.
            channels: Channels of encoder and decoder at each resolution; the last must be a multiple of `heads`.
            heads: Heads of attention.
            layers: Layers of attention.
            dropout: Share of channels dropped at the coarsest resolution while training.

        Raises:
            ValueError: When the coarsest channels cannot be divided among the heads.
        """
        super().__init__()
        if channels[-1] % (2 * heads):
            raise ValueError(f"channels[-1]={channels[-1]} is no multiple of 2 × heads={heads}")
        self.levels, self.encoded, self.heads = len(channels), channels, heads
        self.encoder = Encoder(specification.channels, channels, dropout)
        self.layers = nn.ModuleList(_Layer(channels[-1], heads) for _ in range(layers))
        self.weigh = _Weights(channels[-1], heads)
        self.decoder = Decoder(channels)
        self.head = nn.Conv2d(channels[0], specification.outputs, kernel_size=1)

    def features(self, inputs: Inputs) -> list[Features]:
        """Those of every step, each with what attention took from the steps up to it."""
        batch, time = inputs.x.shape[:2]
        images = pad_to_multiple(inputs.x.flatten(0, 1), self.levels)
        levels = [level.unflatten(0, (batch, time)) for level in self.encoder(images)]
        rows, columns = levels[-1].shape[-2:]
        dates = days_encoding((inputs.day_of_year - FIRST_OF_SEPTEMBER) % 366, levels[-1].shape[2]).to(levels[-1].dtype)
        tokens = levels[-1].permute(0, 3, 4, 1, 2) + dates[:, None, None]  # batch, rows, columns, time, channel
        tokens = tokens.flatten(1, 2)
        allowed = _past(inputs.step_valid)[:, None]
        for layer in self.layers:
            tokens = layer(tokens, allowed)
        weights = self.weigh(tokens, allowed).unflatten(1, (rows, columns))  # batch, rows, columns, head, time, time
        coarse = tokens.unflatten(1, (rows, columns)).permute(0, 3, 4, 1, 2)
        return [*(_collapse(level, weights) for level in levels[:-1]), coarse]

    def forward(self, inputs: Inputs) -> Maps:
        """Maps of every step, each from the steps up to it."""
        height, width = inputs.x.shape[-2:]
        maps = self.head(self.decoder([level.flatten(0, 1) for level in self.encode(inputs)]))
        return maps[..., :height, :width].unflatten(0, (len(inputs.x), -1))


def days_encoding(days: Float[Tensor, "batch time"], channels: int) -> Float[Tensor, "batch time channel"]:
    """Days in the season as sines and cosines, as Vaswani et al. (2017) encode positions."""
    exponent = torch.arange(0, channels, 2, device=days.device) / channels
    angle = days[..., None] / LONGEST_PERIOD_DAYS**exponent
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class _Layer(nn.Module):
    """Attention to the past and a feed-forward layer, each behind a normalisation and around a shortcut."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.project, self.merge = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.forward_layers = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(
        self, tokens: Float[Tensor, "batch pixel time channel"], allowed: Bool[Tensor, "batch 1 time time"]
    ) -> Float[Tensor, "batch pixel time channel"]:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(2, 3)
            for part in self.project(self.first(tokens)).chunk(3, dim=-1)
        )
        mask = allowed[:, :, None]  # the same for every pixel and head
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.merge(mixed.transpose(2, 3).flatten(3))
        return tokens + self.forward_layers(self.second(tokens))


class _Weights(nn.Module):
    """How much each step of the past counts for each step, pixel by pixel and head by head."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(channels, 2 * channels)

    def forward(
        self, tokens: Float[Tensor, "batch pixel time channel"], allowed: Bool[Tensor, "batch 1 time time"]
    ) -> Float[Tensor, "batch pixel head time past"]:
        query, key = (
            part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in self.project(tokens).chunk(2, dim=-1)
        )
        logits = query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
        return logits.masked_fill(~allowed[:, :, None], -torch.inf).softmax(dim=-1)


def _past(step_valid: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch time time"]:
    """True where a step may look: at windows up to its own; a padded step at itself, so that no row is empty."""
    time = step_valid.shape[1]
    steps = torch.arange(time, device=step_valid.device)
    causal = (steps[:, None] >= steps) & step_valid[:, None, :]
    return causal | (steps[:, None] == steps)


def _collapse(level: Tensor, weights: Tensor) -> Tensor:
    """Skips of every step: each head's share of the channels, averaged over the past by the head's weights."""
    heads, time = weights.shape[3], weights.shape[4]
    scale = level.shape[-1] // weights.shape[2]
    parts = []
    for head, features in enumerate(level.chunk(heads, dim=2)):
        images = weights[:, :, :, head].permute(0, 3, 4, 1, 2)  # batch, time, past, rows, columns
        fine = functional.interpolate(images.flatten(0, 1), scale_factor=float(scale), mode="nearest")
        fine = fine.unflatten(0, (-1, time))
        parts.append(torch.einsum("btphw,bpchw->btchw", fine, features))
    return torch.cat(parts, dim=2)
