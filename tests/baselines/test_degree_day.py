import numpy as np
import pytest
import xarray as xr

from snowmap.baselines import BASELINES
from snowmap.physics import density_guyennon
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.cubes import make_cube

TRUTH = {"degree_day_factor": 3.7, "precipitation": 4.2, "gradient": 0.25, "beginning": 0.6}
MISSED = [11, 12, 25, 26, 27, 40]
"""Windows that the archive lacks: a gap in spring, one in early winter, one in spring again."""


def simulated(target: str = "swe", truth: dict[str, float] = TRUTH, further: tuple[str, ...] = ()) -> xr.Dataset:
    """A Cube whose snow follows the equation with known numbers, written day by day where windows are missing."""
    cube = make_cube(windows=64, bands=[*STANDARD_BANDS, *further])
    cube = cube.isel(window=[i for i in range(64) if i not in MISSED])
    count = cube.sizes["window"]
    generator = np.random.default_rng(3)
    rain = generator.gamma(1.0, 2.0, (count, 12, 17)) if further else np.ones((count, 12, 17))  # mm a day
    end, start = cube["end"].values, cube["start"].values
    height = np.broadcast_to(np.linspace(400, 2600, 17), (12, 17))
    season = np.cos(2 * np.pi * (cube["end"].dt.dayofyear.values - 20) / 365)[:, None, None]
    temperature = 12 - 11 * season - 0.006 * (height - 800) + generator.normal(0, 1.5, (count, 1, 1))
    pdd = 12 * np.maximum(temperature, 0) + 3.0
    weather = {"elevation": height, "mean_temperature": temperature, "pdd": pdd, **dict.fromkeys(further, 12 * rain)}
    for band, values in weather.items():
        cube["features"].loc[{"band": band}] = np.broadcast_to(values, (count, 12, 17)).astype(np.float32)
    mean_height = np.float32(height)[cube["mask"].values].mean()
    rate = truth["precipitation"] * np.maximum(0, 1 + truth["gradient"] * (height - mean_height) / 1000)
    water, maps = np.zeros((12, 17)), []
    for i in range(count):
        days = 12
        if i == 0:  # the archive begins on 9 January, 69 days after 1 November
            snow = 1 / (1 + np.exp((temperature[i] - 1.0) / 0.7))
            water = truth["beginning"] * rate * rain[i] * 69 * snow
        elif _season(end[i]) != _season(end[i - 1]):
            water = np.zeros((12, 17))
            days += max(0, (start[i] - np.datetime64(f"{_season(end[i])}-09-01")) // np.timedelta64(1, "D"))
        else:
            days += (start[i] - end[i - 1]) // np.timedelta64(1, "D")
        snow = 1 / (1 + np.exp(np.clip((temperature[i] - 1.0) / 0.7, -50, 50)))
        water = np.maximum(0, water + days * rate * rain[i] * snow - truth["degree_day_factor"] * pdd[i] * days / 12)
        maps.append(water)
    swe = np.stack(maps)
    if target == "swe":
        cube["swe"].values[:] = swe / 10
    else:
        cube["hs"].values[:] = swe / density_guyennon(end)[:, None, None] * 100
    return cube


def _season(day: np.datetime64) -> int:
    date = day.astype("datetime64[D]").item()
    return date.year if date.month >= 9 else date.year - 1


DRIER_ABOVE = {"degree_day_factor": 2.5, "precipitation": 3.0, "gradient": -0.2, "beginning": 2.0}


@pytest.mark.parametrize(
    ("target", "truth", "further"),
    [
        ("swe", TRUTH, ()),
        ("hs", DRIER_ABOVE, ()),
        ("swe", {**DRIER_ABOVE, "precipitation": 0.7}, ("precipitation",)),
    ],
    ids=["wetter above", "drier above, by depth", "by precipitation"],
)
def test_known_numbers_are_found_again(target, truth, further, caplog):
    caplog.set_level("INFO")
    cube = simulated(target, truth, further)
    train = [i for i in range(cube.sizes["window"]) if i % 6 != 5][:40]
    fitted = BASELINES["degree_day"]().fit(cube, train, [target])
    learned = dict(fitted.learned[target])
    assert learned.pop("mean_elevation") == pytest.approx(1637.5)
    assert learned == pytest.approx(truth, rel=0.01)
    later = list(range(44, cube.sizes["window"]))
    found, known = fitted.predict(cube, later)[target].values, cube[target].values[later]
    assert known[:, cube["mask"].values].max() > 10
    np.testing.assert_allclose(found[:, cube["mask"].values], known[:, cube["mask"].values], rtol=0.02, atol=0.05)
    assert f"degree_day, calibrated on {target}: melt {truth['degree_day_factor']:.2f} mm" in caplog.text


def test_few_pixels_are_enough_and_always_the_same():
    cube = simulated()
    fitted = [BASELINES["degree_day"](pixels=20).fit(cube, list(range(40)), ["swe"]).learned["swe"] for _ in range(2)]
    assert fitted[0] == fitted[1]
    assert fitted[0]["degree_day_factor"] == pytest.approx(TRUTH["degree_day_factor"], rel=0.01)


def test_snow_of_a_whole_season_comes_from_the_inputs_alone():
    cube = simulated()
    fitted = BASELINES["degree_day"]().fit(cube, list(range(30)), ["swe"])
    bare = cube.drop_vars(["swe", "hs"])
    xr.testing.assert_identical(fitted.predict(bare, [45]), fitted.predict(cube, [45]))


def test_missing_weather_takes_the_mean_of_its_window():
    cube = simulated()
    fitted = BASELINES["degree_day"]().fit(cube, list(range(40)), ["swe"])
    weather = cube["features"].sel(band=["mean_temperature", "pdd"])
    filled, lacking = cube.copy(deep=True), cube.copy(deep=True)
    inside = cube["mask"].values.copy()
    inside[5, 7] = False
    for band in ("mean_temperature", "pdd"):
        mean = weather.sel(band=band).values[50][inside].mean()
        index = cube["band"].values.tolist().index(band)
        filled["features"].values[50, index, 5, 7] = mean
        lacking["features"].values[50, index, 5, 7] = np.nan
    found, known = (fitted.predict(c, [50])["swe"].values for c in (lacking, filled))
    np.testing.assert_allclose(found, known, rtol=1e-4)


def test_a_window_without_weather_adds_and_takes_nothing():
    cube = simulated()
    fitted = BASELINES["degree_day"]().fit(cube, list(range(40)), ["swe"])
    for band in ("mean_temperature", "pdd"):
        cube["features"].values[50, cube["band"].values.tolist().index(band)] = np.nan
    before, after = fitted.predict(cube, [49, 50])["swe"].values
    np.testing.assert_array_equal(before, after)
    assert np.nanmax(before) > 1


def test_windows_that_overlap_add_their_days_once():
    cube = simulated()
    fitted = BASELINES["degree_day"]().fit(cube, list(range(40)), ["swe"])
    twice = cube.isel(window=np.repeat(np.arange(cube.sizes["window"]), 2))
    single, double = fitted.predict(cube)["swe"].values, fitted.predict(twice)["swe"].values
    np.testing.assert_array_equal(double[1::2], single)
