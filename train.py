"""Train a network on an archive, or fit a baseline, then score the best checkpoint on the test windows.

python train.py [group=choice] [key=value], e.g. ``python train.py model=unet target=swe data.root=…/Dataset_icip2026``
"""

from pathlib import Path
from typing import Any

from snowmap.config import launch
from snowmap.schema import TrainConfig


def main(config: dict[str, Any], folder: Path) -> None:
    """Run one training into `folder`."""
    # the configuration was checked before anything heavy is imported
    from snowmap.baselines import BASELINES, save_baseline
    from snowmap.calibration import calibrate_checkpoint
    from snowmap.callbacks import validation_maps
    from snowmap.loggers import log_results, make_logger
    from snowmap.run import claim_folder, continued, finishing, make_trainer, quiet, say_files, say_split, say_summary
    from snowmap.scoring import open_for
    from snowmap.setup import fit_baseline, make_parts
    from snowmap.splits import make_split

    quiet()
    config = continued(config)
    cube = open_for(config["data"], config["target"]["names"])
    split = make_split(start=cube["start"].values, end=cube["end"].values, shape=cube["mask"].shape, **config["split"])
    say_split(split, cube)

    part, best = config["evaluate"], folder / "checkpoints" / "best.ckpt"
    if config["model"]["name"] in BASELINES:
        baseline = fit_baseline(config, cube, split)
        claim_folder(folder, config)
        logger = make_logger(config, folder)
        with finishing(logger):
            save_baseline(baseline, best)
            score(best, config)
            log_results(logger, folder, part)
            say_files(folder, part)
        return

    task, datamodule = make_parts(config, cube, split)
    claim_folder(folder, config)
    logger = make_logger(config, folder)
    with finishing(logger):
        trainer = make_trainer(config, folder, logger, validation_maps(config, logger, cube, split))
        trainer.fit(task, datamodule, ckpt_path=config["ckpt"], weights_only=True)
        if trainer.is_global_zero:
            calibrate_checkpoint(best, cube)
            score(best, config)
            log_results(logger, folder, part)
            say_summary(folder, trainer, task, part)


def score(checkpoint: Path, config: dict[str, Any]) -> None:
    """Score the checkpoint on the windows that ``evaluate`` names."""
    from snowmap.evaluation import print_table
    from snowmap.scoring import score_checkpoint

    if config["evaluate"] != "none":
        print_table(score_checkpoint(checkpoint, part=config["evaluate"], scoring=config["scoring"]))


def after_sweep(folder: Path) -> None:
    """Compare the runs of a multirun, if they are folds or ablations."""
    from snowmap.sweeps import summarize

    summarize(folder, required=False)


if __name__ == "__main__":
    launch(main, TrainConfig, Path(__file__).with_name("conf") / "train.yaml", after_sweep)
