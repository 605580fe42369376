"""The table of runs against means and spreads that are known in closed form."""

import csv
import json
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
from snowmap.sweeps.output import Result, publish
from snowmap.sweeps.runs_table import SCORES as SORTING
from snowmap.sweeps.runs_table import runs_table
from tests.sweeps.runs import config, score, write_run

RMSE = "validation/swe_rmse_cm"


def heads(result: Result) -> list[str]:
    """Of what is shown, without line breaks."""
    return [head.replace("\n", " ") for head in result.sections[0].frame]


def excluded(result: Result) -> dict[str, str]:
    """The state of each run that enters no mean."""
    (frame,) = [section.frame for section in result.sections if section.title.startswith("not in the means")]
    return dict(zip(frame["run"], frame["state"], strict=True))


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
        result = runs_table(seeds)
        rows = result.table.set_index("loss")
        assert [*rows.index] == ["mae", "mse"]  # though its test score is the worse one
        assert rows["runs"].tolist() == [2, 3]
        assert rows[[RMSE, f"{RMSE}_std"]].values.ravel() == pytest.approx([3.25, 0.5 / 2**0.5, 5, 1])
        assert rows.loc["mse", ["test/swe_rmse_cm", "test/swe_rmse_cm_std"]].tolist() == [9, 0]
        assert len(result.sections) == 1
        assert not result.notes

    def test_each_run_by_itself(self, seeds):
        rows = runs_table(seeds, each=True).table
        assert (rows["loss"] + rows["seed"]).tolist() == ["mae0", "mae1", "mse0", "mse1", "mse2"]
        assert rows[[RMSE, f"{RMSE}_std"]].iloc[0].tolist() == pytest.approx([3, float("nan")], nan_ok=True)

    @pytest.mark.parametrize(
        ("by", "best"),
        [("rmse", "low"), ("swe.rmse", "low"), ("r2", "high"), ("nse", "high"), ("bias", "middle"), ("hs.mae", "high")],
    )
    def test_what_is_best_depends_on_the_score(self, tmp_path, by, best):
        for name, rmse, r2, bias, mae in (
            *(("low", 1.0, 0.5, -3.0, 9.0), ("middle", 2.0, 0.6, 0.5, 8.0), ("high", 3.0, 0.9, 2.0, 7.0)),
        ):
            swe, hs = score(rmse, r2=r2, nse=r2, bias=bias), score(20.0, r2=r2, nse=r2, bias=bias, mae=mae)
            write_run(tmp_path / name, config(loss=name), {"swe": swe, "hs": hs})
        shown = runs_table(tmp_path, by).sections[-1]  # of SWE, where both are
        assert shown.frame["loss"].tolist()[0] == best
        assert len(shown.frame) == 3

    def test_millimetres_and_centimetres_are_put_in_one_order(self, tmp_path):
        for name, rmse, unit in (("a", 3.0, "cm"), ("b", 2.0, "cm"), ("c", 25.0, "mm")):
            write_run(tmp_path / name, config(loss=name), {"swe": score(rmse, unit, r2=0.5)})
        rows = runs_table(tmp_path).table
        assert rows["loss"].tolist() == ["b", "c", "a"]
        assert rows[[RMSE, "validation/swe_r2"]].iloc[1].tolist() == pytest.approx([2.5, 0.5])

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
            tables.append(runs_table(folder).table.drop(columns="folders"))
            shutil.rmtree(folder)
        pd.testing.assert_frame_equal(*tables)
        means = tables[0][RMSE].tolist()
        assert means == sorted(means)
        for _, row in tables[0].iterrows():
            of_row = [rmse for loss, _, rmse in runs if loss == row.get("loss", runs[0][0])]
            assert row[RMSE] == pytest.approx(sum(of_row) / len(of_row))


