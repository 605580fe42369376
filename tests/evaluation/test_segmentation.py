"""The evaluation of class maps, against other implementations and known answers."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from rich.console import Console
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score
from torchmetrics.classification import MulticlassCalibrationError, MulticlassJaccardIndex

from snowmap.baselines import baseline_maps
from snowmap.data.classes import SCORES, Classes, class_layers, class_scores
from snowmap.data.grid import cell_areas
from snowmap.errors import SnowmapError
from snowmap.evaluation import evaluate_maps, print_table
from snowmap.evaluation.map_scores import ScoredMaps
from snowmap.evaluation.output import write_together
from snowmap.evaluation.segmentation.intervals import score_intervals
from snowmap.evaluation.segmentation.scores import pooled_scores
from snowmap.evaluation.segmentation.scoring import score_class_maps
from snowmap.maps.class_files import outlines_of, write_rasters
from snowmap.maps.netcdf import write_predictions
from snowmap.maps.read import read_maps
from tests.class_cubes import GLACIER, glacier_cube
from tests.maps.test_netcdf import cf_complaints

WINDOWS = [2, 3]
PROVENANCE = {"subset": "test", "scored_archive": {"origin": "synthetic: a test"}}
TWO = Classes("glacier", (0, 1), ("other", "glacier"))
THREE = Classes("cover", (1, 2, 4), ("rock", "ice", "lake"))


def doubtful(cube: xr.Dataset, seed: int = 0) -> xr.Dataset:
    """Maps that know the truth but for noise, and nothing in one corner."""
    generator = np.random.default_rng(seed)
    truth = cube["glacier"].values[WINDOWS] == 1
    share = np.clip(np.where(truth, 0.7, 0.3) + generator.normal(0, 0.3, truth.shape), 0, 1).astype(np.float32)
    share[:, ~cube["mask"].values] = np.nan
    share[:, 10:14, 10:14] = np.nan
    layers = class_layers("glacier", cube["glacier"].attrs, 0.5)
    classes = np.where(np.isnan(share), np.nan, share >= 0.5).astype(np.float32)
    dims = ("window", "y", "x")
    values = {"glacier": classes, "glacier_probability_other": 1 - share, "glacier_probability_glacier": share}
    maps = {name: (dims, values[name], attributes) for name, attributes in layers.items()}
    return cube[["start", "end"]].isel(window=WINDOWS).assign(maps)


def scene_of(seed: int = 0) -> ScoredMaps:
    cube = glacier_cube(seed=seed)
    return ScoredMaps(doubtful(cube, seed), baseline_maps(cube, [0, 1], WINDOWS, ["glacier"]), cube, WINDOWS)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    scene, out = scene_of(), tmp_path_factory.mktemp("classes") / "out"
    return scene, out, evaluate_maps(scene, ["glacier"], out, PROVENANCE)


def pixels(scene: ScoredMaps, name: str = "glacier") -> tuple[np.ndarray, np.ndarray]:
    """Truth and map at the pixels that have both, by other means than the package's."""
    truth, mapped = scene.cube["glacier"].values[WINDOWS], scene.maps[name].values
    known = scene.cube["mask"].values & (truth != 255) & ~np.isnan(truth) & ~np.isnan(mapped)
    return truth[known], mapped[known]


def test_scores_are_those_of_scikit_learn(evaluated):
    scene, _, result = evaluated
    truth, mapped = pixels(scene)
    found = result["target"]["glacier"]
    assert found["classes"] == ["other", "glacier"]
    for meaning, value in (("glacier", 1), ("other", 0)):
        expected = {
            "iou": jaccard_score(truth, mapped, pos_label=value),
            "f1": f1_score(truth, mapped, pos_label=value),
            "precision": precision_score(truth, mapped, pos_label=value),
            "recall": recall_score(truth, mapped, pos_label=value),
            "accuracy": (truth == mapped).mean(),
            "pixels": (truth == value).sum(),
        }
        assert found["per_class"][meaning]["model"] == pytest.approx(expected)
    assert found["model"] == found["per_class"]["glacier"]["model"] | {"pixels": len(truth)}
    assert found["confusion"]["model"] == confusion_matrix(truth, mapped).tolist()


