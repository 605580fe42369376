"""Studies: with a stand-in for the training whose score is known in closed form, and with the real one."""

import json
import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState
from PIL import Image

import train
from snowmap.data.splits import split_cubes
from snowmap.errors import Interrupted, SnowmapError
from snowmap.runs.folder import working_in
from snowmap.sources.trentino import open_archive
from snowmap.sources.zarr import write_zarr
from snowmap.sweeps.study import optimize
from snowmap.tasks.point_head import Point
from tests.class_cubes import glacier_cube
from tests.commands import begin, succeed
from tests.config.test_checking import checked
from tests.sweeps.runs import score

RATE = "optimizer.learning_rate"
BEST = 3e-3


@pytest.fixture(scope="module")
def archive(foreign_archive) -> Path:
    return foreign_archive(24, (12, 16))


def of_study(archive: Path, *words: str, **search: Any) -> dict:
    small = ("model.channels=[8]", "trainer.max_epochs=3", "trainer.enable_progress_bar=false", "logger=none")
    config = checked("sweep=optuna", *small, "split.test=3", f"data.root={archive}", *words)
    return config | {"search": search.get("search", {RATE: {"low": 1e-4, "high": 1e-1, "log": True}})}


class Bowl:
    """A training that takes no time: its RMSE is 1 cm at the best learning rate and grows with the distance from it."""

    def __init__(self, **ends: BaseException) -> None:
        self.ends = {name.replace("_", "-"): end for name, end in ends.items()}
        self.runs: list[tuple[str, float]] = []

    def __call__(self, config: dict[str, Any], folder: Path, callbacks: Sequence[Any] = ()) -> None:
        assert config["evaluate"] == "none"
        assert "search" not in config
        with working_in(folder, config) as run:
            if run.finished:
                return
            rate = config["optimizer"]["learning_rate"]
            self.runs.append((folder.name, rate))
            if folder.name in self.ends:
                raise self.ends.pop(folder.name)
            run.update(validation=self.validation(1 + math.log(rate / BEST) ** 2))

    @staticmethod
    def validation(distance: float) -> dict[str, Any]:
        return {"swe": score(distance)}


class Peak(Bowl):
    """The same of classes, whose IoU is 1 at the best learning rate and falls with the distance from it."""

    @staticmethod
    def validation(distance: float) -> dict[str, Any]:
        return {"glacier": {"flag_values": [0, 1], "iou": 1 / distance, "pixels": 9}}


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="snowmap", storage=f"sqlite:///{folder}/study.db").trials


