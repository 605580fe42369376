"""Search spaces: what a study varies. They stand beside the models, as ``search`` in ``conf/model/*.yaml``."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from snowmap.config.checking import check_config
from snowmap.config.schema import TrainConfig
from snowmap.errors import SnowmapError
from snowmap.runs.configuration import KEYS_WITHOUT_EFFECT, within

FIXED = (*KEYS_WITHOUT_EFFECT, "data.root", "evaluate", "model.name", "scoring", "search", "seed", "split", "target")
"""Keys, or groups of keys, that are the same in all trials: otherwise their scores could not be compared."""


def distributions(search: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """A search space as Optuna draws from it.

    Args:
        search: By key in dots, ``{"low", "high"}`` with ``step`` or ``log``, or ``{"choices"}``.
        config: The checked configuration, which it varies.

    Raises:
        SnowmapError: When it names a key that the model does not have, or a value that the key cannot take.
    """
    model = f"the search space of model={config['model']['name']}"
    drawn = {}
    for key, entry in search.items():
        if within(key, FIXED):
            raise SnowmapError(f"{model}: '{key}' must be the same in all trials, or they could not be compared")
        try:
            for value in entry["choices"] if "choices" in entry else (entry["low"], entry["high"]):
                changed(config, {key: value})
            drawn[key] = distribution(entry)
        except (SnowmapError, LookupError, TypeError, ValueError) as error:
            raise SnowmapError(
                f"{model}: {error}; found {key}: {entry}, expected {{low, high}}, with step or log, or {{choices}}"
            ) from error
    return drawn


def distribution(entry: Mapping[str, Any]) -> BaseDistribution:
    """One entry of a search space; whole ends give whole numbers.

    Raises:
        LookupError, TypeError, ValueError: When it is neither a range nor choices.
    """
    if "choices" in entry and len(entry) == 1:
        return CategoricalDistribution([label_of(value) for value in entry["choices"]])
    whole = all(type(entry.get(key, 1)) is int for key in ("low", "high", "step"))
    return IntDistribution(**entry) if whole else FloatDistribution(**entry)


def label_of(value: Any) -> Any:
    """A choice as Optuna can keep it, which knows no lists."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value


def value_of(entry: Mapping[str, Any], drawn: Any) -> Any:
    """What Optuna drew, as a value of the configuration."""
    return next((value for value in entry.get("choices", []) if label_of(value) == drawn), drawn)


def changed(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a single run with other values, by key in dots.

    Raises:
        SnowmapError: When a key cannot take its value.
    """
    single = OmegaConf.create({**copy.deepcopy(dict(config)), "sweep": {"name": "none"}})
    for key, value in values.items():
        OmegaConf.update(single, key, value, merge=False)
    return check_config(single, TrainConfig)
