"""The table of runs against means and spreads that are known in closed form."""

import contextlib
import csv
import io
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from snowmap.cli import main
from snowmap.evaluation.metrics import SCORES
from snowmap.runs.record import record_failure
from snowmap.sweeps.comparison import SCORES as SORTING
from snowmap.sweeps.comparison import Comparison, compare_scores, parse_score
from snowmap.sweeps.runs import find_runs
from snowmap.sweeps.runs_table import compare_runs
from tests.sweeps.runs import config, score, write_run


def printed(folder: Path, **options) -> tuple[Comparison, str]:
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        (comparison,) = compare_runs(folder, **options)
    table, _ = screen.getvalue().split("runs.csv, runs.md and runs.png lie in ")
    return comparison, table


def compare(folder: Path, *by: str, **options) -> Comparison:
    """What there is to compare of one target, without the files."""
    runs = find_runs(folder)
    (target, *others), score = parse_score(*(by or ("rmse",)), runs)
    assert not others
    return compare_scores(runs, target, score, options.get("each", False), folder)


def losses(comparison: Comparison) -> list:
    return comparison.rows["loss"].tolist()


def score_of(comparison: Comparison, place: int, part: str = "validation") -> tuple[float, float]:
    """Mean and standard deviation of the score that sorts."""
    column = comparison.column(part)
    return comparison.rows[column].iloc[place], comparison.rows[f"{column}_std"].iloc[place]


@pytest.fixture
def seeds(tmp_path) -> Path:
    """mse: 4, 5 and 6 cm in validation, 9 in the test; mae: 3 and 3.5 cm in validation, 11 in the test."""
    for seed, rmse in enumerate((4.0, 5.0, 6.0)):
        write_run(tmp_path / "deep" / "mse" / str(seed), config(seed=seed), {"swe": score(rmse)}, {"swe": score(9.0)})
    for seed, rmse in enumerate((3.0, 3.5)):
        settings = config(seed=seed, loss="mae")
        write_run(tmp_path / f"mae_{seed}", settings, {"swe": score(rmse)}, {"swe": score(11.0)})
    return tmp_path


def test_every_score_can_sort():
    assert {*SORTING, "pixels"} == {*SCORES}


class TestRows:
    def test_mean_and_std_over_seeds_the_best_first(self, seeds):
        found = compare(seeds)
        assert losses(found) == ["mae", "mse"]  # though its test score is the worse one
        assert found.rows["runs"].tolist() == [2, 3]
        assert score_of(found, 0) == pytest.approx((3.25, 0.5 / 2**0.5))
        assert score_of(found, 1) == pytest.approx((5, 1))
        assert score_of(found, 1, "test") == (9, 0)
        assert found.keys == ["loss"]
        assert found.excluded.empty
        assert not found.notes

    def test_each_run_by_itself(self, seeds):
        found = compare(seeds, each=True)
        assert (found.rows["loss"] + found.rows["seed"]).tolist() == ["mae0", "mae1", "mse0", "mse1", "mse2"]
        assert score_of(found, 0) == pytest.approx((3, float("nan")), nan_ok=True)

    @pytest.mark.parametrize(
        ("by", "best"),
        [("rmse", "low"), ("swe.rmse", "low"), ("r2", "high"), ("nse", "high"), ("bias", "middle"), ("hs.mae", "high")],
    )
    def test_what_is_best_depends_on_the_score(self, tmp_path, by, best):
        for name, rmse, r2, bias, mae in (
            *(("low", 1.0, 0.5, -3.0, 9.0), ("middle", 2.0, 0.6, 0.5, 8.0), ("high", 3.0, 0.9, 2.0, 7.0)),
        ):
            swe = score(rmse, r2=r2, nse=r2, bias=bias)
            write_run(tmp_path / name, config(loss=name), {"swe": swe, "hs": score(20.0, mae=mae)})
        assert losses(compare(tmp_path, by))[0] == best

    def test_millimetres_and_centimetres_are_put_in_one_order(self, tmp_path):
        for name, rmse, unit in (("a", 3.0, "cm"), ("b", 2.0, "cm"), ("c", 25.0, "mm")):
            write_run(tmp_path / name, config(loss=name), {"swe": score(rmse, unit, r2=0.5)})
        found = compare(tmp_path)
        assert losses(found) == ["b", "c", "a"]
        assert score_of(found, 1)[0] == pytest.approx(2.5)
        assert found.rows["validation/swe_r2"].iloc[1] == 0.5

    @settings(max_examples=15, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.floats(0.1, 99)),
            min_size=1,
            max_size=8,
            unique_by=lambda run: run[:2],
        ),
        st.randoms(),
    )
    def test_neither_order_nor_means_depend_on_the_names_of_folders(self, tmp_path_factory, runs, chance):
        tables = []
        for _ in range(2):
            folder = tmp_path_factory.mktemp("runs")
            chance.shuffle(runs)
            for number, (loss, seed, rmse) in enumerate(runs):
                write_run(folder / str(number), config(loss=loss, seed=seed), {"swe": score(rmse)})
            found = compare(folder)
            tables.append(found.rows.drop(columns="folders"))
            shutil.rmtree(folder)
        pd.testing.assert_frame_equal(*tables)
        means = tables[0]["validation/swe_rmse_cm"].tolist()
        assert means == sorted(means)
        for _, row in tables[0].iterrows():
            of_row = [rmse for loss, _, rmse in runs if loss == row.get("loss", runs[0][0])]
            assert row["validation/swe_rmse_cm"] == pytest.approx(sum(of_row) / len(of_row))


