"""Formulas of snow and of interferometry over dry snow, on plain NumPy arrays.

Phase is positive where snow was added between the two acquisitions (the convention of Guneriussen et al. 2001);
processors differ, so everything that turns phase into a length takes the sign as an argument.
"""

import numpy as np

SENTINEL_1_WAVELENGTH = 0.05547
"""C band, metres: 299 792 458 m/s ÷ 5.405 GHz."""

DEGREE_DAY_FACTOR = 4.9
"""Melt per positive degree day, mm °C⁻¹ d⁻¹: inside the 3–6 of snow-covered Alpine sites listed by Hock (2003)."""

SNOW_RAIN_TEMPERATURE = 1.0
"""Air temperature in °C at which half of the precipitation falls as snow (Jennings et al. 2018: 1.0 °C on average)."""

SNOW_RAIN_WIDTH = 0.7
"""Scale of the logistic in °C: snow goes from 90 % to 10 % within 3 °C, as observed in Switzerland
(Froidurot et al. 2014)."""

Array = np.ndarray | float
"""What the formulas take and return; `np.float64` is a float."""


def permittivity(density: Array) -> Array:
    """Relative permittivity of dry snow, 1 + 1.5995ρ + 1.861ρ³ (Mätzler 1996, rounded by Guneriussen et al. 2001).

    Args:
        density: Snow density ρ in g cm⁻³, any shape.
    """
    return 1 + 1.5995 * density + 1.861 * density**3


def phase_of_swe(
    swe_change: Array, incidence: Array, density: Array, wavelength: float = SENTINEL_1_WAVELENGTH
) -> Array:
    """Phase of a change of dry snow, exact: −2k·ΔHS·(cosθ − √(ε − sin²θ)) (Guneriussen et al. 2001).

    Args:
        swe_change: ΔSWE in mm, any shape.
        incidence: Local incidence angle θ in degrees, broadcast against `swe_change`.
        density: Density in g cm⁻³ of the snow that came or went.
        wavelength: Of the radar, m.

    Returns:
        Phase change in rad, positive for accumulation, not wrapped.
    """
    angle = np.radians(incidence)
    depth_change = swe_change * 1e-3 / density  # mm of water -> m of snow
    extra_path = np.cos(angle) - np.sqrt(permittivity(density) - np.sin(angle) ** 2)
    return -2 * (2 * np.pi / wavelength) * depth_change * extra_path


def phase_of_swe_oveisgharan(swe_change: Array, incidence: Array, wavelength: float = SENTINEL_1_WAVELENGTH) -> Array:
    """Phase of a change of dry snow, −2k·(−0.6784θ² + 0.2899θ − 0.8473)·ΔSWE (Oveisgharan et al. 2024).

    Args:
        swe_change: ΔSWE in mm, any shape.
        incidence: Local incidence angle θ in degrees.
        wavelength: Of the radar, m.

    Returns:
        Phase change in rad, not wrapped.
    """
    angle = np.radians(incidence)
    factor = -0.6784 * angle**2 + 0.2899 * angle - 0.8473
    return -2 * (2 * np.pi / wavelength) * factor * swe_change * 1e-3


def phase_of_swe_leinss(swe_change: Array, incidence: Array, wavelength: float = SENTINEL_1_WAVELENGTH) -> Array:
    """Phase of a change of dry snow, k·α·(1.59 + θ^2.5)·ΔSWE with α = 1 (Leinss et al. 2015).

    Args:
        swe_change: ΔSWE in mm, any shape.
        incidence: Local incidence angle θ in degrees.
        wavelength: Of the radar, m.

    Returns:
        Phase change in rad, not wrapped.
    """
    return 2 * np.pi / wavelength * (1.59 + np.radians(incidence) ** 2.5) * swe_change * 1e-3


