"""snowmap ÷ the stack that a user would assemble: windows per second, of the whole, of loading and of computing alone.

The usual stack is a Dataset that opens the nine rasters and the target of a window in `__getitem__`, a DataLoader with
2 workers, and a U-Net of equal size under a plain Lightning Trainer. Beside it, where they are installed (in an
environment of their own), segmentation-models-pytorch's U-Net and torchgeo's regression task under the same loader.
"Loading alone" makes scaled batches and trains nothing. "Computing alone" is the training step of each net on a batch
in memory, without a Trainer; the nets take turns step by step. There, windows per second of CPU time stand beside those
of wall time: where others use the machine too, only CPU time with `--threads 1` is to be trusted.

python -m benchmarks.usual_stack [--rounds 3] [--epochs 2] [--steps 10] [--threads 2] [--height 93] [--width 211]
"""

import argparse
import importlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import rasterio
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import Clock, EpochTimer, configuration, framework_epochs, parts, table
from snowmap.data.sequences import Sample
from snowmap.data.splits import make_split
from snowmap.runs.training import quiet
from snowmap.sources.synthetic import synthesize
from snowmap.sources.trentino import match_insar_to_targets, write_archive
from snowmap.sources.trentino.quantities import STANDARD_BANDS

CHANNELS = (24, 48, 96, 192)
BATCH = 4
CLOCKS = {"computing alone": time.perf_counter, "computing alone, CPU time": time.process_time}


class Rasters(Dataset):
    """One window at a time, from its files."""

    def __init__(self, files: Sequence[dict[str, Path]], mean: np.ndarray, std: np.ndarray) -> None:
        self.files, self.mean, self.std = files, mean, std

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        bands = np.stack([self._read(self.files[index][name]) for name in STANDARD_BANDS])
        return np.nan_to_num((bands - self.mean) / self.std), self._read(self.files[index]["swe"])[None]

    @staticmethod
    def _read(path: Path) -> np.ndarray:
        with rasterio.open(path) as raster:
            return raster.read(1)


class PlainUNet(nn.Module):
    """The U-Net of many a tutorial, with batch normalisation and bilinear upsampling."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(self._block(a, b) for a, b in pairwise((inputs, *CHANNELS)))
        self.up = nn.ModuleList(self._block(a + b, b) for a, b in pairwise(reversed(CHANNELS)))
        self.head = nn.Conv2d(CHANNELS[0], 1, 1)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        y = functional.pad(x, (0, -width % 8, 0, -height % 8))
        levels = []
        for index, block in enumerate(self.down):
            y = block(functional.max_pool2d(y, 2) if index else y)
            levels.append(y)
        y = levels.pop()
        for block in self.up:
            y = block(torch.cat([functional.interpolate(y, scale_factor=2, mode="bilinear"), levels.pop()], 1))
        return self.head(y)[..., :height, :width]


class PlainTask(pl.LightningModule):
    """A plain training step with a masked loss."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: Sequence[Tensor], _: int) -> Tensor:
        x, y = batch
        height, width = y.shape[-2:]
        x = functional.pad(x, (0, -width % 32, 0, -height % 32)) if self.pads else x
        valid = y.isfinite()
        return functional.mse_loss(self.net(x)[..., :height, :width][valid], y[valid])

    @property
    def pads(self) -> bool:
        return not isinstance(self.net, PlainUNet)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-3)


def stacks() -> dict[str, Callable[[], Any]]:
    """The tasks that can be made in this environment."""
    found: dict[str, Callable[[], Any]] = {"usual stack": lambda: PlainTask(PlainUNet(len(STANDARD_BANDS)))}
    if importlib.util.find_spec("segmentation_models_pytorch"):
        import segmentation_models_pytorch as smp

        found["segmentation-models-pytorch"] = lambda: PlainTask(
            smp.Unet("resnet18", encoder_weights=None, in_channels=len(STANDARD_BANDS), classes=1)
        )
    if importlib.util.find_spec("torchgeo"):
        from torchgeo.trainers import PixelwiseRegressionTask

        class Named(PixelwiseRegressionTask):
            def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
                x, y = batch
                height, width = y.shape[-2:]
                padding = (0, -width % 32, 0, -height % 32)
                image, mask = functional.pad(x, padding), functional.pad(torch.nan_to_num(y[:, 0]), padding)
                return super().training_step({"image": image, "mask": mask}, batch_idx)

            def configure_optimizers(self) -> torch.optim.Optimizer:  # its own waits for a validation
                return torch.optim.AdamW(self.parameters(), 1e-3)

        found["torchgeo"] = lambda: Named(
            model="unet", backbone="resnet18", weights=None, in_channels=len(STANDARD_BANDS)
        )
    return found


