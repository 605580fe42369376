"""What holds for every baseline: what it may look at, what it gives, what is said when it cannot be fitted."""

import numpy as np
import pytest
import xarray as xr

from snowmap.baselines import BASELINES, baseline_maps, build_baseline
from snowmap.errors import SnowmapError
from tests.cubes import BASELINES_OF_QUANTITIES, make_cube

TRAIN, LATER = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10], [13, 14, 15]
every_baseline = pytest.mark.parametrize("name", BASELINES_OF_QUANTITIES)


def maps_of(name: str, cube: xr.Dataset, targets=("hs", "swe")) -> xr.Dataset:
    return BASELINES[name]().fit(cube, TRAIN, targets).predict(cube, LATER)


@every_baseline
def test_only_targets_of_training_windows_inside_the_study_area_are_looked_at(name):
    cube = make_cube()
    planted = cube.copy(deep=True)
    for target in ("hs", "swe"):
        planted[target].values[[5, 11, 12, *LATER]] = 1e6
        planted[target].values[:, ~cube["mask"].values] = 1e6
    xr.testing.assert_identical(maps_of(name, planted), maps_of(name, cube))


@every_baseline
def test_another_training_target_gives_other_maps(name):
    cube = make_cube()
    planted = cube.copy(deep=True)
    planted["swe"].values[TRAIN] *= 2
    same = maps_of(name, planted, ["swe"]).identical(maps_of(name, cube, ["swe"]))
    assert same == (name == "insar_swe")  # which learns a sign, and nothing else


@every_baseline
def test_inputs_outside_the_study_area_are_not_looked_at(name):
    cube = make_cube()
    planted = cube.copy(deep=True)
    planted["features"].values[..., ~cube["mask"].values] = np.nan
    xr.testing.assert_identical(maps_of(name, planted), maps_of(name, cube))


@every_baseline
def test_inputs_of_later_windows_are_not_looked_at(name):
    cube = make_cube()
    planted = cube.copy(deep=True)
    planted["features"].values[LATER[-1] + 1 :] = 7.0
    xr.testing.assert_identical(maps_of(name, planted), maps_of(name, cube))


@every_baseline
def test_maps_are_on_the_grid_of_the_cube_in_the_unit_of_the_target_without_negative_snow(name):
    cube = make_cube()
    cube["swe"] = (cube["swe"] * 10).assign_attrs(units="mm")
    maps = maps_of(name, cube)
    assert {target: maps[target].attrs["units"] for target in maps} == {"hs": "cm", "swe": "mm"}
    assert maps.rio.crs == cube.rio.crs
    assert maps.rio.transform() == cube.rio.transform()
    np.testing.assert_array_equal(maps["end"], cube["end"][LATER])
    for target in ("hs", "swe"):
        values = maps[target].values
        assert values.dtype == np.float32
        assert np.isnan(values[:, ~cube["mask"].values]).all()
        assert np.isfinite(values[:, cube["mask"].values]).mean() > 0.85
        assert np.nanmin(values) >= 0
        assert set(maps[target].attrs) == {"units", "long_name", "standard_name"}


@pytest.mark.parametrize("name", sorted({*BASELINES_OF_QUANTITIES} - {"climatology", "persistence"}))
def test_what_was_learnt_on_part_of_the_study_area_maps_all_of_it_and_other_grids(name):
    cube = make_cube()
    part = cube.copy(deep=True)
    part["mask"].values[:, 9:] = False
    fitted = BASELINES[name]().fit(part, TRAIN, ["swe"])
    beyond = fitted.predict(cube, LATER)["swe"].values[:, 1:, 9:]
    assert np.isfinite(beyond).mean() > 0.85
    other = make_cube(windows=6, shape=(9, 21))
    assert np.isfinite(fitted.predict(other)["swe"]).any(["window"]).sum() > 100


@pytest.mark.parametrize("name", ["climatology", "persistence"])
def test_remembered_maps_fit_no_other_grid(name):
    fitted = BASELINES[name]().fit(make_cube(), TRAIN, ["swe"])
    message = r"shape of the grid is \[9, 21\]; the checkpoint was trained on \[12, 17\]"
    with pytest.raises(SnowmapError, match=message):
        fitted.predict(make_cube(shape=(9, 21)))


@every_baseline
def test_nothing_to_learn_from_is_an_error(name):
    cube = make_cube()
    cube["swe"].values[TRAIN] = np.nan
    with pytest.raises(SnowmapError, match=f"{name}: no training window has a valid pixel of swe"):
        BASELINES[name]().fit(cube, TRAIN, ["swe"])


def test_what_lacks_a_band_is_left_out_and_said(caplog):
    cube = make_cube(bands=["coherence", "phase", "pdd"])
    assert set(BASELINES_OF_QUANTITIES) - set(baseline_maps(cube, TRAIN, LATER, ["swe"])) == {
        "elevation",
        "degree_day",
        "insar_swe",
    }
    assert (
        "no baseline elevation: model=elevation needs the band elevation; it has coherence, phase, pdd" in caplog.text
    )


def test_what_fails_on_the_data_is_left_out_and_said(caplog):
    cube = make_cube()
    cube["features"].loc[{"band": "elevation"}] = np.nan
    found = baseline_maps(cube, TRAIN, LATER, ["swe"])
    assert {"elevation", "degree_day"}.isdisjoint(found)
    assert "no baseline degree_day: degree_day: no training pixel has swe and an elevation" in caplog.text


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "climatolgy"}, "model.name=climatolgy is no baseline; known are climatology, persistence"),
        ({"name": "climatology", "season_days": 0.0}, "season_days=0.0: expected a number ≥ 1"),
        ({"name": "elevation", "degree": 0}, "degree=0: expected a whole number ≥ 1"),
        ({"name": "degree_day", "pixels": 0}, "pixels=0: expected a whole number ≥ 1"),
        ({"name": "insar_swe", "smoothing_pixels": 0.0}, "smoothing_pixels=0.0: expected a number ≥ 0.1"),
        ({"name": "boosted_trees", "derived": ["slop"]}, r"derived=\['slop'\] is unknown; known are day_of_year"),
        ({"name": "boosted_trees", "derived": []}, "expected a list of at least one name"),
        ({"name": "persistence", "days": 3}, "model=persistence cannot be built from"),
    ],
)
def test_arguments_that_make_no_sense_are_explained(model, message):
    with pytest.raises(SnowmapError, match=message):
        build_baseline(model)
