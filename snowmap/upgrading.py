"""The configuration of an older checkpoint in the words of today. Imports neither torch nor xarray."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from snowmap.schema import NAMED, TrainConfig

logger = logging.getLogger(__name__)


def with_added_keys(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the keys that were added since it was stored, at the schema's defaults.

    Args:
        stored: Of a checkpoint, in plain containers; keys that no longer exist stay.
    """
    return _filled(stored, _defaults(stored))


def without_gone_keys(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the keys that no longer exist; they are named in a warning.

    Args:
        stored: Of a checkpoint, in plain containers.
    """
    defaults = _defaults(stored)
    if gone := list(_gone(stored, defaults)):
        logger.warning("the checkpoint's configuration has keys that no longer exist: %s; left out", ", ".join(gone))
    return _known(stored, defaults)


def _defaults(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Every key of the schema; those of a named group belong to the name that is stored."""
    defaults = asdict(TrainConfig())
    for group, schemas in NAMED.items():
        name = stored.get(group, {}).get("name", "")
        defaults[group] = asdict(schemas[name]()) if name in schemas else stored.get(group, {})
    return defaults


def _filled(stored: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _filled(stored[key], value) for key, value in defaults.items() if _is_group(stored, key, value)}
    return {**defaults, **stored, **both}


def _known(stored: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _known(value, defaults[key]) if _is_group(stored, key, defaults[key]) else value
        for key, value in stored.items()
        if key in defaults
    }


def _gone(stored: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in stored.items():
        if key not in defaults:
            yield prefix + key
        elif _is_group(stored, key, defaults[key]):
            yield from _gone(value, defaults[key], f"{prefix}{key}.")


def _is_group(stored: Mapping[str, Any], key: str, default: Any) -> bool:
    return isinstance(default, dict) and isinstance(stored.get(key), Mapping)