class TestStudy:
    def test_it_finds_the_best_and_tells_how_to_use_it(self, archive, tmp_path, capfd):
        study = optimize(Bowl(), of_study(archive, "sweep.trials=12", "sweep.startup_trials=6"), tmp_path / "s")
        rate = study.best_params[RATE]
        assert len(study.trials) == 12
        assert abs(math.log(rate / BEST)) == min(abs(math.log(t.params[RATE] / BEST)) for t in study.trials)
        best = yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())
        assert best["overrides"] == {RATE: rate}
        assert best["trial"] == f"trial-{study.best_trial.number:03}"
        said = capfd.readouterr().out
        assert f"python train.py -m {RATE}={rate} seed=0,1,2 hydra.sweep.dir={tmp_path}/s-best" in said
        assert best["command"] in said
        for figure in ("study.png", "importances.png"):
            assert figure in said
            assert Image.open(tmp_path / "s" / figure).size[0] > 600
        assert (tmp_path / "s" / "runs.csv").is_file()

    def test_of_classes_the_greatest_iou_is_searched(self, tmp_path, capfd):
        root = write_zarr(glacier_cube(), tmp_path / "cube.zarr")
        words = ("task=segmentation", "data=zarr", "target.names=[glacier]", "split=spatial", "sweep.trials=6")
        study = optimize(Peak(), of_study(root, *words), tmp_path / "s")
        assert study.best_value == max(trial.value for trial in study.trials)
        assert yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())["iou"] == study.best_value
        assert f"IoU {study.best_value:.3g} on validation windows" in capfd.readouterr().out

    def test_the_same_command_goes_on_to_the_number_that_is_asked_for_as_if_it_had_never_stopped(
        self, archive, tmp_path
    ):
        once, twice = Bowl(), Bowl()
        optimize(once, of_study(archive, "sweep.trials=5", "sweep.startup_trials=2"), tmp_path / "once")
        for count in (3, 3, 5):
            optimize(twice, of_study(archive, f"sweep.trials={count}", "sweep.startup_trials=2"), tmp_path / "twice")
        assert once.runs == twice.runs
        assert [name for name, _ in twice.runs] == [f"trial-00{number}" for number in range(5)]
        assert len({rate for _, rate in twice.runs}) == 5

    def test_a_trial_that_fails_does_not_end_it_and_is_named(self, archive, tmp_path, capfd):
        optimize(Bowl(trial_001=RuntimeError("out of memory\nmore")), of_study(archive, "sweep.trials=3"), tmp_path)
        states = [trial.state for trial in trials(tmp_path)]
        assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
        said = capfd.readouterr().out
        assert "trial-001: failed: out of memory (" in said
        assert "not in the means: 1" in said
        assert json.loads((tmp_path / "trial-001" / "run.json").read_text())["status"] == "failed"

    def test_when_all_fail_the_last_error_is_error(self, archive, tmp_path):
        ends = {f"trial_00{number}": SnowmapError("no such thing") for number in range(2)}
        with pytest.raises(SnowmapError, match=r"no trial of the study .* finished; the last failed: no such thing"):
            optimize(Bowl(**ends), of_study(archive, "sweep.trials=2"), tmp_path)

    def test_a_trial_that_was_interrupted_goes_on_in_its_folder(self, archive, tmp_path):
        bowl = Bowl(trial_001=Interrupted(signal.SIGTERM))
        with pytest.raises(Interrupted):
            optimize(bowl, of_study(archive, "sweep.trials=3"), tmp_path)
        optimize(bowl, of_study(archive, "sweep.trials=3"), tmp_path)
        assert [name for name, _ in bowl.runs] == ["trial-000", "trial-001", "trial-001", "trial-003"]
        assert bowl.runs[1] == bowl.runs[2]
        assert [trial.state for trial in trials(tmp_path)].count(TrialState.COMPLETE) == 3

    def test_a_trial_whose_process_is_killed_again_and_again_is_given_up(self, archive, tmp_path):
        for _ in range(3):
            with pytest.raises(Interrupted):
                optimize(Bowl(trial_000=Interrupted(signal.SIGTERM)), of_study(archive, "sweep.trials=2"), tmp_path)
        bowl = Bowl()
        optimize(bowl, of_study(archive, "sweep.trials=2"), tmp_path)
        assert "trial-000" not in [name for name, _ in bowl.runs]

    def test_time_can_be_limited(self, archive, tmp_path, capfd):
        optimize(Bowl(), of_study(archive, "sweep.trials=1"), tmp_path)
        optimize(Bowl(), of_study(archive, "sweep.trials=9", "sweep.timeout_s=0"), tmp_path)
        assert len(trials(tmp_path)) == 1
        assert "is over after 1 of 9 trials" in capfd.readouterr().out

    def test_another_study_a_run_and_a_second_process_are_refused(self, archive, tmp_path):
        optimize(Bowl(), of_study(archive, "sweep.trials=1"), tmp_path / "a")
        with pytest.raises(SnowmapError, match="holds another study, which differs in loss"):
            optimize(Bowl(), of_study(archive, "sweep.trials=2", "loss=mae"), tmp_path / "a")
        other = of_study(archive, "sweep.trials=2", search={RATE: {"low": 1e-4, "high": 1.0, "log": True}})
        with pytest.raises(SnowmapError, match=r"holds another study, .* search\.optimizer\.learning_rate\.high"):
            optimize(Bowl(), other, tmp_path / "a")
        with pytest.raises(SnowmapError, match="holds a run, not a study"):
            optimize(Bowl(), of_study(archive), tmp_path / "a" / "trial-000")

        def within(config: dict[str, Any], folder: Path, callbacks: Sequence[Any] = ()) -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("SNOWMAP_SWEEP")
                optimize(Bowl(), of_study(archive), tmp_path / "b")

        with pytest.raises(SnowmapError, match="the last failed: another process works in"):
            optimize(within, of_study(archive, "sweep.trials=1"), tmp_path / "b")

    @pytest.mark.parametrize(
        ("words", "error"),
        [
            (["ckpt=a.ckpt"], "cannot be combined with ckpt"),
            (["trainer.devices=2"], "one after the other in one process"),
            (["launcher=joblib"], "one after the other in one process"),
        ],
    )
    def test_what_cannot_be_studied_is_refused(self, archive, tmp_path, words, error):
        with pytest.raises(SnowmapError, match=error):
            optimize(Bowl(), of_study(archive, *words), tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_multirun_of_studies_and_an_empty_space_are_refused(self, archive, tmp_path, monkeypatch):
        with pytest.raises(SnowmapError, match="model=unet has nothing left to search"):
            optimize(Bowl(), of_study(archive, search={}), tmp_path)
        monkeypatch.setenv("SNOWMAP_SWEEP", "x")
        with pytest.raises(SnowmapError, match="cannot be combined with -m"):
            optimize(Bowl(), of_study(archive), tmp_path)


def test_the_objective_weighs_targets_by_their_std():
    validation = {"hs": score(30.0), "swe": score(2.0)}
    assert Point.merit(validation, {"hs": 60.0, "swe": 8.0}) == pytest.approx((0.5 + 0.25) / 2)
    with pytest.raises(SnowmapError, match="no validation RMSE of swe"):
        Point.merit(validation | {"swe": {"unit": "cm", "rmse": None}}, {"hs": 60.0, "swe": 8.0})


@pytest.fixture(scope="module")
def study(archive, tmp_path_factory) -> tuple[Path, optuna.Study]:
    """Two good learning rates, then one that learns nothing."""
    folder = tmp_path_factory.mktemp("study")
    words = ("sweep.trials=3", "sweep.startup_trials=2", "sweep.warmup_epochs=1", "optimizer.warmup_steps=1")
    search = {RATE: {"low": 1e-7, "high": 1e-1, "log": True}}
    queued = optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="snowmap")
    for rate in (2e-2, 1e-2, 1e-7):
        queued.enqueue_trial({RATE: rate})
    return folder, optimize(train.main, of_study(archive, *words, search=search), folder)


