import json
from dataclasses import asdict

import numpy as np
import pytest
import xarray as xr
from scipy.stats import median_abs_deviation, pearsonr, spearmanr
from sklearn.metrics import f1_score, mean_absolute_error, r2_score, root_mean_squared_error

from snowmap.baselines import baseline_maps
from snowmap.config.schema import Scoring
from snowmap.data.grid import cell_areas
from snowmap.errors import SnowmapError
from snowmap.evaluation import evaluate_maps
from snowmap.evaluation.map_scores import ScoredMaps, score_maps
from snowmap.evaluation.metrics import SCORES
from tests.cubes import make_cube

OPTIONS = asdict(Scoring())
WINDOWS = [3, 4, 9, 12]


def dataset(cube: xr.Dataset, maps: dict[str, np.ndarray]) -> xr.Dataset:
    """Maps as a model or a baseline gives them."""
    whole = cube[["start", "end"]].isel(window=WINDOWS)
    for target, values in maps.items():
        values = np.where(cube["mask"].values, values, np.nan).astype(np.float32)
        whole[target] = (("window", "y", "x"), values, {"units": cube[target].attrs["units"], "long_name": target})
    return whole


def truth(cube: xr.Dataset, target: str = "swe") -> np.ndarray:
    return np.where(cube["mask"].values, cube[target].values[WINDOWS], np.nan)


def noisy(cube: xr.Dataset, seed: int, spread: float) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    shape = cube["swe"].values[WINDOWS].shape
    return dataset(
        cube,
        {
            name: np.maximum(np.nan_to_num(cube[name].values[WINDOWS]) + spread * generator.normal(size=shape), 0)
            for name in ("hs", "swe")
        },
    )


@pytest.fixture(scope="module")
def scored():
    cube = make_cube(shape=(16, 24))
    maps, baseline = noisy(cube, 0, 3), noisy(cube, 1, 6)
    baseline["swe"].values[0] = np.nan  # has nothing to say of the first window
    result = score_maps(ScoredMaps(maps, {"other": baseline}, cube, WINDOWS), ["hs", "swe"], OPTIONS)
    return cube, maps, baseline, result


def known_scores(predicted: np.ndarray, observed: np.ndarray) -> dict[str, float]:
    both = np.isfinite(predicted) & np.isfinite(observed)
    p, o = predicted[both].astype(float), observed[both].astype(float)
    return {
        "rmse": root_mean_squared_error(o, p),
        "mae": mean_absolute_error(o, p),
        "bias": np.mean(p - o),
        "median_error": np.median(p - o),
        "nmad": 1.4826 * median_abs_deviation(p - o),
        "r2": r2_score(o, p),
        "pearson_r": pearsonr(o, p).statistic,
        "spearman_r": spearmanr(o, p).statistic,
        "nse": r2_score(o, p),
        "pixels": both.sum(),
    }


def test_every_number_follows_from_the_written_file(tmp_path):
    cube = make_cube(shape=(16, 24))
    provenance = {"subset": "test", "scored_archive": {"origin": "synthetic: a test"}}
    baselines = baseline_maps(cube, [0, 1, 2], WINDOWS, ["hs", "swe"])
    scored = ScoredMaps(noisy(cube, 0, 3), baselines, cube, WINDOWS)
    result = evaluate_maps(scored, ["hs", "swe"], tmp_path, provenance, OPTIONS)
    assert json.loads((tmp_path / "metrics.json").read_text()) == result
    with xr.open_dataset(tmp_path / "predictions.nc") as file:
        for target, threshold in (("swe", 1.0), ("hs", 5.0)):
            p, o = file[target].values, file[f"{target}_observed"].values
            entry = result["target"][target]
            assert entry["model"] == pytest.approx(known_scores(p, o), rel=1e-6)
            snow = o >= threshold
            assert entry["snow_covered"]["model"] == pytest.approx(known_scores(p[snow], o[snow]), rel=1e-6)
            both = np.isfinite(o)
            assert entry["presence"]["model"]["f1"] == pytest.approx(f1_score(snow[both], p[both] >= threshold))
            heights = cube["features"].sel(band="elevation").values[WINDOWS]
            for own in entry["classes"]["elevation"]:
                if own["class"] == "unknown":
                    chosen = np.isnan(heights)
                else:
                    low, high = own["class"].removesuffix(" m").split("–")
                    chosen = (heights >= float(low)) & (heights < float(high))
                assert own["model"] == pytest.approx(known_scores(p[chosen], o[chosen]), rel=1e-6)
            areas = cell_areas(cube)
            for index, own in enumerate(entry["area"]):
                valid = np.isfinite(o[index])
                for name, values in (("observed", o[index]), ("model", p[index])):
                    mean = np.average(values[valid].astype(float), weights=areas[valid])
                    assert own[f"{name}_mean"] == pytest.approx(mean, rel=1e-6)
                    volume = mean * 0.01 * areas[valid].sum()
                    assert own[f"{name}_volume_m3"] == pytest.approx(volume, rel=1e-6)


