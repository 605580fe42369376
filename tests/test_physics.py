"""The formulas against tabulated values, closed forms and cases worked by hand."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from snowmap.physics import (
    SENTINEL_1_WAVELENGTH,
    coherence_of_accumulation,
    density_guyennon,
    displacement,
    per_slope_area,
    permittivity,
    phase_of_delay,
    phase_of_swe,
    phase_of_swe_leinss,
    phase_of_swe_oveisgharan,
    positive_degree_days,
    snow_fraction,
    wrap,
)

phases = st.floats(-300, 300)


@pytest.mark.parametrize(
    ("incidence", "exact", "leinss", "oveisgharan"),
    [
        (30.0, 31.4, 31.0, 31.5),
        (35.0, 30.1, 29.5, 30.0),
        (40.0, 28.6, 27.8, 28.4),
        (45.0, 27.0, 26.0, 26.7),
        (60.0, 21.7, 20.5, 21.5),
    ],
)
def test_mm_of_swe_for_one_cycle(incidence: float, exact: float, leinss: float, oveisgharan: float) -> None:
    formulas = (partial(phase_of_swe, density=0.3), phase_of_swe_leinss, phase_of_swe_oveisgharan)
    one_mm = [formula(1.0, incidence) for formula in formulas]
    assert [round(float(2 * np.pi / phase), 1) for phase in one_mm] == [exact, leinss, oveisgharan]
    at_l_band = [formula(1.0, incidence, wavelength=2 * SENTINEL_1_WAVELENGTH) for formula in formulas]
    assert at_l_band == pytest.approx([phase / 2 for phase in one_mm])


@pytest.mark.parametrize("slope", [0.0, 21.0, 37.0, -30.0])
def test_phase_of_snow_on_a_slope_is_that_of_the_ray_through_it(slope: float) -> None:
    """Ray by ray in the plane of incidence: 0.4 m of snow, measured along the vertical, on ground of this slope."""
    depth, density, look = 0.4, 0.3, np.radians(38.0)  # m, g/cm³, from the vertical
    index = np.sqrt(permittivity(density))
    normal = np.array([np.sin(np.radians(slope)), np.cos(np.radians(slope))])
    to_radar = np.array([np.sin(look), np.cos(look)])
    local = np.arccos(normal @ to_radar)
    refracted = np.arcsin(np.sin(local) / index)
    along = to_radar - (to_radar @ normal) * normal  # Snell: the ray in the snow, from the ground up
    ray = np.cos(refracted) * normal + np.sin(refracted) * along / np.linalg.norm(along)
    length = (np.array([0, depth]) @ normal) / (ray @ normal)  # to the plane of the surface, `depth` above the ground
    extra = length * (index - ray @ to_radar)  # optical path, less that of the ray through air to the same wave front
    known = 4 * np.pi / SENTINEL_1_WAVELENGTH * extra
    found = phase_of_swe(per_slope_area(depth * 1000 * density, slope), np.degrees(local), density)
    assert found == pytest.approx(known, rel=1e-9)


def test_phase_at_nadir_is_the_extra_optical_path() -> None:
    depth = 0.5  # m of snow at 0.4 g/cm³
    expected = 4 * np.pi / SENTINEL_1_WAVELENGTH * depth * (np.sqrt(1 + 1.5995 * 0.4 + 1.861 * 0.064) - 1)
    assert phase_of_swe(depth * 400, 0.0, 0.4) == pytest.approx(expected)


def test_permittivity_of_air_and_of_mid_winter_snow() -> None:
    assert permittivity(np.array([0.0, 0.3])) == pytest.approx([1.0, 1.5301], abs=1e-4)


def test_density_by_date_in_the_italian_alps() -> None:
    dates = np.array(["2021-01-01", "2021-04-01", "2020-11-01", "2020-12-31"], dtype="datetime64[D]")
    expected = [294 - 0.83 * d + 0.0077 * d**2 for d in (62, 152, 1, 61)]
    assert density_guyennon(dates) == pytest.approx(expected)
    assert 262 <= density_guyennon(dates[0]) <= 280
    assert 337 <= density_guyennon(dates[1]) <= 389


def test_density_stays_possible_all_year() -> None:
    days = np.arange("2020-01-01", "2024-01-01", dtype="datetime64[D]")
    density = density_guyennon(days)
    assert density.min() > 250
    assert density.max() < 600


def test_one_cm_of_zenith_delay_is_2_9_rad_at_mid_swath() -> None:
    assert round(float(phase_of_delay(0.01, 38.3)), 1) == 2.9


@given(phases, st.integers(-20, 20))
def test_wrapping_forgets_whole_cycles_and_nothing_else(phase: float, cycles: int) -> None:
    wrapped = float(wrap(phase))
    assert abs(wrapped) <= np.pi
    assert (phase - wrapped) / (2 * np.pi) == pytest.approx(round((phase - wrapped) / (2 * np.pi)), abs=1e-9)
    assert np.exp(1j * wrapped) == pytest.approx(np.exp(1j * wrap(phase + 2 * np.pi * cycles)), abs=1e-9)


def test_one_cycle_is_half_a_wavelength_and_the_sign_is_explicit() -> None:
    assert displacement(2 * np.pi) == pytest.approx(-0.02774, abs=1e-5)
    assert displacement(2 * np.pi, sign=1) == pytest.approx(0.02774, abs=1e-5)


def test_accumulation_coherence_is_the_mean_of_the_spread_of_phase() -> None:
    spread = 5.0  # mm
    samples = np.random.default_rng(0).normal(0, 0.217 * spread, 200_000)
    assert coherence_of_accumulation(spread) == pytest.approx(abs(np.exp(1j * samples).mean()), abs=5e-3)
    assert coherence_of_accumulation(0.0) == 1


def test_snow_turns_to_rain_at_one_degree() -> None:
    assert snow_fraction(1.0) == pytest.approx(0.5)
    assert snow_fraction(np.array([-60.0, -5.0, 8.0, 60.0])) == pytest.approx([1, 1, 0, 0], abs=1e-3)


@given(arrays(float, (12, 3), elements=st.floats(-40, 40)))
def test_degree_days_are_never_less_than_the_mean_allows(temperature: np.ndarray) -> None:
    bound = 12 * np.maximum(temperature.mean(axis=0), 0)
    assert (positive_degree_days(temperature) >= bound - 1e-9).all()
