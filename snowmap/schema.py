"""The schema of the configuration: every key that a user can type, with its type and its reason.

Imports neither torch nor xarray.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Data:
    """Where the archive is and how it is read and fed."""

    root: str = MISSING
    bands: list[str] | None = None  # None: the nine of the public archive
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
class Blocked(Split):
    """A block of windows validates; see `snowmap.splits.blocked`."""

    folds: int = 5  # blocks before the test windows
    fold: int = 0  # which of them validates
    gap: int = 1  # windows between two parts; at least as many as a sequence has
    test: int = 7


@dataclass
class Expanding(Split):
    """What lies before a block trains, the block validates; see `snowmap.splits.expanding`."""

    folds: int = 4  # blocks that can validate
    fold: int = 0  # which of them validates; the first has the shortest past
    gap: int = 1  # windows between two parts; at least as many as a sequence has
    test: int = 7


@dataclass
class Spatial(Split):
    """A rectangle of the map is held out; see `snowmap.splits.spatial`."""

    rows: int = 2  # rectangles from north to south
    columns: int = 2  # rectangles from west to east
    fold: int = 0  # which of them is held out, row by row
    buffer: int = 8  # pixels around it that belong to neither side; about what a net sees beside a pixel
    test: int = 7


@dataclass
class Target:
    """What to map."""

    names: list[str] = MISSING


@dataclass
class UNet:
    """Arguments of `snowmap.models.unet.UNet`."""

    name: str = "unet"
    channels: list[int] = field(default_factory=lambda: [16, 48, 96, 192])
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
class Climatology:
    """Arguments of `snowmap.baselines.remembered.Climatology`."""

    name: str = "climatology"
    season_days: float = 20.0  # training maps of the same few weeks of the year count most


@dataclass
class Persistence:
    """`snowmap.baselines.remembered.Persistence`: the last-seen map, which needs a known past."""

    name: str = "persistence"


@dataclass
class Elevation:
    """Arguments of `snowmap.baselines.regressions.Elevation`."""

    name: str = "elevation"
    degree: int = 3  # of the polynomial


@dataclass
class DegreeDay:
    """Arguments of `snowmap.baselines.degree_day.DegreeDay`."""

    name: str = "degree_day"
    pixels: int = 1000  # drawn for the calibration: four numbers need no more


@dataclass
class InsarSwe:
    """Arguments of `snowmap.baselines.insar_swe.InsarSwe`."""

    name: str = "insar_swe"
    smoothing_pixels: float = 3.0  # the surroundings that stand in for an incoherent pixel, about 1.5 km


@dataclass
class BoostedTrees:
    """Arguments of `snowmap.baselines.regressions.BoostedTrees`."""

    name: str = "boosted_trees"
    derived: list[str] = field(default_factory=lambda: ["summed_phase_swe", "summed_pdd"])  # derived inputs


@dataclass
class Point:
    """A value alone, trained by `loss`."""

    name: str = "point"


@dataclass
class Gaussian:
    """Arguments of `snowmap.heads.Gaussian`."""

    name: str = "gaussian"
    beta: float = 0.5  # 0: the likelihood itself; 1 weighs errors as mse does


@dataclass
class Quantile:
    """Median and 50 and 90 % intervals, trained by the pinball loss."""

    name: str = "quantile"


@dataclass
class Local:
    """One job of a multirun after the other, in this process."""

    name: str = "local"


@dataclass
class Joblib:
    """Several jobs of a multirun at a time on this machine, each a command of its own."""

    name: str = "joblib"
    jobs: int = 2  # at a time; the cores are dealt out among them


@dataclass
class Slurm:
    """Jobs of a multirun as one SLURM array, by submitit."""

    name: str = "slurm"
    cluster: str = "slurm"  # slurm | local: processes on this machine instead, to try it
    jobs: int = 16  # at a time
    timeout_min: int = 240
    signal_delay_s: int = 120  # before the time is over, the job saves and goes back into the queue
    nodes: int = 1
    cpus_per_task: int = 4
    gpus_per_node: int | None = 1
    mem_gb: int | None = 16
    partition: str | None = None
    account: str | None = None
    setup: list[str] | None = None  # lines of the batch script before the command, e.g. ["module load cuda"]
    sbatch: dict[str, Any] = field(default_factory=dict)  # further options of sbatch, e.g. {qos: long}


@dataclass
class NoSweep:
    """A single run, or Hydra's own multirun."""

    name: str = "none"


@dataclass
class OptunaSweep:
    """A study of trials over `search`; see `snowmap.sweeps.study`."""

    name: str = "optuna"
    trials: int = 30  # in all; the same command in the same folder goes on to this number
    timeout_s: float | None = None  # after which no further trial begins
    pruner: str = "median"  # none | median | hyperband: which trials are ended early
    startup_trials: int = 8  # drawn at random before the sampler and the median pruner learn from them
    warmup_epochs: int = 10  # before which no trial is ended early
    seed: int = 0  # of the sampler; `seed` is that of every trial


