"""Whose folder it is, and what configuration lies in it: what a command may begin or resume there."""

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


def refuse_foreign(folder: Path, marker: str, key: str = "hydra.run.dir") -> None:
    """Refuse a folder with files of others; a new or empty one is taken, and one that was taken before.

    Args:
        folder: It need not exist.
        marker: Name of the file that says that it was taken.
        key: Of the configuration, by which another folder can be given.

    Raises:
        SnowmapError: When files lie there, but not `marker`.
    """
    names = foreign_files(folder)
    if names and marker not in names:
        raise SnowmapError(
            f"{folder} holds other files ({', '.join(names[:3])}{', …' if len(names) > 3 else ''}) and no {marker}; "
            f"give a new or empty folder as {key}=…"
        )


def foreign_files(folder: Path) -> list[str]:
    """Names of what lies in a folder, but for what a run writes before its record."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path.name for path in paths if path.name not in _BEFORE_THE_RECORD and not is_unfinished(path)]


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.yaml`` in a folder holds; empty where it holds no keys.

    Raises:
        SnowmapError: When it cannot be read.
    """
    file = folder / "config.yaml"
    try:
        stored: Any = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise SnowmapError(f"{file} cannot be read ({str(error).splitlines()[0]})") from error
    return stored if isinstance(stored, dict) else {}


def stored_config(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the run in a folder, flat.

    Raises:
        SnowmapError: When it cannot be read, or lacks a group of `config`.
    """
    stored = read_config(folder)
    if lacking := [key for key in config if key not in stored]:
        file = folder / "config.yaml"
        raise SnowmapError(f"{file} is damaged, or of an older version: it lacks {', '.join(lacking[:3])}")
    return flat(stored)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys in which two flat configurations differ, but for those without effect."""
    keys = [key for key in {**one, **other} if str(one.get(key)) != str(other.get(key))]
    return [key for key in keys if not within(key, KEYS_WITHOUT_EFFECT)]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as one level, with keys in dots."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def within(key: str, groups: Sequence[str]) -> bool:
    """Whether a key in dots is one of `groups`, or lies in one."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)
