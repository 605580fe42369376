import numpy as np
import pytest

from snowmap.data.cube import check
from snowmap.data.features import DERIVED, DERIVED_BANDS, estimate_phase_sign, phase_reference, season_sum, with_derived
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.sequences import season_of
from snowmap.errors import SnowmapError
from snowmap.physics import phase_of_swe_oveisgharan
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


def test_a_missing_change_counts_as_none_and_a_pixel_never_seen_stays_missing():
    cube = make_cube(windows=4)
    change = np.ones((4, 12, 17), np.float32)
    change[1, 2, 3], change[:2, 5, 5], change[:, 7, 7] = np.nan, np.nan, np.nan
    total = season_sum(change, cube)
    np.testing.assert_array_equal(total[:, 2, 3], [1, 1, 2, 3])
    np.testing.assert_array_equal(total[:, 5, 5], [np.nan, np.nan, 1, 2])
    assert np.isnan(total[:, 7, 7]).all()


def with_phase(sign: int, offset: float = 17.0):
    """A Cube whose phase follows the change of its SWE, with an arbitrary constant for each window."""
    cube = make_cube(windows=20)
    cube["features"].loc[{"band": "incidence"}] = 38.0
    swe = np.nan_to_num(cube["swe"].values) * 10
    change = np.diff(swe, axis=0, prepend=swe[:1])
    phase = sign * change * phase_of_swe_oveisgharan(1.0, 38.0) + offset * np.arange(20)[:, None, None]
    cube["features"].loc[{"band": "unwrapped_phase"}] = phase.astype(np.float32)
    cube["features"].loc[{"band": "coherence"}] = 0.8
    return cube, change


@pytest.mark.parametrize("sign", [1, -1])
def test_the_phase_gives_back_the_change_of_swe_up_to_a_constant_for_each_window(sign):
    cube, change = with_phase(sign)
    made = with_derived(cube, ["phase_swe", "coherent_phase_swe"], sign)
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
    whole = band(with_derived(cube, ["phase_swe", "cumulative_phase_swe"], sign), "phase_swe")
    told = cube.assign_coords(phase_reference=("window", phase_reference(cube)))
    piece = with_derived(told.isel(x=slice(9, 17), y=slice(3, 8)), ["phase_swe"], sign)
    np.testing.assert_allclose(band(piece, "phase_swe"), whole[:, 3:8, 9:17], atol=1e-4)
    alone = with_derived(cube.isel(x=slice(9, 17), y=slice(3, 8)), ["phase_swe"], sign)
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
    phase = sign * change * phase_of_swe_oveisgharan(1.0, 38.0)
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


def test_derived_inputs_never_look_ahead():
    cube = make_cube(windows=30)
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
    everything = with_derived(cube, list(DERIVED))["band"].values.tolist()
    assert everything[9:] == list(DERIVED_BANDS)


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
