"""Class maps: their classes, the place of each pixel's class, what decides it, the layers of a map, and scores."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float32, Int8, Real
from torch import Tensor

from snowmap.errors import SnowmapError

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


def is_class_map(attributes: Mapping[str, Any]) -> bool:
    """Whether a target, or a map, with these attributes holds classes; else it is of a quantity."""
    return "flag_values" in attributes


def places_of(values: np.ndarray, classes: Classes) -> Int8[np.ndarray, "*dims"]:
    """The place of each pixel's class; −1 where it has none of them, as where it is missing or to be ignored."""
    places = np.full(values.shape, -1, np.int8)
    for place, value in enumerate(classes.values):
        places[values == value] = place
    return places


def decide(
    classes: Classes, probabilities: Float[np.ndarray, "class *dims"], threshold: float | None = None
) -> Float32[np.ndarray, "*dims"]:
    """The class map that follows from probabilities, as `Classes.decided` says; NaN where one of them is missing."""
    missing = np.isnan(probabilities).any(axis=0)
    known = torch.from_numpy(np.where(missing, np.float32(0), probabilities))
    return np.where(missing, np.float32(np.nan), classes.decided(known, threshold).numpy()).astype(np.float32)


def decided(maps: xr.Dataset, target: str) -> Float32[np.ndarray, "window y x"]:
    """The class map that follows from the probabilities of maps, as after tiles of these were blended."""
    classes = Classes.of(target, maps[target].attrs)
    probabilities = np.stack([maps[name].values for name in classes.probabilities])
    return decide(classes, probabilities, maps[target].attrs.get("threshold"))


def class_layers(
    target: str, attributes: Mapping[str, Any], threshold: float | None = None
) -> dict[str, dict[str, Any]]:
    """Attributes of every layer of a map of classes, by name: the classes, then the probability of each.

    Args:
        target: Its name.
        attributes: Of the target in the Cube.
        threshold: As `Classes.decided` takes it; kept with the map, so that blended tiles are decided alike.
    """
    classes = Classes.of(target, attributes)
    of_map = {key: value for key, value in attributes.items() if key != "ignore_index"}
    of_map |= {} if threshold is None else {"threshold": threshold}
    return {target: of_map} | {
        name: {"units": "1", "long_name": f"probability of {meaning.replace('_', ' ')}"}
        for name, meaning in zip(classes.probabilities, classes.meanings, strict=True)
    }


def named_of_two(classes: Classes, what: str) -> int:
    """The place of the class that the target names, for what maps two classes.

    Args:
        classes: Of the target.
        what: Maps them, for the error.

    Raises:
        SnowmapError: When there are more.
    """
    if classes.named is None:
        raise SnowmapError(
            f"{what} maps two classes, but '{classes.target}' has {len(classes.values)}; choose another model="
        )
    return classes.named


def refuse_quantities(targets: Mapping[str, Mapping[str, Any]], what: str, instead: str = "another target=") -> None:
    """Refuse targets that are no class maps, for `what` maps classes; the reverse is `cube.refuse_class_maps`.

    Raises:
        SnowmapError: Naming the first of them.
    """
    for name, attributes in targets.items():
        if not is_class_map(attributes):
            raise SnowmapError(
                f"target '{name}' is a quantity in {attributes.get('units')}, but {what} maps classes; choose {instead}"
            )


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
