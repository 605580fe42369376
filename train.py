"""Train a network on an archive, or fit a baseline, then score the best checkpoint on the test windows.

python train.py [group=choice] [key=value], e.g. ``python train.py model=unet target=swe data.root=…/Dataset_icip2026``
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snowmap.config.schema import TrainConfig
from snowmap.errors import SnowmapError
from snowmap.runs.command_line import launch


def main(config: dict[str, Any], folder: Path, callbacks: Sequence[Any] = ()) -> None:
    """Run one training into `folder`, or resume the one that lies there; with ``sweep=optuna`` a study of many.

    With ``task=pretraining`` it is that of an encoder, on patches.
    """
    # the configuration was checked before anything heavy is imported
    if config["sweep"]["name"] == "optuna":
        try:
            from snowmap.sweeps.study import optimize
        except ModuleNotFoundError as error:
            raise SnowmapError(f'sweep=optuna: {error}; pip install "snowmap[optuna]"') from error
        optimize(main, config, folder)
        return
    from snowmap.baselines import BASELINES, save_baseline
    from snowmap.checkpoints.provenance import archive_of
    from snowmap.data.splits import split_cubes
    from snowmap.runs.folder import working_in
    from snowmap.runs.loggers import make_logger, wandb_id_of
    from snowmap.runs.printing import print_files, print_fits, print_splits, warn_of_values
    from snowmap.runs.selection import plan_fits
    from snowmap.runs.training import conclude, finishing, fit, quiet, resumed
    from snowmap.sources import open_cubes
    from snowmap.tasks.build import fit_baseline, make_parts

    quiet()
    config = resumed(config)
    if config["task"] == "pretraining":
        from snowmap.runs.pretraining import pretrain

        pretrain(config, folder, callbacks)
        return
    with working_in(folder, config) as run:
        if run.finished:
            print(f"the run in {folder} is finished; nothing is left to do")
            print_files(folder, config["evaluate"])
            return
        cubes = open_cubes(config["data"], config["target"]["names"])
        run.update(archive=archive_of(*(cube.attrs for cube in cubes)))
        splits = split_cubes(cubes, config["split"])
        print_splits(splits, cubes)
        warn_of_values(splits, cubes, config["target"]["names"], config["data"]["phase_sign"])
        fits = parts = None
        if config["model"]["name"] in BASELINES:
            save_baseline(fit_baseline(config, cubes, splits), run.best)
            run.update(parameters=0)
        elif run.record["stage"] == "training":
            fits = plan_fits(config, splits, cubes)
            print_fits(fits)
            parts = make_parts(config, cubes, fits.final, fits.chosen_by)
        logger = make_logger(config, run.path, run.record["wandb_id"])
        with finishing(logger):
            run.update(wandb_id=wandb_id_of(logger) or run.record["wandb_id"])
            if fits and parts:
                fit(config, run, cubes, fits, parts, logger, callbacks)
            conclude(config, cubes, run, logger)


def after_sweep(folder: Path, complete: bool) -> None:
    """Compare the runs of a multirun; once all are there, over folds or ablations, too."""
    from snowmap.sweeps import summarize
    from snowmap.sweeps.output import publish
    from snowmap.sweeps.runs_table import runs_table

    publish(runs_table(folder), folder)
    if complete:
        summarize(folder, required=False)


def choose(folder: Path) -> str | None:
    """The model of an ablation over several."""
    from snowmap.sweeps.ablation_table import chosen_model

    return chosen_model(folder)


if __name__ == "__main__":
    launch(main, TrainConfig, Path(__file__).with_name("conf") / "train.yaml", after_sweep, choose)
