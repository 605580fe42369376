"""Keys of ``model=`` and ``head=``: nets, baselines, and what their outputs mean."""

from dataclasses import dataclass
from typing import Any

from snowmap.config.fields import Named, Within, choice, distinct, integer, integers, number, special


def _channels(default: list[int]) -> Any:
    """Channels of a net, level by level; each further level halves height and width."""
    return integers(default, length=(1, 8), at_least=1, at_most=2048)


@dataclass
class UNet(Named):
    """Arguments of `snowmap.models.unet.UNet`."""

    channels: list[int] = _channels([16, 48, 96, 192])
    dropout: float = number(0.0, at_least=0, below=1)
    time: str = choice("single", "stack")
    steps: int = integer(6, at_least=1, at_most=1000)  # windows in the stack


@dataclass
class ConvLSTM(Named):
    """Arguments of `snowmap.models.convlstm.ConvLSTM`."""

    channels: list[int] = _channels([24, 48, 96])
    hidden: list[int] = _channels([96, 96])
    bidirectional: bool = False
    collapse: str = choice("last", "max", "weights", "last_and_weights")  # of time, at each skip
    dropout: float = number(0.0, at_least=0, below=1)


@dataclass
class Transformer(Named):
    """Arguments of `snowmap.models.transformer.Transformer`."""

    channels: list[int] = _channels([24, 48, 96])
    heads: int = integer(4, at_least=1, at_most=256)
    layers: int = integer(2, at_least=1, at_most=64)
    dropout: float = number(0.0, at_least=0, below=1)


@dataclass
class UNet3D(Named):
    """Arguments of `snowmap.models.unet3d.UNet3D`."""

    channels: list[int] = _channels([16, 32, 64])
    collapse: str = choice("last_and_weights", "weights", "max", "last")  # of time, at each skip
    dropout: float = number(0.0, at_least=0, below=1)


@dataclass
class SegmentationModel(Named):
    """Arguments of `snowmap.models.smp.SegmentationModel`."""

    architecture: str = "unet"  # as segmentation-models-pytorch calls it
    encoder: str = "resnet34"  # as segmentation-models-pytorch calls it
    weights: str | None = None  # a file with the encoder's state_dict
    time: str = choice("single", "stack")
    steps: int = integer(6, at_least=1, at_most=1000)  # windows in the stack


@dataclass
class MassBalance(Named):
    """Arguments of `snowmap.models.massbalance.MassBalance`."""

    channels: list[int] = _channels([8, 16, 24])
    hidden: int = integer(8, at_least=1, at_most=2048)


@dataclass
class MAE(Named):
    """Arguments of `snowmap.models.mae.MAE`."""

    patch: int = choice(16, 8)  # height and width of a token, px
    width: int = integer(192, at_least=4, at_most=8192)  # channels of a token
    depth: int = integer(12, at_least=1, at_most=64)
    heads: int = integer(3, at_least=1, at_most=256)


@dataclass
class Climatology(Named):
    """Arguments of `snowmap.baselines.remembered.Climatology`."""

    season_days: float = number(20.0, at_least=1, at_most=1000)  # training maps of the same weeks count most


class Persistence(Named):
    """`snowmap.baselines.remembered.Persistence`: the last-seen map, which needs a known past."""


@dataclass
class Elevation(Named):
    """Arguments of `snowmap.baselines.regressions.Elevation`."""

    degree: int = integer(3, at_least=1, at_most=8)  # of the polynomial


@dataclass
class DegreeDay(Named):
    """Arguments of `snowmap.baselines.degree_day.DegreeDay`."""

    pixels: int = integer(1000, at_least=1)  # drawn for the calibration: four numbers need no more


@dataclass
class InsarSwe(Named):
    """Arguments of `snowmap.baselines.insar_swe.InsarSwe`."""

    smoothing_pixels: float = number(3.0, at_least=0.1, at_most=1000)  # that stand in for an incoherent one


@dataclass
class BoostedTrees(Named):
    """Arguments of `snowmap.baselines.regressions.BoostedTrees`."""

    bands: list[str] | None = distinct(None, least=1)  # null: all of the archive
    derived: list[str] | None = distinct(None, least=1)  # null: season sums and date, as far as the bands allow


class BoostedTreesWithoutSar(Named):
    """`snowmap.baselines.regressions.BoostedTreesWithoutSar`: terrain and weather alone."""


class Otsu(Named):
    """`snowmap.baselines.class_series.Otsu`: two classes, by a threshold on the temporal mean."""


@dataclass
class RandomForest(Named):
    """Arguments of `snowmap.baselines.class_series.RandomForest`."""

    trees: int = integer(100, at_least=1, at_most=10_000)


class Terrain(Named):
    """`snowmap.baselines.class_ground.Terrain`: classes from elevation and slope alone."""


@dataclass
class LastInventory(Named):
    """Arguments of `snowmap.baselines.class_ground.LastInventory`."""

    path: str | None = None  # vector file of outlines, older than what is mapped


BASELINES: dict[str, type] = {
    "climatology": Climatology,
    "persistence": Persistence,
    "elevation": Elevation,
    "degree_day": DegreeDay,
    "insar_swe": InsarSwe,
    "boosted_trees_no_sar": BoostedTreesWithoutSar,
    "boosted_trees": BoostedTrees,
    "otsu": Otsu,
    "random_forest": RandomForest,
    "terrain": Terrain,
    "last_inventory": LastInventory,
}
"""Schema of each `model=` that is no net."""


MODELS: dict[str, type] = {
    "unet": UNet,
    "convlstm": ConvLSTM,
    "transformer": Transformer,
    "unet3d": UNet3D,
    "massbalance": MassBalance,
    "smp": SegmentationModel,
    "mae": MAE,
    **BASELINES,
}
"""Schema of each `model=`."""


def _class_weights() -> Any:
    """How much each class counts."""

    def holds(value: Any) -> bool:
        words = isinstance(value, str) and value in ("none", "balanced")
        return words or (isinstance(value, list) and len(value) > 1 and all(Within(above=0).holds(w) for w in value))

    return special("none", "none | balanced | a list of numbers > 0, one for each class", holds)


class Point(Named):
    """A value alone, trained by `loss`."""


@dataclass
class Gaussian(Named):
    """Arguments of `snowmap.tasks.heads.Gaussian`."""

    beta: float = number(0.5, at_least=0, at_most=1)  # 0: the likelihood itself; 1 weighs errors as mse does


class Quantile(Named):
    """Median and 50 and 90 % intervals, trained by the pinball loss."""


@dataclass
class Classes(Named):
    """Arguments of `snowmap.tasks.class_head.ClassHead`."""

    gamma: float = number(2.0, at_least=0, at_most=10)  # of loss=focal: how little easy pixels count
    class_weights: Any = _class_weights()  # of the loss; balanced: inverse to the share of the training pixels
    label_smoothing: float = number(0.0, at_least=0, below=1)  # share of each label that is dealt out to all classes


HEADS: dict[str, type] = {"point": Point, "gaussian": Gaussian, "quantile": Quantile, "classes": Classes}
"""Schema of each `head=`."""
