"""Whose folder it is, and what configuration lies in it: what a command may begin or go on with there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snowmap.errors import SnowmapError
from snowmap.files import is_unfinished

KEYS_WITHOUT_EFFECT = (
    "ckpt",
    "launcher",
    "logger",
    "data.threads",
    "data.cache",
    "trainer.enable_progress_bar",
    "sweep",
)
"""Keys, or groups of keys, that may differ when a run is resumed: they change nothing that is computed."""

_BEFORE_THE_RECORD = {".lock", "run.log", ".hydra"}
"""What may lie in a run folder that has no record yet: the lock, the log that a launcher opens, Hydra's own folder."""


def refuse_foreign(folder: Path, own: str, key: str = "hydra.run.dir") -> None:
    """Refuse a folder with files of others; a new or empty one is taken, and one that was taken before.

    Args:
        folder: It need not exist.
        own: Name of the file that tells that it was taken.
        key: Of the configuration, by which another folder can be given.

    Raises:
        SnowmapError: When files lie there, but not `own`.
    """
    found = foreign_files(folder)
    if found and own not in found:
        raise SnowmapError(
            f"{folder} holds other files ({', '.join(found[:3])}{', …' if len(found) > 3 else ''}) and no {own}; give "
            f"a new or empty folder as {key}=…"
        )


def foreign_files(folder: Path) -> list[str]:
    """Names of what lies in a folder, but for what a run writes before its record."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path.name for path in paths if path.name not in _BEFORE_THE_RECORD and not is_unfinished(path)]


def stored_config(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the run in a folder, flat.

    Raises:
        SnowmapError: When it cannot be read, or lacks a group of `config`.
    """
    file = folder / "config.yaml"
    try:
        found: Any = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise SnowmapError(f"{file} cannot be read ({str(error).splitlines()[0]})") from error
    lacking = list(config) if not isinstance(found, dict) else [key for key in config if key not in found]
    if lacking:
        raise SnowmapError(f"{file} is damaged, or of an older version: it lacks {', '.join(lacking[:3])}")
    return flat(found)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys in which two flat configurations differ, but for those of no account."""
    keys = [key for key in {**one, **other} if str(one.get(key)) != str(other.get(key))]
    return [key for key in keys if not within(key, KEYS_WITHOUT_EFFECT)]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as one level, with keys in dots."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def within(key: str, groups: Sequence[str]) -> bool:
    """Whether a key in dots is one of `groups`, or lies in one."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)
