"""From the command line to a checked configuration, in plain containers (`snowmap.config.schema` lists the keys).

Checked before anything heavy is imported, so a misspelt key costs no more than Hydra itself. This module imports
neither torch nor xarray.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snowmap.config.fields import Expected
from snowmap.config.models import BASELINES
from snowmap.config.schema import GROUPS, NAMED, OPTIONAL, TrainConfig
from snowmap.errors import SnowmapError, shown

PATCHES = {"data": "na_sar", "split": "geography"}
"""What is of patches without targets, by group: it goes with ``task=pretraining``, and nothing else does."""

NOT_IN_PRETRAINING = {"init_from": None, "freeze": "none", "ablation": "all", "ensemble": 1, "final_fit": False}
"""Keys of runs that map targets, with their defaults."""

KINDS = {bool: "true or false", str: "a text", dict: "a mapping, e.g. {key: value}"}
"""What is expected of a key that declares nothing but its type."""


def check_config(composed: DictConfig, schema: type) -> dict[str, Any]:
    """The composed configuration as plain containers, or one error that names the key at fault.

    Args:
        composed: What Hydra composed; its interpolations are resolved here.
        schema: `TrainConfig` or `EvaluateConfig`.

    Raises:
        SnowmapError: On an unknown key, a missing value, or one that is not among those that the key takes.
    """
    try:
        given: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise SnowmapError(f"{error.full_key} cannot be resolved: {one_line(error)}") from error
    named = NAMED if schema is TrainConfig else {}
    config = typed(schema, {key: value for key, value in given.items() if key not in named})
    for group, schemas in named.items():
        name = given[group].get("name") if isinstance(given.get(group), dict) else given.get(group)
        if not isinstance(name, str) or name not in schemas:
            expected = " | ".join(schemas) + nearest(str(name), schemas)
            raise SnowmapError(f"{group}.name={shown(name)}: expected {expected}")
        config[group] = typed(schemas[name], given[group], f"{group}.")
    if schema is TrainConfig:
        _check_together(config)
        if config["sweep"]["name"] == "none":
            del config["search"]  # it is no setting of a run
        if config["task"] != "pretraining":
            del config["pretraining"]
    return config


def check_overrides(arguments: list[str], schema: type, folder: Path) -> None:
    """Reject a misspelt or added (``+``) key and an unknown choice of a group before Hydra composes anything.

    Args:
        arguments: The command line without the program's name.
        schema: `TrainConfig` or `EvaluateConfig`.
        folder: Where the groups are, ``conf/``.

    Raises:
        SnowmapError: Naming the key or choice and the nearest right one.
    """
    if {"-sc", "--shell-completion"} & set(arguments):
        return  # what follows are Hydra's own words and half a command
    groups = GROUPS if schema is TrainConfig else ()
    known = {*known_keys(schema), *groups}
    elsewhere = any(word.startswith(("--config-", "-c", "hydra.searchpath=")) for word in arguments)
    for argument in arguments:
        key, separator, _ = argument.partition("=")
        key = key.lstrip("+~").partition("@")[0].replace("/", ".")
        if separator and not key.startswith(("-", "hydra.")) and key not in known:
            raise SnowmapError(f"'{key}' is no key of the configuration{nearest(key, known)}")
        if key in groups and not argument.startswith("-"):
            _check_choice(argument, key, sorted(file.stem for file in (folder / key).glob("*.yaml")), elsewhere)


def _check_choice(argument: str, group: str, choices: list[str], elsewhere: bool) -> None:
    """Refuse a choice of a group that has no file; what is `elsewhere`, in folders of the user's, Hydra knows."""
    override = OverridesParser.create().parse_overrides([argument])[0]
    swept, given = override.is_sweep_override(), override.value()
    try:
        values = (
            given.filter(choices) if isinstance(given, Glob) else list(override.sweep_iterator()) if swept else [given]
        )
    except HydraException:
        return  # Hydra says what is wrong with it
    possible, deleted = " | ".join(choices), override.is_delete()
    required = group not in OPTIONAL
    if not values and not elsewhere:
        raise SnowmapError(f"{argument}: expected names among {possible}")
    for value in values:
        if required and isinstance(value, list) and len(value) > 1:
            raise SnowmapError(f"{group}={shown(value)}: expected one of {possible}")
    taken = [name for each in values for name in (each if isinstance(each, list) and not deleted else [each])]
    for value in taken or ([None] if required else []):
        unknown = str(value) not in choices and not elsewhere
        if (required or not deleted) if value is None else deleted or unknown:
            raise SnowmapError(f"{group}={shown(value)}: expected {possible}{nearest(str(value), choices)}")


