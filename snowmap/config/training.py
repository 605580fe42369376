"""Keys of a training: optimiser, trainer, logger, callbacks, launchers and sweeps."""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from snowmap.config.fields import Named, choice, distinct, integer, number, random_seed, special


def _restarts() -> Any:
    """Epochs, ascending."""

    def holds(value: Any) -> bool:
        return len(value) > 0 and all(b > 0 and a < b for a, b in pairwise([0, *value]))

    return special([10, 30, 70, 150], "a list of whole numbers > 0, ascending", holds)


def _devices(default: int) -> Any:
    """How many devices, or which."""

    def holds(value: Any) -> bool:
        if isinstance(value, list):
            return 0 < len(value) == len({*map(str, value)}) and all(type(i) is int and i >= 0 for i in value)
        return value == "auto" or (type(value) is int and 1 <= value <= 10**6)

    return special(default, "a whole number ≥ 1, a list of indices such as [0,2], or auto", holds)


def _batches(default: Any, *, none: bool = False) -> Any:
    """A whole number of batches, or a share of them; 0 only where `none` means something."""

    def holds(value: Any) -> bool:
        return (none and value == 0) or (1 <= value <= 10**6 if type(value) is int else 0 < value <= 1)

    return special(default, f"{'0, ' if none else ''}a whole number of batches ≥ 1, or a share > 0 and ≤ 1.0", holds)


def _duration() -> Any:
    """A time above zero, as Lightning reads it."""
    form = re.compile(r"(?=.*[1-9])\d{2}:\d{2}:\d{2}:\d{2}")
    return special(None, "days:hours:minutes:seconds, e.g. 00:04:00:00", lambda value: bool(form.fullmatch(value)))


def _lines() -> Any:
    """Lines of a script."""
    return special(None, "a list of lines", lambda value: all(isinstance(line, str) for line in value))


@dataclass
class Optimizer:
    """The learning rate rises over the warm-up, then falls as `schedule` says."""

    name: str = choice("adamw", "adam")
    learning_rate: float = number(2e-3, above=0, at_most=10)
    weight_decay: float = number(1e-2, at_least=0, at_most=100)
    schedule: str = choice("half_life", "cosine_restarts")  # halves again and again; or falls to 0, and begins anew
    warmup_steps: int = integer(50, at_least=0)
    half_life_steps: int = integer(200, at_least=1, at_most=10**9)  # no share of the run: a longer one keeps its curve
    restarts: list[int] = _restarts()  # epochs at which the cosine begins anew, the last at which it ends
    reference_batch: int | None = integer(None, at_least=1)  # items in a step that learning_rate is for; None: any
    layer_decay: float = number(1.0, above=0, at_most=1)  # of the rate, stage by stage from the head down; 1: the same


@dataclass
class Pretraining:
    """Masked pre-training on patches without targets; see `snowmap.tasks.pretraining`."""

    patch: int = choice(16, 8)  # height and width of what is masked together, px
    mask_ratio: float = number(0.75, above=0, below=1)  # share of these that the encoder does not see
    band_ratio: float = number(0.5, at_least=0, at_most=1)  # greatest share of the groups of bands that are hidden
    whole_ratio: float = number(0.75, at_least=0, at_most=1)  # share of the items with hidden bands without a mask
    width: int = integer(64, at_least=1, at_most=4096)  # channels of the decoder, which is thrown away
    checkpointing: bool = False  # compute the encoder's activations again in the backward pass, for less memory
    probe: int = integer(256, at_least=0, at_most=10_000)  # views of each subset for linear probes; 0: none


