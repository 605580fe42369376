"""Fitting: the Trainer with its callbacks, resuming, and what follows the training."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import xarray as xr
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger

from snowmap.baselines import BASELINES
from snowmap.checkpoints.files import WholeFiles
from snowmap.checkpoints.provenance import is_pretraining, read_checkpoint, refuse_pretraining, windows_of
from snowmap.data.datamodule import SnowDataModule
from snowmap.errors import Interrupted, SnowmapError, Stopped, shown
from snowmap.evaluation import print_table
from snowmap.evaluation.scoring import score_model, scores_of
from snowmap.files import write_whole
from snowmap.maps.calibration import calibrate_checkpoint
from snowmap.runs.callbacks import (
    Earliest,
    EpochBar,
    FiniteLoss,
    RunningMean,
    StopBetweenSteps,
    Throughput,
    ValidationAtLastStep,
    validation_maps,
)
from snowmap.runs.folder import SELECTION, RunFolder
from snowmap.runs.loggers import end_run, log_results
from snowmap.runs.memory import refuse_too_large
from snowmap.runs.printing import print_files, print_validation
from snowmap.runs.selection import LAST, Fits
from snowmap.runs.signals import StopSignal
from snowmap.tasks.build import make_parts
from snowmap.tasks.heads import HEADS
from snowmap.tasks.load import load_model
from snowmap.tasks.pixel import SnowRegression

Parts = tuple[SnowRegression, SnowDataModule]

OF_MAPS = {"task", "model", "data", "split", "target", "head"}
"""Groups that describe maps: a pre-training is resumed without them."""

LOG_EVERY_BATCHES = 1000
"""How often the progress bar writes a line where it cannot overwrite the last one, as in the log of a batch job."""


def quiet() -> None:
    """Silence those messages of Lightning that are no news here; its errors and other warnings stay."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # the windows lie in memory
        ".*smaller than the logging interval.*",
        ".*LeafSpec.*",
        ".*across ranks is zero.*",  # a final fit has no validation windows
        ".*exists and is not empty.*",  # a run that is resumed
        ".*_trainer_ references.*",
        ".*your dataloader is not resumable.*",  # its order leaves out the batches of before
        ".*in eval mode at the start of training.*",  # what is frozen
    ):
        warnings.filterwarnings("ignore", message)


