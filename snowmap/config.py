"""The schema of the configuration: every key that a user can type, with its type and its reason.

Checked before anything heavy is imported, so a misspelt key costs no more than Hydra itself. This module imports
neither torch nor xarray.
"""

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snowmap.errors import SnowmapError


@dataclass
class Data:
    """Where the archive is and how it is read and fed."""

    root: str = MISSING
    bands: list[str] | None = None  # None: all nine
    swe_unit: str = "auto"  # auto | cm | mm; a contradiction with what is found is an error
    strict: bool = False  # an incomplete window is an error instead of a named exclusion
    zero_is_missing: list[str] | None = None  # bands in which 0 means no data; None: all of INSAR/
    threads: int | None = None  # that read rasters; None: one for each core
    cache: bool = True
    derived: list[str] | None = None  # derived inputs beside the bands; None: the model's own
    phase_sign: int | None = None  # 1: phase grows with snow, -1: it falls; None: told from the training windows
    time: Any = None  # windows in a sequence, or season (since 1 September); None: the model's own
    supervise: str = "auto"  # last | every: whose targets the loss sees; auto: every, if the model maps every step
    batch_size: int = 4
    augment: str = "none"  # none | flip
    crop: list[int] | None = None  # height and width of random pieces to train on; None: whole maps
    resident_share: float = 0.5  # of the accelerator's free memory that the Cube may fill; else it stays in memory


@dataclass
class Split:
    """Arguments of the split called `name`; see `snowmap.splits`."""

    name: str = MISSING


@dataclass
class Rolling(Split):
    """Training and validation windows alternate; see `snowmap.splits.rolling`."""

    train: int = 5
    validation: int = 1
    test: int = 7


@dataclass
class Winters(Split):
    """A whole winter validates; see `snowmap.splits.winters`."""

    fold: int = 1  # which snow year of the archive validates
    test: int = 7


@dataclass
class Target:
    """What to map."""

    names: list[str] = MISSING


@dataclass
class UNet:
    """Arguments of `snowmap.models.unet.UNet`."""

    name: str = "unet"
    channels: list[int] = field(default_factory=lambda: [24, 48, 96, 192])
    dropout: float = 0.0
    time: str = "single"  # single | stack
    steps: int = 6  # windows in the stack


@dataclass
class ConvLSTM:
    """Arguments of `snowmap.models.convlstm.ConvLSTM`."""

    name: str = "convlstm"
    channels: list[int] = field(default_factory=lambda: [24, 48, 96])
    hidden: list[int] = field(default_factory=lambda: [96, 96])
    bidirectional: bool = False
    dropout: float = 0.0


@dataclass
class Transformer:
    """Arguments of `snowmap.models.transformer.Transformer`."""

    name: str = "transformer"
    channels: list[int] = field(default_factory=lambda: [24, 48, 96])
    heads: int = 4
    layers: int = 2
    dropout: float = 0.0


@dataclass
class UNet3D:
    """Arguments of `snowmap.models.unet3d.UNet3D`."""

    name: str = "unet3d"
    channels: list[int] = field(default_factory=lambda: [16, 32, 64])
    dropout: float = 0.0


@dataclass
class MassBalance:
    """Arguments of `snowmap.models.massbalance.MassBalance`."""

    name: str = "massbalance"
    channels: list[int] = field(default_factory=lambda: [8, 16, 24])
    hidden: int = 8


@dataclass
class Optimizer:
    """AdamW; the learning rate rises over the warm-up, then halves every `half_life_steps`."""

    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 50
    half_life_steps: int = 200  # in steps, not a share of the run: a resumed and longer run keeps the same curve


@dataclass
class Trainer:
    """Arguments of `pytorch_lightning.Trainer`."""

    accelerator: str = "cpu"
    devices: Any = 1  # a number, a list of indices, or auto
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    max_epochs: int = 40
    max_steps: int = -1
    max_time: str | None = None
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = 1.0
    check_val_every_n_epoch: int = 1
    log_every_n_steps: int = 10
    overfit_batches: int | float = 0.0  # a whole number counts batches, a fraction is a share
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    deterministic: bool = True
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: str | None = None
    enable_progress_bar: bool = True


