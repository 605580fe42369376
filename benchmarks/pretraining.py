"""What a masked pre-training gives on held-out ground, and what its steps cost.

Masked patches of the test geography, for each band by its own score, against the mean of the visible pixels of the view
and biharmonic inpainting (scikit-image); linear probes against encoders of random weights and against the bands
themselves, and the effective rank of the features; a training step through train.py's own data module, task and Trainer
÷ a bare loop; and from its speed the hours for the whole of NA-SAR.

python -m benchmarks.pretraining [--root ROOT] [--run FOLDER] [--steps 2000] [--views 64] [--words model=unet …]

Without --root, synthetic shards are written; without --run, the pre-training is run first.
"""

import argparse
import io
import math
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pytorch_lightning import seed_everything
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from benchmarks.common import EpochTimer, configuration, synchronize, table
from snowmap.data.batch import Batch
from snowmap.evaluation.probes import fixed_views, last_steps, probe
from snowmap.models import Inputs
from snowmap.runs.training import make_trainer, quiet
from snowmap.sources.na_sar.index import Patches, open_patches, split_patches
from snowmap.sources.synthetic.na_sar import synthesize_na_sar
from snowmap.tasks.build import make_pretraining
from snowmap.tasks.pretraining import Pretraining

ROOT = Path(__file__).parents[1]
PATCHES, VIEWS, SHARDS, EPOCHS = 1_099_604, 2, 91, 100
"""Of NA-SAR, and of `experiment=na_sar_pretraining`."""

LIMIT = 1.10
PROBED = 8
"""Views for the probes for each one that is reconstructed, which takes inpainting longer."""

RANDOM = 3
"""Encoders of random weights."""


def pretrained(root: Path, folder: Path, steps: int, words: Sequence[str]) -> None:
    """Pre-train for about so many steps, in whole epochs, as a user would."""
    config = configuration("experiment=na_sar_pretraining", f"data.root={root}", *words)
    _, datamodule = make_pretraining(config, subsets_of(config))
    epochs = max(1, round(steps / len(datamodule.train_dataloader())))
    command = [sys.executable, str(ROOT / "train.py"), "experiment=na_sar_pretraining", f"data.root={root}"]
    command += [*words, f"trainer.max_epochs={epochs}", f"hydra.run.dir={folder}", "trainer.enable_progress_bar=false"]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True)


def subsets_of(config: dict[str, Any]) -> dict[str, Patches]:
    return split_patches(open_patches(config["data"]), config["split"])


def inpainted(values: np.ndarray, visible: np.ndarray) -> np.ndarray:
    return inpaint_biharmonic(np.where(visible, values, 0), ~visible)


def of_visible(values: np.ndarray, visible: np.ndarray) -> np.ndarray:
    return np.full_like(values, values[visible].mean())


def guesses(values: np.ndarray, visible: np.ndarray, wrapped: bool) -> dict[str, np.ndarray]:
    """What is foreseen without learning, from the visible pixels of one band; of an angle by its cos and sin."""
    ways = {"mean of visible": of_visible, "biharmonic": inpainted}
    if wrapped:
        return {
            name: np.arctan2(way(np.sin(values), visible), way(np.cos(values), visible)) for name, way in ways.items()
        }
    return {name: way(values, visible) for name, way in ways.items()}


def reconstructions(task: Pretraining, views: Sequence[Batch]) -> list[tuple[str, ...]]:
    """A row for each band: the errors of masked pixels, over all views."""
    sums: dict[tuple[str, str], np.ndarray] = {}
    bands, wrapped = task.preprocessor.bands, task.preprocessor.normalizer.wrapped
    for number, whole in enumerate(views):
        batch = last_steps(whole, task.time)
        keep = task.draw_mask(batch, seed=number)
        rebuilt = task.reconstruct(batch, keep)[:, -1].double().numpy()
        x, valid = batch.x[:, -1].double().numpy(), batch.x_valid[:, -1].numpy()
        for view, band in np.ndindex(x.shape[:2]):
            name, seen = bands[band], keep[view, 0].numpy()
            visible, masked = valid[view, band] & seen, valid[view, band] & ~seen
            if not (visible.any() and masked.any()):
                continue
            weight = np.where(masked, 1.0, 0.0)
            if name in wrapped and "coherence" in bands:
                weight *= np.where(masked, x[view, bands.index("coherence")], 0)
            of_band = {"pre-trained": rebuilt[view, band], **guesses(x[view, band], visible, name in wrapped)}
            for way, guess in of_band.items():
                error = np.where(masked, guess - x[view, band], 0)
                cost = 1 - np.cos(error) if name in wrapped else error**2
                sums[name, way] = sums.get((name, way), 0) + np.array([(weight * cost).sum(), weight.sum()])
    rows = []
    for name, unit in task.metadata["units"].items():
        mean = {way: total / count for (band, way), (total, count) in sums.items() if band == name}
        errors = {way: value if name in wrapped else value**0.5 for way, value in mean.items()}
        score = "cosine distance" if name in wrapped else f"RMSE, {unit}"
        ratio = errors["pre-trained"] / min(value for way, value in errors.items() if way != "pre-trained")
        rows.append((name, score, *(f"{value:.4g}" for value in errors.values()), f"{ratio:.3f}"))
    return rows


