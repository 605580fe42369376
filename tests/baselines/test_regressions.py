import numpy as np
import pytest
import xarray as xr
from sklearn.ensemble import HistGradientBoostingRegressor

from snowmap.baselines import BASELINES
from snowmap.data.features import cumulative_pdd, with_derived
from snowmap.data.radar.phase import DEFAULT_PHASE
from snowmap.errors import SnowmapError
from tests.baselines.snow import snow_told_by_phase
from tests.cubes import make_cube

TRAIN, LATER = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10], [13, 14, 15]


def mapped(name: str, cube: xr.Dataset, train: list[int], windows: list[int], **options) -> np.ndarray:
    return BASELINES[name](**options).fit(cube, train, ["swe"]).predict(cube, windows)["swe"].values


def test_elevation_finds_a_law_of_height_season_and_degree_days():
    cube = make_cube()
    height = np.nan_to_num(cube["features"].sel(band="elevation").values, nan=1500)
    degree_days = np.nan_to_num(cumulative_pdd(cube, DEFAULT_PHASE)["cumulative_pdd"])
    angle = 2 * np.pi * ((cube["end"].dt.dayofyear.values - 1) / 365)[:, None, None]
    cube["swe"].values[:] = 30 + 0.01 * height + 8 * np.cos(angle) - 1e-5 * degree_days * (height - 500)
    found = mapped("elevation", cube, TRAIN, LATER)
    usable = np.isfinite(found)
    heights = cube["features"].sel(band="elevation").values[LATER]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(heights) | ~cube["mask"].values)
    np.testing.assert_allclose(found[usable], cube["swe"].values[LATER][usable], rtol=1e-3)


def test_a_polynomial_of_lower_degree_can_express_less():
    cube = make_cube()
    height = np.nan_to_num(cube["features"].sel(band="elevation").values, nan=1500)
    cube["swe"].values[:] = 1e-8 * height**3
    error = {}
    for degree in (1, 3):
        found = mapped("elevation", cube, TRAIN, LATER, degree=degree)
        error[degree] = np.nanmax(np.abs(found - cube["swe"].values[LATER]))
    assert error[3] < 0.01 < 1 < error[1]


def test_elevation_predicts_no_negative_snow():
    cube = make_cube()
    height = cube["features"].sel(band="elevation").values
    cube["swe"].values[:] = np.clip(0.02 * (np.nan_to_num(height, nan=1500) - 1500), 0, None)
    assert np.nanmin(mapped("elevation", cube, TRAIN, LATER)) == 0


def test_a_regression_without_a_pixel_that_has_all_inputs_is_an_error():
    cube = make_cube()
    cube["features"].loc[{"band": "elevation"}].values[TRAIN] = np.nan
    with pytest.raises(SnowmapError, match="elevation: no training pixel has swe and elevation, pdd"):
        mapped("elevation", cube, TRAIN, LATER)


SUMS = ("day_of_year", "cumulative_pdd", "phase_swe")
PHASE_SUMS = ("cumulative_phase_swe", "cumulative_coherent_phase_swe")
TERRAIN_AND_WEATHER = ["elevation", "mean_temperature", "pdd"]


@pytest.mark.parametrize("name", ["boosted_trees", "boosted_trees_no_sar"])
def test_trees_are_those_of_scikit_learn_on_bands_and_season_sums(name):
    cube = make_cube()
    whole = with_derived(cube, (*SUMS, *PHASE_SUMS))
    if name == "boosted_trees_no_sar":
        read = cube.isel(band=np.isin(cube["band"].values, TERRAIN_AND_WEATHER))
        whole = with_derived(read, SUMS[:2])
    columns = whole["features"].transpose("window", "y", "x", "band").values
    mapped_maps = mapped(name, cube, TRAIN, LATER)
    known = np.where(cube["mask"].values, cube["swe"].values, np.nan)[TRAIN]
    order = np.random.default_rng(0).permutation(np.isfinite(known).sum())
    trees = HistGradientBoostingRegressor(random_state=0)
    trees.fit(columns[TRAIN][np.isfinite(known)][order], known[np.isfinite(known)][order])
    for index, window in enumerate(LATER):
        expected = np.maximum(trees.predict(columns[window][cube["mask"].values]), 0)
        np.testing.assert_allclose(mapped_maps[index][cube["mask"].values], expected, rtol=1e-5)


def test_trees_without_sar_see_nothing_of_it():
    cube = make_cube()
    other = cube.copy(deep=True)
    radar = other["group"].values == "sar"
    other["features"].values[:, radar] = np.random.default_rng(1).normal(size=other["features"].values[:, radar].shape)
    one, two = (mapped("boosted_trees_no_sar", each, TRAIN, LATER) for each in (cube, other))
    np.testing.assert_array_equal(one, two)


def test_trees_learn_the_snow_from_its_sums():
    cube = snow_told_by_phase()
    windows = [31, 33, 35]
    maps = mapped("boosted_trees", cube, [i for i in range(60) if i not in windows], windows)
    inside = cube["mask"].values
    off = (cube["swe"].values[windows] - maps)[:, inside]
    assert np.sqrt(np.nanmean(off**2)) < 0.1 * np.nanstd(cube["swe"].values[windows][:, inside])


def test_trees_read_the_derived_inputs_that_they_are_given():
    cube = make_cube()
    slope = with_derived(cube, ["slope"])["features"].sel(band="slope").values
    cube["swe"].values[:] = np.where(np.isfinite(slope), slope, 0)
    chosen = BASELINES["boosted_trees"](bands=["elevation"], derived=["slope"]).fit(cube, TRAIN, ["swe"])
    assert chosen.archive_bands == ["elevation"]
    inside = cube["mask"].values
    off = (chosen.predict(cube, LATER)["swe"].values - cube["swe"].values[LATER])[:, inside]
    assert np.abs(off).mean() < 0.05 * cube["swe"].values[LATER][:, inside].std()