@dataclass
class Trainer:
    """Arguments of `pytorch_lightning.Trainer`."""

    accelerator: str = choice("cpu", "gpu", "cuda", "mps", "auto")
    devices: Any = _devices(1)
    num_nodes: int = integer(1, at_least=1)
    strategy: str = choice("auto", "ddp")
    precision: str = choice("32-true", "bf16-mixed", "16-mixed")
    max_epochs: int = integer(40, -1, at_least=1)
    max_steps: int = integer(-1, -1, at_least=1, at_most=10**9)
    max_time: str | None = _duration()
    accumulate_grad_batches: int = integer(1, at_least=1)
    gradient_clip_val: float | None = number(1.0, at_least=0)
    check_val_every_n_epoch: int = integer(1, at_least=1)
    log_every_n_steps: int = integer(10, at_least=1)
    overfit_batches: int | float = _batches(0.0, none=True)  # to train on again and again
    limit_train_batches: int | float | None = _batches(None)
    limit_val_batches: int | float | None = _batches(None)
    deterministic: bool = True
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: str | None = choice(None, "simple", "advanced", "pytorch")
    enable_progress_bar: bool = True


@dataclass
class Logger:
    """Where the curves go."""

    name: str = choice("csv", "tensorboard", "wandb", "none")
    project: str = "snowmap"
    mode: str | None = choice(None, "online", "offline")  # of wandb; None: online where there is a key
    group: str | None = None  # of wandb; None: the folder's name in a multirun
    tags: list[str] = distinct([])  # of wandb; none: sweep in a multirun
    maps: int = integer(3, at_least=0)  # validation windows that are drawn, the same ones each time
    maps_every: int = integer(10, at_least=1)  # epochs; and at the end


@dataclass
class Callbacks:
    """What watches the training."""

    patience: int | None = integer(15, at_least=1)  # validations without improvement; None: never stop
    earliest: int = integer(1, at_least=1)  # epoch that may be chosen; before it no patience is lost
    ema: float | None = number(None, above=0, below=1)  # decay of a running mean of the weights, which is what is saved


class Local(Named):
    """One job of a multirun after the other, in this process."""


@dataclass
class Joblib(Named):
    """Several jobs of a multirun at a time on this machine, each a command of its own."""

    jobs: int = integer(2, at_least=1, at_most=256)  # at a time; the cores are dealt out among them


@dataclass
class Slurm(Named):
    """Jobs of a multirun as one SLURM array, by submitit."""

    cluster: str = choice("slurm", "local")  # local: processes on this machine instead, to try it
    jobs: int = integer(16, at_least=1)  # at a time
    timeout_min: int = integer(240, at_least=1)
    signal_delay_s: int = integer(120, at_least=0)  # before the end, the job saves and queues again
    nodes: int = integer(1, at_least=1)
    cpus_per_task: int = integer(4, at_least=1)
    gpus_per_node: int | None = integer(1, at_least=0)
    mem_gb: int | None = integer(16, at_least=1)
    partition: str | None = None
    account: str | None = None
    setup: list[str] | None = _lines()  # lines of the batch script before the command, e.g. ["module load cuda"]
    sbatch: dict[str, Any] = field(default_factory=dict)  # further options of sbatch, e.g. {qos: long}


LAUNCHERS: dict[str, type] = {"local": Local, "joblib": Joblib, "slurm": Slurm}
"""Schema of each `launcher=`."""


class NoSweep(Named):
    """A single run, or Hydra's own multirun."""


@dataclass
class OptunaSweep(Named):
    """A study of trials over `search`; see `snowmap.sweeps.study`."""

    trials: int = integer(30, at_least=1)  # in all; the same command in the same folder resumes the study
    timeout_s: float | None = number(None, at_least=0)  # after which no further trial begins
    pruner: str = choice("median", "none", "hyperband")  # which trials are ended early
    startup_trials: int = integer(8, at_least=0)  # drawn at random, from which the sampler and the pruner learn
    warmup_epochs: int = integer(10, at_least=0)  # before which no trial is ended early
    seed: int = random_seed()  # of the sampler; `seed` is that of every trial


SWEEPS: dict[str, type] = {"none": NoSweep, "optuna": OptunaSweep}
"""Schema of each `sweep=`."""
