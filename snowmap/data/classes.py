"""The classes of a target that is a class map, how probabilities become one, and the scores of a confusion matrix."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Real
from torch import Tensor

Confusion = Real[np.ndarray, "*dims observed mapped"]

SCORES = ("iou", "f1", "precision", "recall", "accuracy")
"""In the order of every table."""


class Classes(NamedTuple):
    """Of a class map.

    Attributes:
        target: Its name.
        values: The value of each class in the map.
        meanings: A word for each class.
    """

    target: str
    values: tuple[int, ...]
    meanings: tuple[str, ...]

    @classmethod
    def of(cls, target: str, attributes: Mapping[str, Any]) -> "Classes":
        """Those that the attributes of a class map, ``flag_values`` and ``flag_meanings``, list."""
        values = np.atleast_1d(attributes["flag_values"]).tolist()
        return cls(target, tuple(values), tuple(str(attributes["flag_meanings"]).split()))

    @property
    def named(self) -> int | None:
        """Of two classes the index of the one that the target names, else of the second; None of more classes."""
        if len(self.values) != 2:
            return None
        return self.meanings.index(self.target) if self.target in self.meanings else 1

    @property
    def probabilities(self) -> list[str]:
        """The name of the map of each class's probability."""
        return [f"{self.target}_probability_{meaning}" for meaning in self.meanings]

    def decided(
        self, probability: Float[Tensor, "class *pixels"], threshold: float | None = None
    ) -> Float[Tensor, "*pixels"]:
        """The class map: of two classes the named one where its probability reaches `threshold`, else the likeliest."""
        values = probability.new_tensor(self.values)
        if self.named is None or threshold is None:
            return values[probability.argmax(dim=0)]
        chosen = probability[self.named] >= threshold
        return chosen.to(values.dtype) * (values[self.named] - values[1 - self.named]) + values[1 - self.named]


def observed(target: xr.DataArray) -> np.ndarray:
    """Values of a target ``(window, y, x)``: NaN where a class map has its ``ignore_index``.

    A map that is the same in all windows, broadcast without a copy, stays so.
    """
    values = target.values
    if "ignore_index" not in target.attrs:
        return values
    known = values[:1] if values.strides[0] == 0 else values
    kept = np.where(known == np.float32(target.attrs["ignore_index"]), np.float32(np.nan), known)
    return np.broadcast_to(kept, values.shape) if len(kept) < len(values) else kept


def class_scores(confusion: Confusion) -> dict[str, Float[np.ndarray, "*dims class"]]:
    """Scores of each class against all others; NaN where the divisor is 0.

    Args:
        confusion: Pixels.

    Returns:
        Of hits h, pixels o that are observed to be of the class, pixels m that are mapped as it, and all pixels n:
        ``iou`` h/(o + m − h), ``f1`` 2h/(o + m), ``precision`` h/m, ``recall`` h/o, ``accuracy`` (n − o − m + 2h)/n.
    """
    counts = confusion.astype(np.float64)
    hits, observed, mapped = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)
    total = counts.sum(axis=(-2, -1))[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "iou": hits / (observed + mapped - hits),
            "f1": 2 * hits / (observed + mapped),
            "precision": hits / mapped,
            "recall": hits / observed,
            "accuracy": (total - observed - mapped + 2 * hits) / total,
        }
