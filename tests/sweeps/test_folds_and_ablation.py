"""The tables of a sweep against numbers made by hand, from run folders as trainings leave them."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from PIL import Image

from snowmap.errors import SnowmapError
from snowmap.sweeps import summarize
from snowmap.sweeps.ablation_table import pair_cases, rmse_difference, write_ablation
from snowmap.sweeps.folds_table import cross_validate
from snowmap.sweeps.runs import Maps, configurations, find_finished_runs

PROVENANCE = {"part": "validation", "scored_archive": {"origin": "synthetic: a test"}}


def write_run(folder: Path, config: dict, model: dict, predicted: np.ndarray, observed: np.ndarray) -> None:
    """A run folder with the scores and maps of its validation windows; its checkpoint is never read."""
    out = folder / "evaluation" / "validation"
    for path in (folder / "checkpoints", out):
        path.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "checkpoints" / "best.ckpt").touch()
    os.utime(folder / "checkpoints" / "best.ckpt", (0, 0))
    entry = {"unit": "cm", "model": model, "baselines": {"climatology": {**model, "rmse": None}}}
    (out / "metrics.json").write_text(json.dumps({"target": {"swe": entry}, "provenance": PROVENANCE}))
    maps = {"swe": predicted, "swe_observed": observed}
    xr.Dataset(
        {name: (("time", "y", "x"), values.astype(np.float32)) for name, values in maps.items()},
        coords={"time": np.datetime64("2021-01-01", "ns") + np.arange(len(observed)) * np.timedelta64(1, "D")},
    ).to_netcdf(out / "predictions.nc", engine="h5netcdf")


def config(fold: int, **more: object) -> dict:
    return {"split": {"name": "winters", "fold": fold}, "ablation": "all", "seed": 0, **more}


def score(rmse: float, pixels: int = 4) -> dict:
    return {"rmse": rmse, "mae": rmse / 2, "bias": 0.0, "r2": None, "pearson_r": 0.5, "pixels": pixels}


@pytest.fixture
def folds(tmp_path) -> Path:
    """Two folds whose errors are 1 and 3 cm everywhere, of 4 and 12 pixels; one observation is missing."""
    for number, (count, error) in enumerate([(1, 1.0), (3, 3.0)]):
        observed = np.arange(count * 4, dtype=float).reshape(count, 2, 2)
        predicted = observed + error
        observed[0, 0, 0] = np.nan
        write_run(tmp_path / str(number), config(number), score(error), predicted, observed)
    return tmp_path


class TestCrossValidation:
    def test_mean_std_and_pooled_score_in_json_csv_and_print(self, folds, capsys):
        table = cross_validate(folds, find_finished_runs(folds))
        said = capsys.readouterr().out
        model, other = (table[table["map"] == name].set_index("over") for name in ("model", "climatology"))
        assert [*model.index] == ["fold 0", "fold 1", "mean", "std", "pooled"]
        assert model["rmse"].tolist() == pytest.approx([1, 3, 2, np.sqrt(2), np.sqrt((3 * 1 + 11 * 9) / 14)])
        assert model.loc["pooled", ["pixels", "bias"]].tolist() == pytest.approx([3 + 11, (3 * 1 + 11 * 3) / 14])
        assert pd.isna(model.loc["mean", "r2"])  # a fold lacks it
        assert pd.isna(other.loc["mean", "rmse"])
        assert other.loc["mean", "mae"] == 1
        stored = json.loads((folds / "cross_validation.json").read_text())
        assert stored["rows"][0]["rmse"] == 1
        assert stored["rows"][0]["r2"] is None
        frame = pd.read_csv(folds / "cross_validation.csv")
        assert frame["rmse"].tolist() == pytest.approx(table["rmse"].astype(float).tolist(), nan_ok=True)
        for words in ("SYNTHETIC", "2 folds", "2.00 ± 1.41", "pooled", "optimistic", "climatology"):
            assert words in said

    def test_a_fold_that_two_runs_validate_counts_twice(self, folds):
        observed = np.zeros((1, 2, 2))
        write_run(folds / "2", config(0), score(5.0), observed + 5, observed)
        table = cross_validate(folds, find_finished_runs(folds))
        assert table.set_index("over").loc["pooled", "pixels"] == 3 + 11 + 4

    def test_runs_that_differ_in_more_than_the_fold_are_kept_apart(self, tmp_path, capsys):
        runs = [(0, "unet", 4.0), (1, "unet", 4.0), (0, "unet3d", 8.0), (1, "unet3d", 8.0)]
        for number, (fold, name, size) in enumerate(runs):
            more = {"model": {"name": name, "channels": [size]}}
            observed = np.arange(4.0).reshape(1, 2, 2)
            write_run(tmp_path / str(number), config(fold, **more), score(size), observed + size, observed)
        groups = configurations(find_finished_runs(tmp_path))
        assert {name: [job.fold for job in group] for name, group in groups.items()} == {
            "model.name=unet": [0, 1],
            "model.name=unet3d": [0, 1],
        }
        table = cross_validate(tmp_path, find_finished_runs(tmp_path))
        assert table[table["over"] == "pooled"]["rmse"].tolist() == [4, 8]
        assert "model.name=unet3d" in capsys.readouterr().out

    def test_what_is_no_sweep_over_folds_is_told(self, tmp_path, folds):
        with pytest.raises(SnowmapError, match=r"holds no run; expected folders with config\.yaml"):
            summarize(tmp_path / "none")
        alone = tmp_path / "alone"
        for seed in (0, 1):
            observed = np.zeros((1, 2, 2))
            write_run(alone / str(seed), config(0) | {"seed": seed}, score(1.0), observed, observed)
        with pytest.raises(SnowmapError, match=r"differ neither in split\.fold nor in ablation"):
            summarize(alone)
        summarize(alone, required=False)
        assert not list(alone.glob("cross_validation*"))


def difference(case: np.ndarray, reference: np.ndarray, observed: np.ndarray, window: np.ndarray) -> dict:
    return rmse_difference(Maps(case, observed, window), Maps(reference, observed, window))


class TestDifference:
    shape = (6, 32, 48)

    def test_it_is_that_of_the_two_scores(self):
        generator = np.random.default_rng(0)
        observed = generator.normal(10, 3, self.shape)
        observed[0, :5] = np.nan
        case, reference = (observed + generator.normal(0, size, self.shape) for size in (2, 1))
        found = difference(case, reference, observed, np.arange(6))
        errors = [np.sqrt(np.nanmean((maps - observed) ** 2)) for maps in (case, reference)]
        assert found["difference"] == pytest.approx(errors[0] - errors[1])
        assert found["low"] < found["difference"] < found["high"]
        assert found == difference(case, reference, observed, np.arange(6))

    def test_maps_that_err_alike_differ_by_nothing_whatever_is_drawn(self):
        generator = np.random.default_rng(0)
        observed = generator.normal(10, 3, self.shape)
        error = generator.normal(0, 4, self.shape)
        found = difference(observed + error, observed - error, observed, np.arange(6))
        assert tuple(found.values()) == pytest.approx((0, 0, 0), abs=1e-9)

    def test_the_interval_is_as_wide_as_theory_says(self):
        """Of independent blocks: the mean of n squares of the case has a known spread, the reference errs by 1."""
        generator = np.random.default_rng(1)
        observed = np.zeros((100, 16, 16))
        block = 1 + generator.uniform(-0.5, 0.5, (100, 1, 1))  # one block of 16 × 16 in each window
        found = difference(observed + block, observed + 1, observed, np.arange(100))
        squares = block.ravel() ** 2
        error = squares.std() / np.sqrt(100) / (2 * np.sqrt(squares.mean()))
        assert found["high"] - found["low"] == pytest.approx(2 * 1.645 * error, rel=0.1)

    def test_maps_of_one_window_are_drawn_together(self):
        """A second net (seed) on the same windows is no further evidence: the interval stays."""
        generator = np.random.default_rng(2)
        observed = np.zeros((40, 16, 16))
        case, window = observed + generator.normal(0, 2, (40, 1, 1)), np.arange(40)
        once = difference(case, observed + 1, observed, window)
        twice = difference(*(np.concatenate([maps, maps]) for maps in (case, observed + 1, observed, window)))
        assert twice == pytest.approx(once)


class TestAblation:
    def test_runs_are_paired_by_fold_and_seed(self, tmp_path):
        number = 0
        for name in ("all", "no_sar"):
            for fold in (1, 0):
                observed = np.zeros((1, 2, 2))
                entry = config(fold) | {"ablation": name}
                write_run(tmp_path / str(number), entry, score(1.0), observed, observed)
                number += 1
        cases = pair_cases(find_finished_runs(tmp_path))
        assert {name: [job.fold for job in jobs] for name, jobs in cases.items()} == {"all": [1, 0], "no_sar": [1, 0]}
        with pytest.raises(SnowmapError, match="no run with ablation=all"):
            pair_cases(cases["no_sar"])
        with pytest.raises(SnowmapError, match=r"ablation=no_sar and ablation=all .* only one has split\.fold=0"):
            pair_cases([*cases["all"], cases["no_sar"][0]])
        other = cases["no_sar"][0]._replace(config={**cases["no_sar"][0].config, "loss": "mae"})
        with pytest.raises(SnowmapError, match="the runs differ in loss, too"):
            pair_cases([*cases["all"], other])

    def test_files_figure_and_print(self, tmp_path, capsys):
        place = {"target": "swe", "unit": "mm"}
        rows = [
            {**place, "kind": "ablation", "name": "all", "rmse": 2.0},
            {**place, "kind": "ablation", "name": "no_sar", "rmse": 2.5, "difference": 0.5, "low": 0.2, "high": 0.9},
            {**place, "kind": "permutation", "name": "coherence", "difference": 0.25, "std": 0.05},
        ]
        notes = ["the test windows were not touched"]
        about = {"part": "validation", "notes": notes, "origin": "synthetic: a test", "level": 0.9}
        write_ablation(tmp_path, pd.DataFrame(rows), about)
        said = capsys.readouterr().out
        for words in ("SYNTHETIC", "+0.50", "+0.20 … +0.90", "coherence permuted", "+0.25", "not touched", "RMSE mm"):
            assert words in said
        frame = pd.read_csv(tmp_path / "ablation.csv").set_index("name")
        assert frame.loc["no_sar", "high"] == 0.9
        assert frame.loc["coherence", ["kind", "difference", "std"]].tolist() == ["permutation", 0.25, 0.05]
        assert json.loads((tmp_path / "ablation.json").read_text())["rows"][0]["low"] is None
        assert Image.open(tmp_path / "ablation.png").size[0] > 800
