import geopandas as gpd
import numpy as np
import pytest
import torch
from shapely import LineString, Point, box

from snowmap.data.features import with_derived
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.radar.phase import (
    Phase,
    estimate_phase_sign,
    phase_reference,
    referenced,
    warn_of_snow,
)
from snowmap.data.radar.reference import read_reference, reference_area
from snowmap.errors import SnowmapError
from snowmap.physics import phase_of_swe
from tests.cubes import dry_phase, make_cube
from tests.data.test_features import band


def with_phase(sign: int, offset: float = 17.0):
    """A Cube whose phase follows the change of its SWE, with an arbitrary constant for each window."""
    cube = make_cube(windows=20)
    cube["features"].loc[{"band": "incidence"}] = 38.0
    cube["features"].loc[{"band": "elevation"}] = np.linspace(1500, 1501, 17)  # nearly flat
    swe = np.nan_to_num(cube["swe"].values) * 10
    change = np.diff(swe, axis=0, prepend=swe[:1])
    phase = sign * dry_phase(cube, change) + offset * np.arange(20)[:, None, None]
    cube["features"].loc[{"band": "unwrapped_phase"}] = phase.astype(np.float32)
    cube["features"].loc[{"band": "coherence"}] = 0.8
    return cube, change


@pytest.mark.parametrize("sign", [1, -1])
def test_the_phase_gives_back_the_change_of_swe_up_to_a_constant_for_each_window(sign):
    cube, change = with_phase(sign)
    made = with_derived(cube, ["phase_swe", "coherent_phase_swe"], Phase(sign))
    off = band(made, "phase_swe") - change
    assert (off.max(axis=(1, 2)) - off.min(axis=(1, 2)) < 1e-3).all()
    np.testing.assert_allclose(band(made, "coherent_phase_swe"), 0.64 * band(made, "phase_swe"), rtol=1e-5, atol=1e-5)


