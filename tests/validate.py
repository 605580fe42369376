"""python tests/validate.py OUT MODEL …: the validation scores of untrained nets, by two processes."""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytorch_lightning as pl

from snowmap.runs.training import make_trainer
from tests.cubes import make_cube
from tests.tasks.test_pixel import parts


def validated(model: str, processes: int, folder: Path) -> tuple[dict[str, float], pl.Trainer]:
    cube = make_cube(windows=40)  # 11 validation windows of 2 seasons
    several = (f"trainer.devices={processes}", "trainer.strategy=ddp") if processes > 1 else ()
    words = (f"model={model}", "model.channels=[8,16]", "data.batch_size=2", "split.validation=2")
    config, task, datamodule = parts(cube, *words, *several)
    trainer = make_trainer(config, folder)
    (scores,) = trainer.validate(task, datamodule, verbose=False)
    return scores, trainer


def main(out: str, *models: str) -> None:
    scores = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            scores[model], trainer = validated(model, 2, Path(folder))
            trainer.strategy.barrier()
    if trainer.is_global_zero:
        Path(out).write_text(json.dumps(scores))
    sys.stdout.flush()
    os._exit(0)  # the threads of gloo may abort a process that winds up slowly


if __name__ == "__main__":
    main(*sys.argv[1:])