def resumed(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration to resume with: that of the checkpoint, changed by what was typed this time.

    Args:
        config: The composed configuration of a Hydra job, which knows what was typed.

    Raises:
        SnowmapError: When the checkpoint is missing or is none of snowmap, a baseline is requested, maps are requested
            of a pre-training, or an override is no single key.
    """
    if not config["ckpt"]:
        return config
    content, model = read_checkpoint(Path(config["ckpt"])), config["model"]["name"]
    if "baseline" in content or model in BASELINES:
        name = model if model in BASELINES else content["baseline"]["name"]
        raise SnowmapError(f"model={name} is a baseline, fitted at once: there is nothing to resume; leave ckpt=… out")
    resumed = OmegaConf.create(dict(content["hyper_parameters"]["metadata"]["config"]))
    composed = OmegaConf.create(config)
    typed = [override.partition("=")[0].lstrip("+~").replace("/", ".") for override in HydraConfig.get().overrides.task]
    if config["task"] == "pretraining":
        if not is_pretraining(content):
            raise SnowmapError(f"{config['ckpt']} holds no pre-training that could be resumed; leave ckpt=… out")
    elif {*typed} & OF_MAPS:
        refuse_pretraining(content, Path(config["ckpt"]))
    for key in typed:
        if key in ("experiment", "debug"):
            raise SnowmapError(f"{key}=… cannot be combined with ckpt=…; type the keys that it would change")
        OmegaConf.update(resumed, key, OmegaConf.select(composed, key), merge=False)
    return OmegaConf.to_container(resumed)  # type: ignore[return-value]


def monitored(config: Mapping[str, Any]) -> tuple[str, str]:
    """The score that chooses the checkpoint, and whether the least (``min``) or the greatest (``max``) is the best."""
    if config["task"] == "pretraining":
        return "validation/loss", "min"
    head = HEADS[config["head"]["name"]]
    return f"validation/{head.monitor}", head.mode


def make_trainer(
    config: Mapping[str, Any],
    folder: Path,
    logger: Logger | None = None,
    callbacks: Sequence[Callback] = (),
    stop: StopSignal | None = None,
    epochs: int | None = None,
) -> pl.Trainer:
    """The Trainer with its callbacks.

    Args:
        config: The checked configuration.
        folder: The run folder.
        logger: From `snowmap.runs.loggers.make_logger`.
        callbacks: More of them.
        stop: What ends the training between two steps.
        epochs: How many, whatever the validation says; None: up to ``trainer.max_epochs``, of which it chooses
            one unless ``selection`` is `LAST`.

    Raises:
        SnowmapError: When the machine lacks the device or the precision that is requested.
    """
    checkpoints, (monitor, mode) = folder / "checkpoints", monitored(config)
    options = dict(config["trainer"])
    if epochs is None:
        watching = _choosing(config, checkpoints, monitor, mode)
    else:
        options["max_epochs"], watching = epochs, []
    watching += [
        # of its own: with `save_last` it would be written only when the best one is
        # and not after validations: a final fit has none
        ModelCheckpoint(
            checkpoints, "last", enable_version_counter=False, save_on_train_epoch_end=epochs is not None or None
        ),
        FiniteLoss(monitor),
        ValidationAtLastStep(),
        *callbacks,
    ]
    if logger:
        watching += [LearningRateMonitor("epoch"), Throughput()]
    if config["callbacks"]["ema"]:
        watching.append(RunningMean(config["callbacks"]["ema"]))
    if config["trainer"]["enable_progress_bar"]:
        watching.append(EpochBar(refresh_rate=1 if sys.stderr.isatty() else LOG_EVERY_BATCHES))
    if stop:
        watching.append(StopBetweenSteps(stop, checkpoints / "last.ckpt"))  # it saves what the others did in the step
    if options["max_epochs"] > 0:  # a run that is shorter than the time between validations still needs one
        options["check_val_every_n_epoch"] = min(options["check_val_every_n_epoch"], options["max_epochs"])
    try:
        trainer = pl.Trainer(
            **options,
            callbacks=watching,
            logger=logger or False,
            plugins=[WholeFiles()],
            default_root_dir=folder,
            num_sanity_val_steps=0,  # the first epoch validates soon enough
            use_distributed_sampler=False,  # the data module brings its own
            enable_model_summary=False,
        )
        check_machine(trainer, config["trainer"]["precision"])
        return trainer
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        keys = ("accelerator", "devices", "num_nodes", "strategy")
        given, reason = ", ".join(f"trainer.{key}={options[key]}" for key in keys), shown(str(error), longest=500)
        raise SnowmapError(f"the trainer cannot be set up as asked by {given}: {reason}") from error


def _choosing(config: Mapping[str, Any], checkpoints: Path, monitor: str, mode: str) -> list[Callback]:
    """What chooses the epoch of a fit and, unless it is the last one, ends it."""
    options = config["callbacks"]
    last = config["selection"] == LAST
    chosen_by, order = ("epoch", "max") if last else (monitor, mode)
    best = ModelCheckpoint(checkpoints, "best", monitor=chosen_by, mode=order, enable_version_counter=False)
    if last:
        return [best]
    patience = EarlyStopping(monitor, patience=options["patience"], mode=mode) if options["patience"] else None
    return [Earliest(options["earliest"], best, patience), best, *([patience] if patience else [])]


def check_machine(trainer: pl.Trainer, precision: str) -> None:
    """Refuse what this process or this machine cannot do, or could only emulate.

    Args:
        trainer: The Trainer.
        precision: As Lightning calls it.

    Raises:
        SnowmapError: When the jobs of a multirun would take several processes (each would run the whole sweep); when
            there are more processes than processors (Lightning would start half a million); when the device does not
            have the precision.
    """
    device, processors = trainer.strategy.root_device, os.cpu_count() or 1
    if trainer.world_size > 1 and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise SnowmapError(
            f"a multirun whose jobs take {trainer.world_size} processes would run once in each of them; give "
            "launcher=joblib launcher.jobs=1, which starts each job as a command of its own, or trainer.devices=1 "
            "trainer.num_nodes=1"
        )
    if device.type == "cpu" and trainer.num_devices > processors:
        raise SnowmapError(
            f"trainer.devices={trainer.num_devices} on processors starts a process for each; expected at most "
            f"{processors}, the processors of this machine"
        )
    half = str(precision).partition("-")[0]
    if half == "16" and device.type != "cuda":
        raise SnowmapError(
            f"trainer.precision={precision} needs a GPU, not {device.type}; choose 32-true or bf16-mixed"
        )
    if half == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise SnowmapError(f"trainer.precision={precision}, but {name} has no bf16; choose 16-mixed or 32-true")


@contextmanager
def finishing(logger: Logger | None) -> Iterator[None]:
    """End the logger's run whatever happens, as failed when something went wrong, and leave the other processes."""
    failed = True
    try:
        yield
        failed = False
    except Stopped as stopped:
        failed = isinstance(stopped, Interrupted)  # a trial that was pruned did all that was requested
        raise
    finally:
        end_run(logger, failed)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # otherwise its threads may abort the process at its end


def fit(
    config: dict[str, Any],
    run: RunFolder,
    cubes: Sequence[xr.Dataset],
    fits: Fits,
    parts: Parts,
    logger: Logger | None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train, from the checkpoint that is given, else from the last one of the run, else from the beginning.

    Args:
        config: The checked configuration.
        run: The run folder.
        cubes: The Cubes.
        fits: From `snowmap.runs.selection.plan_fits`.
        parts: From `snowmap.tasks.build.make_parts`, of the last fit.
        logger: From `snowmap.runs.loggers.make_logger`, of the last fit.
        callbacks: More than those of every run, for the fit that chooses the epoch.
    """
    maps = validation_maps(config, logger, cubes, fits.final)
    if fits.first:
        epochs = _best_epoch(config, run, make_parts(config, cubes, fits.first, fits.chosen_by), logger, callbacks)
        if run.leads:
            windows = sum(len(split.train) for split in fits.final)
            print(f"the first fit gives {epochs} epochs; all {windows} training windows now train for as many")
        trained = fit_once(config, run, run.path, parts, logger, maps, epochs)
        if run.leads:
            write_whole(run.best, run.last.read_bytes())
    else:
        trained = fit_once(config, run, run.path, parts, logger, [*callbacks, *maps])
    weights = sum(weight.numel() for weight in parts[0].net.parameters() if weight.requires_grad)
    run.update(stage="scoring", epochs=trained, parameters=weights)


def _best_epoch(
    config: dict[str, Any], run: RunFolder, parts: Parts, logger: Logger | None, callbacks: Sequence[Callback]
) -> int:
    """How many epochs a fit of its own gives, in the folder ``selection``."""
    folder = run.path / SELECTION
    if config["ckpt"] and not run.first_best.is_file():
        earlier = Path(config["ckpt"]).absolute().parent.parent / SELECTION / "checkpoints"
        for name in ("best.ckpt", "last.ckpt"):
            if run.leads and (earlier / name).is_file():
                write_whole(folder / "checkpoints" / name, (earlier / name).read_bytes())
    curves = CSVLogger(folder, name="curves", flush_logs_every_n_steps=1) if logger else None
    fit_once(config | {"ckpt": None}, run, folder, parts, curves, callbacks)
    return int(read_checkpoint(run.first_best)["epoch"]) + 1


def fit_once(
    config: Mapping[str, Any],
    run: RunFolder,
    folder: Path,
    parts: tuple[pl.LightningModule, pl.LightningDataModule],
    logger: Logger | None,
    callbacks: Sequence[Callback],
    epochs: int | None = None,
) -> int:
    """One fit, with its checkpoints in `folder`; returns how many epochs it has trained by now."""
    checkpoints, (task, datamodule) = folder / "checkpoints", parts
    trainer = make_trainer(config, folder, logger, callbacks, run.stop, epochs)
    resumed = config["ckpt"] or (last if (last := checkpoints / "last.ckpt").is_file() else None)
    if resumed:
        content = read_checkpoint(Path(resumed))  # Lightning would not explain what is wrong with it
        if not content.get("optimizer_states") or "fit_loop" not in content.get("loops", {}):
            raise SnowmapError(f"{resumed} holds weights alone; begin a new run with them as init_from=…")
    if resumed and run.leads:
        print(f"resuming from {resumed}")
    if isinstance(task, SnowRegression) and isinstance(datamodule, SnowDataModule):  # patches are small
        refuse_too_large(task, datamodule, trainer.strategy.root_device, config["trainer"]["precision"])
    with run.stop.deferred():
        try:
            trainer.fit(task, datamodule, ckpt_path=resumed, weights_only=True)
        except MisconfigurationException as error:
            shares = {key: value for key, value in config["trainer"].items() if type(value) is float}
            given = ", ".join(f"trainer.{key}={value}" for key, value in shares.items() if "batches" in key and value)
            raise SnowmapError(f"the trainer cannot do as asked{f' by {given}' if given else ''}: {error}") from error
        if run.leads and epochs is None and not (checkpoints / "best.ckpt").is_file():
            raise SnowmapError(
                f"the training ended in epoch {trainer.current_epoch + 1}, before a validation could choose a "
                "checkpoint; give trainer.max_time, max_steps or max_epochs more, or check_val_every_n_epoch less"
            )
    return trainer.current_epoch


def conclude(config: Mapping[str, Any], cubes: Sequence[xr.Dataset], run: RunFolder, logger: Logger | None) -> None:
    """What follows the training: calibration, the scores of the validation windows, and those that are requested."""
    if not run.leads:
        return
    subset, model = config["evaluate"], load_model(run.best)
    final_fit = not any(windows_of(model.metadata, "validation", cube) for cube in cubes)
    validated = load_model(run.first_best) if final_fit else model
    if isinstance(model, SnowRegression) and isinstance(validated, SnowRegression):
        calibrate_checkpoint(run.best, model, cubes, validated)
    run.update(validation=scores_of(validated, cubes))
    if subset != "none":
        print_table(score_model(model, cubes, run.best, subset=subset, scoring=config["scoring"]))
    log_results(logger, run.path, subset, run.record["validation"])
    print_validation(run)
    print_files(run.path, subset)