class TestKeys:
    def test_only_those_that_differ_and_do_not_follow_from_a_name(self, tmp_path):
        nets = {"unet": {"dropout": 0.1, "channels": [8, 16]}, "convlstm": {"hidden": [8], "channels": [4]}}
        for number, (name, own) in enumerate(nets.items()):
            for loss in ("mse", "mae"):
                more = {"logger": {"name": name, "tags": [loss]}, "launcher": {"slots": number}, "ckpt": loss}
                settings = config(model={"name": name, **own}, loss=loss, **more)
                write_run(tmp_path / f"{name}-{loss}", settings, {"swe": score(1.0 + number)})
        result = runs_table(tmp_path)
        assert heads(result)[:3] == ["model", "loss", "validation SWE RMSE cm"]
        following = {column for column in result.table if column.startswith("model.")}
        assert following == {"model.name", "model.dropout", "model.channels", "model.hidden"}
        assert not {"ckpt", "launcher.slots", "logger.name"} & {*result.table}

    def test_a_setting_of_a_model_that_is_varied_is_shown(self, tmp_path):
        for dropout in (0.0, 0.2):
            write_run(tmp_path / str(dropout), config(model__dropout=dropout), {"swe": score(1.0 + dropout)})
        write_run(tmp_path / "other", config(model={"name": "elevation", "degree": 3}), {"swe": score(5.0)})
        result = runs_table(tmp_path)
        assert heads(result)[:2] == ["model", "dropout"]
        assert result.table["model.dropout"].tolist() == ["0.0", "0.2", "–"]

    def test_a_key_is_shown_whole_where_its_last_word_stands_for_something_else(self, tmp_path):
        for time in ("single", "stack"):
            write_run(tmp_path / time, config(model__time=time), {"swe": score(1.0)})
        frame = runs_table(tmp_path).sections[0].frame
        assert frame["model.time"].tolist() == ["single", "stack"]
        assert frame["time"].tolist() == ["0:01:00"] * 2

    def test_one_archive_at_two_places_is_one(self, tmp_path):
        for seed, root in enumerate(("here", "there")):
            write_run(tmp_path / root, config(data__root=root, seed=seed), {"swe": score(1.0)}, {"swe": score(1.0)})
        result = runs_table(tmp_path)
        assert len(result.table) == 1
        assert heads(result)[0] == "seeds"

    def test_what_cannot_be_compared_is_said(self, tmp_path):
        for number, root in enumerate(("here", "there")):
            settings = config(data__root=root, split={"name": "winters", "fold": number})
            more = {"origin": "synthetic: a test", "fingerprint": root}
            for name in ("once", "again"):
                write_run(tmp_path / root / name, settings, {"swe": score(1.0)}, **more)
        result = runs_table(tmp_path)
        notes = " ".join(result.notes)
        for words in ("SYNTHETIC", "different archives", "different splits or folds", "count each", "here/once"):
            assert words in notes
        assert heads(result)[:2] == ["root", "fold"]
        assert "count each" not in " ".join(runs_table(tmp_path, each=True).notes)