def phase_of_delay(zenith_delay: Array, incidence: Array) -> Array:
    """Phase of a tropospheric delay, two ways along the slant: 4π/λ·d/cosθ (Hanssen 2001).

    Args:
        zenith_delay: Zenith delay d in m, any shape.
        incidence: Incidence angle θ on the ellipsoid in degrees: the slope of the ground does not lengthen the path.

    Returns:
        Phase in rad, not wrapped.
    """
    return 4 * np.pi / SENTINEL_1_WAVELENGTH * zenith_delay / np.cos(np.radians(incidence))


def wrap(phase: Array) -> Array:
    """Phase in rad brought into −π…π."""
    return np.angle(np.exp(1j * phase))


def displacement(unwrapped_phase: Array, sign: int = -1, wavelength: float = SENTINEL_1_WAVELENGTH) -> Array:
    """Line-of-sight displacement in m, sign·λ/(4π)·φ.

    Args:
        unwrapped_phase: Phase in rad, any shape.
        sign: −1 counts motion towards the satellite as positive where phase grows with the path (as SNAP does); +1 is
            the convention of processors that count motion away from it.
        wavelength: Of the radar, m.
    """
    return sign * wavelength / (4 * np.pi) * unwrapped_phase


def coherence_of_accumulation(swe_spread: Array) -> Array:
    """Coherence left by uneven accumulation, exp(−½(s·σ)²): the mean of exp(iφ) over a normal spread of phase.

    Args:
        swe_spread: Standard deviation σ of ΔSWE inside a pixel, mm. The sensitivity s is 0.217 rad per mm
            (2π per 29 mm: C band at 38°, ρ = 0.3).
    """
    return np.exp(-0.5 * (0.217 * swe_spread) ** 2)


def snow_fraction(temperature: Array) -> Array:
    """Share of precipitation that falls as snow, logistic about `SNOW_RAIN_TEMPERATURE`.

    Args:
        temperature: Daily mean air temperature in °C, any shape.
    """
    excess = np.clip((temperature - SNOW_RAIN_TEMPERATURE) / SNOW_RAIN_WIDTH, -50, 50)  # exp overflows
    return 1 / (1 + np.exp(excess))


def positive_degree_days(temperature: np.ndarray) -> np.ndarray:
    """Sum of the positive daily mean temperatures in °C d.

    Args:
        temperature: Daily means in °C, ``(day, ...)``.
    """
    return np.maximum(temperature, 0).sum(axis=0)


def density_guyennon(date: np.datetime64 | np.ndarray) -> np.ndarray:
    """Density of the Italian Alps' snow pack by date, 294 − 0.83d + 0.0077d² kg m⁻³ (Guyennon et al. 2019).

    Args:
        date: Dates of any shape. The regression counts days from 1 November (d = 1; 1 January is 62). Outside the
            months with snow its parabola climbs beyond any snow, so that September and October take the value of
            1 November, July and August that of 30 June.
    """
    day = np.asarray(date, dtype="datetime64[D]")
    season = (day.astype("datetime64[M]") - np.timedelta64(8, "M")).astype("datetime64[Y]")  # begins on 1 September
    november = (season.astype("datetime64[M]") + np.timedelta64(10, "M")).astype("datetime64[D]")
    from_november = np.clip((day - november).astype(int) + 1, 1, 242)
    return np.asarray(294 - 0.83 * from_november + 0.0077 * from_november**2)


def per_slope_area(swe: Array, slope: Array) -> Array:
    """SWE per area of the ground's surface, from SWE per horizontal area: SWE·cos(slope).

    The formulas of phase take the local incidence angle, which is measured from the normal of the ground, and so the
    thickness of the snow along that normal (the geometry of Guneriussen et al. 2001, tilted): on a slope it is less
    than the vertical depth by cos(slope). Snow models, stations and volumes count SWE per horizontal area; on slopes of
    21° and 37° that is 7 and 25 % more. Eppler, Rabus & Morse (2022, The Cryosphere 16) treat phase of snow on slopes.

    Args:
        swe: SWE or its change per horizontal area, any shape and unit.
        slope: Of the ground in degrees, broadcast against `swe`.
    """
    return swe * np.cos(np.radians(slope))
