import numpy as np
import pytest

from snowmap.data.cube import check
from snowmap.data.features import DERIVED, DERIVED_BANDS, with_derived
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.sequences import season_of
from snowmap.errors import SnowmapError
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.cubes import make_cube


def band(cube, name):
    return cube["features"].sel(band=name).values


def plane(east: float, north: float):
    """A Cube whose ground rises by so many m per m to the east and to the north."""
    cube = make_cube(windows=2)
    metres = 6_371_000 * np.radians(1)
    x, y = np.meshgrid(cube["x"] - cube["x"][0], cube["y"] - cube["y"][0])
    height = 1000 + east * x * metres * np.cos(np.radians(46.4)) + north * y * metres
    cube["features"].loc[{"band": "elevation"}] = height.astype(np.float32)
    return cube


def test_slope_and_aspect_of_a_plane():
    made = with_derived(plane(-0.3, 0.4), ["slope", "aspect"])
    np.testing.assert_allclose(band(made, "slope"), np.degrees(np.arctan(0.5)), rtol=5e-3)
    np.testing.assert_allclose(band(made, "aspect_east"), 0.6, rtol=5e-3)  # it falls towards the east …
    np.testing.assert_allclose(band(made, "aspect_north"), -0.8, rtol=5e-3)  # … and rises towards the north


@pytest.mark.parametrize("height", [0, 399.9, 1234.567, 2911.03])  # of which some leave a rounding in the slope
def test_flat_ground_faces_no_direction(height):
    flat = plane(0, 0)
    flat["features"].loc[{"band": "elevation"}] = np.float32(height)
    made = with_derived(flat, ["aspect", "slope"])
    for name in ("aspect_east", "aspect_north"):
        np.testing.assert_array_equal(band(made, name), 0)
    np.testing.assert_allclose(band(made, "slope"), 0, atol=1e-9)


def test_day_of_year_is_a_circle():
    made = with_derived(make_cube(windows=40), ["day_of_year"])
    cosine, sine = band(made, "day_of_year_cos"), band(made, "day_of_year_sin")
    np.testing.assert_allclose(cosine**2 + sine**2, 1, rtol=1e-6)
    # 12 January is 11 days into the year
    spring = make_cube(windows=1)
    spring["end"].values[:] = np.datetime64("2021-01-12")
    assert band(with_derived(spring, ["day_of_year"]), "day_of_year_sin").ravel()[0] == pytest.approx(
        np.sin(2 * np.pi * 11 / 365)
    )


def test_sums_begin_anew_on_the_first_of_september():
    cube = make_cube(windows=40)
    cube["features"].loc[{"band": "pdd"}] = 3.0
    total = band(with_derived(cube, ["cumulative_pdd"]), "cumulative_pdd")
    season = season_of(cube["end"].values)
    position = np.array([np.sum(season[: i + 1] == season[i]) for i in range(40)])
    np.testing.assert_allclose(total, np.broadcast_to(3.0 * position[:, None, None], total.shape))


def test_snowfall_is_what_falls_in_the_cold_and_days_of_two_windows_count_once():
    cube = make_cube(windows=3, bands=["precipitation", "mean_temperature"])
    cube["features"].loc[{"band": "precipitation"}] = np.array([10.0, 20.0, 40.0])[:, None, None]
    cube["features"].loc[{"band": "mean_temperature"}] = np.array([-20.0, 1.0, -20.0])[:, None, None]
    cube = cube.assign_coords(start=("window", cube["start"].values - np.array([0, 0, 6], "timedelta64[D]")))
    total = band(with_derived(cube, ["cumulative_snowfall"]), "cumulative_snowfall")
    expected = np.cumsum([10, 20 / 2, 40 * 12 / 18])  # half of it is snow at 1 °C
    np.testing.assert_allclose(total, np.broadcast_to(expected[:, None, None], total.shape), rtol=1e-5)