class TestRunsApart:
    @pytest.fixture
    def folder(self, seeds) -> Path:
        scores = {"swe": score(0.1)}
        write_run(seeds / "failed", config(seed=9), None, status="failed", error="the disk is full", epochs=3)
        write_run(seeds / "pruned", config(seed=9, loss="huber"), scores, status="pruned")
        write_run(seeds / "interrupted", config(seed=8), scores, status="interrupted", error="SIGTERM")
        write_run(seeds / "killed", config(seed=7), scores, status="running", host=os.uname().nodename)
        write_run(seeds / "unscored", config(seed=6), None)
        record_failure(seeds / "loss-mes", "loss=mes is not possible")  # a job whose configuration was refused
        return seeds

    def test_they_are_listed_with_their_reason_and_enter_no_mean(self, folder, capsys):
        publish(runs_table(folder), folder)
        said = " ".join(capsys.readouterr().out.split())
        markdown = (folder / "runs.md").read_text()
        for text in (said, markdown):
            for words in (
                *("not in the means: 6", "the disk is full", "SIGTERM", "no process works there"),
                *("no validation rmse of swe", "loss=mes is not possible"),
            ):
                assert words in text
        assert "| failed | failed | the disk is full |" in markdown
        assert "| unscored | finished | no validation rmse of swe |" in markdown
        frame = pd.read_csv(folder / "runs.csv")
        assert frame["state"].tolist() == [
            *("finished", "finished", "failed", "interrupted", "killed", "failed", "pruned", "finished")
        ]
        assert frame["loss"].tolist()[:2] == ["mae", "mse"]
        assert frame[RMSE].tolist()[:2] == pytest.approx([3.25, 5])
        assert frame[RMSE].isna().tolist() == [False] * 2 + [True] * 6

    def test_a_table_without_a_finished_run(self, tmp_path, capsys):
        write_run(tmp_path / "a", config(), None, status="failed", error="no memory")
        assert main(["runs", str(tmp_path)]) == 0
        assert "no memory" in capsys.readouterr().out
        assert pd.read_csv(tmp_path / "runs.csv")["state"].tolist() == ["failed"]

    def test_each_target_has_a_table_with_the_runs_that_map_it(self, tmp_path):
        for seed in (0, 1):
            for target, rmse in (("swe", 3.0), ("hs", 30.0)):
                settings = {**config(seed=seed), "target": {"names": [target]}}
                write_run(tmp_path / f"{target}_{seed}", settings, {target: score(rmse + seed)})
        both = {**config(loss="mae"), "target": {"names": ["hs", "swe"]}}
        write_run(tmp_path / "both", both, {"hs": score(20.0), "swe": score(9.0)})
        hs, swe = runs_table(tmp_path).sections
        assert hs.title.startswith("Sorted by validation HS RMSE cm, smallest first")
        assert hs.frame[hs.bars[0]].tolist() == [20.0, 30.5]
        assert swe.frame[swe.bars[0]].tolist() == [3.5, 9.0]
        result = runs_table(tmp_path, by="hs.rmse")
        assert len(result.sections[0].frame) == 2
        assert excluded(result) == {"swe_0": "finished", "swe_1": "finished"}
        assert result.sections[1].frame["reason"].tolist() == ["no validation rmse of hs"] * 2

    def test_scores_of_an_older_checkpoint_are_none(self, seeds):
        best = seeds / "mae_0" / "checkpoints" / "best.ckpt"
        best.parent.mkdir()
        best.touch()
        os.utime(seeds / "mae_0" / "evaluation" / "test" / "metrics.json", (0, 0))
        assert pd.isna(runs_table(seeds).table["test/swe_rmse_cm"].iloc[0])

    @pytest.mark.parametrize(
        ("file", "content", "reason"),
        [
            ("config.yaml", "a: [1,\n", "mae_0/config.yaml cannot be read"),
            ("run.json", "[1, 2]", "mae_0/run.json cannot be read (it is no record of a run)"),
            ("run.json", {"validation": {"swe": {"unit": "ell"}}}, "the unit 'ell' of swe"),
            ("run.json", {"validation": [3]}, ""),
            ("run.json", {"validation": {"swe": {"unit": "cm", "rmse": "low"}}}, ""),
            ("run.json", {"status": None}, ""),
            ("run.json", {"wall_s": float("inf")}, ""),
            ("run.json", {"epochs": "ten"}, ""),
            ("run.json", {"archive": 5}, ""),
            ("run.json", "[" * 100_000, ""),
            ("evaluation/test/metrics.json", "[]", ""),
        ],
    )
    def test_a_run_with_a_damaged_file_is_a_row_that_says_so(self, tmp_path, file, content, reason):
        write_run(tmp_path / "good", config(), {"swe": score(1.0)})
        write_run(tmp_path / "mae_0", config(seed=1), {"swe": score(1.0)}, {"swe": score(1.0)})
        damaged = tmp_path / "mae_0" / file
        if isinstance(content, dict):
            content = json.dumps({**json.loads(damaged.read_text()), **content})
        damaged.write_text(content)
        table = runs_table(tmp_path).table
        assert table["runs"].tolist() == [1, 1]
        assert table["state"].tolist() == ["finished", "unreadable"]
        assert reason in table["reason"].iloc[1]

    def test_another_user_s_lock_costs_no_table(self, seeds, monkeypatch):
        write_run(seeds / "running", config(seed=9), None, status="running", host=os.uname().nodename)
        (seeds / "running" / ".lock").touch()

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(FileLock, "_acquire", refuse)  # the superuser, who may run the tests, is refused nothing
        assert excluded(runs_table(seeds)) == {"running": "running"}


