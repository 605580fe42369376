"""Jobs as commands: what they are called with, and what is done before a cluster takes their time away."""

import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from snowmap.runs.launchers import Job, command_of, run_with_submitit
from tests.config.test_checking import checked

SAVES = """
import signal, sys, time
def save(*_):
    open(sys.argv[1], "w").write("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("at work", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "a=b,c", "back\\slash", "{x}"])
def test_the_folder_survives_hydra_s_grammar(tmp_path, name):
    *_, mode, typed = command_of(["seed=1", "launcher=joblib", "+launcher.jobs=2"], tmp_path / name)
    assert mode == "hydra.mode=RUN"
    (override,) = OverridesParser.create().parse_overrides([typed])
    assert override.value() == str(tmp_path / name)
    assert not override.is_sweep_override()


def test_a_job_is_typed_without_its_launcher(tmp_path):
    words = command_of(["model=unet", "launcher=joblib", "launcher.jobs=2"], tmp_path)
    assert words[2:-2] == ["model=unet"]


def test_what_the_command_prints_is_in_the_log(tmp_path):
    job = Job(tmp_path / "job", [sys.executable, "-c", "print('said'); raise SystemExit(3)"], tmp_path)
    assert job() == 3
    assert (tmp_path / "job" / "run.log").read_text() == "said\n"


def test_before_its_time_is_over_a_job_saves_and_is_submitted_again(tmp_path):
    job = Job(tmp_path / "job", [sys.executable, "-c", SAVES, str(tmp_path / "file")], tmp_path, threads=1)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(job()))
    thread.start()
    while not (tmp_path / "job" / "run.log").exists() or not (tmp_path / "job" / "run.log").read_text():
        time.sleep(0.01)
    again = job.checkpoint()
    thread.join(10)
    assert ended == [143]
    assert Path(tmp_path / "file").read_text() == "saved"
    assert again.function == Job(job.folder, job.command, job.sweep, 1)
    assert pickle.loads(pickle.dumps(again.function)) == again.function


def test_submitit_takes_all_jobs_and_says_how_each_ended(tmp_path):
    pytest.importorskip("submitit")
    words = ("launcher=slurm", "launcher.cluster=local", "launcher.gpus_per_node=null")
    commands = {status: [sys.executable, "-c", f"raise SystemExit({status})"] for status in (0, 3)}
    jobs = [Job(tmp_path / str(status), command, tmp_path / "sweep") for status, command in commands.items()]
    said = []
    run_with_submitit(jobs, checked(*words)["launcher"], lambda job, status: said.append((job.folder.name, status)))
    assert said[:2] == [("0", None), ("3", None)]
    assert sorted(said[2:]) == [("0", 0), ("3", 3)]


def test_a_job_does_not_get_the_signals_of_the_sweep(tmp_path):
    job = Job(tmp_path / "job", [sys.executable, "-c", "import os; print(os.getpgid(0) == os.getpid())"], tmp_path)
    assert isinstance(job.start(), subprocess.Popen)
    job.process.wait()
    assert (tmp_path / "job" / "run.log").read_text() == "True\n"
