"""The schema of the configuration: every key that a user can type, with its type and its reason.

The keys of the groups stand in the modules beside this one. Imports neither torch nor xarray.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from snowmap.config.fields import Expected, choice, distinct, integer, number, random_seed
from snowmap.config.models import HEADS, MODELS
from snowmap.config.sources import DATA, archives
from snowmap.config.splits import SPLITS
from snowmap.config.training import LAUNCHERS, SWEEPS, Callbacks, Logger, Optimizer, Pretraining, Trainer
from snowmap.units import SNOW_DEPTH_M, WET_SNOW_DB


def _ablation() -> Any:
    """What the net sees; which bands there are is known only when the data is."""
    words = ("all", "no_sar", "shuffled_sar", "weather_only")

    def holds(value: Any) -> bool:
        return value in words or re.fullmatch(r"without_\w+", value) is not None

    expected = Expected(" | ".join([*words, "without_<band>"]), holds, words)
    return field(default="all", metadata={"expected": expected})


@dataclass
class Target:
    """What to map."""

    names: list[str] = distinct(MISSING, least=1)


@dataclass
class Scoring:
    """How maps are turned into numbers; see `snowmap.evaluation`."""

    snow_threshold_swe_mm: float = number(1000 * SNOW_DEPTH_M["swe"], above=0, at_most=10_000)  # snow from here on
    snow_threshold_hs_cm: float = number(100 * SNOW_DEPTH_M["hs"], above=0, at_most=10_000)  # snow from here on
    elevation_step_m: float = number(500.0, at_least=10, at_most=10_000)  # height of an elevation band
    aspect_directions: int = choice(8, 4)
    wet_snow_db: float = number(WET_SNOW_DB, below=0, at_least=-30)  # change of backscatter below which snow is wet
    level: float = number(0.9, above=0, below=1)  # nominal coverage of the confidence intervals


@dataclass
class TrainConfig:
    """All of `conf/train.yaml`."""

    data: Any = MISSING
    split: Any = MISSING
    target: Target = field(default_factory=Target)
    model: Any = MISSING
    head: Any = MISSING
    launcher: Any = MISSING
    sweep: Any = MISSING
    optimizer: Optimizer = field(default_factory=Optimizer)
    pretraining: Pretraining = field(default_factory=Pretraining)
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = field(default_factory=Logger)
    callbacks: Callbacks = field(default_factory=Callbacks)
    scoring: Scoring = field(default_factory=Scoring)
    task: str = choice("regression", "segmentation", "pretraining")  # quantities, classes, or masked patches
    ablation: str = _ablation()  # bands that the net sees
    loss: str = choice(  # of head=point; the last four are of head=classes
        "mse", "mae", "huber", "cross_entropy", "focal", "dice", "lovasz"
    )
    ensemble: int = integer(1, at_least=1, at_most=100)  # nets that are trained side by side and map as one
    compile: bool = False  # the net, by torch.compile
    selection: str = choice("winter", "validation", "last")  # what chooses the epoch; last: none is chosen
    final_fit: bool = False  # the validation windows train, too, for the number of epochs that was chosen without them
    seed: int = random_seed()
    ckpt: str | None = None  # a checkpoint to resume from
    init_from: str | None = None  # a checkpoint whose weights a new run begins with, as far as they fit
    freeze: str = choice("none", "encoder", "all_but_head")  # weights of init_from that stay as they are
    search: dict[str, Any] = field(default_factory=dict)  # of sweep=optuna: ranges or choices, by key
    evaluate: str = choice("test", "validation", "none")  # what the best checkpoint is scored on


@dataclass
class EvaluateData:
    """Where the archives are; everything else is in the checkpoint."""

    root: Any = archives(None)  # None: what the checkpoint was trained on


@dataclass
class EvaluateConfig:
    """All of `conf/evaluate.yaml`."""

    ckpt: str = MISSING
    data: EvaluateData = field(default_factory=EvaluateData)
    split: str = choice("test", "train", "validation")  # the subset to score
    out: str | None = None  # None: beside the checkpoint's folder, evaluation/<split>
    device: str = "cpu"
    scoring: Scoring = field(default_factory=Scoring)


NAMED = {"data": DATA, "model": MODELS, "split": SPLITS, "head": HEADS, "launcher": LAUNCHERS, "sweep": SWEEPS}
"""Groups whose keys depend on the name chosen."""

OPTIONAL = ("experiment", "debug")
"""Groups of which nothing need be chosen."""

GROUPS = (
    *("task", "data", "split", "target", "model", "head", "trainer", "logger", "callbacks", "launcher", "sweep"),
    *OPTIONAL,
)
"""Folders of `conf/` with a file for each choice."""
