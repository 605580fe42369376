"""Stacked ConvLSTM (Shi et al. 2015, arXiv:1506.04214) over the windows, between a shared encoder and decoder."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snowmap.errors import SnowmapError
from snowmap.models.blocks import Decoder, Encoder, TimeCollapse, pad_to_multiple
from snowmap.models.net import Features, Inputs, Maps, Net, Specification

Sequences = Float[Tensor, "batch time channel height width"]


class ConvLSTM(Net):
    """Every window is encoded alone; the memory runs over the coarsest features, where a cell sees far."""

    time = "season"
    loops_over_steps = True
    stage_names = {"layers": "memory", "merge": "memory", "collapse": "memory"}  # noqa: RUF012  no net changes it

    def __init__(
        self,
        specification: Specification,
        *,
        channels: Sequence[int],
        hidden: Sequence[int],
        bidirectional: bool,
        collapse: str,
        dropout: float,
    ) -> None:
        """Build the net.

        Args:
            specification: What it is built for.
            channels: Channels of encoder and decoder at each resolution; each further one halves height and width.
            hidden: Channels of the memory of each layer.
            bidirectional: Read the sequence backwards too. Every step then knows the later ones of its sequence (never
                anything after the target window), so that only the target window can be mapped.
            collapse: What the decoder gets of each resolution then, beside the memory, as for `TimeCollapse`: ``max``
                or ``weights`` where the windows show one thing through speckle, ``last`` where it changes.
            dropout: Share of channels dropped at the coarsest resolution while training.

        Raises:
            SnowmapError: When a net that maps every window is to collapse them.
        """
        if collapse != "last" and not bidirectional:
            raise SnowmapError(
                f"model.collapse={collapse} brings all windows to one, but model=convlstm maps each of them; give "
                "model.bidirectional=true with it"
            )
        super().__init__()
        self.maps_every_step = not bidirectional
        self.levels = len(channels)
        self.encoder = Encoder(specification.channels + 2, channels, dropout)
        sizes = [channels[-1], *(size * (2 if bidirectional else 1) for size in hidden)]
        directions = (False, True) if bidirectional else (False,)
        self.layers = nn.ModuleList(
            nn.ModuleList(_Layer(before, size, backwards) for backwards in directions)
            for before, size in zip(sizes, hidden, strict=False)
        )
        self.collapse: Sequence[TimeCollapse] = nn.ModuleList(TimeCollapse(size, collapse) for size in channels)  # type: ignore[assignment]
        self.encoded = [layer.outputs for layer in self.collapse]
        self.merge = nn.Conv2d(sizes[-1], self.encoded[-1], kernel_size=1)
        self.decoder = Decoder(self.encoded)
        self.head = nn.Conv2d(self.encoded[0], specification.outputs, kernel_size=1)

    @property
    def reach(self) -> int:
        """Each layer of the memory looks one cell of the coarsest resolution further, and again in each window."""
        return super().reach + len(self.layers) * 2 ** (self.levels - 1)

    def reads(self, channels: Sequence[str]) -> dict[str, list[str]]:
        """The channels, and what is known of the step's date."""
        return {"encoder.blocks.0.0": [*channels, "days without a window", "whether a season begins"]}

    def features(self, inputs: Inputs) -> list[Features]:
        """Those of every step, or of the target window if the net reads backwards too; the coarsest with the memory."""
        batch, time = inputs.x.shape[:2]
        images = pad_to_multiple(_with_dates(inputs).flatten(0, 1), self.levels)
        levels = [level.unflatten(0, (batch, time)) for level in self.encoder(images)]
        memory = levels[-1]
        for layer in self.layers:
            directions: list[Tensor] = [way(memory, inputs.step_valid) for way in layer]  # type: ignore[union-attr]
            memory = torch.cat(directions, dim=2)
        if not self.maps_every_step:
            known = inputs.step_valid[:, None, :, None, None]
            pairs = zip(self.collapse, levels, strict=True)
            levels = [collapse(level.transpose(1, 2), known)[:, None] for collapse, level in pairs]
            memory = memory[:, -1:]
        levels[-1] = levels[-1] + self.merge(memory.flatten(0, 1)).unflatten(0, (batch, -1))
        return levels

    def forward(self, inputs: Inputs) -> Maps:
        """Maps of every step, or of the target window if the net reads backwards too."""
        height, width = inputs.x.shape[-2:]
        maps = self.head(self.decoder([level.flatten(0, 1) for level in self.encode(inputs)]))
        return maps[..., :height, :width].unflatten(0, (len(inputs.x), -1))


class _Layer(nn.Module):
    """One ConvLSTM layer over a sequence; a padded step leaves its memory as it is."""

    def __init__(self, inputs: int, hidden: int, backwards: bool) -> None:
        super().__init__()
        self.hidden, self.backwards = hidden, backwards
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, kernel_size=3, padding=1)
        bias = torch.zeros(4 * hidden)
        bias[hidden : 2 * hidden] = 1  # remember at first (Jozefowicz et al. 2015)
        self.gates.bias = nn.Parameter(bias)

    def forward(
        self, features: Sequences, step_valid: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time hidden height width"]:
        batch, time, _, height, width = features.shape
        output = cell = features.new_zeros(batch, self.hidden, height, width)
        outputs = [output] * time
        for step in reversed(range(time)) if self.backwards else range(time):
            gates = self.gates(torch.cat([features[:, step], output], dim=1))
            entrance, forget, exit_, content = gates.chunk(4, dim=1)
            known = step_valid[:, step, None, None, None]
            cell = torch.where(known, forget.sigmoid() * cell + entrance.sigmoid() * content.tanh(), cell)
            output = torch.where(known, exit_.sigmoid() * cell.tanh(), output)
            outputs[step] = output
        return torch.stack(outputs, dim=1)


def _with_dates(inputs: Inputs) -> Sequences:
    """The channels, the days without a window before each step, and whether it begins a season; 0 where padded."""
    height, width = inputs.x.shape[-2:]
    context = torch.stack([inputs.gap_days / 12, inputs.season_start.float()], dim=2).to(inputs.x.dtype)
    x = torch.cat([inputs.x, context[..., None, None].expand(-1, -1, -1, height, width)], dim=2)
    return torch.where(inputs.step_valid[:, :, None, None, None], x, 0)