def plain_epochs(
    make: Callable[[], Any], loader: DataLoader, epochs: int, clock: Clock = time.perf_counter
) -> list[float]:
    """Seconds of each epoch under a plain Trainer."""
    task = make()
    # torchgeo's tasks belong to the other of Lightning's two packages, which takes none of this one's callbacks
    package = pl if isinstance(task, pl.LightningModule) else importlib.import_module("lightning.pytorch")
    timer = type("EpochTimer", (package.Callback,), dict(vars(EpochTimer)))(clock)
    trainer = package.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[timer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )
    trainer.fit(task, loader)
    return timer.seconds


def loading_epochs(batches: Iterable[Any], prepare: Callable[[Any], Any], epochs: int) -> list[float]:
    """Seconds to make the batches of each epoch."""
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for batch in batches:
            prepare(batch)
        seconds.append(time.perf_counter() - start)
    return seconds


def net_of(task: Any) -> nn.Module:
    """Of a plain task, or of torchgeo's."""
    return task.net if isinstance(task, PlainTask) else task.model


def step_seconds(config: dict[str, Any], cube: xr.Dataset, steps: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of training steps on one batch in memory, by net and clock; the nets take turns step by step."""
    task, datamodule, _ = parts(config, cube)
    batch = datamodule.collate(datamodule.train[:BATCH])
    inputs, y = task._inputs(batch), batch.y.nan_to_num()[:, -1]
    height, width = y.shape[-2:]
    x = functional.pad(torch.randn(len(y), len(STANDARD_BANDS), height, width), (0, -width % 32, 0, -height % 32))
    nets = {"snowmap": task.net} | {name: net_of(make()) for name, make in stacks().items()}
    optimizers = {name: torch.optim.AdamW(net.parameters(), 1e-3) for name, net in nets.items()}
    seconds: dict[tuple[str, str], list[float]] = {(name, clock): [] for name in nets for clock in CLOCKS}
    for _ in range(steps + 1):
        for name, net in nets.items():
            start = [clock() for clock in CLOCKS.values()]
            maps = net(inputs)[:, -1] if name == "snowmap" else net(x)[..., :height, :width]
            optimizers[name].zero_grad()
            functional.mse_loss(maps, y).backward()
            optimizers[name].step()
            for (clock, now), begin in zip(CLOCKS.items(), start, strict=True):
                seconds[name, clock].append(now() - begin)
    return {key: found[1:] for key, found in seconds.items()}


def loader(cube: xr.Dataset, root: Path, train: Sequence[int]) -> DataLoader:
    """What feeds the plain stacks."""
    values = cube["features"].values[list(train)]
    mean = np.nanmean(values, axis=(0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    std = np.nanstd(values, axis=(0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    samples = match_insar_to_targets(*(str(root / name) for name in ("INSAR", "ITSNOW", "S3")))
    swe = [{"swe": root / "ITSNOW" / "SWE" / f"{sample['key']}_swe.tif"} for sample in samples]
    files = [s["band_files"] | s["weather_files"] | own for s, own in zip(samples, swe, strict=True)]
    rasters = Rasters([files[index] for index in train], mean, std)
    # not copies of this process: that can hang right after rasterio ran in threads
    options = {"num_workers": 2, "multiprocessing_context": "forkserver", "persistent_workers": True}
    return DataLoader(rasters, BATCH, shuffle=True, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs in each round, after one to warm up")
    parser.add_argument("--height", type=int, default=93)
    parser.add_argument("--width", type=int, default=211)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of computing alone in each round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    quiet()
    torch.set_num_threads(asked.threads)
    cube = synthesize(shape=(asked.height, asked.width))
    split = make_split("rolling", cube["start"].values, cube["end"].values)
    config, count = configuration("model=unet"), len(split.train)
    with tempfile.TemporaryDirectory() as folder:
        fed = loader(cube, write_archive(cube, Path(folder) / "archive"), split.train)
        seconds: dict[tuple[str, str], list[float]] = {}
        task, datamodule, _ = parts(config, cube)
        own = datamodule.train_dataloader()

        def prepared(samples: list[Sample]) -> object:
            return task._inputs(datamodule.collate(samples))

        for _ in range(asked.rounds):  # taking turns, so that a slow spell of the machine meets all
            seconds.setdefault(("snowmap", "whole"), []).extend(framework_epochs(config, cube, asked.epochs + 1)[1:])
            for name, make in stacks().items():
                seconds.setdefault((name, "whole"), []).extend(plain_epochs(make, fed, asked.epochs + 1)[1:])
            for name, batches, prepare in (("snowmap", own, prepared), ("usual stack", fed, tuple)):
                found = loading_epochs(batches, prepare, asked.epochs + 1)[1:]
                seconds.setdefault((name, "loading alone"), []).extend(found)
            for key, found in step_seconds(config, cube, asked.steps).items():
                seconds.setdefault(key, []).extend(step * count / BATCH for step in found)
    speed = {key: count / statistics.median(found) for key, found in seconds.items()}
    rows = [
        (name, kind, f"{found:.1f}", f"{speed['snowmap', kind] / found:.2f}") for (name, kind), found in speed.items()
    ]
    print(table(("stack", "what", "windows per second", "snowmap ÷ it"), rows))


if __name__ == "__main__":
    main()
