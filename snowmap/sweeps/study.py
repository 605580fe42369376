"""``sweep=optuna``: a study of trials, each a run in a folder of its own, that ends by naming the best settings.

Trials are judged by the validation windows alone; the test windows are not touched. Everything that a study knows lies
in its folder, so the same command resumes it, whatever ended it.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.trial import TrialState, create_trial
from pytorch_lightning.callbacks import Callback

from snowmap.data.cube import narrowed
from snowmap.data.normalize import mean_and_std
from snowmap.data.splits import split_cubes
from snowmap.errors import Interrupted, SnowmapError, Stopped
from snowmap.runs.configuration import differing, flat, refuse_foreign
from snowmap.runs.folder import SWEEP, locked
from snowmap.runs.record import read_record
from snowmap.sources import open_cubes
from snowmap.sweeps.search_space import changed, distributions, value_of
from snowmap.sweeps.study_report import folder_name, report
from snowmap.tasks.heads import HEADS
from snowmap.tasks.pixel import SnowRegression

MOST_TRIES = 3
"""How often a trial is begun whose process is killed."""

Main = Callable[[dict[str, Any], Path, Sequence[Callback]], None]
"""`train.main`: a configuration, the run folder, and callbacks beside its own."""


class Reporting(Callback):
    """Reports the score of each validation to Optuna, and ends a run that the pruner gives up."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SnowRegression) -> None:  # type: ignore[override]
        """Report the score of this epoch.

        Raises:
            Stopped: When the pruner ends the trial.
        """
        score = float(trainer.callback_metrics[f"validation/{pl_module.head.monitor}"])
        self.trial.report(score, trainer.current_epoch)
        if self.trial.should_prune():
            raise Stopped(f"pruned in epoch {trainer.current_epoch + 1}")


def optimize(main: Main, config: dict[str, Any], folder: Path) -> optuna.Study:
    """Run trials until there are ``sweep.trials`` of them, then report which settings are the best.

    What was typed on the command line is not searched.

    Args:
        main: Runs one training.
        config: The checked configuration, with ``sweep`` and ``search``.
        folder: Of the study; an earlier one there is resumed.

    Returns:
        The study.

    Raises:
        SnowmapError: When the search space is wrong, the folder holds another study or is in use, or no trial finished.
    """
    _refuse_what_cannot_be_studied(config, folder)
    typed = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    keys = {word.partition("=")[0].lstrip("+~") for word in typed}
    search = {key: entry for key, entry in config["search"].items() if key not in keys}
    if not search:
        raise SnowmapError(
            f"model={config['model']['name']} has nothing left to search; its search space stands in conf/model/, and "
            "what is typed is not searched"
        )
    space = distributions(search, config)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with locked(folder, patience_s=0.0), env_override({SWEEP: str(folder)}):
        storage, pruner = f"sqlite:///{folder.absolute() / 'study.db'}", _pruner(config)
        direction = "maximize" if HEADS[config["head"]["name"]].mode == "max" else "minimize"
        study = optuna.create_study(
            storage=storage, study_name="snowmap", load_if_exists=True, pruner=pruner, direction=direction
        )
        _claim(study, folder, config, search)
        print(f"study in {folder}; the same command with hydra.run.dir={folder} resumes it")
        _queue_killed(study)
        _run_trials(study, space, main, config, folder)
        report(study, search, folder, typed, HEADS[config["head"]["name"]])
    return study


