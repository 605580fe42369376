"""Scores of class maps, all from confusion matrices: pixels by observed and by mapped class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from snowmap.data.classes import SCORES, Classes, Confusion, class_scores


def pooled_scores(confusion: Confusion, classes: Classes) -> Float[np.ndarray, "*dims score"]:
    """`SCORES` of a target: those of the class that it names, or of more than two classes their mean.

    The mean is over the classes that are observed or mapped; ``accuracy`` is the share of pixels that are right.
    """
    of_classes = class_scores(confusion)
    if classes.named is not None:
        return np.stack([of_classes[name][..., classes.named] for name in SCORES], axis=-1)
    values = np.stack([of_classes[name] for name in SCORES], axis=-1)
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means = np.where(known, values, 0).sum(axis=-2) / known.sum(axis=-2)
        right = np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))
    means[..., SCORES.index("accuracy")] = right
    return means


def score_entry(confusion: Confusion, classes: Classes) -> dict[str, Any]:
    """`SCORES` of a target and the number of ``pixels``; None where a score is undefined."""
    return {**_plain(dict(zip(SCORES, pooled_scores(confusion, classes), strict=True))), "pixels": int(confusion.sum())}


def entry_by_class(confusion: Confusion, classes: Classes) -> dict[str, dict[str, Any]]:
    """Of each class `SCORES` against all others, and the number of ``pixels`` that are observed to be of it."""
    scores = class_scores(confusion)
    return {
        meaning: _plain({name: values[place] for name, values in scores.items()})
        | {"pixels": int(confusion[place].sum())}
        for place, meaning in enumerate(classes.meanings)
    }


def _plain(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: float(value) if np.isfinite(value) else None for name, value in scores.items()}