class TestFiles:
    def test_screen_csv_markdown_and_figure_hold_the_same(self, seeds, tmp_path_factory, capsys):
        out = tmp_path_factory.mktemp("out") / "tables"
        assert main(["runs", str(seeds), "--by", "swe.rmse", "--out", str(out)]) == 0
        assert {path.name for path in out.iterdir()} == {"runs.csv", "runs.json", "runs.md", "runs.png"}
        assert not list(seeds.glob("runs.*"))
        said = capsys.readouterr().out
        assert str(out) in said
        assert "SYNTHETIC" not in said
        assert max(map(len, said.splitlines()[:-1])) <= 100
        before, after = next(line for line in said.splitlines() if "mae" in line).split("│")
        assert "3.25 ± 0.35" in before
        assert "11.00 ± 0.00" in after
        lines = [line for line in (out / "runs.md").read_text().splitlines() if line.startswith("|")]
        assert lines[0] == "| loss | seeds | validation SWE RMSE cm | epochs | weights | time | test SWE RMSE cm |"
        assert lines[2] == "| mae | 2 | 3.25 ± 0.35 | 10 | 1,200 | 0:01:00 | 11.00 ± 0.00 |"
        assert len({line.count("|") for line in lines}) == 1
        with (out / "runs.csv").open() as file:
            first, _ = csv.DictReader(file)
        assert float(first[RMSE]) == 3.25
        assert float(first[f"{RMSE}_std"]) == pytest.approx(0.5 / 2**0.5)
        assert float(first["test/swe_rmse_cm"]) == 11
        assert first["validation/swe_r2"] == ""
        assert (first["runs"], first["seeds"], float(first["parameters"])) == ("2", "0 1", 1200)
        width, height = Image.open(out / "runs.png").size
        assert main(["runs", str(seeds), "--each", "--out", str(out)]) == 0
        assert Image.open(out / "runs.png").size[0] == width
        assert Image.open(out / "runs.png").size[1] > height + 100

    def test_many_keys_are_named_where_there_is_no_room_for_them(self, tmp_path, capsys):
        for number in range(3):
            many = {f"setting_of_the_optimizer_{i}": number for i in range(8)}
            write_run(tmp_path / str(number), config(optimizer=many), {"swe": score(1.0 + number)})
        assert main(["runs", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert max(map(len, said.splitlines()[:-1])) <= 100
        assert "more in runs.csv: " in said
        assert "setting_of_the_optimizer_7, epochs, weights, time" in " ".join(said.split())

    @pytest.mark.parametrize(
        ("by", "said"),
        [
            *((by, "never put in order by a test score") for by in ("test", "test.rmse", "test.swe.rmse")),
            *(("rmes", "is no validation score"), ("hs.rmse", "targets here: swe"), ("pixels", "choose rmse")),
        ],
    )
    def test_what_is_no_validation_score_is_told(self, seeds, by, said, capsys):
        assert main(["runs", str(seeds), "--by", by]) == 1
        assert said in capsys.readouterr().err
        assert not (seeds / "runs.csv").exists()

    def test_what_is_no_folder_of_runs_is_told(self, tmp_path, capsys):
        assert main(["runs", str(tmp_path / "nowhere")]) == 1
        assert "holds no run; expected folders with run.json" in capsys.readouterr().err
