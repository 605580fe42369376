"""``sweep=optuna``: a study of trials, each a run in a folder of its own, that ends by naming the best settings.

Trials are judged by the validation windows alone; the test windows are not touched. Everything that a study knows lies
in its folder, so the same command goes on with it, whatever ended it.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback

from snowmap.cube import narrowed
from snowmap.errors import Interrupted, SnowmapError, Stopped
from snowmap.files import write_whole
from snowmap.normalize import mean_and_std
from snowmap.run import MONITOR
from snowmap.run_config import differing, flat, refuse_foreign
from snowmap.run_folder import SWEEP, read_record
from snowmap.scoring import open_for
from snowmap.splits import make_split
from snowmap.sweeps.search import changed, check_search, distribution, value_of
from snowmap.sweeps.study_report import report

if TYPE_CHECKING:
    import optuna

MOST_TRIES = 3
"""How often a trial is begun whose process is killed."""


Main = Callable[[dict[str, Any], Path, Sequence[Callback]], None]
"""`train.main`: a configuration, the run folder, and callbacks beside its own."""


class Reporting(Callback):
    """Tells Optuna the score of each validation, and ends a run that promises nothing."""

    def __init__(self, trial: "optuna.Trial") -> None:
        self.trial = trial

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the score of this epoch.

        Raises:
            Stopped: When the pruner ends the trial.
        """
        self.trial.report(float(trainer.callback_metrics[MONITOR]), trainer.current_epoch)
        if self.trial.should_prune():
            raise Stopped(f"pruned in epoch {trainer.current_epoch + 1}")


def optimize(main: Main, config: dict[str, Any], folder: Path) -> "optuna.Study":
    """Run trials until there are ``sweep.trials`` of them, then tell which settings are the best.

    What was typed on the command line is not searched.

    Args:
        main: Runs one training.
        config: The checked configuration, with ``sweep`` and ``search``.
        folder: Of the study; an earlier one there is gone on with.

    Returns:
        The study.

    Raises:
        SnowmapError: When Optuna is missing, the search space is wrong, the folder holds another study or is worked in,
            or no trial came to its end.
    """
    try:
        import optuna
    except ImportError as error:
        raise SnowmapError('sweep=optuna needs optuna; pip install "snowmap[optuna]"') from error
    _refuse_what_cannot_be_studied(config)
    typed = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    keys = {word.partition("=")[0].lstrip("+~") for word in typed}
    search = {key: entry for key, entry in config["search"].items() if key not in keys}
    if not search:
        raise SnowmapError(
            f"model={config['model']['name']} has nothing left to search; its search space stands in conf/model/, and "
            "what is typed is not searched"
        )
    check_search(search, config)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if (folder / "config.yaml").exists():
        raise SnowmapError(f"{folder} holds a run, not a study; give another folder as hydra.run.dir=…")
    refuse_foreign(folder, "study.yaml")
    with _alone_in(folder):
        _claim(folder, config, search)
        study = optuna.create_study(
            storage=f"sqlite:///{folder.absolute() / 'study.db'}", study_name="snowmap", load_if_exists=True,
            pruner=_pruner(config),
        )  # fmt: skip
        print(f"study in {folder}; the same command with hydra.run.dir={folder} goes on with it")
        try:
            _run_trials(study, main, config, search, folder)
        except Interrupted:
            print(f"the study in {folder} has {_done(study)} of {config['sweep']['trials']} trials")
            raise
        report(study, search, folder, typed)
    return study


def _run_trials(
    study: "optuna.Study", main: Main, config: Mapping[str, Any], search: Mapping[str, Any], folder: Path
) -> None:
    sweep, began = config["sweep"], time.monotonic()
    spread = _spread_of_targets(config)
    drawn = {key: distribution(entry) for key, entry in search.items()}
    _queue_killed(study)
    while _done(study) < sweep["trials"]:
        if sweep["timeout_s"] is not None and time.monotonic() - began > sweep["timeout_s"]:
            print(f"sweep.timeout_s={sweep['timeout_s']:g} is over after {_done(study)} of {sweep['trials']} trials")
            return
        study.sampler = _sampler(sweep, len(study.trials))
        trial = study.ask(drawn)
        values = {key: value_of(entry, trial.params[key]) for key, entry in search.items()}
        _run_trial(study, trial, main, changed(config, {**values, "evaluate": "none"}), folder, spread)


def _run_trial(
    study: "optuna.Study",
    trial: "optuna.Trial",
    main: Main,
    config: dict[str, Any],
    folder: Path,
    spread: Mapping[str, float],
) -> None:
    """Run one trial and tell the study how it ended; only a signal leaves it open."""
    from optuna.trial import TrialState

    own = folder / folder_name(trial)
    for epoch, value in trial.user_attrs.get("reported", {}).items():
        trial.report(value, int(epoch))
    try:
        # what it prints stands in its run.log
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            main(config, own, [Reporting(trial)])
        value = relative_rmse((read_record(own) or {})["validation"], spread)
        study.tell(trial, value)
        told = f"{value:.4g}"
    except Interrupted:
        raise
    except Stopped as stopped:
        study.tell(trial, state=TrialState.PRUNED)
        told = str(stopped)
    except Exception as error:
        trial.set_user_attr("error", str(error).partition("\n")[0] or type(error).__name__)
        study.tell(trial, state=TrialState.FAIL)
        told = f"failed: {trial.user_attrs['error']}"
    settings = ", ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
    print(f"{own.name}: {told} ({settings})", flush=True)


