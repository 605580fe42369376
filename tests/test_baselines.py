from datetime import date

import numpy as np
import pytest
import xarray as xr

from snowmap.baselines import (
    BASELINES,
    SEASON_DAYS,
    baseline_maps,
    boosted_trees,
    climatology,
    elevation,
    persistence,
    summed_phase,
)
from snowmap.physics import density_guyennon, phase_of_swe_oveisgharan
from snowmap.sequences import season_of
from tests.cubes import make_cube

TRAIN, LATER = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10], [13, 14, 15]


@pytest.mark.parametrize("name", BASELINES)
def test_only_training_windows_inside_the_study_area_are_looked_at(name):
    cube = make_cube()
    before = BASELINES[name](cube, TRAIN, LATER, "swe")
    planted = cube.copy(deep=True)
    planted["swe"].values[[5, 11, 12, *LATER]] = 1e6
    planted["swe"].values[:, ~cube["mask"].values] = 1e6
    np.testing.assert_array_equal(BASELINES[name](planted, TRAIN, LATER, "swe"), before)
    assert np.isfinite(before).any()


def fraction_of_year(day: np.datetime64) -> float:
    """By the calendar: days since 1 January over the days that this year has."""
    day = day.astype("datetime64[D]").item()
    return (day - date(day.year, 1, 1)).days / (date(day.year + 1, 1, 1) - date(day.year, 1, 1)).days


def test_climatology_is_the_mean_weighted_by_season():
    cube = make_cube()
    found = climatology(cube, TRAIN, LATER, "swe")
    fraction = np.array([fraction_of_year(end) for end in cube["end"].values])
    y, x = 5, 7
    values = cube["swe"].values[TRAIN, y, x].astype(float)
    for index, window in enumerate(LATER):
        apart = np.abs(fraction[TRAIN] - fraction[window])
        weight = np.exp(-0.5 * (np.minimum(apart, 1 - apart) * 365.25 / SEASON_DAYS) ** 2)
        kept = np.isfinite(values)
        known = (weight * np.nan_to_num(values))[kept].sum() / weight[kept].sum()
        assert found[index, y, x] == pytest.approx(known, rel=1e-5)


def test_climatology_knows_that_december_is_next_to_january():
    cube = make_cube(windows=40)
    cube["swe"].values[:] = np.arange(40)[:, None, None]
    january_of_the_next_year = [31]
    assert np.nanmax(climatology(cube, [0, 15, 29], january_of_the_next_year, "swe")) > 5
    assert np.nanmax(climatology(cube, [0, 15], january_of_the_next_year, "swe")) < 1


def test_climatology_of_a_leap_year_ends_where_the_next_year_begins():
    cube = make_cube(windows=3)
    end = np.array(["2023-01-01", "2024-12-31", "2025-01-01"], dtype="datetime64[ns]")
    cube = cube.assign_coords(start=("window", end - np.timedelta64(12, "D")), end=("window", end))
    cube["swe"].values[:] = np.array([10, 20, 0])[:, None, None]
    near = np.exp(-0.5 * ((1 / 366) * 365.25 / SEASON_DAYS) ** 2)
    known = (10 + near * 20) / (1 + near)
    assert np.nanmax(climatology(cube, [0, 1], [2], "swe")) == pytest.approx(known, rel=1e-6)


def test_elevation_finds_a_law_that_it_can_express():
    cube = make_cube()
    height = cube["features"].sel(band="elevation").values
    cube["swe"].values[:] = np.where(np.isfinite(height), 3 + 0.01 * height, 5)
    found = elevation(cube, TRAIN, LATER, "swe")
    np.testing.assert_allclose(
        found[0][np.isfinite(height[13])], (3 + 0.01 * height[13])[np.isfinite(height[13])], rtol=1e-3
    )
    assert np.isnan(found[0][np.isnan(height[13])]).all()


def test_elevation_has_nothing_to_say_where_nothing_was_to_learn_from():
    cube = make_cube()
    cube["swe"].values[TRAIN] = np.nan
    assert np.isnan(elevation(cube, TRAIN, LATER, "swe")).all()


