"""Patches per second of a segmentation ÷ a bare PyTorch loop, and ÷ torchgeo's own task and sampler.

Ours go through train.py's data module, task and Trainer. The bare loop trains the same net on patches of the same
synthetic scene that are gathered and scaled beforehand, and are neither turned nor drawn anew. torchgeo, where it is
installed (in an environment of its own), trains its `SemanticSegmentationTask` (segmentation-models-pytorch's U-Net on
a ResNet-18) on patches that its `RandomGeoSampler` draws from one GeoTIFF of all dates and bands, scaled beforehand;
ours then is ``model=smp`` with the same encoder and the same stack, to which it adds where values are missing and when
each date was, 120 channels instead of 45. Ours save a checkpoint in each epoch, the others none. All train in one
process, taking turns; printed are medians over epochs. Where others use the machine, too, only ``--clock cpu`` with
OMP_NUM_THREADS=1 is to be trusted.

python -m benchmarks.patches [--rounds 3] [--epochs 2] [--clock wall] [--side 512] [--crop 128] [--dates 15]
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import xarray as xr

from benchmarks.common import bare_epochs, configuration, framework_epochs
from benchmarks.usual_stack import plain_epochs
from snowmap.runs.training import quiet
from snowmap.sources import open_cubes
from snowmap.sources.synthetic.scenes import synthesize_glaciers

LIMIT = 1.10
BATCH = 8
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def torchgeo_epochs(stack: Path, labels: Path, asked: argparse.Namespace) -> list[float]:
    """Epochs of torchgeo's task on what its sampler draws, under a plain Trainer."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import IntersectionDataset, RasterDataset, stack_samples
    from torchgeo.samplers import RandomGeoSampler
    from torchgeo.trainers import SemanticSegmentationTask

    class Labels(RasterDataset):
        is_image = False

    class Task(SemanticSegmentationTask):
        def configure_optimizers(self) -> torch.optim.Optimizer:  # its own waits for a validation
            return torch.optim.Adam(self.parameters(), 5e-4)

    def collated(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = stack_samples(samples)
        return {key: batch[key] for key in ("image", "mask")}

    dataset = IntersectionDataset(RasterDataset(stack), Labels(labels))
    sampler = RandomGeoSampler(dataset, asked.crop, asked.patches)
    loader = DataLoader(dataset, BATCH, sampler=sampler, collate_fn=collated)
    with rasterio.open(stack) as raster:
        channels = raster.count
    return plain_epochs(
        lambda: Task("unet", "resnet18", in_channels=channels, num_classes=2, loss="focal"),
        loader,
        asked.epochs + 1,
        CLOCKS[asked.clock],
    )


def as_one_raster(cube: xr.Dataset, folder: Path) -> tuple[Path, Path]:
    """The dates and bands of a scene as one scaled GeoTIFF, and its classes as another."""
    bands = cube["features"].values
    scaled = (bands - np.nanmean(bands, axis=(0, 2, 3), keepdims=True)) / np.nanstd(
        bands, axis=(0, 2, 3), keepdims=True
    )
    layers = {
        "stack": np.nan_to_num(scaled).reshape(-1, *bands.shape[2:]),
        "labels": cube["glacier"].values[-1:].astype(np.uint8),
    }
    profile = {"driver": "GTiff", "crs": cube.rio.crs, "transform": cube.rio.transform(), "tiled": True}
    for name, values in layers.items():
        count, height, width = values.shape
        (folder / name).mkdir()
        with rasterio.open(
            folder / name / "scene.tif", "w", dtype=values.dtype, count=count, height=height, width=width, **profile
        ) as raster:
            raster.write(values)
    return folder / "stack" / "scene.tif", folder / "labels" / "scene.tif"


def compare(
    name: str, asked: argparse.Namespace, ours: Callable[[], list[float]], theirs: Callable[[], list[float]]
) -> None:
    """Print patches per second of both and the ratio of the medians, without the first epoch of each round."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(asked.rounds):  # taking turns, so that a slow spell of the machine meets both
        for seconds, run in zip(found, (ours, theirs), strict=True):
            seconds += run()[1:]
    medians = [statistics.median(seconds) for seconds in found]
    speeds = " and ".join(f"{asked.patches / seconds:.2f}" for seconds in medians)
    print(f"training epoch / {name}: {medians[0] / medians[1]:.3f} ({speeds} patches per second)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs in each round, after one to warm up")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--side", type=int, default=512, help="pixels of the scene")
    parser.add_argument("--crop", type=int, default=128, help="pixels of a patch")
    parser.add_argument("--dates", type=int, default=15)
    parser.add_argument("--patches", type=int, default=32, help="patches in an epoch")
    parser.add_argument("--channels", default="[16,32,64]", help="of the net beside the bare loop")
    asked = parser.parse_args()
    quiet()
    epochs, clock = asked.epochs + 1, CLOCKS[asked.clock]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "scenes"
        synthesize_glaciers(root, scenes=1, dates=asked.dates, shape=(asked.side, asked.side))
        sizes = (f"data.crop=[{asked.crop},{asked.crop}]", f"data.patches={asked.patches}", f"data.batch_size={BATCH}")
        common = (f"data.root={root}", *sizes, "data.class_share=0.5", "trainer.accelerator=cpu")
        net = (f"data.time={asked.dates}", f"model.channels={asked.channels}")
        config = configuration("experiment=svalbard_glaciers_3d", *net, *common)
        (cube,) = open_cubes(config["data"], config["target"]["names"])
        compare(
            f"bare loop (limit {LIMIT:.2f})",
            asked,
            lambda: framework_epochs(config, cube, epochs, clock),
            lambda: bare_epochs(config, cube, epochs, clock=clock),
        )
        if not importlib.util.find_spec("torchgeo"):
            print("training epoch / torchgeo: not measured, since torchgeo is not installed here")
            return
        task = ("data=sar_stack", "target=glacier", "task=segmentation", "split=blocks", "model=smp")
        stack = ("model.encoder=resnet18", "model.time=stack", f"model.steps={asked.dates}")
        of_smp = configuration("experiment=shared/segmentation", *task, *stack, *common)
        rasters = as_one_raster(cube, Path(folder))
        compare(
            "torchgeo",
            asked,
            lambda: framework_epochs(of_smp, cube, epochs, clock),
            lambda: torchgeo_epochs(*rasters, asked),
        )


if __name__ == "__main__":
    main()