@dataclass
class Optimizer:
    """AdamW; the learning rate rises over the warm-up, then halves every `half_life_steps`."""

    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 50
    half_life_steps: int = 200  # in steps, not a share of the run: a resumed and longer run keeps the same curve
    layer_decay: float = 1.0  # of the learning rate, stage by stage from the head down; 1: the same for all


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

    name: str = "csv"  # csv | tensorboard | wandb | none
    project: str = "snowmap"
    mode: str | None = None  # of wandb; None: online where there is a key, else offline
    group: str | None = None  # of wandb; None: the folder's name in a multirun
    tags: list[str] = field(default_factory=list)  # of wandb; none: sweep in a multirun
    maps: int = 3  # validation windows that are drawn, the same ones each time; 0: none
    maps_every: int = 10  # epochs; and at the end


@dataclass
class Callbacks:
    """What watches the training."""

    patience: int | None = 15  # validations without improvement before the training stops; None: never
    ema: float | None = None  # decay of a running mean of the weights, which validates and is saved; None: none


@dataclass
class Scoring:
    """How maps are turned into numbers; see `snowmap.evaluation`."""

    snow_threshold_swe_mm: float = 10.0  # from which SWE on a pixel counts as snow-covered
    snow_threshold_hs_cm: float = 5.0  # from which depth on a pixel counts as snow-covered
    elevation_step_m: float = 500.0  # height of an elevation band
    aspect_directions: int = 8  # 4 | 8
    block_pixels: int = 16  # edge of the spatial blocks that are resampled: beyond the reach of a local error
    resamples: int = 1000  # of windows, blocks and cells, for the confidence intervals
    level: float = 0.9  # nominal coverage of the confidence intervals
    seed: int = 0  # of the resamples


@dataclass
class TrainConfig:
    """All of `conf/train.yaml`."""

    data: Data = field(default_factory=Data)
    split: Any = MISSING
    target: Target = field(default_factory=Target)
    model: Any = MISSING
    head: Any = MISSING
    launcher: Any = MISSING
    sweep: Any = MISSING
    optimizer: Optimizer = field(default_factory=Optimizer)
    trainer: Trainer = field(default_factory=Trainer)
    logger: Logger = field(default_factory=Logger)
    callbacks: Callbacks = field(default_factory=Callbacks)
    scoring: Scoring = field(default_factory=Scoring)
    ablation: str = "all"  # all | no_sar | shuffled_sar | weather_only | without_<band>: bands that the net sees
    loss: str = "mse"  # of head=point
    ensemble: int = 1  # nets that are trained side by side and map as one
    dropout_samples: int = 0  # times that dropout is drawn for each map; needs model.dropout
    compile: bool = False  # the net, by torch.compile
    seed: int = 0
    ckpt: str | None = None  # a checkpoint to go on from
    init_from: str | None = None  # a checkpoint whose weights a new run begins with, as far as they fit
    freeze: str = "none"  # none | encoder | all_but_head: weights of init_from that stay as they are
    search: dict[str, Any] = field(default_factory=dict)  # of sweep=optuna: ranges or choices, by key
    evaluate: str = "test"  # none | validation | test: the part on which the best checkpoint is scored at the end


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
    scoring: Scoring = field(default_factory=Scoring)


MODELS: dict[str, type] = {
    "unet": UNet,
    "convlstm": ConvLSTM,
    "transformer": Transformer,
    "unet3d": UNet3D,
    "massbalance": MassBalance,
    "climatology": Climatology,
    "persistence": Persistence,
    "elevation": Elevation,
    "degree_day": DegreeDay,
    "insar_swe": InsarSwe,
    "boosted_trees": BoostedTrees,
}
"""Schema of each `model=`: nets, then baselines."""

SPLITS: dict[str, type] = {
    "rolling": Rolling,
    "winters": Winters,
    "blocked": Blocked,
    "expanding": Expanding,
    "spatial": Spatial,
}
"""Schema of each `split=`."""

HEADS: dict[str, type] = {"point": Point, "gaussian": Gaussian, "quantile": Quantile}
"""Schema of each `head=`."""

LAUNCHERS: dict[str, type] = {"local": Local, "joblib": Joblib, "slurm": Slurm}
"""Schema of each `launcher=`."""

SWEEPS: dict[str, type] = {"none": NoSweep, "optuna": OptunaSweep}
"""Schema of each `sweep=`."""

NAMED = {"model": MODELS, "split": SPLITS, "head": HEADS, "launcher": LAUNCHERS, "sweep": SWEEPS}
"""Groups whose keys depend on the name chosen."""

BANDS = (
    "coherence",
    "displacement",
    "elevation",
    "intensity",
    "incidence",
    "phase",
    "unwrapped_phase",
    "mean_temperature",
    "pdd",
)
"""Names of the bands, as in `snowmap.cube.BANDS`, which this module must not import."""

CHOICES = {
    "ablation": ("all", "no_sar", "shuffled_sar", "weather_only", *(f"without_{band}" for band in BANDS)),
    "evaluate": ("none", "validation", "test"),
    "freeze": ("none", "encoder", "all_but_head"),
    "data.swe_unit": ("auto", "cm", "mm"),
    "data.augment": ("none", "flip"),
    "data.supervise": ("auto", "last", "every"),
    "logger.name": ("csv", "tensorboard", "wandb", "none"),
    "loss": ("mse", "mae", "huber"),
    "split": ("train", "validation", "test"),
    "sweep.pruner": ("none", "median", "hyperband"),
}
"""Keys that take one of a few words."""

GROUPS = (
    *("data", "split", "target", "model", "head", "trainer", "logger", "callbacks", "launcher", "sweep"),
    *("experiment", "debug"),
)
