"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) from the target window, or from a stack of windows."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from snowmap.config import models as schema
from snowmap.config.fields import arguments
from snowmap.models.blocks import Decoder, Encoder, pad_to_multiple, stacked, stacked_channels, stacked_names
from snowmap.models.net import Features, Inputs, Maps, Net, Specification


class UNet(Net):
    """Encoder and decoder with skips."""

    def __init__(
        self,
        specification: Specification,
        *,
        channels: Sequence[int],
        dropout: float,
        time: str,
        steps: int,
    ) -> None:
        """Build the net.

        Args:
            specification: What it is built for.
            channels: Channels at each resolution; each further one halves height and width.
            dropout: Share of channels dropped at the coarsest resolution while training.
            time: ``single`` reads the target window alone, ``stack`` the channels of `steps` windows, one behind the
                other, with the days before the target window and the validity of each.
            steps: Windows in the stack.
        """
        super().__init__()
        self.stacked = time == "stack"
        self.loops_over_steps = self.stacked
        self.steps = steps if self.stacked else 1
        self.levels, self.encoded = len(channels), channels
        inputs = stacked_channels(specification.channels, steps) if self.stacked else specification.channels
        self.encoder = Encoder(inputs, channels, dropout)
        self.decoder = Decoder(channels)
        self.head = nn.Conv2d(channels[0], specification.outputs, kernel_size=1)

    @classmethod
    def fixed_time(cls, model: Mapping[str, Any]) -> int | None:
        """The windows of a stack."""
        options = arguments(schema.UNet, model)
        return options["steps"] if options["time"] == "stack" else None

    def reads(self, channels: Sequence[str]) -> dict[str, list[str]]:
        """The channels of the target window, and of those before it in a stack."""
        if not self.stacked:
            return super().reads(channels)
        return {"encoder.blocks.0.0": stacked_names(channels, self.steps)}

    def features(self, inputs: Inputs) -> list[Features]:
        """Those of the target window."""
        images = stacked(inputs, self.steps) if self.stacked else inputs.x[:, -1]
        return [level[:, None] for level in self.encoder(pad_to_multiple(images, self.levels))]

    def forward(self, inputs: Inputs) -> Maps:
        """Maps of the target window."""
        height, width = inputs.x.shape[-2:]
        maps = self.head(self.decoder([level.squeeze(1) for level in self.encode(inputs)]))
        return maps[:, None, :, :height, :width]
