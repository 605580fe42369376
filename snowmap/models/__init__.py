"""Networks: ``net(inputs) -> maps``, for any height and width; see `snowmap.models.net`."""

from collections.abc import Mapping
from typing import Any

from snowmap.config.fields import arguments
from snowmap.config.models import MODELS
from snowmap.errors import SnowmapError
from snowmap.models.convlstm import ConvLSTM
from snowmap.models.ensemble import Ensemble
from snowmap.models.mae import MAE
from snowmap.models.massbalance import MassBalance
from snowmap.models.net import Inputs, Net, Specification
from snowmap.models.smp import SegmentationModel
from snowmap.models.transformer import Transformer
from snowmap.models.unet import UNet
from snowmap.models.unet3d import UNet3D

__all__ = ["NETS", "Inputs", "Net", "Specification", "build_net"]

NETS: dict[str, type[Net]] = {
    "unet": UNet,
    "convlstm": ConvLSTM,
    "transformer": Transformer,
    "unet3d": UNet3D,
    "massbalance": MassBalance,
    "smp": SegmentationModel,
    "mae": MAE,
}
"""Every net under the name that users type (``model=unet``)."""


def build_net(model: Mapping[str, Any], specification: Specification, members: int = 1) -> Net:
    """The net that `model` describes.

    Args:
        model: ``name`` and options of that net; `snowmap.config.models` has the others.
        specification: What it is built for.
        members: How many of them; more than one make an ensemble.

    Raises:
        SnowmapError: When no net has that name, it does not take these arguments, or it lacks a band.
    """
    name = model.get("name")
    if name not in NETS:
        raise SnowmapError(f"model.name={name} is unknown; known are {', '.join(NETS)}")
    if missing := [band for band in NETS[name].needs if band not in specification.bands]:
        raise SnowmapError(f"model={name} needs the band {', '.join(missing)}; it has {', '.join(specification.bands)}")
    try:
        options = arguments(MODELS[name], model)
        nets = [NETS[name](specification, **options) for _ in range(members)]
        return nets[0] if members == 1 else Ensemble(nets)
    except (TypeError, ValueError) as error:
        raise SnowmapError(f"model={name} cannot be built from {dict(model)}: {error}") from error