class TestKeys:
    def test_only_those_that_differ_and_do_not_follow_from_a_name(self, tmp_path):
        nets = {"unet": {"dropout": 0.1, "channels": [8, 16]}, "convlstm": {"hidden": [8], "channels": [4]}}
        for number, (name, own) in enumerate(nets.items()):
            for loss in ("mse", "mae"):
                more = {"logger": {"name": name, "tags": [loss]}, "launcher": {"slots": number}, "ckpt": loss}
                settings = config(model={"name": name, **own}, loss=loss, **more)
                write_run(tmp_path / f"{name}-{loss}", settings, {"swe": score(1.0 + number)})
        found = compare(tmp_path)
        assert found.keys == ["model.name", "loss"]
        following = found.rows.columns[2 : found.rows.columns.get_loc("runs")]
        assert {*following} == {"model.dropout", "model.channels", "model.hidden"}

    def test_a_setting_of_a_model_that_is_varied_is_shown(self, tmp_path):
        for dropout in (0.0, 0.2):
            write_run(tmp_path / str(dropout), config(model__dropout=dropout), {"swe": score(1.0 + dropout)})
        write_run(tmp_path / "other", config(model={"name": "elevation", "degree": 3}), {"swe": score(5.0)})
        found = compare(tmp_path)
        assert found.keys == ["model.name", "model.dropout"]
        assert found.rows["model.dropout"].tolist() == ["0.0", "0.2", "–"]

    def test_one_archive_at_two_places_is_one(self, tmp_path):
        for seed, root in enumerate(("here", "there")):
            write_run(tmp_path / root, config(data__root=root, seed=seed), {"swe": score(1.0)}, {"swe": score(1.0)})
        assert compare(tmp_path).keys == []
        assert len(compare(tmp_path).rows) == 1

    def test_two_archives_are_two_and_that_is_told(self, tmp_path):
        for root in ("here", "there"):
            more = {"origin": "synthetic: a test", "fingerprint": root}
            write_run(tmp_path / root, config(data__root=root), {"swe": score(1.0)}, {"swe": score(1.0)}, **more)
        found, said = printed(tmp_path)
        assert found.keys == ["data.root"]
        assert any("different archives" in note for note in found.notes)
        assert "different archives" in said
        assert "SYNTHETIC" in said
        assert "SYNTHETIC" in (tmp_path / "runs.md").read_text()

    def test_two_splits_are_told(self, tmp_path):
        for fold in (0, 1):
            split = {"name": "winters", "fold": fold, "test": 7}
            write_run(tmp_path / str(fold), config(split=split), {"swe": score(1.0)})
        assert any("different splits or folds" in note for note in compare(tmp_path).notes)

    def test_the_same_seed_twice_is_told(self, tmp_path):
        for name in ("once", "again"):
            write_run(tmp_path / name, config(), {"swe": score(1.0)})
        assert any("count each" in note and "once" in note for note in compare(tmp_path).notes)
        assert not compare(tmp_path, each=True).notes


