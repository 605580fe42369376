"""Score a checkpoint beside the baselines: ``python evaluate.py ckpt=… [split=test] [out=…] [data.root=…]``."""

from pathlib import Path
from typing import Any

from snowmap.config.schema import EvaluateConfig
from snowmap.runs.command_line import launch


def main(config: dict[str, Any], _: Path) -> None:
    """Score one checkpoint."""
    # the configuration was checked before anything heavy is imported
    from snowmap.evaluation import print_table
    from snowmap.evaluation.scoring import evaluation_folder, load_with_archives, score_model

    checkpoint, subset = config["ckpt"], config["split"]
    model, cubes = load_with_archives(checkpoint, root=config["data"]["root"], device=config["device"])
    out = config["out"] or evaluation_folder(checkpoint, subset, model.metadata, cubes)
    print_table(score_model(model, cubes, checkpoint, subset=subset, out=out, scoring=config["scoring"]))
    each = ", in a folder for each archive" if len(cubes) > 1 else ""
    print(f"\nreport.html, metrics.json, metrics.csv, predictions.nc and maps.png lie in {out}{each}")


if __name__ == "__main__":
    launch(main, EvaluateConfig, Path(__file__).with_name("conf") / "evaluation" / "evaluate.yaml")
