"""The run folder: who may work in it, what it tells of how a run ended, and what a killed process leaves."""

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from snowmap.config.checking import run_folder
from snowmap.errors import Interrupted, SnowmapError
from snowmap.runs.configuration import stored_config
from snowmap.runs.folder import SWEEP, is_finished, working_in
from snowmap.runs.record import NEW_RECORD, read_record, record_failure
from tests.commands import ROOT

CONFIG = {"ckpt": None, "seed": 0, "model": {"name": "unet"}, "data": {"threads": None, "cache": True}}
WORKER = """
import sys, time
from pathlib import Path
from snowmap.runs.folder import working_in
with working_in(Path(sys.argv[1]), {"ckpt": None, "seed": 0}) as run:
    print("at work", flush=True)
    time.sleep(60)
"""


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def work(folder: Path, config: dict = CONFIG, **changes) -> bool:
    """One run; whether there was anything to do."""
    with working_in(folder, config) as run:
        if run.finished:
            return False
        run.best.parent.mkdir(exist_ok=True)
        run.best.touch()
        run.update(**changes)
    return True


@pytest.fixture
def worker(tmp_path):
    """A process that works in ``run``."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, tmp_path / "run"], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout.readline() == b"at work\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("key", ["run.dir", "sweep.dir"])
def test_runs_that_begin_in_one_second_have_folders_of_their_own(key):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        first, second = (
            OmegaConf.select(compose("train", return_hydra_config=True).hydra, key, throw_on_missing=True)
            for _ in range(2)
        )
    assert first != second
    assert Path(first).parent.parent == Path("outputs")


def test_a_run_tells_what_it_is_and_how_it_ended(tmp_path):
    assert read_record(tmp_path / "run") is None
    with working_in(tmp_path / "run", CONFIG) as run:
        assert (record(run.path)["status"], record(run.path)["stage"]) == ("running", "training")
        assert (record(run.path)["pid"], record(run.path)["host"]) == (os.getpid(), platform.node())
        time.sleep(0.05)
        run.update(epochs=3)
    ended = record(tmp_path / "run")
    assert ended.keys() == NEW_RECORD.keys()
    assert (ended["status"], ended["stage"], ended["epochs"], ended["starts"]) == ("finished", "done", 3, 1)
    assert 0.05 <= ended["wall_s"] < 5
    assert ended["started"] <= ended["ended"]
    assert not [path for path in (tmp_path / "run").iterdir() if path.suffix == ".snowmap-part"]


def test_the_same_command_has_nothing_left_to_do(tmp_path):
    assert work(tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_text()
    assert not work(tmp_path / "run")
    assert not work(tmp_path / "run", {**CONFIG, "data": {"threads": 4, "cache": False}})
    assert (tmp_path / "run" / "run.json").read_text() == before
    assert is_finished(tmp_path / "run", CONFIG)


def test_another_configuration_is_refused_unless_a_checkpoint_says_what_to_go_on_with(tmp_path):
    work(tmp_path / "run")
    other = {**CONFIG, "seed": 1}
    with pytest.raises(SnowmapError, match=r"another configuration \(seed=0 there and 1 here\); give another folder"):
        work(tmp_path / "run", other)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(SnowmapError, match=r"another configuration .*; resume it by ckpt=.*last.ckpt, or give"):
        is_finished(tmp_path / "run", other)
    assert work(tmp_path / "run", {**other, "ckpt": "last.ckpt"})
    assert record(tmp_path / "run")["starts"] == 2


def test_an_unfinished_run_goes_on_at_its_stage_and_adds_up_its_time(tmp_path):
    with pytest.raises(ZeroDivisionError), working_in(tmp_path / "run", CONFIG) as run:
        run.update(stage="scoring")
        time.sleep(0.05)
        print(1 // 0)
    failed = record(tmp_path / "run")
    assert (failed["status"], failed["stage"]) == ("failed", "scoring")
    assert failed["error"].startswith("ZeroDivisionError")
    with working_in(tmp_path / "run", CONFIG) as run:
        assert run.record["stage"] == "scoring"
        assert run.record["error"] is None
    assert record(tmp_path / "run")["wall_s"] >= failed["wall_s"] >= 0.05
    assert record(tmp_path / "run")["started"] == failed["started"]


def test_a_mistake_leaves_nothing_unless_something_came_about_or_a_sweep_has_to_tell(tmp_path, monkeypatch):
    def fall(folder: Path, write: bool = False) -> None:
        with pytest.raises(SnowmapError, match="no such band"), working_in(folder, CONFIG) as run:
            if write:
                run.best.parent.mkdir()
            raise SnowmapError("no such band")

    fall(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    fall(tmp_path / "kept", write=True)
    assert record(tmp_path / "kept")["error"] == "no such band"
    monkeypatch.setenv(SWEEP, str(tmp_path))
    fall(tmp_path / "job")
    assert record(tmp_path / "job")["status"] == "failed"


def test_a_failure_is_written_down_for_a_run_that_could_not_do_so_itself(tmp_path):
    record_failure(tmp_path / "job", "no such band")
    assert record(tmp_path / "job")["error"] == "no such band"
    assert record(tmp_path / "job").keys() == NEW_RECORD.keys()
    work(tmp_path / "run")
    before = record(tmp_path / "run")
    record_failure(tmp_path / "run", "another configuration")
    assert record(tmp_path / "run") == before


def test_only_one_process_works_in_a_folder(tmp_path, worker):
    with pytest.raises(SnowmapError, match=rf"process {worker.pid} on .* works in .*run since"):
        work(tmp_path / "run", {"ckpt": None, "seed": 0})
    assert read_record(tmp_path / "run")["status"] == "running"


def test_a_killed_process_leaves_a_folder_to_go_on_in(tmp_path, worker):
    (tmp_path / "run" / "checkpoints").mkdir()
    part = tmp_path / "run" / "checkpoints" / ".last.ckpt.0123456789ab.snowmap-part"
    part.write_bytes(b"half")
    foreign = [tmp_path / "run" / name for name in (".film.mkv.part", "mine/.x.0123456789ab.snowmap-part")]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not of this run")
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert read_record(tmp_path / "run")["status"] == "killed"
    assert work(tmp_path / "run", {"ckpt": None, "seed": 0})
    assert not part.exists()
    assert all(path.exists() for path in foreign)
    assert (record(tmp_path / "run")["status"], record(tmp_path / "run")["starts"]) == ("finished", 2)


def test_a_job_of_a_sweep_waits_for_the_process_that_works_in_its_folder(tmp_path, worker, monkeypatch):
    monkeypatch.setenv(SWEEP, str(tmp_path))
    subprocess.Popen(["sh", "-c", f"sleep 3; kill -9 {worker.pid}"])
    began = time.monotonic()
    assert work(tmp_path / "run", {"ckpt": None, "seed": 0})
    assert time.monotonic() - began > 2.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_a_run_at_once_or_after_what_defers_it(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted), working_in(tmp_path / "now", CONFIG):
        os.kill(os.getpid(), number)
        time.sleep(1)
        pytest.fail("the signal came to nothing")
    assert record(tmp_path / "now")["status"] == "interrupted"
    assert number.name in record(tmp_path / "now")["error"]
    reached = False
    with pytest.raises(Interrupted), working_in(tmp_path / "later", CONFIG) as run, run.stop.deferred():
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        reached = run.stop.received == number
    assert reached
    assert signal.getsignal(number) == before


def test_slurm_is_asked_to_queue_the_job_again_after_its_warning_only(tmp_path, monkeypatch):
    """A stand-in for scontrol, which no machine without SLURM has, writes down how it was called."""
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    for name in ("SIGTERM", "SIGUSR1"):
        with pytest.raises(Interrupted), working_in(tmp_path / name, CONFIG):
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(1)
    assert (tmp_path / "called").read_text() == "requeue 42\n"


def test_a_full_disk_is_told_with_what_is_left(tmp_path):
    with (
        pytest.raises(
            SnowmapError, match=r"no room on the disk at .*No space left.*no checkpoint had been written yet"
        ),
        working_in(tmp_path / "run", CONFIG),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
        full.flush()


def test_the_log_holds_what_was_said(tmp_path):
    with pytest.raises(ZeroDivisionError), working_in(tmp_path / "run", CONFIG):
        print("printed")
        logging.getLogger("snowmap.somewhere").warning("logged")
        print("\r 50 %", file=sys.stderr)
        print(1 // 0)
    said = (tmp_path / "run" / "run.log").read_text()
    assert said.splitlines()[1:3] == ["printed", "logged"]
    assert "50 %" not in said
    assert "ZeroDivisionError" in said
    assert "Traceback" in said


@pytest.mark.parametrize("content", ["{", "[]", '{"status": "of another program", "starts": 1}'])
def test_a_damaged_or_foreign_record_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(SnowmapError, match=r"run\.json cannot be read .*; give another folder, or, .* move the file"):
        work(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("run.json", content)]


def test_a_checkpoint_beside_a_configuration_of_another_program_goes_on_elsewhere(tmp_path):
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    checkpoint = tmp_path / "models" / "last.ckpt"
    assert run_folder(str(checkpoint), "outputs") == "outputs"
    with pytest.raises(SnowmapError, match=r"holds other files \(config\.yaml\) and no run\.json"):
        work(tmp_path, {**CONFIG, "ckpt": str(checkpoint)})
    assert (tmp_path / "config.yaml").read_text() == "mine: 1\n"


def test_what_left_no_checkpoint_makes_room_for_another_configuration(tmp_path):
    with pytest.raises(ZeroDivisionError), working_in(tmp_path / "run", CONFIG) as run:
        run.update(wandb_id="of the first")
        print(1 // 0)
    assert work(tmp_path / "run", {**CONFIG, "seed": 1})
    found = record(tmp_path / "run")
    assert (found["status"], found["starts"], found["wandb_id"]) == ("finished", 1, None)
    with pytest.raises(SnowmapError, match="another configuration"):
        work(tmp_path / "run")


@pytest.mark.parametrize("content", ["seed: [1,\n", "", "seed: 0\n", "\x00"])
def test_a_damaged_configuration_is_named_with_what_goes_on(tmp_path, content):
    work(tmp_path / "run", stage="scoring")
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "run" / "config.yaml").write_text(content)
    with pytest.raises(SnowmapError, match=r"config.yaml (is damaged|cannot be read).*; resume .* ckpt=.*last.ckpt"):
        work(tmp_path / "run")


def test_a_folder_with_files_of_others_is_refused_and_stays_as_it_is(tmp_path, worker):
    """Be it the parent of a folder in which a run is alive, or one in which another program keeps its files."""
    with pytest.raises(SnowmapError, match=r"holds other files \(run\) and no run.json; give a new"):
        work(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    mine = tmp_path / "mine"
    for name in (".data.part/thesis.txt", "Downloads/.film.mkv.part", "checkpoints/best.ckpt", "config.yaml"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text("years of work")
    before = {path: path.stat().st_mtime_ns for path in mine.rglob("*")}
    for config in (CONFIG, {**CONFIG, "ckpt": str(tmp_path / "run" / "checkpoints" / "last.ckpt")}):
        with pytest.raises(SnowmapError, match=r"holds other files \(.data.part, Downloads, checkpoints, …\)"):
            work(mine, config)
    with pytest.raises(SnowmapError, match="holds other files"):
        is_finished(mine, CONFIG)
    record_failure(mine, "refused")
    assert {path: path.stat().st_mtime_ns for path in mine.rglob("*")} == before


def test_a_run_that_lost_its_record_goes_on(tmp_path):
    work(tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    assert work(tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    assert work(tmp_path / "run", {**CONFIG, "seed": 1, "ckpt": str(tmp_path / "run" / "checkpoints" / "best.ckpt")})


@pytest.mark.parametrize("content", ['{"status": 5, "starts": 1}', '{"status": "running", "starts": null}'])
def test_a_record_of_other_types_is_none(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(SnowmapError, match="it is no record of a run"):
        read_record(tmp_path)


def test_a_configuration_within_itself_is_damaged(tmp_path):
    (tmp_path / "config.yaml").write_text("a: &a [*a]")
    with pytest.raises(SnowmapError, match=r"config\.yaml cannot be read"):
        stored_config(tmp_path, {})