class TestRunsApart:
    @pytest.fixture
    def folder(self, seeds) -> Path:
        scores = {"swe": score(0.1)}
        write_run(seeds / "failed", config(seed=9), None, status="failed", error="the disk is full", epochs=3)
        write_run(seeds / "pruned", config(seed=9, loss="huber"), scores, status="pruned")
        write_run(seeds / "interrupted", config(seed=8), scores, status="interrupted", error="SIGTERM")
        write_run(seeds / "killed", config(seed=7), scores, status="running", host=os.uname().nodename)
        write_run(seeds / "unscored", config(seed=6), None)
        return seeds

    def test_they_are_listed_with_their_reason_and_enter_no_mean(self, folder):
        found, said = printed(folder)
        assert losses(found) == ["mae", "mse"]
        assert score_of(found, 1) == pytest.approx((5, 1))
        assert dict(zip(found.excluded["run"], found.excluded["state"], strict=True)) == {
            **{"failed": "failed", "pruned": "pruned", "interrupted": "interrupted", "killed": "killed"},
            "unscored": "finished",
        }
        for words in (
            "not in the means: 5",
            "the disk is full",
            "SIGTERM",
            "no process works there",
            "split=validation",
        ):
            assert words in " ".join(said.split()), words
        markdown = (folder / "runs.md").read_text()
        assert "| failed | failed | 3 |" in markdown
        assert "the disk is full" in markdown
        frame = pd.read_csv(folder / "runs.csv")
        assert len(frame) == 2 + 5
        assert frame["state"].tolist()[:2] == ["finished", "finished"]
        assert frame["validation/swe_rmse_cm"].isna().tolist() == [False] * 2 + [True] * 5

    def test_a_run_without_a_record_counts_by_what_its_evaluation_says(self, tmp_path):
        folder = write_run(tmp_path / "old", config(), None, {"swe": score(2.0)})
        (folder / "run.json").unlink()
        assert compare(tmp_path).excluded["state"].tolist() == ["unknown"]
        (folder / "evaluation" / "test").rename(folder / "evaluation" / "validation")
        assert compare(tmp_path).rows["validation/swe_rmse_cm"].tolist() == [2]

    def test_a_job_whose_configuration_was_refused_is_listed(self, seeds):
        record_failure(seeds / "loss-mes", "loss=mes is not possible")
        comparison, said = printed(seeds)
        assert comparison.excluded[["run", "state"]].values.tolist() == [["loss-mes", "failed"]]
        assert "loss=mes is not possible" in said

    def test_a_table_without_a_finished_run(self, tmp_path):
        write_run(tmp_path / "a", config(), None, status="failed", error="no memory")
        found, said = printed(tmp_path)
        assert found.rows.empty
        assert "no memory" in said

    def test_a_target_that_a_run_does_not_map(self, tmp_path):
        write_run(tmp_path / "both", config(), {"hs": score(10.0), "swe": score(3.0)})
        write_run(tmp_path / "swe", config(loss="mae"), {"swe": score(2.0)})
        assert compare(tmp_path, "hs.rmse").excluded["run"].tolist() == ["swe"]
        assert "no validation rmse of hs" in printed(tmp_path, by="hs.rmse")[1]
        assert losses(compare(tmp_path, "swe.rmse")) == ["mae", "mse"]

    def test_each_target_has_a_table_where_the_runs_map_different_ones(self, tmp_path, capsys):
        for seed in (0, 1):
            for target, rmse in (("swe", 3.0), ("hs", 30.0)):
                settings = {**config(seed=seed), "target": {"names": [target]}}
                write_run(tmp_path / f"{target}_{seed}", settings, {target: score(rmse + seed)})
        write_run(
            tmp_path / "both",
            {**config(loss="mae"), "target": {"names": ["hs", "swe"]}},
            {"hs": score(20.0), "swe": score(9.0)},
        )
        failed = {**config(seed=2), "target": {"names": ["hs"]}}
        write_run(tmp_path / "failed", failed, None, status="failed", error="no memory")
        hs, swe = compare_runs(tmp_path)
        assert (hs.target, swe.target) == ("hs", "swe")
        assert [score_of(hs, 0)[0], len(hs.rows), len(hs.excluded)] == [20.0, 2, 1]
        assert [score_of(swe, 0)[0], len(swe.rows), len(swe.excluded)] == [3.5, 2, 0]
        said = capsys.readouterr().out
        assert said.index("validation HS RMSE cm, smallest first") < said.index("validation SWE RMSE cm, smallest")
        assert pd.read_csv(tmp_path / "runs.csv")["target"].tolist() == ["hs", "hs", "hs", "swe", "swe"]
        assert (tmp_path / "runs.md").read_text().count("Sorted by") == 2
        (alone,) = compare_runs(tmp_path, by="swe.mae")
        assert alone.target == "swe"