class Bands(torch.nn.Module):
    """Encodes nothing: the mean over a cell is that of each channel and of its square."""

    def encode(self, inputs: Inputs) -> list[Tensor]:
        return [torch.cat([inputs.x, inputs.x.square()], dim=2)]


def probes(task: Pretraining, training: Sequence[Batch], held_out: Sequence[Batch]) -> list[tuple[str, ...]]:
    """A row for each probe and for the effective rank: the pre-trained encoder, the mean of random ones, and none."""
    rank = "effective rank of the coarsest features"
    found = probe(task, training, held_out) | {rank: effective_rank(task, training)}
    none = SimpleNamespace(net=Bands(), preprocessor=task.preprocessor, time=task.time, device=task.device)
    without = {name: f"{score:.3f}" for name, score in probe(none, training, held_out).items()}
    others = []
    for seed in range(RANDOM):
        seed_everything(seed, verbose=False)
        other = Pretraining(**task.hparams).eval()
        other.preprocessor.load_state_dict(task.preprocessor.state_dict())
        others.append(probe(other, training, held_out) | {rank: effective_rank(other, training)})
    random = {name: statistics.mean(other[name] for other in others) for name in found}
    return [(name, f"{found[name]:.3f}", f"{random[name]:.3f}", without.get(name, "–")) for name in found]


@torch.no_grad()
def effective_rank(task: Pretraining, views: Sequence[Batch]) -> float:
    """How many directions the coarsest features vary along: exp of the entropy of the shares of the variance that the
    principal components have (Roy & Vetterli 2007)."""
    cells = []
    for batch in (last_steps(whole, task.time) for whole in views):
        x = task.preprocessor.normalizer.encode(batch.x, batch.x_valid)
        cells.append(task.net.encode(Inputs.of(batch, x))[-1][:, -1].movedim(1, -1).flatten(0, 2).double())
    shares = torch.linalg.eigvalsh(torch.cat(cells).T.cov()).clamp(min=1e-30)
    shares = shares / shares.sum()
    return math.exp(-(shares * shares.log()).sum().item())


def bare_batches(patches: Patches, like: Batch, task: Pretraining, size: int) -> Iterator[Batch]:
    """Batches by tarfile and NumPy alone, shard by shard in the order of the members."""
    items: list[np.ndarray] = []
    wanted = set(patches.table["key"])
    for shard in patches.shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.removesuffix(".npz") not in wanted:
                    continue
                with np.load(io.BytesIO(tar.extractfile(member).read())) as file:  # type: ignore[union-attr]
                    arrays = {key: file[key] for key in file.files}
                items += [bands_of(arrays, view, task) for view in range(VIEWS)]
                while len(items) >= size:
                    x = torch.from_numpy(np.stack(items[:size]))
                    yield like._replace(x=x, x_valid=x.isfinite())
                    del items[:size]


def bands_of(arrays: dict[str, np.ndarray], view: int, task: Pretraining) -> np.ndarray:
    """All bands of a view, ``(step, band, y, x)``."""
    dem, (cosine, sine) = arrays["dem"][0], arrays[f"ifg_view_{view}"]
    low, high = np.percentile(dem, (5, 95))
    fixed = {"incidence": arrays[f"inc_angle_view_{view}"][0], "elevation": dem, "slope": arrays["slope_deg"][0]}
    fixed["relief"] = ((dem - low) / max(high - low, 1e-6)).clip(0, 1)
    steps = []
    for date in ("prime", "secondary")[-task.time :]:
        power = arrays[f"{date}_rtc_view_{view}"]
        co_pol, cross_pol = np.where(power > 0, np.log1p(20 * power), np.nan)
        of_date = {"co_pol": co_pol, "cross_pol": cross_pol}
        nothing = np.full_like(dem, np.nan)
        of_date["phase"] = np.arctan2(sine, cosine) if date == "secondary" else nothing
        of_date["coherence"] = arrays[f"coh_view_{view}"][0] if date == "secondary" else nothing
        steps.append(np.stack([(of_date | fixed)[band] for band in task.preprocessor.bands]))
    return np.stack(steps).astype(np.float32)


