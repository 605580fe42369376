"""Maps of classes as arrays: the place of each pixel's class, the layers of a map, and what decides them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float32, Int8

from snowmap.data.classes import Classes
from snowmap.errors import SnowmapError


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


def refuse_quantities(targets: Mapping[str, Mapping[str, Any]], what: str) -> None:
    """Refuse targets that are no class maps, for `what` maps classes; the reverse is `cube.refuse_class_maps`.

    Raises:
        SnowmapError: Naming the first of them.
    """
    for name, attributes in targets.items():
        if not is_class_map(attributes):
            raise SnowmapError(
                f"target '{name}' is a quantity in {attributes.get('units')}, but {what} maps classes; choose another "
                "target="
            )