def test_classes_have_all_pixels(scored):
    _, _, _, result = scored
    for entry in result["target"].values():
        for classes in entry["classes"].values():
            assert sum(own["model"]["pixels"] for own in classes) == entry["model"]["pixels"]
            assert sum(own["baselines"]["other"]["pixels"] for own in classes) == entry["baselines"]["other"]["pixels"]
        assert (
            entry["snow_free"]["model"]["pixels"] + entry["snow_covered"]["model"]["pixels"] == entry["model"]["pixels"]
        )


def test_the_structure_is_plain_and_whole(scored):
    _, _, _, result = scored
    json.dumps(result, allow_nan=False)
    for target, entry in result["target"].items():
        assert set(entry) == {
            "unit", "model", "baselines", "intervals", "snow_free", "snow_covered", "presence", "requirement", "area",
            "area_bias", "classes", "uncertainty",
        }  # fmt: skip
        assert tuple(entry["model"]) == tuple(entry["baselines"]["other"]) == SCORES
        assert set(entry["intervals"]) == {"level", "model", "baselines", "differences"}
        assert (entry["requirement"] is None) == (target == "hs")
        assert entry["uncertainty"] is None
    assert [(entry["window"][:10], entry["target"]) for entry in result["windows"]][:5] == [
        *[(str(day)[:10], "hs") for day in scored[0]["start"].values[WINDOWS]],
        (str(scored[0]["start"].values[WINDOWS[0]])[:10], "swe"),
    ]


def test_a_baseline_with_gaps_is_scored_where_it_speaks(scored):
    cube, _, baseline, result = scored
    entry = result["target"]["swe"]
    assert entry["baselines"]["other"] == pytest.approx(known_scores(baseline["swe"].values, truth(cube)), rel=1e-6)
    assert entry["baselines"]["other"]["pixels"] < entry["model"]["pixels"]
    first = result["windows"][len(WINDOWS)]
    assert first["baselines"]["other"] == {**dict.fromkeys(SCORES), "pixels": 0}
    assert entry["area"][0]["baselines"]["other"] == {"mean": None, "volume_m3": None}


def test_a_shuffled_target_scores_no_skill():
    cube = make_cube(shape=(16, 24))
    generator, observed = np.random.default_rng(0), truth(cube)
    shuffled = generator.permutation(np.nan_to_num(cube["swe"].values[WINDOWS]).ravel()).reshape(observed.shape)
    found = score_maps(ScoredMaps(dataset(cube, {"swe": shuffled}), {}, cube, WINDOWS), ["swe"], OPTIONS)["target"][
        "swe"
    ]
    assert abs(found["model"]["pearson_r"]) < 0.08
    assert abs(found["model"]["spearman_r"]) < 0.08
    assert found["model"]["r2"] <= 0
    low, high = found["intervals"]["model"]["pearson_r"]
    assert low < 0 < high


