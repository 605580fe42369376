"""The synthetic archive: a valid Cube whose parts obey the physics that they claim."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from snowmap.cube import BANDS, INSAR_BANDS, check
from snowmap.errors import SnowmapError
from snowmap.physics import WAVELENGTH, density_guyennon, phase_noise, phase_of_delay, phase_of_swe, wrap
from snowmap.synthetic import synthesize
from snowmap.synthetic.insar import (
    INCIDENCE_IW1,
    atmosphere,
    draw_multilook,
    interferograms,
    look_geometry,
    lost_cycles,
)
from snowmap.synthetic.snow import SnowState, run_snow_model
from snowmap.synthetic.terrain import Terrain, make_terrain, power_law_field
from snowmap.synthetic.weather import Weather, temperature_at

DATES = np.array(["2021-01-09", "2021-01-21", "2021-02-02"], dtype="datetime64[D]")


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return synthesize()


def slope_terrain(rise_to_east: float = 0.0, shape: tuple[int, int] = (40, 60)) -> Terrain:
    """Open ground at 1000 m that rises by `rise_to_east` m per m."""
    elevation = 1000 + rise_to_east * 400.0 * np.arange(shape[1]) + np.zeros(shape)
    everywhere = np.ones(shape, dtype=bool)
    transform = from_origin(9.8, 46.4, 0.005, 0.005)
    return Terrain(elevation, everywhere, np.zeros(shape), everywhere, (560.0, 400.0), transform, "a slope")


def dry_states(swe: list[float], shape: tuple[int, int]) -> dict[np.datetime64, SnowState]:
    dry = np.zeros(shape, dtype=bool)
    return {date: SnowState(np.full(shape, value), dry) for date, value in zip(DATES, swe, strict=True)}


def band(cube: xr.Dataset, name: str) -> np.ndarray:
    return cube["features"].sel(band=name).values


def february(cube: xr.Dataset, year: int, name: str = "swe") -> float:
    end = cube["end"].dt
    return float(cube[name][((end.year == year) & (end.month == 2)).values].mean())


def test_the_default_has_the_layout_of_the_trentino_archive(cube: xr.Dataset) -> None:
    check(cube)
    assert cube["features"].shape == (64, 9, 93, 211)
    assert cube["start"].values[0] == np.datetime64("2021-01-09")
    assert cube["end"].values[-1] == np.datetime64("2023-03-24")
    steps = np.diff(cube["start"].values).astype("timedelta64[D]").astype(int)
    assert set(steps % 12) == {0}
    assert (steps // 12 - 1).sum() == 3
    assert (steps[-9:] == 12).all()
    assert cube.rio.bounds() == pytest.approx((9.80, 45.93, 10.87, 46.40))
    assert cube.attrs["origin"].startswith("synthetic: snowmap ")
    assert cube.attrs["origin"].endswith("seed 0, fractal terrain")
    assert 0.4 < cube["mask"].values.mean() < 0.95


def test_values_are_plausible_and_never_zero_where_zero_means_missing(cube: xr.Dataset) -> None:
    for name, quantity in BANDS.items():
        values = band(cube, name)
        assert np.nanmin(values) >= quantity.low, name
        assert np.nanmax(values) <= quantity.high, name
        if name in INSAR_BANDS:
            assert not (values == 0).any(), name
    inside = np.broadcast_to(cube["mask"].values, cube["swe"].shape)
    for name in ("hs", "swe"):
        assert np.array_equal(np.isfinite(cube[name].values), inside)
        assert np.nanmin(cube[name].values) >= 0


def test_layover_and_shadow_blind_every_radar_band_and_only_those(cube: xr.Dataset) -> None:
    hidden = np.isnan(band(cube, "coherence"))
    assert 0 < hidden.mean() < 0.1
    for name in set(INSAR_BANDS) - {"elevation"}:
        assert np.array_equal(np.isnan(band(cube, name)), hidden), name
    for name in ("elevation", "mean_temperature", "pdd"):
        assert np.isfinite(band(cube, name)).all(), name


@pytest.mark.parametrize("seed", [0, 1])
def test_winters_differ_as_those_of_2021_to_2023_did(seed: int) -> None:
    cube = synthesize(seed)
    rich, dry, drought = (february(cube, year) for year in (2021, 2022, 2023))
    assert rich > 1.5 * dry > 1.5 * drought


def test_depth_is_swe_over_the_density_of_the_date(cube: xr.Dataset) -> None:
    density = density_guyennon(cube["end"].values)[:, None, None] / 1000
    deep = cube["hs"].values > 1
    ratio = (cube["swe"] / cube["hs"]).values
    assert np.allclose(ratio[deep], np.broadcast_to(density, ratio.shape)[deep], rtol=1e-4)


def test_degree_days_fit_the_mean_temperature(cube: xr.Dataset) -> None:
    mean, degree_days = band(cube, "mean_temperature"), band(cube, "pdd")
    assert (degree_days >= 12 * np.maximum(mean, 0) - 1e-2).all()
    assert (degree_days[mean > 15] > 0).all()


def test_temperature_falls_six_degrees_per_km(cube: xr.Dataset) -> None:
    slope, _ = np.polyfit(band(cube, "elevation")[0].ravel(), band(cube, "mean_temperature")[0].ravel(), 1)
    assert slope == pytest.approx(-0.006, rel=1e-3)


def test_phase_is_the_wrapped_unwrapped_phase_and_displacement_its_length(cube: xr.Dataset) -> None:
    seen = np.isfinite(band(cube, "phase"))
    unwrapped = band(cube, "unwrapped_phase")[seen].astype(float)
    assert np.abs(wrap(band(cube, "phase")[seen] - unwrapped)).max() < 1e-4
    assert np.allclose(band(cube, "displacement")[seen], -WAVELENGTH / (4 * np.pi) * unwrapped, rtol=0, atol=1e-6)


def test_same_seed_same_cube_other_seed_other_cube() -> None:
    first, again, other = (synthesize(seed, windows=2, shape=(16, 20)) for seed in (3, 3, 4))
    xr.testing.assert_identical(first, again)
    for name in ("features", "swe", "mask"):
        assert not first[name].equals(other[name]), name


@pytest.mark.parametrize(("windows", "shape"), [(1, (8, 8)), (20, (40, 57)), (3, (2, 2)), (2, (150, 20))])
def test_other_sizes(windows: int, shape: tuple[int, int]) -> None:
    cube = synthesize(windows=windows, shape=shape)
    assert cube["swe"].shape == (windows, *shape)
    assert np.isfinite(band(cube, "elevation")).all()


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(SnowmapError, match="windows is 0"):
        synthesize(windows=0)
    with pytest.raises(SnowmapError, match="at least 2 rows"):
        synthesize(shape=(1, 50))
    with pytest.raises(SnowmapError, match="there is no DEM"):
        synthesize(shape=None)


def test_snow_model_against_a_hand_worked_pack() -> None:
    days = np.arange("2021-01-08", "2021-01-22", dtype="datetime64[D]")
    sea_level = np.where(days < DATES[0], -20.0, 6.0)  # at 1000 m: −26 °C, then 0 °C
    sea_level[-1] = 8.0  # 2 °C
    rain = np.where(days < DATES[0], 30.0, 0.0)
    terrain = slope_terrain()
    states = run_snow_model(Weather(days, sea_level, rain), terrain, DATES[:2], np.random.default_rng(0))
    fallen, left = states[DATES[0]].swe, states[DATES[1]].swe
    assert left == pytest.approx(fallen - 2 * 4.9)
    assert not states[DATES[0]].wet.any()  # 0 °C is not above 0 °C
    assert states[DATES[1]].wet.all()


def test_temperature_of_several_days_on_a_map() -> None:
    there = temperature_at(np.array([10.0, 0.0]), np.array([[0.0, 1000.0]]))
    assert there == pytest.approx(np.array([[[10.0, 4.0]], [[0.0, -6.0]]]))


def test_incidence_on_flat_and_on_tilted_ground() -> None:
    assert look_geometry(slope_terrain()).incidence == pytest.approx(INCIDENCE_IW1)
    tilt = np.tan(np.radians(10))
    # heading −90° looks north; heading 0° looks east, up the slope, which therefore faces the satellite
    assert look_geometry(slope_terrain(tilt), heading=0.0).incidence == pytest.approx(INCIDENCE_IW1 - 10)
    assert look_geometry(slope_terrain(-tilt), heading=0.0).incidence == pytest.approx(INCIDENCE_IW1 + 10)
    assert look_geometry(slope_terrain(tilt), heading=180.0).incidence == pytest.approx(INCIDENCE_IW1 + 10)


@pytest.mark.parametrize(("slope", "visible"), [(32, True), (34, False), (-56, True), (-58, False)])
def test_layover_beyond_the_incidence_and_shadow_beyond_its_complement(slope: float, visible: bool) -> None:
    geometry = look_geometry(slope_terrain(np.tan(np.radians(slope))), heading=0.0)
    assert (geometry.visible == visible).all()


def test_phase_without_air_is_the_snow_up_to_a_constant_and_noise() -> None:
    terrain = slope_terrain(0.1)
    states = dry_states([100.0, 112.0, 112.0], terrain.elevation.shape)
    rng = np.random.default_rng(0)
    snowfall, nothing = interferograms(DATES[:2], DATES[1:], states, terrain, rng, with_atmosphere=False)
    expected = phase_of_swe(12.0, look_geometry(terrain).incidence, float(density_guyennon(DATES[1])) / 1000)
    for bands, formula in [(snowfall, expected), (nothing, np.zeros(terrain.elevation.shape))]:
        rest = bands["unwrapped_phase"] - formula
        assert rest.std() == pytest.approx(float(phase_noise(0.78, 16)), rel=0.25)
        assert np.abs(rest - np.median(rest)).max() < 1.5  # no cycle is lost where coherence is high


def test_phase_falls_where_snow_goes() -> None:
    terrain = slope_terrain(0.1)  # incidence is the same all over, so compare halves
    states = dry_states([100.0, 100.0, 100.0], terrain.elevation.shape)
    after = states[DATES[1]].swe.copy()
    after[:, 30:] -= 10
    states[DATES[1]] = SnowState(after, states[DATES[1]].wet)
    (bands,) = interferograms(DATES[:1], DATES[1:2], states, terrain, np.random.default_rng(0), with_atmosphere=False)
    step = bands["unwrapped_phase"][:, 30:].mean() - bands["unwrapped_phase"][:, :30].mean()
    formula = phase_of_swe(-10.0, look_geometry(terrain).incidence[0, 0], float(density_guyennon(DATES[1])) / 1000)
    assert step == pytest.approx(float(formula), abs=0.05)


def test_neighbouring_interferograms_share_an_atmosphere() -> None:
    terrain = slope_terrain()
    states = dry_states([0.0, 0.0, 0.0], terrain.elevation.shape)
    first, second = interferograms(DATES[:2], DATES[1:], states, terrain, np.random.default_rng(1))
    replay = np.random.default_rng(1)
    delays = [atmosphere(date, terrain, replay) for date in DATES]
    for bands, delay in [(first, delays[1] - delays[0]), (second, delays[2] - delays[1])]:
        rest = bands["unwrapped_phase"] - phase_of_delay(delay, INCIDENCE_IW1)
        assert rest.std() == pytest.approx(float(phase_noise(0.80, 16)), rel=0.25)


def test_delay_is_smaller_higher_up_and_turbulent_across() -> None:
    delay = atmosphere(DATES[0], slope_terrain(0.1), np.random.default_rng(0))
    assert delay[:, :5].mean() > delay[:, -5:].mean() + 0.01
    assert delay.std(axis=0).min() > 1e-4


def test_wet_snow_darkens_and_decorrelates() -> None:
    terrain = slope_terrain()
    dry = dry_states([100.0, 100.0, 100.0], terrain.elevation.shape)
    wet = {date: SnowState(state.swe, ~state.wet) for date, state in dry.items()}
    (bright,), (dark,) = (
        interferograms(DATES[:1], DATES[1:2], states, terrain, np.random.default_rng(0)) for states in (dry, wet)
    )
    assert np.median(dark["intensity"]) <= np.median(bright["intensity"]) - 3
    assert np.median(dark["coherence"]) < 0.5 * np.median(bright["coherence"])


def test_forest_and_heavy_snowfall_decorrelate() -> None:
    open_ground = slope_terrain()
    wood = open_ground._replace(forest=np.ones_like(open_ground.forest))
    medians = []
    for terrain, swe in [(open_ground, [0.0, 0.0, 0.0]), (wood, [0.0, 0.0, 0.0]), (open_ground, [0.0, 60.0, 60.0])]:
        states = dry_states(swe, terrain.elevation.shape)
        (bands,) = interferograms(DATES[:1], DATES[1:2], states, terrain, np.random.default_rng(0))
        medians.append(np.median(bands["coherence"]))
    assert medians[0] > 0.7
    assert medians[1] < 0.5 * medians[0]
    assert medians[2] < 0.5 * medians[0]


@pytest.mark.parametrize("coherence", [0.9, 0.97])
def test_multilook_phase_noise_reaches_the_cramer_rao_bound(coherence: float) -> None:
    noise, estimate = draw_multilook(np.full(100_000, coherence), 16, np.random.default_rng(0))
    assert np.angle(noise).std() == pytest.approx(float(phase_noise(coherence, 16)), rel=0.06)
    assert noise.mean() == pytest.approx(coherence, abs=5e-3)
    assert estimate.mean() == pytest.approx(coherence, abs=1e-2)


def test_multilook_draw_equals_averaging_single_looks() -> None:
    rng, coherence, looks = np.random.default_rng(0), 0.4, 4
    first, other = rng.standard_normal((2, 50_000, looks, 2)) @ [1, 1j] / np.sqrt(2)
    second = coherence * first + np.sqrt(1 - coherence**2) * other
    direct = (first * np.conj(second)).mean(axis=-1)
    direct_coherence = np.abs(direct) / np.sqrt((abs(first) ** 2).mean(axis=-1) * (abs(second) ** 2).mean(axis=-1))
    drawn, drawn_coherence = draw_multilook(np.full(50_000, coherence), looks, rng)
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert np.quantile(np.angle(drawn), levels) == pytest.approx(np.quantile(np.angle(direct), levels), abs=0.05)
    assert np.quantile(drawn_coherence, levels) == pytest.approx(np.quantile(direct_coherence, levels), abs=0.01)
    assert np.quantile(abs(drawn), levels) == pytest.approx(np.quantile(abs(direct), levels), abs=0.02)


def test_cycles_are_lost_in_whole_patches_of_low_coherence() -> None:
    coherence = np.full((60, 60), 0.9)
    for row in range(2, 60, 6):
        for column in range(2, 60, 6):
            coherence[row : row + 3, column : column + 3] = 0.1
    cycles = lost_cycles(coherence, np.random.default_rng(0))
    assert (cycles[coherence > 0.35] == 0).all()
    patches = np.stack([cycles[2 + i : 60 : 6, 2 + j : 60 : 6] for i in range(3) for j in range(3)])
    assert (patches == patches[0]).all()
    assert set(np.unique(patches[0])) == {-2, -1, 0, 1, 2}


def test_power_law_field_has_the_asked_spectrum() -> None:
    spacing, exponent = (500.0, 500.0), -3.0
    rng, spectrum = np.random.default_rng(0), np.zeros(64)
    for _ in range(50):
        field = power_law_field((128, 128), spacing, exponent, rng)
        spectrum += (np.abs(np.fft.fft(field * np.hanning(128), axis=1)) ** 2).mean(axis=0)[:64]
    wavenumber = np.arange(4, 24)
    slope, _ = np.polyfit(np.log(wavenumber), np.log(spectrum[wavenumber]), 1)
    assert slope == pytest.approx(exponent + 1, abs=0.25)  # a profile's spectrum is one power flatter than the map's


def test_oetztal_dem(shared_data: Path) -> None:
    dem = shared_data / "oetztal" / "srtm_oetztal.tif"
    cube = synthesize(windows=2, shape=None, dem=dem)
    with rasterio.open(dem) as source:
        assert cube.rio.bounds() == pytest.approx(source.bounds)
        heights = source.read(1)
    assert np.allclose(np.abs(cube.rio.resolution()), 0.005, rtol=0.03)
    elevation = band(cube, "elevation")[0]
    assert elevation.mean() == pytest.approx(heights.mean(), rel=0.01)
    assert cube.attrs["origin"].endswith("DEM srtm_oetztal.tif")
    swe, inside = cube["swe"].values[1], cube["mask"].values
    assert swe[inside & (elevation > 2500)].mean() > 2 * swe[inside & (elevation < 1500)].mean()
    assert synthesize(windows=1, shape=(30, 20), dem=dem)["swe"].shape == (1, 30, 20)


def test_dem_in_another_crs_with_a_hole(tmp_path: Path) -> None:
    heights = np.tile(np.linspace(500, 2500, 80, dtype=np.float32), (60, 1))
    heights[:10, :10] = -32768
    dem = write_dem(tmp_path / "utm.tif", heights, crs="EPSG:32632", nodata=-32768)
    cube = synthesize(windows=1, shape=(30, 40), dem=dem)
    elevation = band(cube, "elevation")[0]
    assert np.isnan(elevation[:3, :3]).all()
    assert np.isnan(cube["features"].values[0, :, 0, 0]).all()
    assert not cube["mask"].values[np.isnan(elevation)].any()
    assert np.nanmin(elevation) > 490
    columns = np.nanmean(elevation[8:-3, 3:-3], axis=0)
    assert (np.diff(columns) > 0).all()  # still rising to the east


def test_bad_dems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnowmapError, match=r"absent\.tif: cannot be read as a DEM"):
        synthesize(windows=1, dem=tmp_path / "absent.tif")
    flat = np.full((10, 10), 100, dtype=np.float32)
    with pytest.raises(SnowmapError, match="no CRS"):
        synthesize(windows=1, dem=write_dem(tmp_path / "nowhere.tif", flat, crs=None, nodata=-9999))
    with pytest.raises(SnowmapError, match="no valid elevation"):
        synthesize(windows=1, dem=write_dem(tmp_path / "empty.tif", flat, crs="EPSG:32632", nodata=100))


def test_forest_ends_at_the_tree_line() -> None:
    terrain = make_terrain((93, 211), None, np.random.default_rng(0))
    low, high = terrain.elevation < 1600, terrain.elevation > 2300
    assert 0.35 < terrain.forest[low].mean() < 0.75
    assert terrain.forest[high].max() < 0.01


def write_dem(path: Path, heights: np.ndarray, crs: str | None, nodata: float) -> Path:
    profile = {"driver": "GTiff", "height": heights.shape[0], "width": heights.shape[1], "count": 1, "dtype": "float32"}
    transform = from_origin(650_000, 5_150_000, 500, 500)
    with rasterio.open(path, "w", crs=crs, nodata=nodata, transform=transform, **profile) as target:
        target.write(heights, 1)
    return path
