"""From the command line to a checked configuration, in plain containers (`snowmap.schema` lists the keys).

Checked before anything heavy is imported, so a misspelt key costs no more than Hydra itself. This module imports
neither torch nor xarray.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snowmap.errors import SnowmapError
from snowmap.schema import CHOICES, GROUPS, NAMED, EvaluateConfig, TrainConfig


def check_config(composed: DictConfig, schema: type) -> dict[str, Any]:
    """The composed configuration as plain containers, or one error that names the key at fault.

    Args:
        composed: What Hydra composed.
        schema: `TrainConfig` or `EvaluateConfig`.

    Raises:
        SnowmapError: On an unknown key, a wrong type, a missing value or a word that is not among the choices.
    """
    try:
        named = NAMED if schema is TrainConfig else {}
        plain = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in named])
        merged = OmegaConf.merge(OmegaConf.structured(schema), plain)
        config: Any = OmegaConf.to_container(merged, throw_on_missing=schema is EvaluateConfig)
        for group, schemas in named.items():
            config[group] = _check_named(group, composed.get(group), schemas)
        if schema is TrainConfig:
            _check_values(config)
            if missing := OmegaConf.missing_keys(merged) - {*named}:
                raise SnowmapError(f"no value for {', '.join(sorted(missing))}; give it as {sorted(missing)[0]}=…")
        _check_scoring(config["scoring"])
    except OmegaConfBaseException as error:
        raise SnowmapError(_explain(error, schema)) from error
    given = OmegaConf.create(config)
    for key, words in CHOICES.items():
        value = OmegaConf.select(given, key)
        if isinstance(value, str) and value not in words:
            raise SnowmapError(f"{key}={value} is not possible; choose {' | '.join(words)}{nearest(value, words)}")
    if schema is TrainConfig and config["sweep"]["name"] == "none":
        del config["search"]  # it is no setting of a run
    return config


def check_overrides(arguments: list[str], schema: type) -> None:
    """Reject a misspelt or added (``+``) key of the command line before Hydra composes anything.

    Args:
        arguments: The command line without the program's name.
        schema: `TrainConfig` or `EvaluateConfig`.

    Raises:
        SnowmapError: Naming the key and the nearest right one.
    """
    if {"-sc", "--shell-completion"} & set(arguments):
        return  # what follows are Hydra's own words and half a command
    known = {*known_keys(schema), *(GROUPS if schema is TrainConfig else ())}
    for argument in arguments:
        key, separator, _ = argument.partition("=")
        key = key.lstrip("+~").partition("@")[0].replace("/", ".")
        if separator and not key.startswith(("-", "hydra.")) and key not in known:
            raise SnowmapError(f"'{key}' is no key of the configuration{nearest(key, known)}")


def known_keys(schema: type) -> list[str]:
    """Every key that `schema` knows, in dots; those of all models under ``model``."""
    keys = list(_keys(schema))
    if schema is TrainConfig:
        keys += [f"{group}.{key}" for group, known in NAMED.items() for kind in known.values() for key in _keys(kind)]
    return keys


def run_folder(checkpoint: str | None, fallback: str) -> str:
    """The folder of the run that `checkpoint` belongs to, else `fallback`: going on happens where the run lies."""
    if checkpoint:
        folder = Path(checkpoint).absolute().parent.parent
        if (folder / "config.yaml").is_file():
            return str(folder)
    return fallback


OmegaConf.register_new_resolver("snowmap.run_folder", run_folder, replace=True)


def _check_named(group: str, node: Any, schemas: dict[str, type]) -> Any:
    name = node.get("name") if isinstance(node, DictConfig) else node
    if name not in schemas:
        raise SnowmapError(
            f"{group}.name={name} is unknown; known are {', '.join(schemas)}{nearest(str(name), schemas)}"
        )
    try:
        return OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schemas[name]), node))
    except OmegaConfBaseException as error:
        raise SnowmapError(_explain(error, schemas[name], f"{group}.")) from error


def _check_values(config: dict[str, Any]) -> None:
    data, ema = config["data"], config["callbacks"]["ema"]
    time = data["time"]
    if time not in (None, "season") and not (type(time) is int and time >= 1):
        raise SnowmapError(f"data.time={time}: expected a number of windows from 1 on, season, or null")
    if data["phase_sign"] not in (None, 1, -1):
        raise SnowmapError(f"data.phase_sign={data['phase_sign']}: expected 1, -1, or null to let it be found")
    if data["crop"] is not None and (len(data["crop"]) != 2 or min(data["crop"]) < 1):
        raise SnowmapError(f"data.crop={data['crop']}: expected [height, width] in pixels, or null")
    if not 0 < data["resident_share"] <= 1:
        raise SnowmapError(f"data.resident_share={data['resident_share']}: expected a share from above 0 to 1")
    if config["ensemble"] < 1 or config["dropout_samples"] < 0:
        raise SnowmapError(
            f"ensemble={config['ensemble']}, dropout_samples={config['dropout_samples']}: expected at least 1 and 0"
        )
    if config["ckpt"] and config["init_from"]:
        raise SnowmapError("ckpt=… goes on with a run, init_from=… begins a new one with its weights; give one of them")
    if config["freeze"] != "none" and not (config["ckpt"] or config["init_from"]):
        raise SnowmapError(f"freeze={config['freeze']} would hold random weights; give those of a run as init_from=…")
    if not 0 < config["optimizer"]["layer_decay"] <= 1:
        raise SnowmapError(
            f"optimizer.layer_decay={config['optimizer']['layer_decay']}: expected a factor from above 0 to 1"
        )
    if not 0 <= config["head"].get("beta", 0) <= 1:
        raise SnowmapError(f"head.beta={config['head']['beta']}: expected a number from 0 to 1")
    for key, least in (("trials", 1), ("startup_trials", 0), ("warmup_epochs", 0), ("seed", 0)):
        if config["sweep"].get(key, least) < least:
            raise SnowmapError(f"sweep.{key}={config['sweep'][key]}: expected a whole number from {least} on")
    logger = config["logger"]
    if logger["maps"] < 0 or logger["maps_every"] < 1:
        raise SnowmapError(
            f"logger.maps={logger['maps']}, logger.maps_every={logger['maps_every']}: expected at least 0 and 1"
        )
    if ema is not None and not 0 < ema < 1:
        raise SnowmapError(f"callbacks.ema={ema}: expected a decay between 0 and 1, e.g. 0.98, or null")


def _check_scoring(scoring: dict[str, Any]) -> None:
    for key in ("snow_threshold_swe_mm", "snow_threshold_hs_cm", "elevation_step_m"):
        if not 0 < scoring[key] < float("inf"):
            raise SnowmapError(f"scoring.{key}={scoring[key]}: expected a number above 0")
    if scoring["aspect_directions"] not in (4, 8):
        raise SnowmapError(f"scoring.aspect_directions={scoring['aspect_directions']}: expected 4 or 8")
    for key, least in (("block_pixels", 1), ("resamples", 100), ("seed", 0)):
        if scoring[key] < least:
            raise SnowmapError(f"scoring.{key}={scoring[key]}: expected a whole number from {least} on")
    if not 0 < scoring["level"] < 1:
        raise SnowmapError(f"scoring.level={scoring['level']}: expected a share between 0 and 1, e.g. 0.9")


def _explain(error: OmegaConfBaseException, schema: type, prefix: str = "") -> str:
    key = str(error.full_key or error.key)
    message = str(error).splitlines()[0]
    if key not in set(_keys(schema)):
        return f"'{prefix}{key}' is no key of the configuration{nearest(key, set(_keys(schema)), prefix)}"
    return f"{prefix}{key}: {message}"


def of_another_choice(message: str) -> str:
    """What to say of a key that only another ``model=`` or ``split=`` has; Hydra would advise to append it."""
    found = re.match(r"Could not override '((\w+)\.[\w.]+)'", message)
    if not found:
        return ""
    key, group = found.groups()
    return f"'{key}' is no key of the {group}= that was chosen; choose another {group}=, or leave the key out"


def nearest(word: str, known: Any, prefix: str = "") -> str:
    """A hint at the word that was probably meant; empty where none is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{prefix}{near[0]}'?" if near else ""


def _keys(schema: Any) -> Iterator[str]:
    for entry in fields(schema):
        yield entry.name
        if is_dataclass(entry.type):
            yield from (f"{entry.name}.{key}" for key in _keys(entry.type))
