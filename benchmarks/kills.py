"""Kills at random moments: whether the same command resumes, and ends like an uninterrupted run.

Each start of a training reads the archive into an empty cache, trains, writes checkpoints and scores, and each export
maps all windows; all of it is killed at a moment drawn at random. A run that ends before its moment is compared with an
uninterrupted run, and another one begins, until there were so many kills.

python -m benchmarks.kills [--kills 20] [--signal KILL] [--seed 0] [--epochs 30] [--windows 40]
"""

import argparse
import json
import random
import signal
import tempfile
import time
from pathlib import Path

import torch

from snowmap.sources.synthetic import synthesize
from snowmap.sources.trentino import write_archive
from tests.commands import Started, begin

WORDS = ("model.channels=[8,16]", "callbacks.ema=0.9", "trainer.enable_progress_bar=false")


def start(words: list[str], cache: Path) -> Started:
    return begin(*words, SNOWMAP_CACHE=str(cache))


def killed(words: list[str], cache: Path, after_s: float, number: int) -> bool:
    """Whether the command was still at work then; if it was not, it succeeded."""
    process = start(words, cache)
    status = process.wait(after_s)
    if status is None:
        process.send_signal(number)
        process.wait()
        return True
    assert status == 0, (words, process.communicate()[0])
    return False


def outcome(run: Path) -> tuple[list[torch.Tensor], object]:
    """Weights and scores of a finished run."""
    files = (run / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    weights = [value for file in files for value in torch.load(file, weights_only=True)["state_dict"].values()]
    return weights, json.loads((run / "evaluation" / "test" / "metrics.json").read_text())["target"]


def same(a: Path, b: Path) -> bool:
    (weights, scores), (other, known) = outcome(a), outcome(b)
    return all(map(torch.equal, weights, other)) and scores == known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--words", nargs="*", default=[], help="for train.py")
    asked = parser.parse_args()
    number, draw = signal.Signals[f"SIG{asked.signal}"], random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        archive = write_archive(synthesize(windows=asked.windows, shape=(24, 32)), place / "archive")
        train = ["train.py", f"data.root={archive}", f"trainer.max_epochs={asked.epochs}", *WORDS, *asked.words]
        began = time.monotonic()
        assert start([*train, f"hydra.run.dir={place}/straight"], place / "cache").wait() == 0
        took_s, kills, runs, alike = time.monotonic() - began, 0, 0, 0
        while kills < asked.kills:
            words, ended = [*train, f"hydra.run.dir={place}/{runs}"], False
            while not ended:
                after_s = draw.uniform(0.1, 1) * took_s if kills < asked.kills else 600
                ended = not killed(words, place / f"cache{kills}", after_s, number)
                kills += not ended
            alike += same(place / str(runs), place / "straight")
            runs += 1
        print(
            f"{kills} × SIG{asked.signal} in training: {alike} of {runs} runs ended as if nothing had been", flush=True
        )
        best = place / "straight" / "checkpoints" / "best.ckpt"
        export = ["snowmap/cli/__main__.py", "predict", str(best), str(archive)]
        began = time.monotonic()
        assert start([*export, f"{place}/maps"], place / "cache").wait() == 0
        took_s, kills = time.monotonic() - began, 0
        for kills in range(asked.kills):
            killed([*export, f"{place}/again"], place / f"export{kills}", draw.uniform(0.3, 1) * took_s, number)
        assert not killed([*export, f"{place}/again"], place / "cache", 600, number)
        files = sorted(path.relative_to(place / "maps") for path in (place / "maps").rglob("*.tif"))
        alike = sum((place / "again" / file).read_bytes() == (place / "maps" / file).read_bytes() for file in files)
        print(
            f"{asked.kills} × SIG{asked.signal} in exporting: {alike} of {len(files)} GeoTIFFs as if nothing had been"
        )


if __name__ == "__main__":
    main()
