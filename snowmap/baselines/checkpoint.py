"""A fitted baseline as a file: plain containers and tensors in one ``torch.save``, read under ``weights_only=True``.

Scikit-learn estimators are kept as the bytes of `skops.io`, which come back without unpickling.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snowmap.baselines.base import Baseline
from snowmap.checkpoints.files import save_whole
from snowmap.data.preprocessing import Preprocessor

TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.tree._tree.Tree"]
"""Types that skops does not know by itself and that a baseline holds: the trees are arrays of numbers."""

KEYS = ("needs", "derived", "layers", "grid", "metadata")
"""Attributes that are kept as they are."""


def save_baseline(baseline: Baseline, path: Path) -> Path:
    """Write a fitted baseline; the folder is made, and nothing half written stays under `path`.

    Raises:
        WriteError: When it cannot be written.
    """
    content = {
        "baseline": {"name": baseline.name, **baseline.options},
        "preprocessing": baseline.preprocessor.options,
        **{key: getattr(baseline, key) for key in KEYS},
        "learned": _packed(baseline.learned),
    }
    return save_whole(content, path)


def restore(baseline: Baseline, content: Mapping[str, Any]) -> Baseline:
    """Give a new baseline what a file holds.

    Raises:
        LookupError: When something is missing.
        TypeError: When an estimator is of a type that no baseline uses.
    """
    for key in KEYS:
        setattr(baseline, key, content[key])
    baseline.preprocessor = Preprocessor(**content["preprocessing"])
    baseline.learned = {target: _unpacked(content["learned"][target]) for target in baseline.targets}
    return baseline


def _packed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _packed(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if hasattr(value, "predict"):
        import skops.io  # half a second, and most runs have no estimator

        return {"skops": torch.frombuffer(bytearray(skops.io.dumps(value)), dtype=torch.uint8)}
    return value


def _unpacked(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "skops" in value:
            import skops.io  # as above

            return skops.io.loads(value["skops"].numpy().tobytes(), trusted=TRUSTED)
        return {key: _unpacked(inner) for key, inner in value.items()}
    return value.numpy() if isinstance(value, torch.Tensor) else value
