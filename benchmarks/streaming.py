"""Reading NA-SAR's shards: ``python -m benchmarks.streaming``.

Samples per second of the loader of `data=na_sar` with one worker, from the shards to Batches in physical units, beside

- the bare loop: `tarfile` and `np.load` of every array in one process, which is all that has to be done,
- the streaming loader of the `datasets` library with one worker, which reads the npz itself, where it is installed.

All of them read the same synthetic shards from this machine's disk, taking turns; printed are medians. The metadata is
opened beforehand, once, as a training does. On a busy machine the CPU time of the process that reads says more than the
seconds of two processes that wait for each other.
Then the peak memory of a process that reads so many shards, and of one that reads eight times as many.
"""

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.common import peak_gibibytes, table
from snowmap.config.sources import NaSar
from snowmap.sources.na_sar.index import Patches, open_patches
from snowmap.sources.na_sar.loader import Feeding, PatchLoader
from snowmap.sources.synthetic.na_sar import synthesize_na_sar

LIMIT = 1.10
MANY = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patches", type=int, default=128, help="that are written")
    parser.add_argument("--repeats", type=int, default=4, help="times that they are read in a round")
    parser.add_argument("--batch", type=int, default=64, help="items of a batch")
    parser.add_argument("--root", type=Path, help="shards to read instead")
    parser.add_argument("--read", action="store_true", help="read --root once, and no more")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # the process that gets the Batches leaves the other core to the one that reads
    if asked.read:
        ours(repeated(asked.root, asked.repeats), asked.batch, workers=0)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = asked.root or Path(folder) / "na_sar"
        if not asked.root:
            synthesize_na_sar(root, patches=asked.patches, shards=4)
        patches = repeated(root, asked.repeats)
        ways: dict[str, Callable[[], int]] = {
            "bare loop": lambda: bare(root, asked.repeats),
            "snowmap": lambda: ours(patches, asked.batch, workers=1),
            "datasets": lambda: theirs(root, asked.repeats),
        }
        try:
            import datasets

            datasets.disable_progress_bars()
        except ModuleNotFoundError:
            print("the datasets library is not installed, and is left out")
            del ways["datasets"]
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(asked.rounds):
            for name, read in ways.items():
                seconds[name].append(timed(read))
        peaks = {
            repeats: peak_gibibytes("-m", "benchmarks.streaming", "--read", f"--root={root}", f"--repeats={repeats}")
            for repeats in (1, MANY)
        }
    medians = {name: [statistics.median(each) for each in zip(*of, strict=True)] for name, of in seconds.items()}
    wall, cpu = medians["bare loop"]
    rows = [(name, f"{1 / of[0]:.1f}", f"{of[0] / wall:.3f}", f"{of[1] / cpu:.3f}") for name, of in medians.items()]
    ratios = (f"time ÷ bare loop (limit {LIMIT:.2f})", "CPU time of the process that reads ÷ bare loop")
    print(table(("reader", "samples per second", *ratios), rows))
    few, many = peaks.values()
    print(f"peak memory: {few:.2f} GiB, of {MANY} times as many shards {many:.2f} GiB")


def timed(read: Callable[[], int]) -> tuple[float, float]:
    """Seconds of each sample, and CPU seconds of the worker, or of this process where there is none."""
    wall, before = time.perf_counter(), os.times()
    samples = read()
    wall, after = time.perf_counter() - wall, os.times()
    own, workers = (sum(after[i : i + 2]) - sum(before[i : i + 2]) for i in (0, 2))
    return wall / samples, (workers or own) / samples


def bare(root: Path, repeats: int) -> int:
    samples = 0
    for path in sorted(root.glob("data/*.tar")) * repeats:
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content
                with np.load(io.BytesIO(content.read())) as file:
                    samples += bool({key: file[key] for key in file.files})
    return samples


def ours(patches: Patches, batch: int, workers: int) -> int:
    loader = PatchLoader(patches, Feeding(batch_size=batch, shuffle=16), workers, shuffle=True)
    return sum(len(members.batch().x) for members in loader) // 2


def theirs(root: Path, repeats: int) -> int:
    import datasets
    from torch.utils.data import DataLoader

    files = [str(path) for path in sorted(root.glob("data/*.tar"))] * repeats
    stream = datasets.load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True)
    return sum(1 for _ in DataLoader(stream, batch_size=None, num_workers=1))  # type: ignore[arg-type]


def repeated(root: Path, repeats: int) -> Patches:
    """The patches of a folder, as if there were so many copies of each shard."""
    patches = open_patches(vars(NaSar(root=str(root))))
    shards = len(patches.shards)
    tables = [patches.table.assign(shard=patches.table["shard"] + shards * copy) for copy in range(repeats)]
    return replace(patches, table=pd.concat(tables), shards=patches.shards * repeats)


if __name__ == "__main__":
    main()
