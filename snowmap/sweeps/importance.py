"""Permutation importance of a trained model: by how much its error grows when a band comes from other windows."""

from itertools import product
from pathlib import Path

import pandas as pd

from snowmap.data.ablation import ablate
from snowmap.evaluation.scoring import load_with_archives, scores_of

REPEATS = 3


def permutation_importance(checkpoint: Path) -> pd.DataFrame:
    """RMSE in the validation windows with one band permuted between windows, less the RMSE with the band as it is.

    Whole maps are permuted, so that each map stays as it is; windows keep to their subset of the split, and none keeps
    its own map. A band that hardly changes from window to window, as elevation, cannot show its importance so.

    Source: Breiman (2001), Random forests, section 10; with an error of the model instead of votes.

    Returns:
        A row for each ``target``, band (``name``) and one of `REPEATS` orders: ``difference``, in the target's unit.
    """
    model, cubes = load_with_archives(checkpoint)
    usual, rows = scores_of(model, cubes), []
    subsets = [entry["split"] for entry in model.metadata["archives"]]
    for band, repeat in product(model.archive_bands, range(REPEATS)):
        plan = {"values": {}, "shuffled": [band], "seed": repeat, "subsets": subsets}
        for target, scored in scores_of(model, [ablate(cube, plan) for cube in cubes]).items():
            rows.append({"target": target, "name": band, "difference": scored["rmse"] - usual[target]["rmse"]})
    return pd.DataFrame(rows)