def test_iou_is_that_of_the_written_geotiff(evaluated):
    scene, out, result = evaluated
    both = either = 0
    for position, name in enumerate(("2020-07-03_to_2020-07-03", "2020-10-01_to_2020-10-01")):
        with rasterio.open(out / f"{name}_glacier.tif") as raster:
            mapped = raster.read(1)
            assert (raster.nodata, raster.dtypes) == (255, ("uint8",))
            assert raster.colormap(1)[1] != raster.colormap(1)[0]
            assert raster.tags(1)["CLASS_1"] == "glacier"
            assert "SYNTHETIC" in raster.tags()["TIFFTAG_IMAGEDESCRIPTION"]
        truth = scene.cube["glacier"].values[WINDOWS[position]]
        known = scene.cube["mask"].values & np.isin(truth, [0, 1]) & (mapped != 255)
        both += ((mapped == 1) & (truth == 1) & known).sum()
        either += (((mapped == 1) | (truth == 1)) & known).sum()
        with rasterio.open(out / f"{name}_glacier_probability.tif") as raster:
            assert raster.descriptions == ("glacier_probability_other", "glacier_probability_glacier")
            np.testing.assert_array_equal(raster.read(2), scene.maps["glacier_probability_glacier"].values[position])
    assert result["target"]["glacier"]["model"]["iou"] == pytest.approx(both / either, abs=1e-12)


def test_the_calibration_error_is_that_of_torchmetrics(evaluated):
    scene, _, result = evaluated
    truth, _ = pixels(scene)
    stated = np.stack([pixels(scene, name)[1] for name in TWO.probabilities], axis=1)
    expected = MulticlassCalibrationError(2, n_bins=15)(torch.from_numpy(stated), torch.from_numpy(truth).long())
    calibration = result["target"]["glacier"]["calibration"]
    assert calibration["model"]["ece"] == pytest.approx(float(expected), abs=2e-4)  # its bins hold their upper edge
    points = calibration["model"]["reliability"]
    assert sum(point["pixels"] for point in points) == len(truth)
    assert sum(point["observed"] * point["pixels"] for point in points) == pytest.approx(truth.sum())


def test_scores_of_three_classes_are_those_of_torchmetrics_and_their_mean_is_the_headline():
    generator = np.random.default_rng(0)
    truth, mapped = generator.integers(0, 3, 500), generator.integers(0, 3, 500)
    matrix = confusion_matrix(truth, mapped)
    iou = MulticlassJaccardIndex(3, average="none")(torch.from_numpy(mapped), torch.from_numpy(truth))
    np.testing.assert_allclose(class_scores(matrix)["iou"], iou, rtol=1e-6)
    pooled = dict(zip(SCORES, pooled_scores(matrix, THREE), strict=True))
    assert pooled["iou"] == pytest.approx(float(iou.mean()))
    assert pooled["accuracy"] == pytest.approx((truth == mapped).mean())
    assert pooled["f1"] == pytest.approx(f1_score(truth, mapped, average="macro"))
    empty = np.zeros((3, 3), int)
    empty[0, 0] = 5  # a class that is neither observed nor mapped has no share in the mean
    assert dict(zip(SCORES, pooled_scores(empty, THREE), strict=True))["iou"] == 1


def test_baselines_stand_beside_the_model_in_every_table(evaluated, capsys):
    _, out, result = evaluated
    assert json.loads((out / "metrics.json").read_text()) == result
    assert set(result["target"]["glacier"]["baselines"]) == {"otsu", "random_forest", "terrain"}
    frame = pd.read_csv(out / "metrics.csv")
    whole = frame.query("window == 'all' and grouping == 'all'")
    assert list(whole["map"]) == ["model", "otsu", "random_forest", "terrain"]
    assert set(frame["grouping"]) == {"all", "class", "elevation", "slope", "outline size"}
    print_table(result, Console(width=100))
    said = capsys.readouterr().out
    for words in ("GLACIER, test windows · SYNTHETIC", "IoU", "90 %", "Otsu's threshold", "terrain alone"):
        assert words in said
    page = (out / "report.html").read_text()
    for words in ("Reliability", "Outlines by size", "SYNTHETIC", f"{result['target']['glacier']['model']['iou']:.3f}"):
        assert words in page


