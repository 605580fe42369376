"""W&B runs, kept offline and read back by W&B's own command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from snowmap.config.checking import check_overrides
from snowmap.config.schema import TrainConfig
from snowmap.errors import Interrupted, SnowmapError
from snowmap.runs.folder import SWEEP
from snowmap.runs.loggers import end_run, make_logger, wandb_id_of
from tests.commands import ROOT, Started, begin, fail, succeed
from tests.config.test_checking import CONF, checked
from train import main

pytestmark = pytest.mark.slow
wandb = pytest.importorskip("wandb")

SMALL = ("logger=wandb", "model.channels=[8,16]", "trainer.enable_progress_bar=false")


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory) -> Path:
    """No key, and nothing written outside."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", SWEEP))]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("WANDB_DATA_DIR", str(home))
        patch.setenv("WANDB_CACHE_DIR", str(home))
        yield home


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(20, (16, 24))


def run(archive: Path, folder: Path, *words: str) -> list[dict[str, Any]]:
    """Train as `python train.py` does: what each offline folder holds, the oldest first."""
    main(checked(f"data.root={archive}", *SMALL, *words), folder)
    return recorded(folder)


def recorded(folder: Path) -> list[dict[str, Any]]:
    """What W&B's own reader finds: id, group …, config, rows of the curves, summary, files, artefacts, exit code."""
    return [_read(path) for path in sorted(folder.glob("wandb/offline-run-*"))]


def _read(folder: Path) -> dict[str, Any]:
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", folder]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {"config": {}, "history": [], "summary": {}, "files": [], "artifacts": {}, "exit": None}
    for kind, entry in ((record["type"], record[record["type"]]) for record in map(json.loads, lines)):
        match kind:
            case "run":
                found["run"] = entry
            case "config" | "summary":
                found[kind] |= entry.get("update", {})
            case "history":
                found["history"].append(entry["item"])
            case "files":
                found["files"] += [file["path"] for file in entry["files"]]
            case "artifact":
                found["artifacts"][entry["name"]] = entry
            case "exit":
                found["exit"] = entry.get("exit_code", 0)
    return found


def curve(found: dict[str, Any], name: str) -> list[float]:
    return [row[name] for row in found["history"] if name in row]


def contents(artifact: dict[str, Any]) -> set[str]:
    return {file["path"] for file in artifact["manifest"]["contents"]}


