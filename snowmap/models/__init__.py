"""Networks: ``net(x, days, day_of_year, step_valid) -> maps``, for any height and width.

They know no files, no Hydra, no Lightning.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from snowmap.errors import SnowmapError
from snowmap.models.unet import UNet

NETS: dict[str, type[nn.Module]] = {"unet": UNet}
"""Every net under the name that users type (``model=unet``)."""


def build_net(model: Mapping[str, Any], inputs: int, outputs: int) -> nn.Module:
    """The net that `model` describes.

    Args:
        model: ``name`` and the keyword arguments of that net.
        inputs: Channels of each step.
        outputs: Maps to produce.

    Raises:
        SnowmapError: When no net has that name, or it does not take these arguments.
    """
    options = dict(model)
    name = options.pop("name", None)
    if name not in NETS:
        raise SnowmapError(f"model.name={name} is unknown; known are {', '.join(NETS)}")
    try:
        return NETS[name](inputs, outputs, **options)
    except (TypeError, ValueError) as error:
        raise SnowmapError(f"model={name} cannot be built from {options}: {error}") from error
