"""Baselines that map classes, on Cubes whose answer is known."""

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from rasterio.features import rasterize
from shapely.geometry import Point, box

from snowmap.baselines import BASELINES, baseline_maps, build_baseline, save_baseline
from snowmap.baselines.class_ground import Terrain
from snowmap.baselines.class_series import otsu_threshold
from snowmap.checkpoints.provenance import FORMAT
from snowmap.errors import SnowmapError
from snowmap.maps.tiles import Scene
from snowmap.tasks.load import load_model
from tests.class_cubes import GLACIER, glacier_cube
from tests.cubes import make_cube

LAST = [3]
OF_CLASSES = [name for name, kind in BASELINES.items() if kind.maps_classes]


def iou(maps: xr.Dataset, cube: xr.Dataset, value: int = 1) -> float:
    mapped, truth = maps["glacier"].values[-1], cube["glacier"].values[LAST[0]]
    known = np.isfinite(mapped) & np.isin(truth, [0, 1])
    both, either = (mapped == value) & (truth == value) & known, ((mapped == value) | (truth == value)) & known
    return both.sum() / either.sum()


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return glacier_cube()


@pytest.fixture(scope="module")
def inventory(tmp_path_factory) -> str:
    """The two larger glaciers as circles, in another CRS."""
    path = tmp_path_factory.mktemp("inventory") / "old.gpkg"
    circles = [Point(500_000 + 30 * 14.5, 8_700_000 - 30 * 12.5).buffer(200), Point(501_215, 8_699_025).buffer(290)]
    gpd.GeoDataFrame(geometry=circles, crs="EPSG:32633").to_crs("EPSG:4326").to_file(path)
    return str(path)


def fitted(name: str, cube: xr.Dataset, inventory: str):
    options = {"path": inventory} if name == "last_inventory" else {"trees": 20} if name == "random_forest" else {}
    return build_baseline({"name": name, **options}).fit(cube, LAST, ["glacier"])


@pytest.mark.parametrize("name", ["otsu", "random_forest"])
@pytest.mark.parametrize("brighter", [1, -1])
def test_what_is_plain_in_the_series_is_mapped_on_a_scene_that_was_not_seen(name, brighter, inventory):
    scenes = [glacier_cube(seed=seed) for seed in (0, 1)]
    for scene in scenes:  # darker ice: the sign is learnt
        scene["features"][:, 0] = -10 + brighter * (scene["features"][:, 0] + 10)
    maps = fitted(name, scenes[0], inventory).predict(scenes[1], LAST)
    assert iou(maps, scenes[1]) > 0.97
    probabilities = maps["glacier_probability_other"] + maps["glacier_probability_glacier"]
    np.testing.assert_allclose(probabilities.values[:, scenes[1]["mask"].values], 1, atol=1e-6)
    assert np.isnan(maps["glacier"].values[:, ~scenes[1]["mask"].values]).all()


def test_otsu_parts_two_normal_distributions_in_the_middle_and_takes_the_band_that_tells_the_classes(cube, inventory):
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(-14, 1, 5000), generator.normal(-8, 1, 5000)])
    assert otsu_threshold(values) == pytest.approx(-11, abs=0.2)
    learned = fitted("otsu", cube, inventory).learned["glacier"]
    assert learned["band"] == "VV"
    assert -12 < learned["cut"] < -9  # bright and dark pixels have means of −8 and −13 dB


def test_terrain_maps_what_altitude_tells_and_nothing_else(cube, inventory):
    high = glacier_cube()
    values = np.where(high["features"].values[0, 2] > 800, 1, 0).astype(np.float32)
    high["glacier"] = (("window", "y", "x"), np.broadcast_to(values, high["glacier"].shape), high["glacier"].attrs)
    assert iou(fitted("terrain", high, inventory).predict(high, LAST), high) == 1
    assert fitted("terrain", high, inventory).archive_bands == ["elevation"]
    assert iou(fitted("terrain", cube, inventory).predict(cube, LAST), cube) < 0.5
    assert fitted("random_forest", cube, inventory).archive_bands == ["VV", "VH"]


def test_an_older_inventory_is_its_outlines_on_the_grid(cube, inventory):
    maps = fitted("last_inventory", cube, inventory).predict(cube, LAST)
    shapes = gpd.read_file(inventory).to_crs(cube.rio.crs).geometry
    expected = rasterize(shapes, cube["mask"].shape, transform=cube.rio.transform())
    inside = cube["mask"].values
    np.testing.assert_array_equal(maps["glacier"].values[0][inside], expected[inside])
    np.testing.assert_array_equal(maps["glacier_probability_glacier"].values[0][inside], expected[inside])


@pytest.mark.parametrize("name", OF_CLASSES)
def test_only_labels_of_training_windows_inside_the_study_area_are_looked_at(name, cube, inventory):
    planted = cube.copy()
    values = cube["glacier"].values.copy()
    values[:3] = 1 - values[:3]
    values[:, ~cube["mask"].values] = 1
    planted["glacier"] = (("window", "y", "x"), values, cube["glacier"].attrs)
    maps = [fitted(name, each, inventory).predict(cube, LAST) for each in (cube, planted)]
    xr.testing.assert_identical(*maps)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_tiles_give_the_map_of_the_whole_scene(name, inventory):
    large = glacier_cube(shape=(150, 200))
    model = fitted(name, large, inventory)
    ((_, tiled),) = Scene(model, large, LAST, tile=96, overlap=32).maps()
    whole = model.predict(large, LAST)
    np.testing.assert_array_equal(tiled["glacier"], whole["glacier"])
    for layer in ("glacier_probability_other", "glacier_probability_glacier"):
        np.testing.assert_allclose(tiled[layer], whole[layer], atol=1e-6)


