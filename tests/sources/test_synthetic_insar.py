"""What the synthetic radar sees, against closed forms and direct simulation."""

import numpy as np
import pytest

from snowmap.physics import density_guyennon, phase_of_delay, phase_of_swe, phase_of_swe_oveisgharan
from snowmap.sources.synthetic.insar import (
    INCIDENCE_IW1,
    atmosphere,
    draw_multilook,
    interferograms,
    look_geometry,
    lost_cycles,
    transmission,
)
from snowmap.sources.synthetic.snow import SnowState, run_snow_model
from snowmap.sources.synthetic.terrain import make_terrain, surface_normal
from snowmap.sources.synthetic.weather import make_weather
from tests.slopes import slope_terrain

DATES = np.array(["2021-01-09", "2021-01-21", "2021-02-02"], dtype="datetime64[D]")


def phase_noise(coherence: float, looks: int) -> float:
    """Least standard deviation of the phase in rad (Rodriguez & Martin 1992); holds for a coherence near 1."""
    return np.sqrt((1 - coherence**2) / (2 * looks * coherence**2))


def dry_states(swe: list[float], shape: tuple[int, int]) -> dict[np.datetime64, SnowState]:
    dry = np.zeros(shape)
    return {date: SnowState(np.full(shape, value), dry, dry) for date, value in zip(DATES, swe, strict=True)}


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
    states[DATES[1]] = states[DATES[1]]._replace(swe=after)
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


def test_a_millimetre_of_water_halves_the_echo_of_the_ground() -> None:
    thin, thick = (SnowState(*np.full((3, 1, 1), liquid)) for liquid in (1.1, 20.0))
    assert transmission(thin) == pytest.approx(0.5, abs=0.01)
    assert transmission(thick) < 1e-5


@pytest.fixture(scope="module")
def spring():
    """The archive's own ground, weather and snow of two years without air, and what the radar makes of each window."""
    ground, air, snow, radar = (np.random.default_rng([0, part]) for part in range(1, 5))
    terrain = make_terrain((46, 105), None, ground)
    start = np.datetime64("2021-01-09") + 12 * np.arange(36)
    end = start + 12
    weather = make_weather(np.datetime64("2020-09-01"), end[-1], air)
    states = run_snow_model(weather, terrain, np.unique([start, end]), snow)
    windows = list(interferograms(start, end, states, terrain, radar, with_atmosphere=False))
    bands = {name: np.stack([window[name] for window in windows]) for name in windows[0]}
    before, after = (np.stack([[*states[date]] for date in dates]) for dates in (start, end))
    return bands, before, after


def test_phase_follows_the_change_of_dry_snow_and_not_that_of_wet_snow(spring) -> None:
    bands, before, after = spring
    terrain = make_terrain((46, 105), None, np.random.default_rng([0, 1]))
    upward = surface_normal(terrain.elevation, terrain.spacing)[2]
    change = after[:, 0] - before[:, 0]
    estimate = bands["unwrapped_phase"] / phase_of_swe_oveisgharan(upward, np.minimum(bands["incidence"], 80))
    liquid = np.maximum(before[:, 1], after[:, 1])
    snow = np.isfinite(estimate) & (bands["incidence"] < 60) & (np.maximum(before[:, 0], after[:, 0]) > 10)
    dry, wet = snow & (liquid == 0) & (bands["coherence"] > 0.6), snow & (liquid > 2)
    correlations = {"dry": [], "wet": []}
    for name, pixels in (("dry", dry), ("wet", wet)):
        for window in np.flatnonzero(pixels.sum(axis=(1, 2)) > 200):
            here = pixels[window]
            if change[window][here].std() > 5:  # mm; otherwise there is little to follow
                correlations[name].append(np.corrcoef(change[window][here], estimate[window][here])[0, 1])
    assert min(len(each) for each in correlations.values()) >= 5
    assert np.median(correlations["dry"]) > 0.9
    assert np.median(np.abs(correlations["wet"])) < 0.15
    assert np.median(bands["coherence"][wet]) < 0.3 < 0.6 < np.median(bands["coherence"][dry])


def test_wet_snow_is_darker_than_the_same_pixel_dry_and_recovers(spring) -> None:
    bands, before, after = spring
    dry = (before[:, 1] == 0) & (after[:, 1] == 0) & np.isfinite(bands["intensity"])
    seen = dry.any(axis=0)
    values, dry, before, after = bands["intensity"][:, seen], dry[:, seen], before[:, :, seen], after[:, :, seen]
    ratio = values - np.nanmedian(np.where(dry, values, np.nan), axis=0)
    assert np.nanmedian(ratio[np.minimum(before[:, 1], after[:, 1]) > 2]) < -3
    bare_again = dry & (before[:, 0] == 0) & (np.maximum.accumulate(before[:, 1]) > 2)
    assert np.median(ratio[bare_again]) == pytest.approx(0, abs=0.5)


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