def test_parts_add_up_to_the_whole(evaluated):
    scene, _, result = evaluated
    entry = result["target"]["glacier"]
    for parts in (result["windows"], entry["groups"]["elevation"], entry["groups"]["slope"]):
        assert sum(part["model"]["pixels"] for part in parts) == entry["model"]["pixels"]
    areas, truth = cell_areas(scene.cube), scene.cube["glacier"].values[3]
    known = scene.cube["mask"].values & np.isin(truth, [0, 1]) & np.isfinite(scene.maps["glacier"].values[1])
    row = next(row for row in entry["area"] if row["window"].startswith("2020-10-01") and row["class"] == "glacier")
    assert row["model"]["observed_km2"] == pytest.approx(areas[known & (truth == 1)].sum() / 1e6)
    mapped = areas[known & (scene.maps["glacier"].values[1] == 1)].sum() / 1e6
    assert row["model"]["mapped_km2"] == pytest.approx(mapped)
    assert row["model"]["low"] < row["model"]["error_km2"] < row["model"]["high"]
    assert sum(size["outlines"] for size in entry["outlines"]) == 2 * 3  # in each window
    total = sum(size["model"]["recall"] * size["area_km2"] for size in entry["outlines"])
    found = areas * ((truth == 1) & known) * np.stack([m == 1 for m in scene.maps["glacier"].values])
    assert total == pytest.approx(found.sum() / 1e6)


def test_outlines_that_the_cube_numbers_stay_one(evaluated):
    scene, _, _ = evaluated
    numbered = scene.cube.assign_coords(outline=(("y", "x"), np.where(scene.cube["glacier"].values[3] == 1, 7, 0)))
    options = {"elevation_step_m": 500.0, "level": 0.9}
    result = score_class_maps([scene._replace(cube=numbered)], ["glacier"], options)["target"]["glacier"]
    assert [size["outlines"] for size in result["outlines"]] == [2]  # one in each window


def test_scenes_together_are_scored_pixel_by_pixel(tmp_path):
    scenes = {"a": scene_of(0), "b": scene_of(1)}
    result = write_together(scenes, ["glacier"], tmp_path / "out", PROVENANCE)
    parts = [result["archives"][name]["target"]["glacier"]["confusion"]["model"] for name in scenes]
    entry = result["target"]["glacier"]
    assert entry["confusion"]["model"] == np.sum(parts, axis=0).tolist()
    counts = [result["archives"][name]["target"]["glacier"]["intervals"]["blocks"] for name in scenes]
    assert entry["intervals"]["blocks"] == sum(counts)
    assert {row["scene"] for row in entry["area"]} == {"memory 0", "memory 1"}
    print_table(result, Console(width=100))


def test_no_label_is_one_clear_line(tmp_path):
    scene = scene_of()
    bare = scene.cube.assign(glacier=scene.cube["glacier"].where(False))
    with pytest.raises(SnowmapError, match="no pixel of 'glacier' inside the study area has both a label and a map in"):
        evaluate_maps(scene._replace(cube=bare), ["glacier"], tmp_path / "out", PROVENANCE)
    assert not (tmp_path / "out").exists()


def test_intervals_cover_on_simulated_blocks():
    """Pixels of a block are right or wrong together; the truth is the IoU of very many blocks."""
    generator = np.random.default_rng(1)

    def simulated(count: int) -> tuple[np.ndarray, np.ndarray]:
        size, ice = generator.integers(200, 400, count), generator.beta(0.5, 1.5, count)
        observed = generator.binomial(size, ice)
        skill = generator.normal(0, 0.6, count)
        both = []
        for shift in (1.5, 1.0):  # of two maps, whose errors go together
            found = generator.binomial(observed, 1 / (1 + np.exp(-skill - shift)))
            alarms = generator.binomial(size - observed, 1 / (1 + np.exp(skill + shift + 0.5)))
            rows = [[size - observed - alarms, alarms], [observed - found, found]]
            both.append(np.moveaxis(np.array(rows), -1, 0))
        return both[0], both[1]

    truth = [pooled_scores(blocks.sum(axis=0), TWO) for blocks in simulated(200_000)]
    covered, cases = np.zeros(2), 250
    for _ in range(cases):
        ours, theirs = simulated(40)
        found = score_intervals({"model": ours, "other": theirs}, {"other": (ours, theirs)}, TWO, 0.9)
        low, high = found["model"]["iou"]
        difference = found["differences"]["other"]["iou"]
        covered += [low <= truth[0][0] <= high, difference["low"] <= truth[0][0] - truth[1][0] <= difference["high"]]
    assert (covered / cases > 0.85).all(), covered / cases
    assert (covered / cases < 0.96).all(), covered / cases


def test_few_blocks_give_no_interval():
    blocks = np.array([[[5, 1], [1, 5]]] * 4)
    found = score_intervals({"model": blocks}, {}, TWO, 0.9)
    assert found["blocks"] == 4
    assert found["model"]["iou"] is None