def relative_rmse(validation: Mapping[str, Mapping[str, Any]], spread: Mapping[str, float]) -> float:
    """What a study makes small: the mean over targets of RMSE ÷ standard deviation in the training windows.

    It is what a training calls ``validation/relative_rmse``, of its best checkpoint; baselines have it, too.

    Args:
        validation: Unit and scores of each target, as in ``run.json``.
        spread: Standard deviation of each target in its unit.

    Raises:
        SnowmapError: When a target has no RMSE.
    """
    if missing := [target for target in spread if validation[target]["rmse"] is None]:
        raise SnowmapError(f"no validation RMSE of {', '.join(missing)}")
    return float(np.mean([validation[target]["rmse"] / spread[target] for target in spread]))


def folder_name(trial: "optuna.Trial | optuna.trial.FrozenTrial") -> str:
    """Name of a trial's folder: that of the trial whose process was killed, if this one goes on with it."""
    return trial.user_attrs.get("folder", f"trial-{trial.number:03}")


def _spread_of_targets(config: Mapping[str, Any]) -> dict[str, float]:
    targets = config["target"]["names"]
    cube = open_for(config["data"], targets)
    split = make_split(start=cube["start"].values, end=cube["end"].values, shape=cube["mask"].shape, **config["split"])
    inside = narrowed(cube, split.train_area)["mask"].values
    return {name: mean_and_std(cube[name].values, split.train, inside, f"target '{name}'")[1] for name in targets}


def _queue_killed(study: "optuna.Study") -> None:
    """Give up the trials whose process was killed, and queue each again, to go on in its folder."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        tries = sum(folder_name(other) == folder_name(trial) for other in study.trials)
        if tries < MOST_TRIES:
            reported = {str(epoch): value for epoch, value in trial.intermediate_values.items()}
            study.enqueue_trial(trial.params, {"folder": folder_name(trial), "reported": reported})


def _done(study: "optuna.Study") -> int:
    """Trials that came to an end, be it a failure; one that goes on as another counts once."""
    return len({folder_name(trial) for trial in study.trials if trial.state.is_finished()} - _open(study))


def _open(study: "optuna.Study") -> set[str]:
    return {folder_name(trial) for trial in study.trials if not trial.state.is_finished()}


def _sampler(sweep: Mapping[str, Any], trials: int) -> "optuna.samplers.BaseSampler":
    """TPE (Bergstra et al. 2011), with numbers of its own for each trial: a study that goes on draws no trial again."""
    from optuna.samplers import TPESampler

    seed = int(np.random.SeedSequence([sweep["seed"], trials]).generate_state(1)[0])
    return TPESampler(n_startup_trials=sweep["startup_trials"], seed=seed)


def _pruner(config: Mapping[str, Any]) -> "optuna.pruners.BasePruner":
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    sweep = config["sweep"]
    if sweep["pruner"] == "median":
        return MedianPruner(sweep["startup_trials"], sweep["warmup_epochs"])
    if sweep["pruner"] == "hyperband":
        return HyperbandPruner(max(1, sweep["warmup_epochs"]), max(1, config["trainer"]["max_epochs"]))
    return NopPruner()


def _refuse_what_cannot_be_studied(config: Mapping[str, Any]) -> None:
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


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of the study, and the folders of failed trials in it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            os.environ[SWEEP] = str(folder)
            yield
    except Timeout as error:
        raise SnowmapError(f"another process works on the study in {folder}; give another hydra.run.dir=…") from error
    finally:
        os.environ.pop(SWEEP, None)


def _claim(folder: Path, config: Mapping[str, Any], search: Mapping[str, Any]) -> None:
    """Write ``study.yaml``: what all trials have in common, and what is searched.

    Raises:
        SnowmapError: When the folder holds another study with trials.
    """
    asked = {**{key: value for key, value in config.items() if key not in ("sweep", "evaluate")}, "search": search}
    file = folder / "study.yaml"
    if file.exists() and any(folder.glob("trial-*")):
        other = differing(flat(OmegaConf.to_container(OmegaConf.load(file))), flat(asked))  # type: ignore[arg-type]
        if other:
            raise SnowmapError(
                f"{folder} holds another study, which differs in {', '.join(other[:3])}; give another folder as "
                "hydra.run.dir=…"
            )
    write_whole(file, OmegaConf.to_yaml(OmegaConf.create(asked)))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value) if value is None else str(value)