def bare_seconds(task: Pretraining, batches: Iterator[Batch], steps: int, device: str) -> float:
    """Of a step of the shortest loop that trains the same net, the first left out."""
    task.to(device).train()
    options = task.optimizer_options
    optimizer = torch.optim.AdamW(task.parameters(), options["learning_rate"], weight_decay=options["weight_decay"])
    begin = time.perf_counter()
    for number, batch in zip(range(steps + 1), batches, strict=False):
        if number == 1:
            synchronize(torch.device(device))
            begin = time.perf_counter()
        batch = batch.to(torch.device(device))
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = task.drawn_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
    synchronize(torch.device(device))
    return (time.perf_counter() - begin) / steps


def framework_seconds(config: dict[str, Any], subsets: dict[str, Patches], steps: int) -> float:
    """Of a step as train.py runs it, in the second epoch."""
    task, datamodule = make_pretraining(config, subsets)
    trainer_options = {"max_epochs": 2, "limit_val_batches": 0, "limit_train_batches": steps}
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer({**config, "trainer": {**config["trainer"], **trainer_options}}, Path(folder))
        timer = EpochTimer()
        trainer.callbacks.append(timer)  # type: ignore[attr-defined]
        trainer.fit(task, datamodule)
    return timer.seconds[1] / steps


def speed(root: Path, words: Sequence[str], steps: int, rounds: int) -> str:
    """Ratios of steps, and what their speed makes of the whole of NA-SAR."""
    config = configuration("experiment=na_sar_pretraining", f"data.root={root}", "data.workers=0", *words)
    subsets, device = subsets_of(config), "cpu" if config["trainer"]["accelerator"] == "cpu" else "cuda"
    size = config["data"]["batch_size"]
    seconds: dict[str, list[float]] = {"train.py": [], "bare loop that reads": [], "bare loop, ready Batches": []}
    for _ in range(rounds):
        seconds["train.py"].append(framework_seconds(config, subsets, steps))
        task, datamodule = make_pretraining(config, subsets)
        ready = [members.batch() for _, members in zip(range(steps + 1), datamodule.train_dataloader(), strict=False)]
        reading = bare_batches(subsets["train"], ready[0], task, size)
        seconds["bare loop that reads"].append(bare_seconds(task, reading, steps, device))
        seconds["bare loop, ready Batches"].append(bare_seconds(task, iter(ready), steps, device))
    ours, *others = (statistics.median(values) for values in seconds.values())
    views = size / ours
    ratios = [f"training step / {name}: {ours / value:.3f}" for name, value in zip([*seconds][1:], others, strict=True)]
    files = [path.stat().st_size for path in root.glob("data/*.tar")]
    patches = sum(len(part) for part in subsets.values())
    kilobytes = sum(files) / patches / 1000
    hours = PATCHES * VIEWS * EPOCHS / views / 3600
    return "\n".join(
        [
            *(f"{line} (limit {LIMIT:.2f})" for line in ratios),
            f"{views:.1f} views per second and device ({device}), {views / VIEWS:.1f} reads per second of "
            f"{kilobytes:.0f} kB (shards here)",
            f"{EPOCHS} epochs of NA-SAR's {PATCHES:,} patches at this speed: {hours:,.0f} h on 1 device, "
            f"{hours / 8:,.0f} h on 8, {hours / 32:,.0f} h on 32",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="shards; without, synthetic ones are written")
    parser.add_argument("--patches", type=int, default=2000, help="of the synthetic shards")
    parser.add_argument("--run", type=Path, help="folder of a pre-training that is finished or to be resumed")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--views", type=int, default=64, help="of the test geography that are reconstructed")
    parser.add_argument("--timed", type=int, default=10, help="steps that are timed in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", nargs="*", default=[], help="for train.py")
    asked = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as scratch:
        root, run = asked.root or Path(scratch) / "na_sar", asked.run or Path(scratch) / "run"
        if not asked.root:
            synthesize_na_sar(root, patches=asked.patches)
        pretrained(root, run, asked.steps, asked.words)
        task = Pretraining.load_from_checkpoint(run / "checkpoints" / "best.ckpt").eval()
        _, datamodule = make_pretraining(task.metadata["config"], subsets_of(task.metadata["config"]))
        held_out = fixed_views(datamodule, "test", asked.views)
        head = ("band", "score of masked pixels", "pre-trained", "mean of visible", "biharmonic", "÷ the better one")
        print(f"\n{len(held_out)} Batches of the test geography\n")
        print(table(head, reconstructions(task, held_out)), flush=True)
        training, held_out = (fixed_views(datamodule, subset, PROBED * asked.views) for subset in ("train", "test"))
        head = ("balanced accuracy of probes", "pre-trained", "random encoder", "no encoder")
        print("\n" + table(head, probes(task, training, held_out)), flush=True)
        print("\n" + speed(root, asked.words, asked.timed, asked.rounds))


if __name__ == "__main__":
    main()
