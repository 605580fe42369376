"""The tables of a sweep against numbers made by hand, from run folders as trainings leave them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from snowmap.errors import SnowmapError
from snowmap.sweeps import ablation_table as ablation
from snowmap.sweeps import summarize
from snowmap.sweeps.ablation_table import ablation_table, pair_cases, rmse_difference
from snowmap.sweeps.folds_table import folds_table
from snowmap.sweeps.runs import read_runs
from tests.sweeps.runs import config, write_mapped_run, write_run


def of_fold(fold: int, **more: object) -> dict:
    return config(split={"name": "winters", "fold": fold}, **more)


@pytest.fixture
def folds(tmp_path) -> Path:
    """Two folds whose errors are 1 and 3 cm everywhere, of 4 and 12 pixels; one observation of each is missing."""
    for number, (count, error) in enumerate([(1, 1.0), (3, 3.0)]):
        observed = np.arange(count * 4, dtype=float).reshape(count, 2, 2)
        observed[0, 0, 0] = np.nan
        write_mapped_run(tmp_path / str(number), of_fold(number), error, observed, origin="synthetic: a test")
    return tmp_path


class TestCrossValidation:
    def test_mean_std_and_pooled_score_in_files_and_print(self, folds, capsys):
        write_run(folds / "failed", of_fold(2), None, status="failed", error="no memory")
        summarize(folds)
        said = capsys.readouterr().out
        table = pd.read_csv(folds / "cross_validation.csv")
        model, other = (table[table["map"] == name].set_index("over") for name in ("model", "climatology"))
        assert [*model.index] == ["fold 0", "fold 1", "pooled", "mean"]
        assert model["rmse"].tolist() == pytest.approx([1, 3, np.sqrt((3 * 1 + 11 * 9) / 14), 2])
        assert model.loc["mean", "rmse_std"] == pytest.approx(np.sqrt(2))
        assert model.loc["pooled", ["pixels", "bias"]].tolist() == pytest.approx([3 + 11, (3 * 1 + 11 * 3) / 14])
        assert pd.isna(model.loc["mean", "r2"])  # a fold lacks it
        assert pd.isna(other.loc["mean", "rmse"])
        assert other.loc["mean", "mae"] == 1
        stored = json.loads((folds / "cross_validation.json").read_text())
        assert (stored["rows"][0]["rmse"], stored["rows"][0]["r2"]) == (1, None)
        for words in ("SYNTHETIC", "2 folds", "2.00 ± 1.41", "pooled", "optimistic", "climatology"):
            assert words in said
            assert words in (folds / "cross_validation.md").read_text()

    def test_a_fold_that_two_runs_validate_counts_twice(self, folds):
        write_mapped_run(folds / "2", of_fold(0), 5.0, np.zeros((1, 2, 2)))
        table = folds_table(read_runs(folds)).table.set_index("over")
        assert table.loc["pooled", "pixels"] == 3 + 11 + 4

    def test_a_baseline_that_a_fold_lacks_has_no_mean(self, folds):
        file = folds / "1" / "evaluation" / "validation" / "metrics.json"
        metrics = json.loads(file.read_text())
        metrics["target"]["swe"]["baselines"] = {}
        file.write_text(json.dumps(metrics))
        assert {*folds_table(read_runs(folds)).table["map"]} == {"model"}

    def test_runs_that_differ_in_more_than_the_fold_are_kept_apart(self, tmp_path):
        for number, (fold, name, size) in enumerate([(0, "a", 4), (1, "a", 4), (0, "b", 8), (1, "b", 8)]):
            settings = of_fold(fold, model={"name": name, "channels": [size]})
            write_mapped_run(tmp_path / str(number), settings, size, np.arange(4.0).reshape(1, 2, 2))
        result = folds_table(read_runs(tmp_path))
        pooled = result.table[result.table["over"] == "pooled"].set_index("configuration")
        assert pooled["rmse"].to_dict() == {"model.name=a": 4, "model.name=b": 8}
        assert [section.title.partition(" · ")[2] for section in result.sections] == [*pooled.index]

    def test_what_is_no_sweep_over_folds_is_told(self, tmp_path):
        with pytest.raises(SnowmapError, match=r"holds no run; expected folders with run\.json"):
            summarize(tmp_path / "none")
        write_run(tmp_path / "failed", of_fold(0), None, status="failed")
        with pytest.raises(SnowmapError, match="the 0 finished runs in"):
            summarize(tmp_path)
        for seed in (0, 1):
            write_run(tmp_path / str(seed), of_fold(0, seed=seed), None)
        with pytest.raises(
            SnowmapError, match=r"2 finished runs .* differ neither in split\.fold or split\.holdout nor in ablation"
        ):
            summarize(tmp_path)
        summarize(tmp_path, required=False)
        assert not list(tmp_path.glob("cross_validation*"))


def difference(case: np.ndarray, reference: np.ndarray, observed: np.ndarray, window: np.ndarray) -> dict:
    maps = (
        xr.Dataset({"predicted": (("time", "y", "x"), one), "observed": (("time", "y", "x"), observed)})
        for one in (case, reference)
    )
    return rmse_difference(*(one.assign_coords(time=window) for one in maps))


class TestDifference:
    shape = (6, 32, 48)

    def test_it_is_that_of_the_two_scores(self):
        generator = np.random.default_rng(0)
        observed = generator.normal(10, 3, self.shape)
        observed[0, :5] = np.nan
        case, reference = (observed + generator.normal(0, size, self.shape) for size in (2, 1))
        first = difference(case, reference, observed, np.arange(6))
        errors = [np.sqrt(np.nanmean((maps - observed) ** 2)) for maps in (case, reference)]
        assert first["difference"] == pytest.approx(errors[0] - errors[1])
        assert first["low"] < first["difference"] < first["high"]
        assert first == difference(case, reference, observed, np.arange(6))

    def test_maps_that_err_alike_differ_by_nothing_whatever_is_drawn(self):
        generator = np.random.default_rng(0)
        observed = generator.normal(10, 3, self.shape)
        error = generator.normal(0, 4, self.shape)
        same = difference(observed + error, observed - error, observed, np.arange(6))
        assert tuple(same.values()) == pytest.approx((0, 0, 0), abs=1e-9)

    def test_the_interval_is_as_wide_as_theory_says(self):
        """Of independent blocks: the mean of n squares of the case has a known spread, the reference errs by 1."""
        generator = np.random.default_rng(1)
        observed = np.zeros((100, 16, 16))
        block = 1 + generator.uniform(-0.5, 0.5, (100, 1, 1))  # one block of 16 × 16 in each window
        ends = difference(observed + block, observed + 1, observed, np.arange(100))
        squares = block.ravel() ** 2
        error = squares.std() / np.sqrt(100) / (2 * np.sqrt(squares.mean()))
        assert ends["high"] - ends["low"] == pytest.approx(2 * 1.645 * error, rel=0.1)

    def test_maps_of_one_window_are_drawn_together(self):
        """A second net (seed) on the same windows is no further evidence: the interval stays."""
        generator = np.random.default_rng(2)
        observed = np.zeros((40, 16, 16))
        case, window = observed + generator.normal(0, 2, (40, 1, 1)), np.arange(40)
        once = difference(case, observed + 1, observed, window)
        twice = difference(*(np.concatenate([maps, maps]) for maps in (case, observed + 1, observed, window)))
        assert twice == pytest.approx(once)


class TestAblation:
    @pytest.fixture
    def runs(self, tmp_path) -> pd.DataFrame:
        """Errors of 2 cm with all bands and 2.5 without SAR, in two folds each."""
        for number, (name, error) in enumerate((("no_sar", 2.5), ("all", 2.0))):
            for fold in (1, 0):
                settings = of_fold(fold, ablation=name)
                observed = np.arange(2 * 16 * 16.0).reshape(2, 16, 16)
                write_mapped_run(tmp_path / f"{number}{fold}", settings, error, observed, origin="synthetic: a test")
        return read_runs(tmp_path)

    def test_runs_are_paired_by_fold_and_seed(self, runs, tmp_path):
        cases = pair_cases(runs)
        assert {name: [path.name for path in cases[name]] for name in cases} == {
            **{"all": ["10", "11"], "no_sar": ["00", "01"]}
        }
        with pytest.raises(SnowmapError, match="no run with ablation=all"):
            ablation_table(runs[:2])
        with pytest.raises(SnowmapError, match=r"ablation=no_sar and ablation=all .* only one has split\.fold=0"):
            pair_cases(runs[1:])
        write_run(tmp_path / "other", of_fold(0, loss="mae"), None)
        with pytest.raises(SnowmapError, match="the runs differ in loss, too"):
            pair_cases(read_runs(tmp_path))

    @pytest.fixture
    def importance(self, monkeypatch):
        """That of a checkpoint has a test of its own."""
        increases = pd.DataFrame({"target": "swe", "name": "coherence", "difference": [0.2, 0.3]})
        monkeypatch.setattr(ablation, "permutation_importance", lambda checkpoint: increases)

    def test_what_seeds_alone_make_of_a_difference(self, tmp_path, importance):
        """RMSE 2 and 4 with all bands, 5 and 7 without SAR: over seeds a variance of 2, that of means × 2."""
        for name, seed, error in (("all", 0, 2.0), ("all", 1, 4.0), ("no_sar", 0, 5.0), ("no_sar", 1, 7.0)):
            observed = np.arange(2 * 16 * 16.0).reshape(2, 16, 16)
            write_mapped_run(tmp_path / f"{name}{seed}", of_fold(0, ablation=name, seed=seed), error, observed)
        result = ablation_table(read_runs(tmp_path))
        table = result.table.set_index("name")
        assert table.loc["no_sar", "chance"] == pytest.approx(2.920 * np.sqrt(2), rel=1e-3)  # t of 95 %, two degrees
        assert np.isnan(table.loc["all", "chance"])
        assert not any("by chance is unknown" in note for note in result.notes)

    def test_of_several_models_the_validation_windows_choose_by_the_seeds_that_all_have(self, tmp_path, importance):
        """The chosen one alone has a second seed, which is the worst of all."""
        for name, seed, error in (("unet", 0, 3.0), ("massbalance", 0, 1.0), ("massbalance", 1, 9.0)):
            for bands, more in (("all", 0.0), ("no_sar", 0.5)):
                settings = of_fold(0, ablation=bands, seed=seed, model={"name": name})
                observed = np.arange(2 * 16 * 16.0).reshape(2, 16, 16)
                write_mapped_run(tmp_path / f"{name}{bands}{seed}", settings, error + more, observed)
        assert ablation.chosen_model(tmp_path) == "massbalance"
        result = ablation_table(read_runs(tmp_path))
        pooled = np.sqrt([(1**2 + 9**2) / 2, (1.5**2 + 9.5**2) / 2])
        assert result.table.set_index("name").loc[["all", "no_sar"], "rmse"].tolist() == pytest.approx(pooled)
        (note,) = [note for note in result.notes if "massbalance, which the validation windows choose" in note]
        assert note.endswith("(RMSE with all bands: massbalance 1, unet 3)")

    def test_differences_and_importance_in_files_and_print(self, runs, tmp_path, importance, capsys):
        result = ablation_table(runs)
        table = result.table.set_index("name")
        assert [*table.index] == ["all", "no_sar", "coherence"]
        assert table["rmse"].tolist() == pytest.approx([2, 2.5, np.nan], nan_ok=True)
        assert table.loc["no_sar", ["difference", "low", "high"]].tolist() == pytest.approx([0.5] * 3)
        assert table.loc["coherence", ["difference", "std"]].tolist() == pytest.approx(
            [0.25, np.std([0.2, 0.3] * 2, ddof=1)]
        )
        summarize(tmp_path)
        said = " ".join(capsys.readouterr().out.split())
        for words in (
            *("SYNTHETIC", "0.50 ± 0.00", "90%", "coherence 0.25 ± 0.06", "not touched", "RMSE cm"),
            "how far trainings differ by chance is unknown",
        ):
            assert words in said
        assert json.loads((tmp_path / "ablation.json").read_text())["rows"][0]["low"] is None
        assert pd.read_csv(tmp_path / "ablation.csv").set_index("name").loc["no_sar", "high"] == pytest.approx(0.5)
        assert (tmp_path / "ablation.png").stat().st_size > 10_000