def test_the_low_ground_is_the_reference():
    cube, _ = with_phase(1)
    made = band(with_derived(cube, ["phase_swe"]), "phase_swe")
    height, inside = band(cube, "elevation"), cube["mask"].values
    for window, ground in zip(made, height, strict=True):
        known = inside & np.isfinite(window) & np.isfinite(ground)
        low = known & (ground <= np.quantile(ground[known], 0.1))
        assert np.median(window[low]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_piece_that_is_told_the_reference_of_the_scene_has_its_change(sign):
    cube, _ = with_phase(sign)
    whole = band(with_derived(cube, ["phase_swe", "cumulative_phase_swe"], Phase(sign)), "phase_swe")
    told = cube.assign_coords(phase_reference=("window", phase_reference(cube)))
    piece = with_derived(told.isel(x=slice(9, 17), y=slice(3, 8)), ["phase_swe"], Phase(sign))
    np.testing.assert_allclose(band(piece, "phase_swe"), whole[:, 3:8, 9:17], atol=1e-4)
    alone = with_derived(cube.isel(x=slice(9, 17), y=slice(3, 8)), ["phase_swe"], Phase(sign))
    assert np.nanmax(np.abs(band(alone, "phase_swe") - whole[:, 3:8, 9:17])) > 1


def test_a_constant_in_every_phase_changes_nothing_whatever_the_incidence():
    cube, _ = with_phase(1)
    cube["features"].loc[{"band": "incidence"}] = np.linspace(20, 65, 17, dtype=np.float32)
    shifted = cube.copy(deep=True)
    shifted["features"].loc[{"band": "unwrapped_phase"}] += 4 * np.pi
    first, second = (band(with_derived(each, ["phase_swe"]), "phase_swe") for each in (cube, shifted))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_an_incoherent_lake_on_the_lowest_ground_is_no_reference():
    cube, _ = with_phase(1)
    lake = np.zeros(cube["mask"].shape, dtype=bool)
    lake[5:7, 6:12] = True  # a tenth of the study area is lower than the rest
    other = cube.copy(deep=True)
    for each in (cube, other):
        each["features"].loc[{"band": "elevation"}] = np.where(lake, -9, each["features"].sel(band="elevation"))
        each["features"].loc[{"band": "coherence"}] = np.where(lake, 0.05, 0.8).astype(np.float32)
    other["features"].loc[{"band": "unwrapped_phase"}] += np.where(lake, 2 * np.pi, 0).astype(np.float32)
    first, second = (band(with_derived(each, ["phase_swe"]), "phase_swe") for each in (cube, other))
    np.testing.assert_allclose(first[:, ~lake], second[:, ~lake], atol=2)  # a cycle is 29 mm


def test_the_reference_weighs_each_phase_by_its_inverse_variance():
    """Seven of ten pixels are a lake a cycle above the ground, whose phases lie evenly from −1 to 1."""
    cube, _ = with_phase(1)
    area = cube["mask"].values & (np.arange(cube.sizes["x"]) < 10)
    count = area.sum()
    lake = np.arange(count) < 0.7 * count
    phase = np.where(lake, 2 * np.pi, np.interp(np.arange(count), [lake.sum(), count - 1], [-1, 1]))
    for name, values in {"unwrapped_phase": phase, "coherence": np.where(lake, 0.2, 0.9)}.items():
        maps = np.full(area.shape, np.nan, np.float32)
        maps[area] = values
        cube["features"].loc[{"band": name}] = maps
    share = lake.sum() * 0.04 / 0.96
    share /= share + (~lake).sum() * 0.81 / 0.19
    everywhere = {"file": "", "crs": cube.rio.crs.to_wkt(), "geometries": [box(*cube.rio.bounds()).wkt]}
    reference = phase_reference(cube, Phase(1, everywhere))
    np.testing.assert_allclose(reference, 1 / (1 - share) - 1, atol=0.03)


def test_a_window_without_phase_has_the_reference_zero():
    cube, _ = with_phase(1)
    cube["features"].loc[{"band": "unwrapped_phase"}][2] = np.nan
    assert phase_reference(cube)[2] == 0
    assert (phase_reference(cube)[3:] != 0).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sign_of_the_phase_is_told_from_training_windows(sign):
    cube, _ = with_phase(sign)
    cube["swe"].values[:] += np.linspace(0, 30, 20)[:, None, None] * np.linspace(0, 1, 17)  # snow comes
    swe = np.nan_to_num(cube["swe"].values) * 10
    change = np.diff(swe, axis=0, prepend=swe[:1])
    phase = sign * dry_phase(cube, change)
    cube["features"].loc[{"band": "unwrapped_phase"}] = phase.astype(np.float32)
    assert estimate_phase_sign([(cube, range(12))]) == sign
    planted = cube.copy(deep=True)
    planted["swe"].values[12:] *= -50  # what is not trained on has no say
    assert estimate_phase_sign([(planted, range(12))]) == sign
    assert estimate_phase_sign([(cube.drop_vars(["swe", "hs"]), range(12))]) == 1
    for factor, pooled in ((-0.5, sign), (-2, -sign)):
        other = cube.copy(deep=True)
        other["features"].loc[{"band": "unwrapped_phase"}] = np.float32(factor) * phase
        assert estimate_phase_sign([(cube, range(12)), (other, range(12))]) == pooled


def areas(folder, shapes, crs="EPSG:4326", name="stable.gpkg"):
    gpd.GeoDataFrame(geometry=shapes, crs=crs).to_file(folder / name)
    return str(folder / name)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632"])
def test_the_reference_is_the_pixels_inside_a_polygon_or_those_that_hold_a_point(tmp_path, crs):
    cube, _ = with_phase(1)
    x, y = cube["x"].values, cube["y"].values
    half = 0.0024  # of a pixel of 0.005 degrees
    block = box(x[9] - half, y[7] - half, x[11] + half, y[5] + half)
    points = [Point(x[9] + half, y[7] - half), Point(x[11], y[5]), Point(0, 0)]
    for shapes, expected in (([block], np.s_[5:8, 9:12]), (points, ([7, 5], [9, 11]))):
        path = areas(tmp_path, list(gpd.GeoSeries(shapes, crs="EPSG:4326").to_crs(crs)), crs)
        phase = Phase(1, read_reference(path))
        area = np.zeros(cube["mask"].shape, bool)
        area[expected] = True
        np.testing.assert_array_equal(reference_area(cube, phase.reference), area)
        at_reference = band(with_derived(cube, ["phase_swe"], phase), "phase_swe")[:, area]
        np.testing.assert_allclose(np.median(at_reference, axis=1), 0, atol=1e-3)
        same = Preprocessor([], ["phase_swe"], phase._asdict())
        assert same.phase == phase
        assert torch.load(saved(same.options, tmp_path), weights_only=True)["phase"] == phase._asdict()
        scene = same.scene(cube)  # a piece without the reference is relative to it all the same
        np.testing.assert_array_equal(scene["phase_reference"], phase_reference(cube, phase))
        piece = with_derived(scene.isel(y=slice(0, 4), x=slice(0, 5)), ["phase_swe"], phase)
        whole = with_derived(cube, ["phase_swe"], phase)
        np.testing.assert_array_equal(band(piece, "phase_swe"), band(whole, "phase_swe")[:, :4, :5])


def saved(content, folder):
    torch.save(content, folder / "options.pt")
    return folder / "options.pt"


def test_without_a_reference_the_phase_stays_as_it_is():
    cube, change = with_phase(1, offset=0.0)
    made = with_derived(cube, ["phase_swe"], Phase(1, "none"))
    np.testing.assert_allclose(band(made, "phase_swe"), change, atol=1e-3)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_a_reference_that_cannot_be_is_one_line(tmp_path):
    cube, _ = with_phase(1)
    x, y = cube["x"].values, cube["y"].values
    (tmp_path / "text.gpkg").write_text("no vector file")
    bare = areas(tmp_path, [Point(x[9], y[5])], crs=None, name="bare.gpkg")
    line = areas(tmp_path, [LineString([(9.8, 46.4), (9.9, 46.3)])], name="line.gpkg")
    for path, words in ((tmp_path / "none.gpkg", "does not exist"), (tmp_path / "text.gpkg", "cannot be read"),
                        (bare, "no CRS"), (line, "no polygon or point")):  # fmt: skip
        with pytest.raises(SnowmapError, match=rf"^data.reference={path}.*{words}"):
            read_reference(path)
    elsewhere = Phase(1, read_reference(areas(tmp_path, [Point(7, 46)])))
    with pytest.raises(SnowmapError, match="no pixel of the study area lies in it; its shapes reach over 7, 46"):
        phase_reference(cube, elsewhere)
    dark = Phase(1, read_reference(areas(tmp_path, [Point(x[9], y[5])])))
    cube["features"].loc[{"band": "unwrapped_phase"}][3, 5, 9] = np.nan
    assert np.flatnonzero(np.isnan(phase_reference(cube, dark))).tolist() == [3]
    cube["features"].loc[{"band": "unwrapped_phase"}][:, 5, 9] = np.nan
    with pytest.raises(SnowmapError, match="none of its pixels has an unwrapped phase in 2021-01-09_to_2021-01-21"):
        phase_reference(cube, dark)


@pytest.mark.parametrize(("lowest", "warns"), [(4.0, False), (-4.0, True)])
def test_a_reference_that_gains_snow_by_its_own_weather_is_warned_of(lowest, warns, caplog):
    cube, _ = with_phase(1)
    ground = cube["features"].sel(band="elevation").values
    cube["features"].loc[{"band": "mean_temperature"}] = lowest - 0.006 * (ground - np.nanmin(ground))
    warn_of_snow(cube, Phase(1))
    assert ("gains snow itself" in caplog.text) == warns
    caplog.clear()
    warn_of_snow(cube, Phase(1, "none"))
    assert not caplog.text


def test_on_a_slope_the_change_counts_per_horizontal_area():
    """A plane that rises by one in two to the east lies at 26.6°: SWE per area of its surface ÷ cos 26.6°."""
    flat = make_cube(windows=2).rio.write_crs("EPSG:32632")
    metres = {"x": 50.0 * np.arange(17), "y": -50.0 * np.arange(12)}
    flat = flat.assign_coords(metres)
    flat["mask"].values[:] = True
    flat["features"].loc[{"band": "incidence"}] = 40.0
    flat["features"].loc[{"band": "unwrapped_phase"}] = 1.0
    slope = flat.copy(deep=True)
    flat["features"].loc[{"band": "elevation"}] = 1500.0
    slope["features"].loc[{"band": "elevation"}] = 1500 + 25.0 * np.arange(17)
    one, two = (band(with_derived(cube, ["phase_swe"], Phase(1, "none")), "phase_swe") for cube in (flat, slope))
    np.testing.assert_allclose(two / one, np.sqrt(1.25), rtol=1e-5)


@pytest.mark.parametrize(
    ("retrieval", "density", "mm_of_a_cycle"),
    [("guneriussen", 300.0, 28.6), ("guneriussen", 100.0, None), ("leinss", None, 27.8), ("oveisgharan", None, 28.4)],
)
def test_the_retrieval_is_chosen(retrieval, density, mm_of_a_cycle):
    cube = make_cube(windows=2)
    cube["features"].loc[{"band": "incidence"}] = 40.0
    cube["features"].loc[{"band": "elevation"}] = 1500.0
    cube["features"].loc[{"band": "unwrapped_phase"}] = 2 * np.pi
    made = band(with_derived(cube, ["phase_swe"], Phase(1, "none", retrieval, density)), "phase_swe")
    expected = mm_of_a_cycle or 2 * np.pi / phase_of_swe(1.0, 40.0, 0.1)
    np.testing.assert_allclose(made, expected, atol=0.05)


def air(cube, seed=0):
    """A Cube with rugged warm ground at random, and planes and stratified delays of its own in each window, rad."""
    random = np.random.default_rng(seed)
    shape = cube["mask"].shape
    x, y = np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[0]))
    height = random.uniform(500, 2500, shape)
    slopes = random.normal(0, 3, (cube.sizes["window"], 3, 1, 1))
    plane, stratified = slopes[:, 0] * x + slopes[:, 1] * y, slopes[:, 2] * (height - 1500) / 1000
    for name, values in (("elevation", height), ("mean_temperature", 8.0), ("coherence", 0.8), ("incidence", 38.0)):
        cube["features"].loc[{"band": name}] = np.float32(values)
    return cube, plane, stratified