def test_a_bias_in_one_elevation_band_is_told_there_and_nowhere_else():
    cube = make_cube(shape=(16, 24))
    cube["swe"].values[:] = np.round(cube["swe"].values)  # so that float32 is exact
    heights = cube["features"].sel(band="elevation").values[WINDOWS]
    band = (heights >= 1500) & (heights < 2000)
    maps = dataset(cube, {"swe": np.nan_to_num(cube["swe"].values[WINDOWS]) + 2.25 * band})
    found = score_maps(ScoredMaps(maps, {}, cube, WINDOWS), ["swe"], OPTIONS)["target"]["swe"]
    for own in found["classes"]["elevation"]:
        expected = 2.25 if own["class"] == "1500–2000 m" else 0.0
        assert own["model"]["bias"] == own["model"]["median_error"] == own["model"]["mae"] == expected
    valid = np.isfinite(truth(cube))
    assert found["model"]["bias"] == pytest.approx(2.25 * (band & valid).sum() / valid.sum(), rel=1e-12)


@pytest.mark.parametrize(("target", "unit", "metre"), [("hs", "cm", 0.01), ("swe", "cm", 0.01), ("swe", "mm", 0.001)])
def test_volume_is_mean_times_area(target, unit, metre):
    cube = make_cube()
    cube[target].attrs["units"] = unit
    cube[target].values[:] = 40.0
    cube[target].values[WINDOWS[0], 4, 5] = np.nan
    maps = dataset(cube, {target: np.full(truth(cube).shape, 50.0)})
    found = score_maps(ScoredMaps(maps, {}, cube, WINDOWS), [target], OPTIONS)["target"][target]
    ground = np.where(cube["mask"].values, cell_areas(cube), 0)
    for index, own in enumerate(found["area"]):
        area = ground.sum() - (ground[4, 5] if index == 0 else 0)
        assert own["observed_mean"] == pytest.approx(40)
        assert own["model_mean"] == pytest.approx(50)
        assert own["observed_volume_m3"] == pytest.approx(40 * metre * area)
        assert own["model_volume_m3"] == pytest.approx(50 * metre * area)
        assert own["end"] == str(cube["end"].values[WINDOWS[index]])[:10]
    assert found["area_bias"]["model"]["mean"] == pytest.approx(10)
    assert found["area_bias"]["model"]["nse_of_mean"] is None  # nothing varies


def test_the_efficiency_of_the_series_of_means(scored):
    _, _, _, result = scored
    entry = result["target"]["hs"]
    observed, model = (np.array([own[f"{name}_mean"] for own in entry["area"]]) for name in ("observed", "model"))
    assert entry["area_bias"]["model"]["nse_of_mean"] == pytest.approx(r2_score(observed, model))
    assert entry["area_bias"]["model"]["mean"] == pytest.approx(np.mean(model - observed))


def test_uncertainty_is_scored_where_the_model_tells_it(scored):
    cube, maps, _, _ = scored
    told = maps.copy()
    told["swe_sigma"] = (maps["swe"].dims, np.full(maps["swe"].shape, 3.0), {"lower_bound": 0.0})
    for key, reach in (("q05", -1.645), ("q25", -0.674), ("q75", 0.674), ("q95", 1.645)):
        told[f"swe_{key}"] = (maps["swe"].dims, maps["swe"].values + 3 * reach, {"conformal_factor": 1.0})
    found = score_maps(ScoredMaps(told, {}, cube, WINDOWS), ["hs", "swe"], OPTIONS)["target"]
    assert found["hs"]["uncertainty"] is None
    assert found["swe"]["uncertainty"]["coverage_90"] == pytest.approx(0.9, abs=0.03)
    told["swe_sigma"].values[1, 5, 5] = 0
    with pytest.raises(SnowmapError, match=r"'swe_sigma' in 2021-02-26_to_2021-03-10 .* at 1 pixels"):
        score_maps(ScoredMaps(told, {}, cube, WINDOWS), ["swe"], OPTIONS)
