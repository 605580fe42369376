"""The run ``task=pretraining``: from patches to an encoder that ``init_from=`` takes, scored on held-out ground."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from snowmap.evaluation.probes import fixed_views
from snowmap.files import write_whole
from snowmap.runs.folder import RunFolder, working_in
from snowmap.runs.loggers import log_results, make_logger, wandb_id_of
from snowmap.runs.pretraining_callbacks import FOLDER, Probes, Reconstructions
from snowmap.runs.training import finishing, fit_once, make_trainer
from snowmap.sources.na_sar.datamodule import PatchDataModule
from snowmap.sources.na_sar.index import Patches, open_patches, split_patches
from snowmap.tables import SYNTHETIC, as_csv, print_table
from snowmap.tasks.build import make_pretraining
from snowmap.tasks.pretraining import Pretraining

SCORED = "masked"
"""What the scores in ``run.json`` and ``metrics.json`` are of: masked pixels, where other runs name their target."""


def pretrain(config: dict[str, Any], folder: Path, callbacks: Sequence[Callback] = ()) -> None:
    """Run one pre-training into `folder`, or resume the one that lies there.

    Args:
        config: The checked configuration, with ``task=pretraining``.
        folder: The run folder.
        callbacks: More than those of every run.
    """
    with working_in(folder, config) as run:
        if run.finished:
            print(f"the run in {folder} is finished; nothing is left to do")
            print_files(config, run)
            return
        patches = open_patches(config["data"])
        subsets = split_patches(patches, config["split"])
        run.update(archive=dict(patches.attributes))
        print_subsets(subsets)
        task, datamodule = make_pretraining(config, subsets)
        logger = make_logger(config, run.path, run.record["wandb_id"])
        with finishing(logger):
            run.update(wandb_id=wandb_id_of(logger) or run.record["wandb_id"])
            if run.record["stage"] == "training":
                watching = [*callbacks, *_watchers(config, run, task, datamodule)]
                epochs = fit_once(config, run, run.path, (task, datamodule), logger, watching)
                weights = sum(weight.numel() for weight in task.parameters() if weight.requires_grad)
                run.update(stage="scoring", epochs=epochs, parameters=weights)
            conclude(config, run, task, datamodule, logger)


def conclude(
    config: Mapping[str, Any], run: RunFolder, task: Pretraining, datamodule: PatchDataModule, logger: Logger | None
) -> None:
    """What follows the training: the scores of the best checkpoint on held-out ground, by all processes together."""
    subset, scores = config["evaluate"], {}
    for scored in dict.fromkeys(("validation", subset)):
        if scored != "none":
            scores[scored] = _score(config, run, task, datamodule, scored)
    run.update(validation={SCORED: scores["validation"]})
    if not run.leads:
        return
    if subset != "none":
        _write(run, subset, scores[subset], task)
    log_results(logger, run.path, subset, run.record["validation"])
    if datamodule.faults:
        print(f"{len(datamodule.faults)} patches could not be used, or only in part; run.log names them")
    print_files(config, run)


def _watchers(
    config: Mapping[str, Any], run: RunFolder, task: Pretraining, datamodule: PatchDataModule
) -> list[Callback]:
    """Pictures and probes, which the first process makes of views that it reads once."""
    probes, pictures = config["pretraining"]["probe"], config["logger"]["maps"]
    if not run.leads or not max(probes, pictures):
        return []
    held_out = fixed_views(datamodule, "validation", max(probes, 2 * pictures))
    watching: list[Callback] = [Reconstructions(run.path, held_out, datamodule.subsets["validation"], pictures)]
    if probes:
        watching.append(Probes(fixed_views(datamodule, "train", probes), held_out))
    return watching


def _score(
    config: Mapping[str, Any], run: RunFolder, task: Pretraining, datamodule: PatchDataModule, subset: str
) -> dict[str, float]:
    """Of the best checkpoint on a subset, by name: ``loss``, ``rmse_<band>`` and the like."""
    scored = PatchDataModule({"validation": datamodule.subsets[subset]}, datamodule.feeding, datamodule.workers)
    scored.faults, scored.broken = datamodule.faults, datamodule.broken  # each is named once
    trainer = make_trainer(config, run.path, stop=run.stop)
    (logged,) = trainer.validate(task, datamodule=scored, ckpt_path=run.best, weights_only=True, verbose=False)
    scores = {name.partition("/")[2]: value for name, value in logged.items()}
    print_scores(subset, scores, task)
    return scores


def _write(run: RunFolder, subset: str, scores: Mapping[str, float], task: Pretraining) -> None:
    folder = run.path / "evaluation" / subset
    provenance = {"subset": subset, "checkpoint": str(run.best), "archive": run.record["archive"]}
    result = {"target": {SCORED: {"model": dict(scores)}}, "units": task.metadata["units"], "provenance": provenance}
    write_whole(folder / "metrics.json", json.dumps(result, indent=2))
    write_whole(folder / "metrics.csv", as_csv(_table(scores, task)))


def _table(scores: Mapping[str, float], task: Pretraining) -> pd.DataFrame:
    """A row for each band."""
    rows = []
    for name, unit in task.metadata["units"].items():
        for score, of in (("rmse", unit), ("cosine_distance", "1")):
            if f"{score}_{name}" in scores:
                rows.append({"band": name, "score": score, "value": scores[f"{score}_{name}"], "unit": of})
    return pd.DataFrame([*rows, {"band": "all", "score": "loss", "value": scores["loss"], "unit": "1"}])


@rank_zero_only
def print_subsets(subsets: Mapping[str, Patches]) -> None:
    """Print how many patches train, validate and test, and in how many shards they lie."""
    patches = [f"{len(part):,}" for part in subsets.values()]
    shards = [str(part.table["shard"].nunique()) for part in subsets.values()]
    print_table("split by geography", {"subset": subsets, "patches": patches, "shards": shards})


@rank_zero_only
def print_scores(subset: str, scores: Mapping[str, float], task: Pretraining) -> None:
    """Print the errors of masked pixels on a subset."""
    synthetic = task.metadata["archives"][0]["origin"].startswith("synthetic")
    table = _table(scores, task)
    columns = {"band": table["band"], "error of masked pixels": [f"{value:.4g}" for value in table["value"]]}
    columns |= {"": table["score"].str.replace("_", " "), "unit": table["unit"]}
    print_table(f"{subset}, held-out ground" + (f" ({SYNTHETIC})" if synthetic else ""), columns)


def print_files(config: Mapping[str, Any], run: RunFolder) -> None:
    """Print where things lie and the next command to type."""
    print(f"checkpoint   {run.best}")
    if config["evaluate"] != "none":
        print(f"scores       {run.path / 'evaluation' / config['evaluate'] / 'metrics.csv'}")
    if (run.path / FOLDER).is_dir():
        print(f"pictures     {run.path / FOLDER}")
    print(f"next         python train.py model={config['model']['name']} init_from={run.best}")