@dataclass
class Logger:
    """Where the curves go."""

    name: str = "csv"  # csv | wandb | none
    project: str = "snowmap"
    mode: str | None = None  # of wandb; None: online where there is a key, else offline
    group: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Callbacks:
    """What watches the training."""

    patience: int | None = 15  # validations without improvement before the training stops; None: never
    ema: float | None = None  # decay of a running mean of the weights, which validates and is saved; None: none


@dataclass
class TrainConfig:
    """All of `conf/train.yaml`."""

    data: Data = field(default_factory=Data)
    split: Any = MISSING
    target: Target = field(default_factory=Target)
    model: Any = MISSING
    optimizer: Optimizer = field(default_factory=Optimizer)
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = field(default_factory=Logger)
    callbacks: Callbacks = field(default_factory=Callbacks)
    loss: str = "mse"
    compile: bool = False  # the net, by torch.compile
    seed: int = 0
    ckpt: str | None = None  # a checkpoint to go on from
    evaluate: bool = True  # score the best checkpoint on the test windows at the end


@dataclass
class EvaluateData:
    """Where the archive is; everything else is in the checkpoint."""

    root: str | None = None  # None: the archive that the checkpoint was trained on


@dataclass
class EvaluateConfig:
    """All of `conf/evaluate.yaml`."""

    ckpt: str = MISSING
    data: EvaluateData = field(default_factory=EvaluateData)
    split: str = "test"  # train | validation | test: the part to score
    out: str | None = None  # None: beside the checkpoint's folder, evaluation/<split>
    device: str = "cpu"


MODELS: dict[str, type] = {
    "unet": UNet,
    "convlstm": ConvLSTM,
    "transformer": Transformer,
    "unet3d": UNet3D,
    "massbalance": MassBalance,
}
"""Schema of each `model=`."""

SPLITS: dict[str, type] = {"rolling": Rolling, "winters": Winters}
"""Schema of each `split=`."""

NAMED = {"model": MODELS, "split": SPLITS}
"""Groups whose keys depend on the name chosen."""

CHOICES = {
    "data.swe_unit": ("auto", "cm", "mm"),
    "data.augment": ("none", "flip"),
    "data.supervise": ("auto", "last", "every"),
    "logger.name": ("csv", "wandb", "none"),
    "loss": ("mse", "mae", "huber"),
    "split": ("train", "validation", "test"),
}
"""Keys that take one of a few words."""

GROUPS = ("data", "split", "target", "model", "trainer", "logger", "callbacks", "experiment", "debug")


def check_config(composed: DictConfig, schema: type) -> dict[str, Any]:
    """The composed configuration as plain containers, or one error that names the key at fault.

    Args:
        composed: What Hydra composed.
        schema: `TrainConfig` or `EvaluateConfig`.

    Raises:
        SnowmapError: On an unknown key, a wrong type, a missing value or a word that is not among the choices.
    """
    try:
        named = NAMED if schema is TrainConfig else {}
        plain = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in named])
        merged = OmegaConf.merge(OmegaConf.structured(schema), plain)
        config: Any = OmegaConf.to_container(merged, throw_on_missing=schema is EvaluateConfig)
        for group, schemas in named.items():
            config[group] = _check_named(group, composed.get(group), schemas)
        if schema is TrainConfig:
            _check_values(config)
            if missing := OmegaConf.missing_keys(merged) - {*named}:
                raise SnowmapError(f"no value for {', '.join(sorted(missing))}; give it as {sorted(missing)[0]}=…")
    except OmegaConfBaseException as error:
        raise SnowmapError(_explain(error, schema)) from error
    for key, words in CHOICES.items():
        value = OmegaConf.select(merged, key)
        if isinstance(value, str) and value not in words:
            raise SnowmapError(f"{key}={value} is not possible; choose {' | '.join(words)}{_nearest(value, words)}")
    return config


def check_overrides(arguments: list[str], schema: type) -> None:
    """Reject a misspelt or added (``+``) key of the command line before Hydra composes anything.

    Args:
        arguments: The command line without the program's name.
        schema: `TrainConfig` or `EvaluateConfig`.

    Raises:
        SnowmapError: Naming the key and the nearest right one.
    """
    known = {*known_keys(schema), *(GROUPS if schema is TrainConfig else ())}
    for argument in arguments:
        key, separator, _ = argument.partition("=")
        key = key.lstrip("+~").partition("@")[0].replace("/", ".")
        if separator and not key.startswith(("-", "hydra.")) and key not in known:
            raise SnowmapError(f"'{key}' is no key of the configuration{_nearest(key, known)}")


