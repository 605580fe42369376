"""What a study found: its table, the importance of what was searched, a figure, and the command that uses the best."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table

from snowmap.errors import SnowmapError
from snowmap.files import as_png, write_whole
from snowmap.run_config import within
from snowmap.sweeps.figures import study_figure
from snowmap.sweeps.runs import SYNTHETIC, compare_runs
from snowmap.sweeps.search import value_of

if TYPE_CHECKING:
    import optuna

LEAST_TRIALS = 4
"""That came to their end, for an importance to mean anything."""

SEEDS = "0,1,2"
NOT_OF_THE_BEST = ("sweep", "search", "evaluate", "seed")
"""Typed keys that are not repeated in the command that trains the best settings."""


def report(study: "optuna.Study", search: Mapping[str, Any], folder: Path, typed: Sequence[str]) -> None:
    """Print the table of all trials and the importances; write ``best.yaml``, ``study.png`` and the table's files.

    Args:
        study: The study.
        search: Its search space.
        folder: Of the study.
        typed: The overrides of the command line.

    Raises:
        SnowmapError: When no trial came to its end, or a file cannot be written.
    """
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not ended:
        errors = [trial.user_attrs["error"] for trial in study.trials if "error" in trial.user_attrs]
        raise SnowmapError(
            f"no trial of the study in {folder} came to its end"
            + (f"; the last failed: {errors[-1]}" if errors else "")
        )
    (found,) = compare_runs(folder)
    importances = importances_of(study)
    write_whole(folder / "study.png", as_png(study_figure(study, importances, found.synthetic)))
    if importances:
        _print_importances(importances)
    best = {key: value_of(entry, study.best_params[key]) for key, entry in search.items()}
    run = folder / study.best_trial.user_attrs.get("folder", f"trial-{study.best_trial.number:03}")
    command = command_of(best, typed, folder)
    content = {
        "trial": run.name,
        "relative_rmse": study.best_value,
        "trials": len(ended),
        "overrides": best,
        "command": command,
        **({"data": SYNTHETIC} if found.synthetic else {}),
    }
    write_whole(folder / "best.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))
    print(f"\nbest     {run.name}: RMSE {study.best_value:.3g} of the targets' spread on validation windows")
    print(f"files    best.yaml and study.png lie in {folder}")
    print(f"next     {command}")
    print("         its validation score is the best of many and therefore too good; only new seeds and the test tell")


def importances_of(study: "optuna.Study") -> dict[str, float]:
    """Shares of the score's variance that the searched keys explain, by fANOVA (Hutter et al. 2014, ICML).

    Returns:
        By key, the largest first; empty where too few trials came to their end, or all scores are equal.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(ended) < LEAST_TRIALS or len({trial.value for trial in ended}) == 1:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def command_of(best: Mapping[str, Any], typed: Sequence[str], folder: Path) -> str:
    """The command line that trains the best settings with several seeds and scores them on the test windows."""
    kept = [word for word in typed if not within(word.partition("=")[0].lstrip("+~"), NOT_OF_THE_BEST)]
    words = [
        f"{key}={json.dumps(value, separators=(',', ':')) if not isinstance(value, str) else value}"
        for key, value in best.items()
    ]
    return shlex.join(["python", "train.py", "-m", *kept, *words, f"seed={SEEDS}", f"hydra.sweep.dir={folder}-best"])


def _print_importances(importances: Mapping[str, float]) -> None:
    table = Table("searched key", title="what mattered", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("share of the score's variance", justify="right")
    for key, share in importances.items():
        table.add_row(key, f"{share:.0%}")
    Console().print(table)
