"""Each model on a GPU: windows per second, peak memory and the share of the bare loop, in fp32, bf16 and compiled.

Nothing but a GPU is needed; the archive is made in memory. Counted are the windows whose targets the loss sees.

python -m benchmarks.accelerator [--models unet …] [--epochs 10] [--height 93] [--width 211] [--out results.md]
"""

import argparse
import platform
import statistics
from pathlib import Path

import torch

from benchmarks.common import MODELS, bare_epochs, configuration, framework_epochs, parts, table
from snowmap.runs.training import quiet
from snowmap.sources.synthetic import synthesize
from snowmap.tasks.load import pick_device

FORMS = {"fp32": ("32-true", False), "bf16": ("bf16-mixed", False), "bf16 compiled": ("bf16-mixed", True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--epochs", type=int, default=10, help="timed epochs, after three to warm up")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--height", type=int, default=93)
    parser.add_argument("--width", type=int, default=211)
    parser.add_argument("--device", default="cuda", help="cpu tries the program without a GPU")
    parser.add_argument("--out", type=Path, help="file for the table")
    asked = parser.parse_args()
    quiet()
    device = pick_device(asked.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    cube = synthesize(windows=asked.windows, shape=(asked.height, asked.width))
    rows = []
    for model in asked.models:
        for form in asked.forms:
            precision, compiled = FORMS[form]
            accelerator = "gpu" if device.type == "cuda" else "cpu"
            config = configuration(
                f"model={model}",
                f"trainer.accelerator={accelerator}",
                f"trainer.precision={precision}",
                f"compile={str(compiled).lower()}",
                "trainer.deterministic=false",
            )
            supervised = sum(sum(sample.supervised) for sample in parts(config, cube)[1].train)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            ours = statistics.median(framework_epochs(config, cube, asked.epochs + 3)[3:])
            peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
            autocast = torch.bfloat16 if precision == "bf16-mixed" else None
            bare = statistics.median(bare_epochs(config, cube, asked.epochs + 3, device.type, autocast)[3:])
            rows.append((model, form, f"{supervised / ours:.1f}", f"{peak:.2f} GiB", f"{bare / ours:.2f}"))
            print(*rows[-1], sep="  ", flush=True)
    text = table(("model", "form", "windows per second", "peak memory", "share of the bare loop"), rows)
    text = (
        f"{name}, torch {torch.__version__}, {asked.windows} windows of {asked.height} × {asked.width} px\n\n{text}\n"
    )
    print("\n" + text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