def known_keys(schema: type) -> list[str]:
    """Every key that `schema` knows, in dots; those of all models under ``model``."""
    keys = list(_keys(schema))
    if schema is TrainConfig:
        keys += [f"{group}.{key}" for group, known in NAMED.items() for kind in known.values() for key in _keys(kind)]
    return keys


def run_folder(checkpoint: str | None, fallback: str) -> str:
    """The folder of the run that `checkpoint` belongs to, else `fallback`: a run is resumed where it lies."""
    if checkpoint:
        folder = Path(checkpoint).absolute().parent.parent
        if (folder / "run.json").is_file():
            return str(folder)
    return fallback


OmegaConf.register_new_resolver("snowmap.runs.folder", run_folder, replace=True)


def typed(schema: Any, given: Any, prefix: str = "") -> dict[str, Any]:
    """What was given, in the types of `schema` and with its defaults; each value is one that its key takes.

    Args:
        schema: A dataclass of keys.
        given: Plain containers.
        prefix: What stands before the keys in messages, e.g. ``"insar."``.

    Raises:
        SnowmapError: On an unknown key, a missing value, or one that is not among those that the key takes.
    """
    entries = {entry.name: entry for entry in fields(schema)}
    if not isinstance(given, dict):
        raise SnowmapError(f"{prefix[:-1]}={shown(given)}: expected keys, e.g. {prefix}{[*entries][-1]}=…")
    checked, groups = OmegaConf.structured(schema), {}
    for name, value in given.items():
        if name not in entries:
            raise SnowmapError(f"'{prefix}{name}' is no key of the configuration{nearest(str(name), entries, prefix)}")
        if is_dataclass(entries[name].type):
            groups[name] = typed(entries[name].type, value, f"{prefix}{name}.")
            continue
        try:
            checked[name] = value
        except (OmegaConfBaseException, OverflowError) as error:
            raise _unexpected(prefix, entries[name], value) from error
    config: Any = OmegaConf.to_container(checked)
    for name, entry in entries.items():
        if config[name] == MISSING and name not in NAMED:
            raise SnowmapError(f"no value for {prefix}{name}; give it as {prefix}{name}=…")
        if not _holds(entry, config[name]):
            raise _unexpected(prefix, entry, config[name])
    return config | groups


def _holds(entry: Any, value: Any) -> bool:
    if "expected" not in entry.metadata or (value is None and entry.type is not Any):
        return True  # its type says whether it may be None
    try:
        return entry.metadata["expected"].holds(value)
    except TypeError:  # what cannot be compared is none of them
        return False


def _unexpected(prefix: str, entry: Any, value: Any) -> SnowmapError:
    """An error that names key, value and what is possible."""
    kinds = get_args(entry.type) if isinstance(entry.type, UnionType) else (entry.type,)
    expected = entry.metadata.get("expected") or Expected(KINDS[get_origin(kinds[0]) or kinds[0]], bool)
    words = expected.words + (", or null" if NoneType in kinds else "")
    hint = nearest(str(value), [*map(str, expected.choices)])
    return SnowmapError(f"{prefix}{entry.name}={shown(value)}: expected {words}{hint}")


def _check_together(config: dict[str, Any]) -> None:
    """What no key by itself can tell."""
    if config["ckpt"] and config["init_from"]:
        raise SnowmapError("ckpt=… resumes a run, init_from=… begins a new one with its weights; give one of them")
    _check_pretraining(config)
    if config["task"] != "pretraining":
        _check_maps(config)
    if config["freeze"] != "none" and not (config["ckpt"] or config["init_from"] or config["model"].get("weights")):
        raise SnowmapError(f"freeze={config['freeze']} would hold random weights; give those of a run as init_from=…")