class TestFiles:
    def test_the_screen_has_100_columns_and_the_test_stands_behind_a_rule(self, seeds):
        _, said = printed(seeds)
        assert max(map(len, said.splitlines())) <= 100
        assert "SWE RMSE cm" in said
        line = next(line for line in said.splitlines() if line.startswith("mae"))
        before, after = line.split("│")
        assert "3.25 ± 0.35" in before
        assert "11.00 ± 0.00" in after
        assert "SYNTHETIC" not in said

    def test_many_keys_are_named_where_there_is_no_room_for_them(self, tmp_path):
        for number in range(3):
            many = {f"setting_of_the_optimizer_{i}": number for i in range(8)}
            write_run(tmp_path / str(number), config(optimizer=many), {"swe": score(1.0 + number)})
        found, said = printed(tmp_path)
        assert max(map(len, said.splitlines())) <= 100
        assert "more in runs.csv: " in said
        assert len(found.keys) == 8
        assert "setting_of_the_optimizer_7, epochs, weights, time" in " ".join(said.split())

    def test_csv_holds_every_score_with_its_unit(self, seeds):
        printed(seeds)
        with (seeds / "runs.csv").open() as file:
            first, _ = csv.DictReader(file)
        assert first["loss"] == "mae"
        assert float(first["validation/swe_rmse_cm"]) == 3.25
        assert float(first["validation/swe_rmse_cm_std"]) == pytest.approx(0.5 / 2**0.5)
        assert float(first["test/swe_rmse_cm"]) == 11
        assert first["validation/swe_r2"] == ""
        assert (first["runs"], first["seeds"], float(first["parameters"])) == ("2", "0 1", 1200)

    def test_markdown_is_a_table(self, seeds):
        printed(seeds)
        lines = [line for line in (seeds / "runs.md").read_text().splitlines() if line.startswith("|")]
        assert lines[0] == "| loss | seeds | validation SWE RMSE cm | epochs | weights | time | test SWE RMSE cm |"
        assert lines[2] == "| mae | 2 | 3.25 ± 0.35 | 10 | 1,200 | 0:01:00 | 11.00 ± 0.00 |"
        assert len({line.count("|") for line in lines}) == 1

    def test_the_figure_is_drawn_and_grows_with_the_table(self, seeds):
        printed(seeds)
        width, height = Image.open(seeds / "runs.png").size
        for number in range(12):
            write_run(seeds / f"more_{number}", config(loss=str(number)), {"swe": score(7.0 + number)})
        printed(seeds)
        assert Image.open(seeds / "runs.png").size[0] == width
        assert Image.open(seeds / "runs.png").size[1] > height + 200

    def test_wandbs_own_configuration_is_no_run(self, seeds):
        inner = seeds / "mae_0" / "wandb" / "run-1" / "files"
        inner.mkdir(parents=True)
        (inner / "config.yaml").write_text("wandb_version: 1\nsplit: 2\n")
        assert compare(seeds).rows["runs"].sum() == 5