def test_elevation_predicts_no_negative_snow():
    cube = make_cube()
    height = cube["features"].sel(band="elevation").values
    cube["swe"].values[:] = np.clip(0.02 * (np.nan_to_num(height, nan=1500) - 1500), 0, None)
    assert np.nanmin(elevation(cube, TRAIN, LATER, "swe")) == 0


def test_persistence_is_the_latest_map_that_had_ended():
    cube = make_cube()
    found = persistence(cube, TRAIN, [0, 3, 5, 6, 13], "swe")
    inside = cube["mask"].values
    assert np.isnan(found[0]).all()
    for index, seen in ((1, 2), (2, 4), (3, 4), (4, 10)):
        np.testing.assert_array_equal(found[index][inside], cube["swe"].values[seen][inside])


def test_persistence_does_not_look_into_a_window_that_overlaps():
    cube = make_cube()
    end = cube["end"].values.copy()
    end[10] = cube["end"].values[14]
    found = persistence(cube.assign_coords(end=("window", end)), TRAIN, [13], "swe")
    np.testing.assert_array_equal(found[0][cube["mask"].values], cube["swe"].values[9][cube["mask"].values])


def test_what_lacks_a_band_is_left_out_and_said(caplog):
    cube: xr.Dataset = make_cube(bands=["coherence", "phase"])
    assert set(baseline_maps(cube, TRAIN, LATER, "swe")) == {"climatology", "persistence"}
    told = (
        "no baseline elevation, summed_phase, boosted_trees: the archive was opened without elevation, incidence, pdd"
    )
    assert told in caplog.text


def snow_told_by_phase(sign: int = 1) -> xr.Dataset:
    """A Cube of two seasons whose phase is the change of its SWE exactly; no snow on the lowest ground."""
    cube = make_cube(windows=60)
    step = np.linspace(0, 20, 17)[None, None] * (1 + np.arange(60)[:, None, None] % 3)  # mm
    season = season_of(cube["end"].values)
    swe = np.stack([step[season[: i + 1].tolist().index(season[i]) : i + 1].sum(axis=0) for i in range(60)])
    cube["swe"].values[:] = swe / 10
    cube["hs"].values[:] = swe / density_guyennon(cube["end"].values)[:, None, None] * 100
    cube["features"].loc[{"band": "incidence"}] = 38.0
    cube["features"].loc[{"band": "coherence"}] = 0.7
    cube["features"].loc[{"band": "unwrapped_phase"}] = sign * step * phase_of_swe_oveisgharan(1.0, 38.0) + 2.0
    return cube


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("target", ["swe", "hs"])
def test_the_summed_phase_is_the_snow_where_the_phase_is_perfect(sign, target):
    cube = snow_told_by_phase(sign)
    maps = summed_phase(cube, list(range(30)), [35, 50], target)
    truth = cube[target].values[[35, 50]]
    for observed, mapped in zip(truth, maps, strict=True):
        off = (observed - mapped)[cube["mask"].values & (mapped > 0)]
        assert len(off) > 100
        assert np.ptp(off) < 1e-3 * observed.max()
        assert 0 < off.mean() < 0.25 * observed.max()  # the snow of the reference ground, which the phase cannot tell


def test_the_summed_phase_is_given_in_the_unit_of_the_archive():
    cube = snow_told_by_phase()
    millimetres = cube.assign(swe=(cube["swe"] * 10).assign_attrs(units="mm"))
    in_cm, in_mm = (summed_phase(c, list(range(30)), [35], "swe") for c in (cube, millimetres))
    np.testing.assert_allclose(in_mm, in_cm * 10, rtol=1e-5)


def test_trees_learn_the_snow_from_its_sums():
    cube = snow_told_by_phase()
    windows = [31, 33, 35]
    maps = boosted_trees(cube, [i for i in range(60) if i not in windows], windows, "swe")
    inside = cube["mask"].values
    off = (cube["swe"].values[windows] - maps)[:, inside]
    assert np.sqrt(np.nanmean(off**2)) < 0.1 * np.nanstd(cube["swe"].values[windows][:, inside])
    assert np.isnan(maps[:, ~inside]).all()