@pytest.mark.slow
class TestRealTrainings:
    def test_trials_are_runs_and_the_test_windows_stay_untouched(self, study):
        folder, result = study
        assert [trial.params[RATE] for trial in result.trials] == [2e-2, 1e-2, 1e-7]
        for name in ("trial-000", "trial-001"):
            assert (folder / name / "checkpoints" / "best.ckpt").is_file()
            assert not (folder / name / "evaluation").exists()
            config = yaml.safe_load((folder / name / "config.yaml").read_text())
            assert config["evaluate"] == "none"
            assert config["sweep"] == {"name": "none"}
            assert "search" not in config
            assert "validation RMSE" in (folder / name / "run.log").read_text()

    def test_the_objective_is_what_the_training_monitors(self, study):
        _, result = study
        for trial in result.trials[:2]:
            assert trial.value == pytest.approx(min(trial.intermediate_values.values()), rel=1e-4)

    def test_a_hopeless_trial_is_pruned(self, study):
        folder, result = study
        assert result.trials[2].state == TrialState.PRUNED
        record = json.loads((folder / "trial-002" / "run.json").read_text())
        assert record["status"] == "pruned"
        assert record["error"] == "pruned in epoch 2"
        assert "trial-002" in (folder / "runs.md").read_text()

    def test_a_baseline_is_searched_too(self, archive, tmp_path):
        config = checked("sweep=optuna", "model=elevation", "sweep.trials=1", "split.test=3", f"data.root={archive}")
        (trial,) = optimize(train.main, config, tmp_path).trials
        cube = open_archive(archive)
        (windows,) = split_cubes([cube], config["split"])
        known = cube["swe"].values[windows.train][:, cube["mask"].values]
        std = float(torch.tensor(known[known == known]).double().std(correction=0))
        record = json.loads((tmp_path / "trial-000" / "run.json").read_text())
        assert trial.value == pytest.approx(record["validation"]["swe"]["rmse"] / std, rel=1e-4)

    def test_kill_and_go_on_by_the_same_command(self, archive, tmp_path):
        words = [
            *(
                "sweep=optuna",
                "sweep.trials=2",
                "trainer.max_epochs=15",
                "model.channels=[8]",
                "callbacks.patience=null",
            ),
            *(f"data.root={archive}", "split.test=3", "trainer.enable_progress_bar=false", "logger=none"),
            *(f"hydra.run.dir={tmp_path}/study", "sweep.pruner=none"),
        ]
        process = begin("train.py", *words)
        try:
            last = tmp_path / "study" / "trial-000" / "checkpoints" / "last.ckpt"
            until = time.monotonic() + 120
            while not last.exists() and process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            assert last.exists()
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        (running,) = trials(tmp_path / "study")
        assert running.state == TrialState.RUNNING
        said = succeed("train.py", *words)
        killed, again, other = trials(tmp_path / "study")
        assert [trial.state for trial in (killed, again, other)] == [
            *(TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE)
        ]
        assert again.params == killed.params
        assert not (tmp_path / "study" / "trial-001").exists()
        record = json.loads((tmp_path / "study" / "trial-000" / "run.json").read_text())
        assert (record["starts"], record["status"], record["epochs"]) == (2, "finished", 15)
        assert "resuming from" in (tmp_path / "study" / "trial-000" / "run.log").read_text()
        assert set(range(5)) <= set(again.intermediate_values)
        command = yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())["command"]
        assert command in said
        assert "sweep" not in command.replace("hydra.sweep.dir", "")
