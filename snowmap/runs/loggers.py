"""Where curves, maps, scores and checkpoints go: CSV files, TensorBoard or Weights & Biases (W&B)."""

import json
import logging
import netrc
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from snowmap.checkpoints.provenance import environment
from snowmap.errors import SnowmapError, shown
from snowmap.runs.folder import SWEEP
from snowmap.units import IN_UNITS

log = logging.getLogger(__name__)

EXTRAS = ("tensorboard", "wandb")
"""Loggers that need a package of their own; the extra that brings it has the same name."""

EVALUATION_FILES = ("metrics.csv", "metrics.json", "report.html", "maps.png")
"""What of an evaluation goes to W&B; predictions.nc may be large and stays in the run folder."""


def make_logger(config: Mapping[str, Any], folder: Path, wandb_id: str | None = None) -> Logger | None:
    """The logger that ``logger=`` names, knowing configuration and environment; None for ``logger=none``.

    Args:
        config: The composed configuration.
        folder: The run folder.
        wandb_id: Of the W&B run to resume; a new one by default. See `wandb_id_of`.

    Raises:
        SnowmapError: When the package of the logger is not installed, or W&B refuses its settings.
    """
    name = config["logger"]["name"]
    if name == "none":
        return None
    if name in EXTRAS and find_spec(name) is None:
        raise SnowmapError(f'logger={name} needs a package that is not installed: pip install "snowmap[{name}]"')
    if name == "csv":
        logger: Logger = CSVLogger(folder, name="curves", flush_logs_every_n_steps=1)
    elif name == "tensorboard":
        logger = TensorBoardLogger(folder, name="curves", default_hp_metric=False)
    else:
        logger = _started_wandb_logger(config["logger"], folder, wandb_id)
    logger.log_hyperparams({**config, "environment": environment()})
    return logger


def _started_wandb_logger(options: Mapping[str, Any], folder: Path, wandb_id: str | None) -> WandbLogger:
    """The logger of a W&B run; it is kept offline where the server cannot be reached or refuses the key.

    Raises:
        SnowmapError: When W&B refuses the settings, too.
    """
    mode = options["mode"] or os.environ.get("WANDB_MODE") or ("online" if _has_wandb_key() else "offline")
    faults = []
    for tried in dict.fromkeys((mode, "offline")):
        try:
            logger = _wandb_logger(options, folder, wandb_id, tried)
            _ = logger.experiment  # starts the run
        except Exception as error:  # of W&B's own, of pydantic or of the network
            faults.append(" ".join(str(error).split()) or type(error).__name__)
        else:
            for fault in faults:
                log.warning("W&B cannot be used online (%s); this run is kept offline", fault)
            return logger
    raise SnowmapError(
        f"logger=wandb logger.project={shown(options['project'])} cannot start ({shown(faults[-1], 300)}); mend "
        "logger.project or the WANDB_… environment variables, or train with logger=csv"
    )


def _wandb_logger(options: Mapping[str, Any], folder: Path, wandb_id: str | None, mode: str) -> WandbLogger:
    import wandb
    from wandb.sdk.lib.runid import generate_id

    sweep = os.environ.get(SWEEP)
    return WandbLogger(
        project=options["project"],
        save_dir=folder,
        id=wandb_id or os.environ.get("WANDB_RUN_ID") or generate_id(),
        name=folder.name if sweep else None,
        group=options["group"] or (Path(sweep).name if sweep else None),
        tags=options["tags"] or (["sweep"] if sweep else None),
        mode=mode,
        # W&B would look for the repository where the run folder lies, which may be anywhere
        settings=wandb.Settings(git_root=str(Path(__file__).parent)),
    )


def wandb_id_of(logger: Logger | None) -> str | None:
    """What a run is called in W&B, to resume it; None for other loggers."""
    return str(logger.version) if isinstance(logger, WandbLogger) else None


def draws(logger: Logger | None) -> bool:
    """Whether the logger shows figures."""
    return isinstance(logger, (WandbLogger, TensorBoardLogger))


@rank_zero_only
def log_figure(logger: Logger, name: str, figure: Figure, step: int) -> None:
    """Hand a figure to the logger, if it shows figures, at a step of the optimiser; names stay the same."""
    if isinstance(logger, WandbLogger):
        logger.log_image(name, [figure], step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(name, figure, step)


@rank_zero_only
def log_results(logger: Logger | None, folder: Path, subset: str, validation: Mapping[str, Mapping[str, Any]]) -> None:
    """Hand what a run came to to the logger: scores, and to W&B the evaluation and the checkpoints, too.

    Args:
        logger: From `make_logger`.
        folder: The run folder, with ``checkpoints/best.ckpt``.
        subset: The subset that was scored into ``evaluation/<subset>``, or ``none``.
        validation: Unit and scores of the best checkpoint on the validation windows, by target.
    """
    out = folder / "evaluation" / subset
    summary = _summary("best_validation", validation)
    if subset == "test":
        stored = json.loads((out / "metrics.json").read_text())["target"]
        scored = {target: entry["model"] | {"unit": entry.get("unit")} for target, entry in stored.items()}
        summary |= _summary("test", scored)
    if isinstance(logger, TensorBoardLogger) and summary:
        logger.log_hyperparams(logger.hparams, summary)
    if isinstance(logger, WandbLogger):
        logger.experiment.summary.update(summary)
        _log_model(logger, folder / "checkpoints", summary)
        if subset != "none":
            _log_evaluation(logger, out, subset)


@rank_zero_only
def end_run(logger: Logger | None, failed: bool) -> None:
    """Close the logger; a W&B run ends as failed (exit code 1) or finished (0)."""
    if logger is None:
        return
    logger.finalize("failed" if failed else "success")
    if isinstance(logger, WandbLogger):
        run = logger.experiment
        run.finish(exit_code=int(failed))
        if run.offline:
            print(f"send to W&B  wandb sync {run.settings.sync_dir}")


def _summary(prefix: str, scored: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Scores by names such as ``test/swe_rmse_cm`` and ``test/swe_r2``."""
    return {
        f"{prefix}/{target}_{score}" + (f"_{entry['unit']}" if score in IN_UNITS else ""): value
        for target, entry in scored.items()
        for score, value in entry.items()
        if isinstance(value, int | float)
    }


def _log_model(logger: WandbLogger, checkpoints: Path, summary: Mapping[str, float]) -> None:
    """The best checkpoint, with the last one beside it to resume from; a baseline has no epochs and no last one."""
    import wandb

    model = wandb.Artifact(f"model-{logger.version}", "model", metadata=dict(summary))
    for file in (checkpoints / "best.ckpt", checkpoints / "last.ckpt"):
        if file.is_file():
            model.add_file(str(file))
    epoch = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True, mmap=True).get("epoch")
    logger.experiment.log_artifact(model, aliases=["best"] if epoch is None else ["best", f"epoch-{epoch}"])


def _log_evaluation(logger: WandbLogger, out: Path, subset: str) -> None:
    import wandb

    logger.experiment.log({f"evaluation/{subset}": wandb.Table(dataframe=pd.read_csv(out / "metrics.csv"))})
    evaluation = wandb.Artifact(f"evaluation-{subset}-{logger.version}", "evaluation")
    for file in (file for name in EVALUATION_FILES for file in sorted(out.rglob(name))):
        evaluation.add_file(str(file), str(file.relative_to(out)))
    logger.experiment.log_artifact(evaluation)


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
