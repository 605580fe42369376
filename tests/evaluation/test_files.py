import io
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from rich.console import Console
from scipy.stats import median_abs_deviation, pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from snowmap.baselines import baseline_maps
from snowmap.errors import SnowmapError
from snowmap.evaluation import evaluate_maps, print_table
from snowmap.evaluation.figures import map_pictures, maps_figure
from snowmap.evaluation.map_scores import ScoredMaps
from snowmap.evaluation.metrics import SCORES, scores
from snowmap.files import as_png
from tests.cubes import BASELINES_OF_QUANTITIES, make_cube
from tests.maps.test_netcdf import WINDOWS, predictions

TRAIN = [0, 1, 2, 3, 6, 7]
PROVENANCE = {"subset": "test", "scored_archive": {"origin": "synthetic: a test"}}


def evaluate(maps, cube, targets, out):
    baselines = baseline_maps(cube, TRAIN, WINDOWS, targets)
    return evaluate_maps(ScoredMaps(maps, baselines, cube, WINDOWS), targets, out, PROVENANCE)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    cube, out = make_cube(), tmp_path_factory.mktemp("evaluation") / "out"
    return cube, out, evaluate(predictions(cube), cube, ["hs", "swe"], out)


def test_scores_are_those_of_the_written_file(evaluated):
    _, out, result = evaluated
    with xr.open_dataset(out / "predictions.nc") as file:
        for target in ("hs", "swe"):
            error = (file[target] - file[f"{target}_observed"]).values.astype(float)
            found = result["target"][target]["model"]
            assert found["rmse"] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-6)
            assert found["bias"] == pytest.approx(np.nanmean(error), rel=1e-6)
            assert found["pixels"] == np.isfinite(error).sum()
            own = [entry for entry in result["windows"] if entry["target"] == target]
            for index, entry in enumerate(own):
                known = scores(file[target].values[index], file[f"{target}_observed"].values[index])
                assert entry["model"] == pytest.approx(known)


def test_every_score_equals_that_of_scikit_learn_and_scipy(evaluated):
    cube, _, result = evaluated
    inside = cube["mask"].values
    for target in ("hs", "swe"):
        observed = np.where(inside, cube[target].values[WINDOWS], np.nan).astype(float)
        beside = {name: maps[target].values for name, maps in baseline_maps(cube, TRAIN, WINDOWS, [target]).items()}
        known_maps = {"model": predictions(cube)[target].values, **beside}
        found = {"model": result["target"][target]["model"], **result["target"][target]["baselines"]}
        assert set(found) == set(known_maps)
        for name, values in known_maps.items():
            both = np.isfinite(values) & np.isfinite(observed)
            o, p = observed[both], values[both].astype(float)
            known = (root_mean_squared_error(o, p), mean_absolute_error(o, p), np.mean(p - o), np.median(p - o),
                     median_abs_deviation(p - o) * 1.4826, r2_score(o, p), pearsonr(o, p).statistic,
                     spearmanr(o, p).statistic, r2_score(o, p), both.sum())  # fmt: skip
            assert tuple(found[name].values()) == pytest.approx(known, rel=1e-6)


def test_json_and_csv_tell_the_same(evaluated):
    _, out, result = evaluated
    assert json.loads((out / "metrics.json").read_text()) == result
    frame = pd.read_csv(out / "metrics.csv")
    assert len(frame.query("grouping == 'all'")) == 2 * (1 + len(BASELINES_OF_QUANTITIES)) * (1 + len(WINDOWS))
    pooled = frame.query("window == 'all' and target == 'swe' and map == 'climatology'").iloc[0]
    assert {key: pooled[key] for key in SCORES} == pytest.approx(result["target"]["swe"]["baselines"]["climatology"])
    assert set(frame["unit"]) == {"cm"}


def test_pixels_outside_the_study_area_do_not_count(evaluated, tmp_path):
    cube, _, result = evaluated
    planted = cube.copy(deep=True)
    planted["swe"].values[:, ~cube["mask"].values] = 1e6
    again = evaluate(predictions(cube), planted, ["swe"], tmp_path)
    assert again["target"]["swe"] == result["target"]["swe"]


def test_the_figure_has_a_row_for_each_window_and_target(evaluated):
    width, height = Image.open(evaluated[1] / "maps.png").size
    assert width > 800
    assert height > 6 * 100


def test_a_picture_that_is_laid_out_as_the_first_shows_its_own_windows():
    cube = make_cube(shape=(8, 12))
    maps = cube[["swe"]].isel(window=range(6)) + 1
    maps = maps.assign(swe_sigma=maps["swe"] * 0 + maps["window"]).assign_coords(cube.isel(window=range(6)).coords)
    maps["swe"].attrs["units"] = "cm"
    first, second = map_pictures(maps, cube, range(6), "swe")
    assert second == as_png(maps_figure(maps, cube, range(6), ["swe"], [3, 4, 5])) != first


def test_nothing_unfinished_stays_and_a_second_evaluation_replaces_the_first(evaluated):
    cube, out, result = evaluated
    evaluate(predictions(cube), cube, ["hs", "swe"], out)
    assert {file.name for file in out.iterdir()} == {
        *("metrics.json", "metrics.csv", "predictions.nc", "maps.png", "report.html")
    }
    assert json.loads((out / "metrics.json").read_text()) == result


def test_the_table_names_unit_baselines_and_synthetic_data(evaluated):
    console = Console(file=io.StringIO(), width=100)
    print_table(evaluated[2], console)
    said = console.file.getvalue()
    for words in ("RMSE", "cm", "90 %", "SYNTHETIC", "last-seen map", "climatology", "elevation", "test windows"):
        assert words in said
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 100


def test_the_long_table_has_every_class(evaluated):
    _, out, result = evaluated
    frame = pd.read_csv(out / "metrics.csv")
    ours = frame.query("target == 'swe' and map == 'model'")
    for grouping, classes in result["target"]["swe"]["classes"].items():
        own = ours[ours["grouping"] == grouping]
        assert own["class"].tolist() == [entry["class"] for entry in classes]
        assert own["rmse"].tolist() == pytest.approx([entry["model"]["rmse"] for entry in classes])
    assert frame.query("grouping == 'snow' and map == 'model'")["class"].tolist() == ["snow-free", "snow-covered"] * 2


def test_no_valid_pixel_is_an_error_that_names_the_windows(tmp_path):
    cube = make_cube()
    maps = predictions(cube)
    cube["swe"].values[WINDOWS] = np.nan
    with pytest.raises(SnowmapError, match=r"no valid pixel of 'swe'.*2021-02-26_to_2021-03-10"):
        evaluate(maps, cube, ["swe"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    cube = make_cube()
    with pytest.raises(SnowmapError, match="cannot be written"):
        evaluate(predictions(cube), cube, ["swe"], tmp_path / "file" / "out")
