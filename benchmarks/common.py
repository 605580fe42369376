"""What several benchmarks share: the configuration as a user would type it, and an epoch by the framework and bare."""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import xarray as xr
from hydra import compose, initialize_config_dir

from snowmap.config.checking import check_config
from snowmap.config.schema import TrainConfig
from snowmap.data.datamodule import SnowDataModule
from snowmap.data.sequences import Sample
from snowmap.data.splits import split_cubes
from snowmap.data.splits.split import Split
from snowmap.runs.training import make_trainer
from snowmap.tasks.build import make_parts
from snowmap.tasks.pixel import SnowRegression

MODELS = ("unet", "convlstm", "transformer", "unet3d", "massbalance")
ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


Clock = Callable[[], float]


class EpochTimer(pl.Callback):
    """Seconds from the start of an epoch's first step to the end of its last."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock, self.seconds = clock, list[float]()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        synchronize(pl_module.device)
        self.start = self.clock()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        synchronize(pl_module.device)
        self.seconds.append(self.clock() - self.start)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def configuration(*overrides: str) -> dict[str, Any]:
    """What `train.py` would run with, without files."""
    fixed = (
        "logger=none",
        "callbacks.patience=null",
        "trainer.enable_progress_bar=false",
    )
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return check_config(compose("train", overrides=[*fixed, *overrides]), TrainConfig)


def parts(config: dict[str, Any], cube: xr.Dataset) -> tuple[SnowRegression, SnowDataModule, Split]:
    splits = split_cubes([cube], config["split"])
    return *make_parts(config, [cube], splits), *splits


def pieces(datamodule: SnowDataModule, samples: list[Sample]) -> list[Sample]:
    """What a step gathers of the sequences: pieces of them, if it trains on such."""
    return datamodule._pieces(samples, datamodule.crop_size) if datamodule.crop_size else samples


def framework_epochs(
    config: dict[str, Any], cube: xr.Dataset, epochs: int, clock: Clock = time.perf_counter
) -> list[float]:
    """Seconds of each epoch, as train.py runs it."""
    task, datamodule, _ = parts(config, cube)
    config = {**config, "trainer": {**config["trainer"], "max_epochs": epochs, "limit_val_batches": 0}}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(config, Path(folder))
        timer = EpochTimer(clock)
        trainer.callbacks.append(timer)  # type: ignore[attr-defined]
        trainer.fit(task, datamodule)
    return timer.seconds


def bare_epochs(
    config: dict[str, Any],
    cube: xr.Dataset,
    epochs: int,
    device: str = "cpu",
    precision: torch.dtype | None = None,
    clock: Clock = time.perf_counter,
) -> list[float]:
    """Seconds of each epoch of the shortest loop that trains the same net on the same sequences.

    Its Batches are made beforehand, already scaled, and lie on the device.
    """
    task, datamodule, _ = parts(config, cube)
    task.to(device)
    size = config["data"]["batch_size"]
    chunks = [datamodule.train[first : first + size] for first in range(0, len(datamodule.train), size)]
    batches = (datamodule.collate(pieces(datamodule, chunk)).to(torch.device(device)) for chunk in chunks)
    ready = [(task._inputs(batch), batch.y, batch.y_valid) for batch in batches]
    options, clip = config["optimizer"], config["trainer"]["gradient_clip_val"]
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options["name"]]
    optimizer = kind(task.net.parameters(), options["learning_rate"], weight_decay=options["weight_decay"])
    seconds = []
    for _ in range(epochs):
        synchronize(torch.device(device))
        start = clock()
        for index in torch.randperm(len(ready)).tolist():
            inputs, y, valid = ready[index]
            with torch.autocast(device, precision, enabled=precision is not None):
                outputs = task.net(inputs)[:, -y.shape[1] :]
                loss = task.head.loss(task.head.parameters_of(outputs, task.net.in_target_units), y, valid)
            optimizer.zero_grad()
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(task.net.parameters(), clip)
            optimizer.step()
        synchronize(torch.device(device))
        seconds.append(clock() - start)
    return seconds


def peak_gibibytes(*words: str) -> float:
    """Of ``python <words>`` in a process of its own, interpreter and imports included; Linux only.

    Raises:
        subprocess.CalledProcessError: When it does not end with status 0.
    """
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT)
    peak, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:  # not getrusage: that begins with the parent's peak
        with contextlib.suppress(OSError):
            lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            peak = max([peak, *(int(line.split()[1]) for line in lines)])
        time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return peak / 2**20


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