def class_map(places: np.ndarray, classes: Classes, cube: xr.Dataset) -> xr.Dataset:
    """A map of one window with these classes, −1 for none, and the place of the pixel as probability."""
    values = np.where(places < 0, np.nan, np.asarray(classes.values, np.float32)[places]).astype(np.float32)[None]
    flags = {"flag_values": list(classes.values), "flag_meanings": " ".join(classes.meanings)}
    layers = class_layers(classes.target, {"long_name": "cover", **flags})
    share = np.linspace(0, 1, places.size, dtype=np.float32).reshape(values.shape)
    dims = ("window", "y", "x")
    maps = {name: (dims, values if name == classes.target else share, of) for name, of in layers.items()}
    return cube[["start", "end"]].isel(window=[3]).assign(maps)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_polygons_rasterised_again_are_the_class_map(seed, share):
    cube, generator = glacier_cube(shape=(48, 64)), np.random.default_rng(seed)
    places = np.where(generator.random((48, 64)) < share, generator.integers(0, 3, (48, 64)), 0).astype(np.int8)
    places[generator.random(places.shape) < 0.05] = -1
    maps = class_map(places, THREE, cube).isel(window=0)
    outlines = outlines_of(maps, THREE, cube)
    values = list(zip(outlines.geometry, map(THREE.meanings.index, outlines["class"]), strict=True))
    again = rasterize(values, places.shape, fill=-1, transform=cube.rio.transform(), dtype="int16")
    np.testing.assert_array_equal(again, places)
    assert np.all(outlines.is_valid)
    areas = cell_areas(cube)
    for place, word in enumerate(THREE.meanings):
        of_class = outlines[outlines["class"] == word]
        assert of_class["area_m2"].sum() == pytest.approx(areas[places == place].sum())
        pixels, layer = np.round(of_class.geometry.area / 900), maps[THREE.probabilities[place]].values
        assert (pixels * of_class["mean_probability"]).sum() == pytest.approx(layer[places == place].sum(), rel=1e-5)


def test_outlines_have_holes_and_lie_where_the_map_lies(tmp_path):
    cube = glacier_cube()
    places = (cube["glacier"].values[3] == 1).astype(np.int8)
    files = write_rasters(class_map(places, TWO, cube), cube, tmp_path, "w", {"seed": 1})
    assert [file.name for file in files] == ["w_glacier.tif", "w_glacier_probability.tif", "w_glacier.gpkg"]
    table = gpd.read_file(files[2])
    assert table.crs == cube.rio.crs
    assert set(table["class"]) == {"glacier"}
    assert max(len(polygon.interiors) for polygon in table.geometry) == 1  # the rock
    assert (table["area_m2"] / table.geometry.area).between(1, 1.001).all()  # the scale of UTM at its middle is 0.9996
    again = rasterize(table.geometry, places.shape, transform=cube.rio.transform())
    np.testing.assert_array_equal(again, places)
    nothing = class_map(np.zeros_like(places), TWO, cube)
    assert gpd.read_file(write_rasters(nothing, cube, tmp_path, "n", {})[2]).empty
    with pytest.raises(SnowmapError, match="has a class of value 255; a GeoTIFF of classes holds 0 to 254"):
        write_rasters(class_map(places, TWO._replace(values=(0, 255)), cube), cube, tmp_path, "x", {})


def test_netcdf_holds_the_flags_as_cf_wants_them(tmp_path):
    scene = scene_of()
    path = write_predictions(scene.maps, scene.cube, WINDOWS, tmp_path / "p.nc", {})
    assert cf_complaints(path) == []
    with xr.open_dataset(path, mask_and_scale=False) as file:
        assert file["glacier"].attrs["flag_meanings"] == "other glacier"
        assert file["glacier"].dtype == file["glacier"].attrs["flag_values"].dtype == np.int16
        assert set(np.unique(file["glacier"])) == {-1, 0, 1}
        assert set(np.unique(file["glacier_observed"])) == {-1, 0, 1}
    with xr.open_dataset(path) as file:
        np.testing.assert_array_equal(file["glacier"], scene.maps["glacier"])
    with pytest.raises(SnowmapError, match=r"p\.nc: 'glacier' is a class map \(other glacier\); expected maps"):
        read_maps(path)


def test_a_target_called_otherwise_takes_the_second_class():
    assert Classes("cover", (0, 1), ("dry", "wet")).named == 1
    assert Classes.of("glacier", GLACIER.attributes) == TWO