def test_ramps_and_stratified_delays_are_fitted_on_coherent_ground_without_snow_and_taken_off():
    cube, plane, stratified = air(make_cube(windows=6, shape=(24, 30)))
    snow = np.zeros((6, 24, 30))
    snow[:, 4:10, 5:15], snow[:, 15:20, 20:26] = 4.0, 25.0  # rad: of snow in the cold, and noise of a lake
    cube["features"].loc[{"band": "mean_temperature"}][:, 4:10, 5:15] = -3.0
    cube["features"].loc[{"band": "coherence"}][:, 15:20, 20:26] = 0.1
    cube["features"].loc[{"band": "unwrapped_phase"}] = (snow + plane + stratified + 3.0).astype(np.float32)
    phase = Phase(1, "lowest_ground", corrections=("ramp", "stratified"))
    np.testing.assert_allclose(referenced(cube, phase), snow, atol=0.02)
    assert np.abs(referenced(cube, phase._replace(corrections=("ramp",))) - snow).max() > 1
    only = cube.copy(deep=True)
    only["features"].loc[{"band": "unwrapped_phase"}] = (snow + plane).astype(np.float32)
    np.testing.assert_allclose(referenced(only, phase._replace(corrections=("ramp",))), snow, atol=0.02)


def test_a_piece_has_the_trend_of_the_scene():
    cube, plane, stratified = air(make_cube(windows=3))
    cube["features"].loc[{"band": "unwrapped_phase"}] = (plane + stratified).astype(np.float32)
    phase = Phase(1, corrections=("ramp", "stratified"))
    preprocessor = Preprocessor.plan([(cube, [0, 1])], bands=[], derived=["phase_swe"], phase=phase)
    assert {"coherence", "mean_temperature"} <= {*preprocessor.archive_bands}
    scene = preprocessor.scene(cube)
    whole = preprocessor.features(scene)["features"].values
    piece = preprocessor.features(scene.isel(window=[1, 2], y=slice(2, 9), x=slice(3, 8)))["features"].values
    np.testing.assert_allclose(piece, whole[1:, :, 2:9, 3:8], atol=1e-3)
    assert np.nanmax(np.abs(whole)) < 0.5


