"""Whatever stands behind a key of the configuration: a run, or one line that says what is wrong; never a traceback."""

import contextlib
import io
import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import train
from snowmap.config.checking import _holds, known_keys
from snowmap.config.schema import GROUPS, NAMED, EvaluateConfig, TrainConfig
from snowmap.runs.command_line import Main, launch
from snowmap.tasks.load import pick_device
from tests.commands import ROOT

EXAMPLES, RUNS = (int(os.environ.get(f"SNOWMAP_FUZZ_{what}", few)) for what, few in (("CHECKS", 60), ("RUNS", 12)))
"""How many; more of them by hand, where `SNOWMAP_FUZZ_SEED` (any word) makes them different each time."""

FIXED = {"derandomize": "SNOWMAP_FUZZ_SEED" not in os.environ, "deadline": None, "database": None}

EDGES = [
    0,
    1,
    -1,
    2,
    3,
    8,
    10**6,
    2**31,
    2**32 - 1,
    2**63,
    10**400,
    True,
    False,
    None,
    "",
    "???",
    "auto",
    "none",
    "season",
]
EDGES += [0.0, -0.0, 0.5, 1.0, 1.5, -1.0, 1e-9, 5e-324, 1e30, 1e308, math.nan, math.inf, -math.inf]
EDGES += [
    "${seed}",
    "${nope}",
    "${oc.env:HOME}",
    "${oc.env:NOT_THERE}",
    "${",
    "é雪\u202e",
    "a\nb",
    "x" * 5000,
    "/",
    "[",
    "=",
]
SCALARS = st.sampled_from(EDGES) | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "name", "0", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)


def typed(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, str):
        return value if value.startswith("${") else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{typed(key)}:{typed(entry)}" for key, entry in value.items()) + "}"
    return "null" if value is None else str(value)


def with_its_group(key: str) -> list[str]:
    """The choices without which there is no such key."""
    group, _, rest = key.partition(".")
    if group == "logger":
        return ["logger=wandb"]
    owners = [name for name, kind in NAMED.get(group, {}).items() if rest in kind.__dataclass_fields__]
    return [f"{group}={owners[0]}"] if owners else []


def outcome(main: Main, folder: Path, *words: str, schema: type = TrainConfig) -> str:
    """Run a command line in this process: empty, or its one line of error.

    Anything but success and that line fails the test, and so does a run folder that is left without a run.
    """
    file = ROOT / "conf" / ("train.yaml" if schema is TrainConfig else "evaluation/evaluate.yaml")
    argv = [f"{'train' if schema is TrainConfig else 'evaluate'}.py", *words]
    with _undone(), pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        patch.setattr(sys, "argv", [*argv, f"hydra.run.dir={folder}"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                launch(main, schema, file)
            return ""
        except SystemExit as end:
            told = str(end.code)
    assert told.startswith("error: "), told
    assert "\n" not in told, told
    assert len(told) < 1000, told
    assert "Traceback" not in said.getvalue()
    assert not folder.exists(), [*folder.rglob("*")]
    return told


@contextlib.contextmanager
def _undone() -> Iterator[None]:
    """What Hydra changes in the process is undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        HydraConfig.instance().cfg = None


def reached(config: dict[str, Any], folder: Path) -> None:
    """Stands for the program: the configuration has passed."""


KEYS = [*known_keys(TrainConfig), *GROUPS]


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), **FIXED)
@given(
    key=st.sampled_from(KEYS),
    value=VALUES.map(typed) | st.text(st.characters(exclude_characters="\0"), max_size=12),
    sign=st.sampled_from(["", "", "", "", "+", "++", "~"]),
)
def test_any_value_of_any_key_is_taken_or_answered_in_one_line(tmp_path_factory, key, value, sign):
    outcome(reached, tmp_path_factory.getbasetemp() / "checked", *with_its_group(key), f"{sign}{key}={value}")


LISTS = [
    [],
    [1],
    [4, 8],
    [8, 8, 8],
    [2, 3],
    [1000, 1],
    ["swe"],
    ["hs", "swe"],
    ["phase", "elevation"],
    ["slope"],
    ["a"],
]
NUMBERS = [-1, 0, 1, 2, 3, 5, 7, 13, 1000, 0.0, 1e-9, 5e-324, 0.01, 0.1, 0.5, 0.9999999, 1.0, 10.0, 1e30, 1e308]
LONG = ("launcher", "sweep", "search", "logger", "compile", "trainer.devices", "trainer.num_nodes", "trainer.strategy")
"""Keys that no single run reads, or whose runs take longer than a test may."""


def possible() -> Iterator[tuple[str, Any]]:
    """Keys with values that they take, at both ends of their ranges, as far as a test can wait for them."""
    for key in known_keys(TrainConfig):
        group, _, rest = key.partition(".")
        part = TrainConfig.__dataclass_fields__[group].type
        kinds = NAMED[group].values() if group in NAMED else [part if rest else TrainConfig]
        found = [entry for kind in kinds for entry in fields(kind) if entry.name == (rest or group)]
        for entry in found[:1] if not key.startswith(LONG) else []:
            expected = entry.metadata.get("expected")
            values = [*expected.choices, *LISTS, *NUMBERS, "season"] if expected else []
            yield from ((key, value) for value in values if _holds(entry, value))
            yield from ((key, value) for value in (True, False) if entry.type is bool)


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(14, (8, 9))


def run_small(config: dict[str, Any], folder: Path) -> None:
    """`train.py`, but for runs that a test cannot wait for."""
    if 1 <= config["trainer"]["max_epochs"] <= 3 and config["ensemble"] <= 10:
        train.main(config, folder)


@pytest.mark.slow
@settings(max_examples=RUNS, suppress_health_check=list(HealthCheck), **FIXED)
@given(pair=st.sampled_from(list(possible())))
def test_what_passes_the_check_runs_or_is_answered_in_one_line(archive, tmp_path_factory, pair):
    folder, (key, value) = tmp_path_factory.mktemp("run") / "run", pair
    chosen = with_its_group(key)
    small = ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", "logger=none", "split.test=3", *chosen]
    small += [] if chosen else ["model.channels=[4,8]"]
    small += [] if key.startswith("scoring") else ["evaluate=none"]
    outcome(run_small, folder, f"data.root={archive}", *small, f"{key}={typed(value)}")


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_memory_that_runs_out_is_one_line(tmp_path, error):
    def exhaust(*_: object) -> None:
        raise error("can't allocate memory: 4 MiB")

    assert "out of memory (can't allocate memory: 4 MiB)" in outcome(exhaust, tmp_path / "run", "data.root=there")


@pytest.mark.parametrize("device", ["cuda:99", "foo", "meta", "", "cpu:x", "[1]", "'a\nb'", "x" * 5000])
def test_a_device_that_cannot_compute_is_named(tmp_path, device):
    def pick(config: dict[str, Any], _: Path) -> None:
        pick_device(config["device"])

    told = outcome(pick, tmp_path / "run", "ckpt=a.ckpt", f"device={device}", schema=EvaluateConfig)
    assert re.match(r"error: (the device .* is not on this machine|device=\[1\]: expected a text)", told)
