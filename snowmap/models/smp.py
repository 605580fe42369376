"""Any encoder and decoder of segmentation-models-pytorch, an optional dependency, from one window or a stack."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from snowmap.config import models as schema
from snowmap.config.fields import arguments
from snowmap.errors import SnowmapError, shown
from snowmap.models.blocks import pad_to_multiple, stacked, stacked_channels, stacked_names
from snowmap.models.net import Inputs, Maps, Net, Specification

LEVELS = 6
"""Resolutions of an encoder: the input and five, each half as fine as the one before."""


class SegmentationModel(Net):
    """A network of that library; nothing is downloaded.

    Its normalisation over batches sees the whole image, and some architectures pool over it: maps of tiles may then
    differ from that of the scene.
    """

    levels = LEVELS
    output_layers = ("model.segmentation_head.0",)

    def __init__(
        self,
        specification: Specification,
        *,
        architecture: str,
        encoder: str,
        weights: str | None,
        time: str,
        steps: int,
    ) -> None:
        """Build the net.

        Args:
            specification: What it is built for.
            architecture: As the library calls it, e.g. ``unet`` or ``deeplabv3plus``.
            encoder: As the library calls it, e.g. ``resnet34``.
            weights: File with the encoder's weights, that `take_pretrained` reads.
            time: ``single`` reads the target window alone, ``stack`` the channels of `steps` windows.
            steps: Windows in the stack.

        Raises:
            SnowmapError: When the library is not installed.
            ValueError: When it knows no such architecture or encoder.
        """
        super().__init__()
        self.stacked, self.loops_over_steps = time == "stack", time == "stack"
        self.steps, self.encoder_name, self.weights = steps if self.stacked else 1, encoder, weights
        self.channels = stacked_channels(specification.channels, steps) if self.stacked else specification.channels
        try:
            self.model: Any = _library().create_model(
                architecture, encoder, encoder_weights=None, in_channels=self.channels, classes=specification.outputs
            )
        except KeyError as error:
            raise ValueError(shown(str(error.args[0]), longest=200)) from error

    @classmethod
    def fixed_time(cls, model: Mapping[str, Any]) -> int | None:
        """The windows of a stack."""
        options = arguments(schema.SegmentationModel, model)
        return options["steps"] if options["time"] == "stack" else None

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """Encoder, decoder, head."""
        parts = {"encoder": self.model.encoder, "decoder": self.model.decoder, "head": self.model.segmentation_head}
        return {name: [part] for name, part in parts.items()}

    def reads(self, channels: Sequence[str]) -> dict[str, list[str]]:
        """The channels of the target window, and of those before it in a stack, by the encoder's first convolution."""
        names = stacked_names(channels, self.steps) if self.stacked else list(channels)
        convolutions = (name for name, module in self.named_modules() if isinstance(module, nn.Conv2d))
        return {next(convolutions): names}

    def take_pretrained(self) -> None:
        """Read the encoder's weights, made for any number of channels, from their file.

        Raises:
            SnowmapError: When the file is missing or holds other weights.
        """
        if self.weights is None:
            return
        try:
            state = torch.load(Path(self.weights), map_location="cpu", weights_only=True)
            channels = next(weight.shape[1] for weight in state.values() if weight.ndim == 4)
            encoder = _library().encoders.get_encoder(self.encoder_name, in_channels=channels, weights=None)
            encoder.load_state_dict(state)
            if channels != self.channels:
                encoder.set_in_channels(self.channels, pretrained=True)
            self.model.encoder.load_state_dict(encoder.state_dict())
        except (OSError, RuntimeError, LookupError, AttributeError, StopIteration, ValueError) as error:
            raise SnowmapError(
                f"model.weights={self.weights} are no weights of the encoder {self.encoder_name} "
                f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); give a file that "
                "torch.save wrote of its state_dict"
            ) from error

    def forward(self, inputs: Inputs) -> Maps:
        """Maps of the target window."""
        images = stacked(inputs, self.steps) if self.stacked else inputs.x[:, -1]
        height, width = images.shape[-2:]
        return self.model(pad_to_multiple(images, LEVELS))[:, None, :, :height, :width]


def _library() -> ModuleType:
    try:
        return import_module("segmentation_models_pytorch")
    except ImportError as error:
        raise SnowmapError(f'model=smp: {error}; pip install "snowmap[smp]"') from error
