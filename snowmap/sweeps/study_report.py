"""The results of a study: the table of its trials, Optuna's figures, and the command that trains the best settings."""

import json
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import optuna
from matplotlib import pyplot
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as visualization

from snowmap.errors import SnowmapError
from snowmap.files import as_png, write_whole
from snowmap.runs.configuration import within
from snowmap.sweeps.output import publish
from snowmap.sweeps.runs_table import runs_table
from snowmap.sweeps.search_space import value_of
from snowmap.tables import SYNTHETIC
from snowmap.tasks.head import Head

LEAST_TRIALS = 4
"""That finished, for an importance to mean anything."""

NOT_OF_THE_BEST = ("sweep", "search", "evaluate", "seed")
"""Typed keys that are not repeated in the command that trains the best settings."""


def report(
    study: optuna.Study, search: Mapping[str, Any], folder: Path, typed: Sequence[str], head: type[Head]
) -> None:
    """Print the table of all trials and the best settings; write ``best.yaml``, the figures and the table's files.

    Args:
        study: The study.
        search: Its search space.
        folder: Of the study.
        typed: The overrides of the command line.
        head: Of the trials.

    Raises:
        SnowmapError: When no trial finished, or a file cannot be written.
    """
    finished = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not finished:
        errors = [trial.user_attrs["error"] for trial in study.trials if "error" in trial.user_attrs]
        last = f"; the last failed: {errors[-1]}" if errors else ""
        raise SnowmapError(f"no trial of the study in {folder} finished{last}")
    trials = runs_table(folder)
    publish(trials, folder)
    synthetic = SYNTHETIC if SYNTHETIC in trials.notes else ""
    explains = len(finished) >= LEAST_TRIALS and len({trial.value for trial in finished}) > 1
    _draw(study, folder, explains, synthetic, f"validation {head.monitored}")
    best = {key: value_of(entry, study.best_params[key]) for key, entry in search.items()}
    run, command = folder_name(study.best_trial), command_of(best, typed, folder)
    content = {"trial": run, head.monitor: study.best_value, "trials": len(finished)}
    content |= {"overrides": best, "command": command}
    content |= {"data": synthetic} if synthetic else {}
    write_whole(folder / "best.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))
    print(f"\nbest     {run}: {head.monitored} {study.best_value:.3g} on validation windows")
    print(f"files    best.yaml, study.png{' and importances.png' * explains} lie in {folder}")
    print(f"next     {command}")
    print("         its validation score is the best of many and therefore too good; only new seeds and the test tell")


def folder_name(trial: optuna.Trial | optuna.trial.FrozenTrial) -> str:
    """Name of a trial's folder: that of the trial whose process was killed, if this one resumes it."""
    return trial.user_attrs.get("folder", f"trial-{trial.number:03}")


def command_of(best: Mapping[str, Any], typed: Sequence[str], folder: Path) -> str:
    """The command line that trains the best settings with several seeds and scores them on the test windows."""
    kept = [word for word in typed if not within(word.partition("=")[0].lstrip("+~"), NOT_OF_THE_BEST)]
    words = [
        f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for key, value in best.items()
    ]
    return shlex.join(["python", "train.py", "-m", *kept, *words, "seed=0,1,2", f"hydra.sweep.dir={folder}-best"])


def _draw(study: optuna.Study, folder: Path, explains: bool, synthetic: str, name: str) -> None:
    """Optuna's own figures: the score of each trial with the best so far, and what the searched keys explain."""
    with mpl.rc_context(), warnings.catch_warnings():  # Optuna sets a style
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        drawn = {"study.png": visualization.plot_optimization_history(study, target_name=name)}
        if explains:
            evaluator = FanovaImportanceEvaluator(seed=0)
            drawn["importances.png"] = visualization.plot_param_importances(study, evaluator, target_name=name)
    for file, axes in drawn.items():
        figure = cast(Figure, axes.figure)
        figure.suptitle(synthetic, fontsize=9)
        write_whole(folder / file, as_png(figure))
        pyplot.close(figure)