@pytest.fixture(scope="module")
def finished(archive, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A job of a sweep."""
    sweep = tmp_path_factory.mktemp("sweeps") / "widths"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWEEP, str(sweep))
        (found,) = run(archive, sweep / "seed-0", "trainer.max_epochs=2")
    return sweep / "seed-0", found


class TestFinishedRun:
    def test_configuration_code_and_environment(self, finished):
        config = finished[1]["config"]
        assert config["model"]["channels"] == [8, 16]
        assert config["logger"]["name"] == "wandb"
        assert config["environment"].keys() >= {"snowmap", "torch", "pytorch-lightning", "python", "platform"}
        if (ROOT / ".git").exists():
            assert finished[1]["run"]["git"]["commit"] == config["environment"]["git_revision"]

    def test_curves_in_physical_units(self, finished):
        for name in ("validation/swe_rmse_cm", "validation/nrmse", "train/loss", "lr-AdamW"):
            assert len(curve(finished[1], name)) == 2
        assert min(curve(finished[1], "throughput/windows_per_second")) > 0

    def test_maps_are_pictures(self, finished):
        maps = [path for path in finished[1]["files"] if path.startswith("media/images/maps/")]
        assert len(maps) == 2  # this archive has two validation windows
        for path in maps:
            (file,) = finished[0].glob(f"wandb/offline-run-*/files/{path}")
            assert file.read_bytes().startswith(b"\x89PNG")

    def test_scores_of_the_best_checkpoint(self, finished):
        folder, found = finished
        best = min(curve(found, "validation/swe_rmse_cm"))
        assert found["summary"]["best_validation/swe_rmse_cm"] == pytest.approx(best, rel=1e-4)
        tested = json.loads((folder / "evaluation" / "test" / "metrics.json").read_text())["target"]["swe"]["model"]
        assert found["summary"]["test/swe_rmse_cm"] == pytest.approx(tested["rmse"])
        assert found["summary"]["test/swe_r2"] == pytest.approx(tested["r2"])

    def test_artefacts(self, finished):
        folder, found = finished
        name = json.loads((folder / "run.json").read_text())["wandb_id"]
        model, evaluation = found["artifacts"][f"model-{name}"], found["artifacts"][f"evaluation-test-{name}"]
        assert (model["type"], evaluation["type"]) == ("model", "evaluation")
        assert {"best", "epoch-1", "latest"} == {*model["aliases"]}
        assert contents(model) == {"best.ckpt", "last.ckpt"}
        assert contents(evaluation) == {"metrics.csv", "metrics.json", "report.html", "maps.png"}
        for file in model["manifest"]["contents"]:
            assert Path(file["local_path"]).read_bytes() == (folder / "checkpoints" / file["path"]).read_bytes()
        rows = len((folder / "evaluation" / "test" / "metrics.csv").read_text().splitlines()) - 1
        assert found["summary"]["evaluation/test.nrows"] == rows

    def test_a_job_of_a_sweep_is_named_grouped_and_tagged(self, finished):
        started = finished[1]["run"]
        assert (started["run_group"], started["display_name"], started["tags"]) == ("widths", "seed-0", ["sweep"])

    def test_it_ends_well_and_says_how_to_send_it(self, finished):
        folder, found = finished
        assert found["exit"] == 0
        (path,) = folder.glob("wandb/offline-run-*")
        assert f"wandb sync {path}" in (folder / "run.log").read_text()


def test_a_baseline_has_scores_and_artefacts_and_no_curves(archive, tmp_path):
    main(checked(f"data.root={archive}", "logger=wandb", "model=climatology", "evaluate=none"), tmp_path / "run")
    (found,) = recorded(tmp_path / "run")
    name = found["run"]["run_id"]
    assert contents(found["artifacts"][f"model-{name}"]) == {"best.ckpt"}
    assert found["summary"]["best_validation/swe_rmse_cm"] > 0
    assert found["config"]["model"]["name"] == "climatology"
    assert not curve(found, "train/loss")
    assert found["exit"] == 0
    assert "run_group" not in found["run"]


def test_a_run_that_fails_ends_as_failed(archive, tmp_path):
    with pytest.raises(SnowmapError, match=r"(the training loss|the validation score .*) became nan in epoch"):
        words = ("optimizer.learning_rate=10", "optimizer.weight_decay=100", "logger.maps=0", "callbacks.patience=null")
        run(archive, tmp_path / "run", "trainer.max_epochs=20", *words)
    (found,) = recorded(tmp_path / "run")
    assert found["exit"] == 1
    assert curve(found, "lr-AdamW")
    assert not found["artifacts"]


def test_an_interrupted_run_ends_as_failed_and_goes_on_as_the_same(archive, tmp_path):
    folder, over = tmp_path / "run", threading.Event()

    def interrupt() -> None:
        while not (folder / "checkpoints" / "last.ckpt").exists() and not over.is_set():
            time.sleep(0.001)
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    words = ("trainer.max_epochs=30", "evaluate=none", "callbacks.patience=null", "logger.maps=1")
    try:
        with pytest.raises(Interrupted):
            run(archive, folder, *words)
    finally:
        over.set()
        thread.join()
    first, second = run(archive, folder, *words)
    assert (first["exit"], second["exit"]) == (1, 0)
    name = json.loads((folder / "run.json").read_text())["wandb_id"]
    assert first["run"]["run_id"] == second["run"]["run_id"] == name
    steps = [curve(found, "trainer/global_step") for found in (first, second)]
    assert max(steps[0]) <= min(steps[1])
    assert not first["artifacts"]
    assert f"model-{name}" in second["artifacts"]


def test_typed_group_and_tags_win(tmp_path, monkeypatch):
    monkeypatch.setenv(SWEEP, str(tmp_path / "sweep"))
    logger = make_logger(checked("logger=wandb", "logger.group=mine", "logger.tags=[a,b]"), tmp_path, "abcd1234")
    assert (logger.experiment.group, logger.experiment.tags) == ("mine", ("a", "b"))
    assert logger.experiment.offline
    assert wandb_id_of(logger) == "abcd1234"
    end_run(logger, failed=False)


UNREACHABLE = {
    "WANDB_BASE_URL": "http://127.0.0.1:9",
    "WANDB_API_KEY": "a" * 40,
    "WANDB_INIT_TIMEOUT": "1",
    # W&B's own process would try again for minutes, also after the run
    "WANDB__GRAPHQL_RETRY_MAX": "1",
    "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "1",
    "WANDB__FILE_STREAM_RETRY_MAX": "1",
    "WANDB__FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "1",
}


@pytest.mark.parametrize("environment", [{"WANDB_API_KEY": "short"}, UNREACHABLE])
def test_a_bad_key_or_an_unreachable_server_keeps_the_run_offline(archive, tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = ("logger=wandb", "model=climatology", "evaluate=none", f"hydra.run.dir={tmp_path}/run")
    succeed("train.py", f"data.root={archive}", *words)
    (found,) = recorded(tmp_path / "run")
    assert found["exit"] == 0
    assert "W&B cannot be used online" in (tmp_path / "run" / "run.log").read_text()


def test_a_bad_mode_or_project_is_refused_in_one_line(archive, tmp_path):
    words = (f"data.root={archive}", "logger=wandb", "model=climatology", f"hydra.run.dir={tmp_path}/run")
    assert "logger.mode=bad: expected online | offline, or null" in fail("train.py", *words, "logger.mode=bad")
    error = fail("train.py", *words, "logger.project=a/b")
    assert "logger.project=a/b cannot start (Invalid project name 'a/b'" in error
    assert "\n" not in error


class TestSweepDefinition:
    @pytest.fixture
    def definition(self) -> dict[str, Any]:
        from wandb.sdk.launch.sweeps.utils import load_sweep_config

        return load_sweep_config(str(CONF / "wandb_sweep.yaml"))

    def test_every_value_is_one_that_the_configuration_takes(self, definition):
        from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

        ends = {
            key: drawn.get("values") or [drawn["min"], drawn["max"]] for key, drawn in definition["parameters"].items()
        }
        drawn = [dict(zip(ends, values, strict=True)) for values in product(*ends.values())]
        for values in (drawn[0], drawn[-1]):
            command = {"args": {key: {"value": value} for key, value in values.items()}}
            words = create_sweep_command_args(command)["args_no_hyphens"]
            check_overrides(words, TrainConfig, CONF)
            config = checked(*words)
            assert config["optimizer"]["learning_rate"] == values["optimizer.learning_rate"]
            assert str(config["model"]["channels"]).replace(" ", "") == values["model.channels"]

    def test_it_never_looks_at_test_windows(self, definition):
        assert definition["metric"] == {"name": "validation/nrmse", "goal": "minimize"}
        assert "evaluate=none" in definition["command"]

    def test_the_agent_starts_a_run_whose_metric_it_finds(self, definition, archive, tmp_path, monkeypatch):
        """By the agent's own code, without the server that would choose the values."""
        from wandb.wandb_agent import Agent

        for name, value in {"WANDB_SWEEP_ID": "sweep001", "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them
            monkeypatch.setenv(name, "")

        def start(command: list[str], env: dict[str, str], **_: object) -> Started:
            assert command[:2] == ["/usr/bin/env", "python"]
            return begin(*command[2:], **env)

        monkeypatch.setattr("wandb.wandb_agent.AgentProcess", start)
        agent = Agent(None, None, sweep_id="sweep001")
        agent._sweep_command = definition["command"]
        chosen = {"loss": "huber", "optimizer.learning_rate": 0.0007, "data.root": str(archive), "debug": "fast"}
        chosen["hydra.run.dir"] = str(tmp_path / "run")
        arguments = {key: {"value": value} for key, value in chosen.items()}
        agent._command_run({"run_id": "byagent1", "args": arguments, "program": definition["program"]})
        (process,) = agent._run_processes.values()
        assert process.wait() == 0
        (found,) = recorded(tmp_path / "run")
        assert (found["run"]["run_id"], found["run"]["sweep_id"]) == ("byagent1", "sweep001")
        assert found["config"]["optimizer"]["learning_rate"] == 0.0007
        assert curve(found, definition["metric"]["name"])
        assert not (tmp_path / "run" / "evaluation").exists()
        assert json.loads((tmp_path / "run" / "run.json").read_text())["wandb_id"] == "byagent1"