class TestCommand:
    def test_it_writes_where_it_is_told(self, seeds, tmp_path_factory, capsys):
        out = tmp_path_factory.mktemp("out") / "tables"
        assert main(["runs", str(seeds), "--by", "swe.rmse", "--each", "--out", str(out)]) == 0
        assert {path.name for path in out.iterdir()} == {"runs.csv", "runs.md", "runs.png"}
        assert not (seeds / "runs.csv").exists()
        assert str(out) in capsys.readouterr().out
        assert len(pd.read_csv(out / "runs.csv")) == 5

    @pytest.mark.parametrize("by", ["test", "test.rmse", "test.swe.rmse"])
    def test_no_test_score_sorts(self, seeds, by, capsys):
        assert main(["runs", str(seeds), "--by", by]) == 1
        assert "never put in order by a test score" in capsys.readouterr().err
        assert not (seeds / "runs.csv").exists()

    @pytest.mark.parametrize(
        ("by", "said"),
        [("rmes", "is no validation score"), ("hs.rmse", "targets here: swe"), ("pixels", "choose rmse")],
    )
    def test_what_is_no_score_is_told(self, seeds, by, said, capsys):
        assert main(["runs", str(seeds), "--by", by]) == 1
        assert said in capsys.readouterr().err

    def test_what_is_no_folder_of_runs_is_told(self, tmp_path, capsys):
        assert main(["runs", str(tmp_path / "nowhere")]) == 1
        assert "holds no run; expected folders with config.yaml" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("file", "content", "reason"),
        [
            ("config.yaml", "a: [1,\n", "mae_0/config.yaml cannot be read"),
            ("run.json", "[1, 2]", "mae_0/run.json cannot be read (it is no record of a run)"),
            (
                "run.json",
                '{"status": "finished", "stage": "done", "starts": 1, "wall_s": 1, '
                '"validation": {"swe": {"unit": "ell"}}}',
                "the unit 'ell' of swe",
            ),
            ("run.json", '{"status": "finished", "stage": "done", "starts": 1, "wall_s": 1, "validation": [3]}', ""),
            ("run.json", '{"status": null, "starts": 1}', ""),
            ("run.json", '{"status": "finished", "starts": 1, "wall_s": Infinity}', ""),
            ("run.json", '{"status": "finished", "starts": 1, "archive": {"origin": 5}}', ""),
            ("run.json", '{"status": "finished", "starts": 1, "archive": {"fingerprint": {"a": 1}}}', ""),
            ("run.json", "[" * 100_000, ""),
            ("evaluation/test/metrics.json", "[]", ""),
        ],
    )
    def test_a_run_with_a_damaged_file_is_a_row_that_says_so(self, seeds, file, content, reason, capsys):
        (seeds / "mae_0" / file).write_text(content)
        assert main(["runs", str(seeds), "--by", "swe.rmse"]) == 0
        assert "not in the means: 1" in capsys.readouterr().out
        table = pd.read_csv(seeds / "runs.csv", keep_default_na=False)
        assert table["runs"].tolist() == [1, 3, 1]
        assert table["state"].iloc[2] == "unreadable"
        assert reason in table["reason"].iloc[2]

    def test_another_user_s_lock_costs_no_table(self, seeds, monkeypatch, capsys):
        folder = seeds / "mae_0"
        write_run(seeds / "running", config(seed=9), None, status="running", host=os.uname().nodename)
        (seeds / "running" / ".lock").touch()

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied", str(folder / ".lock"))

        monkeypatch.setattr(FileLock, "_acquire", refuse)  # the superuser, who may run the tests, is refused nothing
        assert main(["runs", str(seeds)]) == 0
        table = pd.read_csv(seeds / "runs.csv")
        assert table["runs"].tolist() == [2, 3, 1]
        assert table["state"].iloc[2] == "running"
