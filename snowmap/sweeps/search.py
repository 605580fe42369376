"""Search spaces: what a study varies. They stand beside the models, as ``search`` in ``conf/model/*.yaml``."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from snowmap.config import check_config, nearest
from snowmap.errors import SnowmapError
from snowmap.run_config import OF_NO_ACCOUNT, flat, within
from snowmap.schema import TrainConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

THE_SAME = (*OF_NO_ACCOUNT, "data.root", "evaluate", "model.name", "scoring", "seed", "split", "target")
"""Keys, or groups of keys, that are the same in all trials: otherwise their scores could not be compared."""


def check_search(search: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Hold a search space against the configuration that it varies.

    Args:
        search: By key in dots, ``{"low", "high"}`` with ``step`` or ``log``, or ``{"choices"}``.
        config: The checked configuration.

    Raises:
        SnowmapError: When it names a key that the model does not have, or a value that the key cannot take.
    """
    where = f"the search space of model={config['model']['name']}"
    known = [key for key in flat(config) if not within(key, THE_SAME) and not within(key, ("search",))]
    for key, entry in search.items():
        if within(key, THE_SAME):
            raise SnowmapError(f"{where}: '{key}' must be the same in all trials, or they could not be compared")
        if key not in known:
            raise SnowmapError(f"{where}: '{key}' is no key of the configuration{nearest(key, known)}")
        for value in _extremes(f"{where}: {key}", entry):
            try:
                changed(config, {key: value})
            except SnowmapError as error:
                raise SnowmapError(f"{where}: {error}") from error


def changed(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a single run with other values, by key in dots.

    Raises:
        SnowmapError: When a key cannot take its value.
    """
    single = copy.deepcopy(dict(config)) | {"sweep": {"name": "none"}}
    for key, value in values.items():
        *groups, last = key.split(".")
        node: Any = single
        for group in groups:
            node = node[group]
        node[last] = value
    return check_config(OmegaConf.create(single), TrainConfig)


def distribution(entry: Mapping[str, Any]) -> "BaseDistribution":
    """One entry of a search space as Optuna draws from it; whole ends give whole numbers."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in entry:
        return CategoricalDistribution([_label(value) for value in entry["choices"]])
    low, high, step, log = entry["low"], entry["high"], entry.get("step"), entry.get("log", False)
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None):
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(low, high, log=log, step=step)


def value_of(entry: Mapping[str, Any], drawn: Any) -> Any:
    """What Optuna drew, as a value of the configuration."""
    if "choices" in entry:
        return next(value for value in entry["choices"] if _label(value) == drawn)
    return drawn


def _label(value: Any) -> Any:
    """A choice as Optuna can keep it, which knows no lists."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value


def _extremes(where: str, entry: Any) -> Iterator[Any]:
    """The values that have to be possible: every choice, or both ends.

    Raises:
        SnowmapError: When the entry is neither choices nor a range.
    """
    if not isinstance(entry, Mapping) or not ({*entry} == {"choices"} or {"low", "high"} <= {*entry} <= _RANGE):
        raise SnowmapError(f"{where}: {entry} is none of {{low, high}}, with step or log: true, and {{choices: […]}}")
    if "choices" in entry:
        if not isinstance(entry["choices"], list) or not entry["choices"]:
            raise SnowmapError(f"{where}: choices={entry['choices']}: expected a list")
        yield from entry["choices"]
        return
    ends = entry["low"], entry["high"]
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:
        raise SnowmapError(f"{where}: low={ends[0]}, high={ends[1]}: expected two numbers, the larger one as high")
    if entry.get("log") and (ends[0] <= 0 or entry.get("step")):
        raise SnowmapError(f"{where}: log: true needs a low above 0 and no step")
    yield from ends


_RANGE = {"low", "high", "step", "log"}