def test_derived_inputs_never_look_ahead():
    cube = make_cube(windows=30, bands=[*STANDARD_BANDS, "precipitation"])
    changed = cube.copy(deep=True)
    changed["features"].values[20:] += 7
    names = [name for name in DERIVED if name != "wet_snow"]  # whose dry reference is that of the whole scene
    before, after = (with_derived(c, names).isel(window=slice(0, 20)) for c in (cube, changed))
    np.testing.assert_array_equal(before["features"], after["features"])


def test_they_are_bands_of_a_valid_cube_in_canonical_order():
    cube = make_cube()
    made = with_derived(cube, ["cumulative_pdd", "aspect", "day_of_year", "slope"])
    check(made)
    assert made["band"].values.tolist()[-6:] == [
        "day_of_year_cos",
        "day_of_year_sin",
        "slope",
        "aspect_east",
        "aspect_north",
        "cumulative_pdd",
    ]
    assert dict(zip(made["band"].values, made["unit"].values, strict=True))["cumulative_pdd"] == "degC d"
    np.testing.assert_array_equal(made["features"][:, :9], cube["features"])
    assert made.rio.crs == cube.rio.crs
    further = make_cube(bands=[*STANDARD_BANDS, "precipitation"])
    everything = with_derived(further, list(DERIVED))["band"].values.tolist()
    assert everything[10:] == list(DERIVED_BANDS)


def test_an_unknown_name_or_a_missing_band_is_named():
    with pytest.raises(SnowmapError, match=r"\['slop'\] is unknown; known are day_of_year, slope"):
        with_derived(make_cube(), ["slop"])
    with pytest.raises(SnowmapError, match="'cumulative_pdd' needs the band pdd"):
        with_derived(make_cube(bands=["coherence", "elevation"]), ["cumulative_pdd"])


def with_wet_spring():
    """A Cube of two years of −8 dB with speckle, with 4 dB less from April to June on its right half."""
    cube = make_cube(windows=61)
    wet = np.isin(cube["end"].dt.month, (4, 5, 6))[:, None, None] & (np.arange(17) > 8)
    missing = np.isnan(band(cube, "intensity"))
    speckle = np.clip(np.random.default_rng(0).normal(0, 0.3, missing.shape), -0.4, 0.4)
    intensity = np.where(missing, np.nan, -8 + speckle - 4 * wet + np.linspace(-3, 3, 12)[:, None])
    cube["features"].loc[{"band": "intensity"}] = intensity.astype(np.float32)
    return cube, wet & ~missing, missing


def test_wet_snow_is_what_is_darker_than_its_own_dry_reference():
    cube, wet, missing = with_wet_spring()
    found = band(with_derived(cube, ["wet_snow"]), "wet_snow")
    np.testing.assert_array_equal(np.isnan(found), missing)
    np.testing.assert_array_equal(found == 1, wet)


def test_a_piece_of_the_wet_months_has_the_reference_of_the_scene():
    cube, _, _ = with_wet_spring()
    preprocessor = Preprocessor([], ["wet_snow"])
    spring = np.flatnonzero(np.isin(cube["end"].dt.month, (4, 5)))
    place = {"window": spring, "y": slice(3, 8), "x": slice(7, 14)}
    whole = band(preprocessor.scene(cube).pipe(with_derived, ["wet_snow"]).isel(place), "wet_snow")
    lazy = preprocessor.scene(cube.assign(features=cube["features"].chunk({"window": 1, "band": 1, "y": 5})))
    assert lazy["wet_below"].chunks is not None  # a scene may be larger than the memory
    piece = band(with_derived(lazy.isel(place).load(), ["wet_snow"]), "wet_snow")
    np.testing.assert_array_equal(piece, whole)
    assert np.nansum(whole) > 100
    strict = Preprocessor([], ["wet_snow"], wet_snow_db=-6.0)
    assert np.nansum(band(with_derived(strict.scene(cube), ["wet_snow"]), "wet_snow")) == 0


def test_without_a_dry_month_the_reference_is_named_as_doubtful(caplog):
    cube, _, _ = with_wet_spring()
    spring = cube.isel(window=np.flatnonzero(np.isin(cube["end"].dt.month, (4, 5))))
    assert np.nansum(band(with_derived(spring, ["wet_snow"]), "wet_snow")) == 0
    assert "dry reference" in caplog.text