def _run_trials(study: optuna.Study, space: dict[str, Any], main: Main, config: dict[str, Any], folder: Path) -> None:
    sweep, std, began = config["sweep"], _std_of_targets(config), time.monotonic()
    while (finished := _finished(study)) < sweep["trials"]:
        if time.monotonic() - began > (math.inf if sweep["timeout_s"] is None else sweep["timeout_s"]):
            print(f"sweep.timeout_s={sweep['timeout_s']:g} is over after {finished} of {sweep['trials']} trials")
            return
        # a seed of its own for each trial: a resumed study draws no trial again (TPE: Bergstra et al. 2011)
        seed = int(np.random.SeedSequence([sweep["seed"], len(study.trials)]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=sweep["startup_trials"], seed=seed)
        trial = study.ask(space)
        values = {key: value_of(config["search"][key], drawn) for key, drawn in trial.params.items()}
        result = _run_trial(study, trial, main, changed(config, {**values, "evaluate": "none"}), folder, std)
        settings = ", ".join(f"{key}={value}" for key, value in trial.params.items())
        print(f"{folder_name(trial)}: {result} ({settings})", flush=True)


def _run_trial(
    study: optuna.Study,
    trial: optuna.Trial,
    main: Main,
    config: dict[str, Any],
    folder: Path,
    std: Mapping[str, float],
) -> str:
    """Run one trial in its folder, record how it ended and say it; only a signal leaves it open."""
    run = folder / folder_name(trial)
    try:
        # what it prints stands in its run.log
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            main(config, run, [Reporting(trial)])
        value = HEADS[config["head"]["name"]].merit((read_record(run) or {})["validation"], std)
        study.tell(trial, value)
        return f"{value:.4g}"
    except Interrupted:
        raise
    except Stopped as stopped:
        study.tell(trial, state=TrialState.PRUNED)
        return str(stopped)
    except Exception as error:
        trial.set_user_attr("error", str(error).partition("\n")[0] or type(error).__name__)
        study.tell(trial, state=TrialState.FAIL)
        return f"failed: {trial.user_attrs['error']}"


def _std_of_targets(config: Mapping[str, Any]) -> dict[str, float]:
    """Of quantities, in the training windows; nothing of classes."""
    targets = config["target"]["names"]
    cubes = open_cubes(config["data"], targets)
    known = [
        (narrowed(cube, split.train_area), split.train)
        for cube, split in zip(cubes, split_cubes(cubes, config["split"]), strict=True)
    ]
    return {
        name: mean_and_std([(cube[name].values, train, cube["mask"].values) for cube, train in known], name)[1]
        for name in targets
        if "units" in cubes[0][name].attrs
    }


def _queue_killed(study: optuna.Study) -> None:
    """Give up the trials whose process was killed, and queue each again, to resume in its folder."""
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        name = folder_name(trial)
        if sum(folder_name(other) == name for other in study.trials) < MOST_TRIES:
            again = {"params": trial.params, "distributions": trial.distributions, "user_attrs": {"folder": name}}
            reported = trial.intermediate_values
            study.add_trial(create_trial(state=TrialState.WAITING, intermediate_values=reported, **again))


def _finished(study: optuna.Study) -> int:
    """Trials that ended, be it by a failure; one that is resumed as another counts once."""
    still_open = {folder_name(trial) for trial in study.trials if not trial.state.is_finished()}
    return len({folder_name(trial) for trial in study.trials} - still_open)


def _pruner(config: Mapping[str, Any]) -> BasePruner:
    sweep, warmup = config["sweep"], config["sweep"]["warmup_epochs"]
    return {
        "median": MedianPruner(sweep["startup_trials"], warmup),
        "hyperband": HyperbandPruner(max(1, warmup), max(1, config["trainer"]["max_epochs"])),
        "none": NopPruner(),
    }[sweep["pruner"]]


def _refuse_what_cannot_be_studied(config: Mapping[str, Any], folder: Path) -> None:
    trainer = config["trainer"]
    if os.environ.get(SWEEP):
        raise SnowmapError("sweep=optuna cannot be combined with -m; start one command for each study")
    if config["ckpt"]:
        raise SnowmapError("sweep=optuna cannot be combined with ckpt=…: every trial begins anew")
    if trainer["num_nodes"] > 1 or trainer["devices"] not in (1, "1") or config["launcher"]["name"] != "local":
        raise SnowmapError(
            "the trials of a study run one after the other in one process; give trainer.devices=1 trainer.num_nodes=1 "
            "launcher=local"
        )
    if (folder / "config.yaml").exists():
        raise SnowmapError(f"{folder} holds a run, not a study; give another folder as hydra.run.dir=…")
    refuse_foreign(folder, "study.db")


def _claim(study: optuna.Study, folder: Path, config: Mapping[str, Any], search: Mapping[str, Any]) -> None:
    """Keep with the study what all trials have in common, and what is searched.

    Raises:
        SnowmapError: When it has trials of other settings.
    """
    common = {key: value for key, value in config.items() if key not in ("sweep", "evaluate")}
    settings = flat({**common, "search": search})
    if study.trials and (keys := differing(study.user_attrs.get("settings", settings), settings)):
        raise SnowmapError(
            f"{folder} holds another study, which differs in {', '.join(keys[:3])}; give another folder as "
            "hydra.run.dir=…"
        )
    study.set_user_attr("settings", settings)
