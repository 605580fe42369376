"""Score a checkpoint beside the baselines: ``python evaluate.py ckpt=… [split=test] [out=…] [data.root=…]``."""

import hydra
from omegaconf import DictConfig

from snowmap.config import EvaluateConfig, check_config, launch


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(composed: DictConfig) -> None:
    """Score one checkpoint; the configuration is checked before anything heavy is imported."""
    config = check_config(composed, EvaluateConfig)

    from snowmap.evaluation import print_table
    from snowmap.scoring import evaluation_folder, score_checkpoint

    out = config["out"] or evaluation_folder(config["ckpt"], config["split"])
    result = score_checkpoint(
        config["ckpt"], part=config["split"], root=config["data"]["root"], out=out, device=config["device"]
    )
    print_table(result)
    print(f"\nmetrics.json, metrics.csv, predictions.nc and maps.png lie in {out}")


if __name__ == "__main__":
    launch(main, EvaluateConfig)
