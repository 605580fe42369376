"""Score a checkpoint beside the baselines: ``python evaluate.py ckpt=… [split=test] [out=…] [data.root=…]``."""

from pathlib import Path
from typing import Any

from snowmap.config.schema import EvaluateConfig
from snowmap.runs.command_line import launch


def main(config: dict[str, Any], _: Path) -> None:
    """Score one checkpoint."""
    # the configuration was checked before anything heavy is imported
    from snowmap.evaluation import print_table
    from snowmap.evaluation.scoring import evaluation_folder, score_checkpoint

    out = config["out"] or evaluation_folder(config["ckpt"], config["split"])
    result = score_checkpoint(
        config["ckpt"],
        part=config["split"],
        root=config["data"]["root"],
        out=out,
        device=config["device"],
        scoring=config["scoring"],
    )
    print_table(result)
    print(f"\nreport.html, metrics.json, metrics.csv, predictions.nc and maps.png lie in {out}")


if __name__ == "__main__":
    launch(main, EvaluateConfig, Path(__file__).with_name("conf") / "evaluation" / "evaluate.yaml")