def known_keys(schema: type) -> list[str]:
    """Every key that `schema` knows, in dots; those of all models under ``model``."""
    keys = list(_keys(schema))
    if schema is TrainConfig:
        keys += [f"{group}.{key}" for group, known in NAMED.items() for kind in known.values() for key in _keys(kind)]
    return keys


def launch(main: Callable[[dict[str, Any], Path], None], schema: type, file: Path) -> None:
    """Compose the configuration, check it and run `main`; what the user can mend is told in one line, not a traceback.

    Args:
        main: Takes the checked configuration and the run folder.
        schema: `TrainConfig` or `EvaluateConfig`.
        file: The YAML file to compose.
    """

    def job(composed: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            main(check_config(composed, schema), folder)
        finally:
            if folder != Path.cwd():
                with contextlib.suppress(OSError):  # not empty: the job wrote something
                    folder.rmdir()

    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints and exits before the error can be explained
    try:
        check_overrides(sys.argv[1:], schema)
        hydra.main(version_base="1.3", config_path=str(file.parent), config_name=file.stem)(job)()
    except (SnowmapError, HydraException, OmegaConfBaseException, OSError) as error:
        sys.exit(f"error: {_of_another_choice(str(error)) or error}")


def run_folder(checkpoint: str | None, fallback: str) -> str:
    """The folder of the run that `checkpoint` belongs to, else `fallback`: going on happens where the run lies."""
    if checkpoint:
        folder = Path(checkpoint).absolute().parent.parent
        if (folder / "config.yaml").is_file():
            return str(folder)
    return fallback


OmegaConf.register_new_resolver("snowmap.run_folder", run_folder, replace=True)


def _check_named(group: str, node: Any, schemas: dict[str, type]) -> Any:
    name = node.get("name") if isinstance(node, DictConfig) else node
    if name not in schemas:
        raise SnowmapError(
            f"{group}.name={name} is unknown; known are {', '.join(schemas)}{_nearest(str(name), schemas)}"
        )
    try:
        return OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schemas[name]), node))
    except OmegaConfBaseException as error:
        raise SnowmapError(_explain(error, schemas[name], f"{group}.")) from error


def _check_values(config: dict[str, Any]) -> None:
    data, ema = config["data"], config["callbacks"]["ema"]
    time = data["time"]
    if time not in (None, "season") and not (type(time) is int and time >= 1):
        raise SnowmapError(f"data.time={time}: expected a number of windows from 1 on, season, or null")
    if data["phase_sign"] not in (None, 1, -1):
        raise SnowmapError(f"data.phase_sign={data['phase_sign']}: expected 1, -1, or null to let it be found")
    if data["crop"] is not None and (len(data["crop"]) != 2 or min(data["crop"]) < 1):
        raise SnowmapError(f"data.crop={data['crop']}: expected [height, width] in pixels, or null")
    if not 0 < data["resident_share"] <= 1:
        raise SnowmapError(f"data.resident_share={data['resident_share']}: expected a share from above 0 to 1")
    if ema is not None and not 0 < ema < 1:
        raise SnowmapError(f"callbacks.ema={ema}: expected a decay between 0 and 1, e.g. 0.98, or null")


def _explain(error: OmegaConfBaseException, schema: type, prefix: str = "") -> str:
    key = str(error.full_key or error.key)
    message = str(error).splitlines()[0]
    if key not in set(_keys(schema)):
        return f"'{prefix}{key}' is no key of the configuration{_nearest(key, set(_keys(schema)), prefix)}"
    return f"{prefix}{key}: {message}"


def _of_another_choice(message: str) -> str:
    """What to say of a key that only another ``model=`` or ``split=`` has; Hydra would advise to append it."""
    found = re.match(r"Could not override '((\w+)\.[\w.]+)'", message)
    if not found:
        return ""
    key, group = found.groups()
    return f"'{key}' is no key of the {group}= that was chosen; choose another {group}=, or leave the key out"


def _nearest(word: str, known: Any, prefix: str = "") -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{prefix}{near[0]}'?" if near else ""


def _keys(schema: Any) -> Iterator[str]:
    for entry in fields(schema):
        yield entry.name
        if is_dataclass(entry.type):
            yield from (f"{entry.name}.{key}" for key in _keys(entry.type))