class TwoOpinions(Terrain):
    """Sure of a glacier in the first tile, in doubt in the next; its classes are 1 and 9."""

    def predict_piece(self, cube, windows):
        values = (9, 0.1, 0.9) if cube["x"].values[0] == self.first else (1, 0.6, 0.4)
        shape = (1, *cube["mask"].shape)
        filled = (np.full(shape, value, np.float32) for value in values)
        return xr.Dataset({name: (("window", "y", "x"), maps) for name, maps in zip(self.layers, filled, strict=True)})


def test_the_class_of_blended_tiles_follows_from_the_blended_probabilities():
    large = glacier_cube(shape=(40, 150))
    model = TwoOpinions().fit(large, LAST, ["glacier"])
    model.first, model.layers["glacier"] = (
        large["x"].values[0],
        {"flag_values": [1, 9], "flag_meanings": "other glacier"},
    )
    ((_, maps),) = Scene(model, large, LAST, tile=96, overlap=32).maps()
    share, inside = maps["glacier_probability_glacier"].values[0], large["mask"].values
    assert ((share[inside] > 0.41) & (share[inside] < 0.89)).any()
    np.testing.assert_array_equal(maps["glacier"].values[0][inside], np.where(share[inside] > 0.5, 9, 1))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_what_comes_back_from_the_file_gives_the_same_maps(name, cube, inventory, tmp_path):
    model = fitted(name, cube, inventory)
    model.metadata = {"format": FORMAT}
    loaded = load_model(save_baseline(model, tmp_path / "best.ckpt"))
    assert type(loaded) is BASELINES[name]
    xr.testing.assert_identical(loaded.predict(cube, LAST), model.predict(cube, LAST))
    assert loaded.targets == {"glacier": ""}


def test_several_scenes_teach_together_and_a_missing_date_is_bridged():
    bare, icy = glacier_cube(seed=1), glacier_cube(seed=2)
    bare["glacier"] = bare["glacier"] * 0
    bare["glacier"].attrs = icy["glacier"].attrs
    with pytest.raises(SnowmapError, match=r"training pixels of 'glacier' hold other alone; expected at least two of"):
        build_baseline({"name": "otsu"}).fit(bare, LAST, ["glacier"])
    model = build_baseline({"name": "otsu"}).fit(bare, LAST, ["glacier"], others=[(icy, LAST)])
    unseen = glacier_cube(seed=3)
    unseen["features"][1:3, :2] = np.nan
    unseen["features"][:, :2, 20, 20] = np.nan
    maps = model.predict(unseen, LAST)
    assert iou(maps, unseen) > 0.85
    assert np.isnan(maps["glacier"].values[0, 20, 20])


def test_the_kind_of_the_target_chooses_the_baselines(cube, caplog):
    assert set(baseline_maps(cube, LAST, LAST, ["glacier"])) == {"otsu", "random_forest", "terrain"}
    snow = make_cube()
    assert set(baseline_maps(snow, [0, 1, 2, 3], [8], ["swe"])).isdisjoint(OF_CLASSES)
    caplog.clear()
    flat = cube.isel(band=[0, 1])
    assert set(baseline_maps(flat, LAST, LAST, ["glacier"])) == {"otsu", "random_forest"}
    assert "no baseline terrain: model=terrain needs the band elevation; it has VV, VH" in caplog.text


def test_three_classes_are_mapped_by_trees_and_refused_by_a_threshold():
    three = GLACIER._replace(flag_values=(1, 2, 4), flag_meanings="rock ice lake")
    cube = glacier_cube(target="cover", quantity=three)
    values = cube["cover"].values.copy()
    values[:, 2, 10:40] = 4
    lake = (cube["features"].values[:, :1] * 0 - 24)[:, :, 2, 10:40]
    cube["features"][:, :2, 2, 10:40] = lake
    cube["cover"] = (("window", "y", "x"), values, cube["cover"].attrs)
    maps = baseline_maps(cube, LAST, LAST, ["cover"])
    assert set(maps) == {"random_forest", "terrain"}
    found, known = maps["random_forest"]["cover"].values[0], np.isin(values[3], [1, 2, 4]) & cube["mask"].values
    assert (found == values[3])[known].mean() > 0.99
    with pytest.raises(SnowmapError, match=r"model=otsu maps two classes, but 'cover' has 3; choose another model="):
        build_baseline({"name": "otsu"}).fit(cube, LAST, ["cover"])


def test_what_does_not_fit_is_said_in_one_line(cube, tmp_path):
    with pytest.raises(SnowmapError, match=r"model=last_inventory needs an older inventory: .* model.path="):
        build_baseline({"name": "last_inventory"}).fit(cube, LAST, ["glacier"])
    away = tmp_path / "away.gpkg"
    gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs="EPSG:4326").to_file(away)
    with pytest.raises(SnowmapError, match=r"away\.gpkg: no training pixel lies in one of its outlines"):
        build_baseline({"name": "last_inventory", "path": str(away)}).fit(cube, LAST, ["glacier"])
    with pytest.raises(SnowmapError, match="target 'swe' is a quantity in cm, but model=terrain maps classes"):
        build_baseline({"name": "terrain"}).fit(make_cube(), [0, 1], ["swe"])
    with pytest.raises(SnowmapError, match="model=otsu needs bands of the radar; found elevation"):
        build_baseline({"name": "otsu"}).fit(cube.isel(band=[2]), LAST, ["glacier"])
