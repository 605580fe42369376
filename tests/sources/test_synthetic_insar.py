"""What the synthetic radar sees, against closed forms and direct simulation."""

import numpy as np
import pytest

from snowmap.physics import density_guyennon, phase_of_delay, phase_of_swe
from snowmap.sources.synthetic.insar import (
    INCIDENCE_IW1,
    atmosphere,
    draw_multilook,
    interferograms,
    look_geometry,
    lost_cycles,
)
from snowmap.sources.synthetic.snow import SnowState
from tests.slopes import slope_terrain

DATES = np.array(["2021-01-09", "2021-01-21", "2021-02-02"], dtype="datetime64[D]")


def phase_noise(coherence: float, looks: int) -> float:
    """Least standard deviation of the phase in rad (Rodriguez & Martin 1992); holds for a coherence near 1."""
    return np.sqrt((1 - coherence**2) / (2 * looks * coherence**2))


def dry_states(swe: list[float], shape: tuple[int, int]) -> dict[np.datetime64, SnowState]:
    dry = np.zeros(shape, dtype=bool)
    return {date: SnowState(np.full(shape, value), dry) for date, value in zip(DATES, swe, strict=True)}


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