def _check_maps(config: dict[str, Any]) -> None:
    """What no key of a run that maps targets can tell by itself."""
    retrieval, density = config["data"]["retrieval"], config["data"]["snow_density_kg_m3"]
    if (retrieval == "guneriussen") != (density is not None):
        mend = "leave it out" if density is not None else "give one, e.g. data.snow_density_kg_m3=150 for new snow"
        raise SnowmapError(
            f"data.retrieval={retrieval} with data.snow_density_kg_m3={shown(density)}: guneriussen needs a density, "
            f"the others have none; {mend}"
        )
    _check_pieces(config)
    model = config["model"]["name"]
    for key, default in (("ablation", "all"), ("init_from", None)):
        if model in BASELINES and config[key] != default:
            raise SnowmapError(f"{key}=… is for nets; model={model} is a baseline; leave {key}=… out")
    if config["final_fit"] and config["evaluate"] == "validation":
        raise SnowmapError("evaluate=validation with final_fit=true: these windows train, too; choose test or none")


def _check_pretraining(config: dict[str, Any]) -> None:
    """Refuse patches without a pre-training, a pre-training without patches, and what it does not know."""
    pretraining = config["task"] == "pretraining"
    for group, choice in PATCHES.items():
        given = config[group]["name"]
        if pretraining and given != choice:
            raise SnowmapError(
                f"{group}={given} has no patches to pre-train on; task=pretraining needs {group}={choice}"
            )
        if not pretraining and given == choice:
            raise SnowmapError(
                f"{group}={choice} is of patches without a target, but task={config['task']} learns targets; give "
                f"task=pretraining, or another {group}="
            )
    if not pretraining:
        return
    model = config["model"]["name"]
    if model in BASELINES:
        raise SnowmapError(f"model={model} is a baseline, which cannot be pre-trained; choose a net")
    given = {key: config[key] for key in NOT_IN_PRETRAINING} | {"sweep": config["sweep"]["name"]}
    for key, value in given.items():
        if value != NOT_IN_PRETRAINING.get(key, "none"):
            raise SnowmapError(f"{key}={shown(value)} is not for task=pretraining; leave {key}=… out")


def _check_pieces(config: dict[str, Any]) -> None:
    """Refuse ways to draw training pieces that do not go together."""
    data = config["data"]
    if data["class_share"] is not None and (config["task"] != "segmentation" or data["crop"] is None):
        raise SnowmapError("data.class_share=… is of pieces of a class map; give task=segmentation and data.crop=…")
    if data["patches"] > 1 and data["crop"] is None:
        raise SnowmapError(f"data.patches={data['patches']} of each sequence need a size; give data.crop=…")


def of_another_choice(message: str) -> str:
    """What to say of a key that only another ``model=`` or ``split=`` has; Hydra would advise to append it."""
    match = re.match(r"Could not override '((\w+)\.[\w.]+)'", message)
    if not match:
        return ""
    key, group = match.groups()
    return f"'{key}' is no key of the {group}= that was chosen; choose another {group}=, or leave the key out"


def nearest(word: str, known: Any, prefix: str = "") -> str:
    """A hint at the word that was probably meant; empty where none is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{prefix}{near[0]}'?" if near else ""


def one_line(error: Exception) -> str:
    """What an error of Hydra or OmegaConf says, without what it adds for programmers."""
    message = str(error)
    if message.startswith("Error merging override") and error.__cause__:  # which says why
        message += f": {error.__cause__}"
    return shown(re.split(r"\n    full_key:|\nSee https?:", message)[0], longest=500)


def _keys(schema: Any) -> Iterator[str]:
    for entry in fields(schema):
        yield entry.name
        if is_dataclass(entry.type):
            yield from (f"{entry.name}.{key}" for key in _keys(entry.type))