def test_a_window_without_stable_ground_is_named_and_left_as_it_is(caplog):
    cube, plane, stratified = air(make_cube(windows=3))
    cube["features"].loc[{"band": "mean_temperature"}][1] = -2.0
    cube["features"].loc[{"band": "unwrapped_phase"}] = (plane + stratified).astype(np.float32)
    phase = Phase(1, "none", corrections=("stratified",))
    np.testing.assert_allclose(referenced(cube, phase)[1], (plane + stratified)[1], atol=1e-4)
    assert "too little coherent ground without snow in 1 of 3 windows" in caplog.text


@pytest.mark.parametrize("sign", [1, -1])
def test_a_delay_map_is_taken_off_where_there_is_one(sign):
    cube, change = with_phase(sign, offset=0.0)
    delay = np.random.default_rng(0).normal(0, 0.01, (20, 12, 17)).astype(np.float32)
    bands = [*cube["band"].values.tolist(), "delay"]
    other = make_cube(windows=20, bands=bands)
    other["features"].loc[{"band": bands[:-1]}] = cube["features"].values
    other["features"].loc[{"band": "delay"}] = delay
    other["features"].loc[{"band": "unwrapped_phase"}] += sign * 4 * np.pi / 0.05547 * delay
    phase = Phase(sign, "none")
    preprocessor = Preprocessor.plan([(other, [0, 1])], bands=[], derived=["phase_swe"], phase=phase)
    assert "delay" in preprocessor.archive_bands
    found = preprocessor.features(preprocessor.scene(other))["features"].values[:, -1]
    np.testing.assert_allclose(found, change, atol=0.01)
