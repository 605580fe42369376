"""One training epoch through train.py's own data module, task and Trainer ÷ a bare PyTorch loop of the same net.

Both see the same windows, batch size, optimiser and thread count, in one process and taking turns; the bare loop reads
tensors that are already scaled and lie in memory. Printed is the median over epochs of each, and the ratio.

python benchmarks/training.py [--rounds 4] [--epochs 2] [--windows 64] [--height 93] [--width 211]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
import xarray as xr
from hydra import compose, initialize_config_dir

from snowmap.config import TrainConfig, check_config
from snowmap.datamodule import SnowDataModule
from snowmap.losses import masked_loss
from snowmap.models import build_net
from snowmap.provenance import facts_of
from snowmap.run import make_trainer, quiet
from snowmap.splits import Split, make_split
from snowmap.synthetic import synthesize
from snowmap.task import SnowRegression

LIMIT = 1.10


class EpochTimer(pl.Callback):
    """Seconds from the start of an epoch's first step to the end of its last."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def framework(config: dict, cube: xr.Dataset, split: Split, epochs: int) -> list[float]:
    """Seconds of each epoch, as train.py runs it; validation is left out on both sides."""
    task = SnowRegression(
        model=config["model"],
        bands=cube["band"].values.tolist(),
        targets={"swe": cube["swe"].attrs["units"]},
        optimizer=config["optimizer"],
        facts=facts_of(cube, split, config),
    )
    task.normalizer.fit(cube, split.train)
    datamodule = SnowDataModule(cube, split, ["swe"], batch_size=config["data"]["batch_size"])
    config = {**config, "trainer": {**config["trainer"], "max_epochs": epochs, "limit_val_batches": 0}}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, Path(folder))
        timer = EpochTimer()
        trainer.callbacks.append(timer)  # type: ignore[attr-defined]
        trainer.fit(task, datamodule)
    return timer.seconds


def bare(config: dict, cube: xr.Dataset, split: Split, epochs: int) -> list[float]:
    """Seconds of each epoch of the shortest loop that trains the same net on the same windows."""
    datamodule = SnowDataModule(cube, split, ["swe"])
    task = SnowRegression(
        model=config["model"],
        bands=cube["band"].values.tolist(),
        targets={"swe": cube["swe"].attrs["units"]},
        optimizer=config["optimizer"],
        facts={},
    )
    task.normalizer.fit(cube, split.train)
    batch = datamodule.windows.gather(split.train)
    x, y = task.normalizer.encode(batch.x, batch.x_valid), task.normalizer.scale_targets(batch.y)
    net = build_net(config["model"], task.normalizer.channels, 1)
    options = config["optimizer"]
    optimizer = torch.optim.AdamW(net.parameters(), options["learning_rate"], weight_decay=options["weight_decay"])
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for chosen in torch.randperm(len(x)).split(config["data"]["batch_size"]):
            predicted = net(x[chosen], batch.days[chosen], batch.day_of_year[chosen], batch.step_valid[chosen])
            loss = masked_loss("mse", predicted, y[chosen], batch.y_valid[chosen])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), config["trainer"]["gradient_clip_val"])
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs in each round, after one to warm up")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--height", type=int, default=93)
    parser.add_argument("--width", type=int, default=211)
    asked = parser.parse_args()
    quiet()
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        config = check_config(compose("train", overrides=["callbacks.patience=null"]), TrainConfig)
    cube = synthesize(windows=asked.windows, shape=(asked.height, asked.width))
    split = make_split(start=cube["start"].values, end=cube["end"].values, **config["split"])
    ours, theirs = [], []
    for _ in range(asked.rounds):  # taking turns, so that a slow spell of the machine meets both
        ours += framework(config, cube, split, asked.epochs + 1)[1:]
        theirs += bare(config, cube, split, asked.epochs + 1)[1:]
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"training epoch: {statistics.median(ours):.2f} s, bare loop {statistics.median(theirs):.2f} s")
    print(f"training epoch / bare loop, batch size {config['data']['batch_size']}: {ratio:.3f} (limit {LIMIT:.2f})")


if __name__ == "__main__":
    main()
