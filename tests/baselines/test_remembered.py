from datetime import date

import numpy as np
import pytest
import xarray as xr

from snowmap.baselines import BASELINES
from tests.cubes import make_cube

TRAIN, LATER = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10], [13, 14, 15]
SEASON_DAYS = 20.0


def climatology(cube: xr.Dataset, train: list[int], windows: list[int], **options: float) -> np.ndarray:
    return BASELINES["climatology"](**options).fit(cube, train, ["swe"]).predict(cube, windows)["swe"].values


def persistence(cube: xr.Dataset, train: list[int], windows: list[int]) -> np.ndarray:
    return BASELINES["persistence"]().fit(cube, train, ["swe"]).predict(cube, windows)["swe"].values


def fraction_of_year(day: np.datetime64) -> float:
    """By the calendar: days since 1 January over the days that this year has."""
    day = day.astype("datetime64[D]").item()
    return (day - date(day.year, 1, 1)).days / (date(day.year + 1, 1, 1) - date(day.year, 1, 1)).days


@pytest.mark.parametrize("season_days", [SEASON_DAYS, 50.0])
def test_climatology_is_the_mean_weighted_by_season(season_days):
    cube = make_cube()
    found = climatology(cube, TRAIN, LATER, season_days=season_days)
    fraction = np.array([fraction_of_year(end) for end in cube["end"].values])
    y, x = 5, 7
    values = cube["swe"].values[TRAIN, y, x].astype(float)
    for index, window in enumerate(LATER):
        apart = np.abs(fraction[TRAIN] - fraction[window])
        weight = np.exp(-0.5 * (np.minimum(apart, 1 - apart) * 365.25 / season_days) ** 2)
        kept = np.isfinite(values)
        known = (weight * np.nan_to_num(values))[kept].sum() / weight[kept].sum()
        assert found[index, y, x] == pytest.approx(known, rel=1e-5)


def test_climatology_knows_that_december_is_next_to_january():
    cube = make_cube(windows=40)
    cube["swe"].values[:] = np.arange(40)[:, None, None]
    january_of_the_next_year = [31]
    assert np.nanmax(climatology(cube, [0, 15, 29], january_of_the_next_year)) > 5
    assert np.nanmax(climatology(cube, [0, 15], january_of_the_next_year)) < 1


def test_climatology_of_a_leap_year_ends_where_the_next_year_begins():
    cube = make_cube(windows=3)
    end = np.array(["2023-01-01", "2024-12-31", "2025-01-01"], dtype="datetime64[ns]")
    cube = cube.assign_coords(start=("window", end - np.timedelta64(12, "D")), end=("window", end))
    cube["swe"].values[:] = np.array([10, 20, 0])[:, None, None]
    near = np.exp(-0.5 * ((1 / 366) * 365.25 / SEASON_DAYS) ** 2)
    known = (10 + near * 20) / (1 + near)
    assert np.nanmax(climatology(cube, [0, 1], [2])) == pytest.approx(known, rel=1e-6)


def test_climatology_has_nothing_to_say_of_a_pixel_that_was_never_seen():
    cube = make_cube()
    cube["swe"].values[TRAIN, 5, 7] = np.nan
    found = climatology(cube, TRAIN, LATER)
    assert np.isnan(found[:, 5, 7]).all()
    assert np.isfinite(found[:, 5, 8]).all()


def test_persistence_is_the_latest_map_that_had_ended():
    cube = make_cube()
    found = persistence(cube, TRAIN, [0, 3, 5, 6, 13])
    inside = cube["mask"].values
    assert np.isnan(found[0]).all()
    for index, seen in ((1, 2), (2, 4), (3, 4), (4, 10)):
        np.testing.assert_array_equal(found[index][inside], cube["swe"].values[seen][inside])


def test_persistence_does_not_look_into_a_window_that_overlaps():
    cube = make_cube()
    end = cube["end"].values.copy()
    end[10] = cube["end"].values[14]
    found = persistence(cube.assign_coords(end=("window", end)), TRAIN, [13])
    np.testing.assert_array_equal(found[0][cube["mask"].values], cube["swe"].values[9][cube["mask"].values])
