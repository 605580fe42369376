"""What Sentinel-1 sees of the snow: interferograms with everything that spoils them."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from snowmap.physics import (
    coherence_of_accumulation,
    density_guyennon,
    displacement,
    per_slope_area,
    phase_of_delay,
    phase_of_swe,
    wrap,
)
from snowmap.sources.synthetic.snow import SnowState
from snowmap.sources.synthetic.terrain import Terrain, power_law_field, surface_normal

INCIDENCE_IW1 = 32.9  # degrees at mid-swath of IW1 (ESA Sentinel-1 Product Definition, S1-RS-MDA-52-7440, IW SLC)
HEADING = -14.5  # degrees from north, ascending at 46° N: inclination 98.18°, 98.6 min, less Earth rotation
LOOKS = 16  # SNAP's 10 × 3 coherence window: 30 pixels of 2.3 × 14.1 m at a resolution of 2.7 × 22 m (ESA user guide)
BARE_COHERENCE = 0.80  # 12 days, no canopy, no change of snow (Kellndorfer et al. 2022: up to 0.8 over rock and grass)
FOREST_COHERENCE = 0.3  # factor under closed canopy: 12-day C-band coherence of forest is 0.2–0.3 (the same)
# Liquid water adds 0.1·ε_w / (2√ε_s) per volume to the refractive index of snow (Tiuri et al. 1984, linear part), where
# ε_w = 65.8 − 36.7j is that of water at 5.4 GHz and 0 °C (Debye) and √ε_s = 1.33: 2.47 − 1.38j. A millimetre of water,
# 1 % of 10 cm of snow, leaves half of the power on the way down and up, some millimetres leave none.
LIQUID_DELAY = 0.56  # rad per mm of liquid water, two ways: 2k·2.47·10⁻³
LIQUID_LOSS = 0.63  # of power per mm, exponent, two ways: 4k·1.38·10⁻³
LIQUID_SPREAD = 0.5  # sub-pixel spread ÷ amount, assumed: water gathers in fingers and layers
OPAQUE = 0.5  # share of the ground's power that comes through; below it nothing can be unwrapped across the snow
WET_SURFACE = 0.16  # power of opaque wet snow ÷ ground, −8 dB: Nagler & Rott (2000) call snow wet from −3 dB down
ACCUMULATION_SPREAD = 0.15  # sub-pixel spread ÷ |ΔSWE|: low end of 0.1–0.9 (Clark et al. 2011): looks span 40 m
UNWRAPPING_LIMIT = 0.35  # coherence below which unwrapping may slip; retrievals reject it (Oveisgharan et al. 2024)
CYCLES, CYCLE_ODDS = (-2, -1, 0, 1, 2), (0.05, 0.2, 0.5, 0.2, 0.05)  # lost in a patch: most often none, seldom two
REFERENCE_SPREAD = 4 * np.pi  # rad; the reference point's own phase is arbitrary, some cycles either way
TURBULENCE_EXPONENT = -8 / 3  # 2-D spectrum of delay above 2 km, Kolmogorov turbulence (Hanssen 2001)
TURBULENCE = 0.007  # m of zenith delay at one date over a frame of 80 km (Hanssen 2001: interferograms 0.5–1.5 cm)
WET_DELAY, WET_DELAY_SEASON, WET_DELAY_WEATHER = 0.12, 0.06, 0.02  # m at sea level: mean, annual half-range, day to day
WET_DELAY_HEIGHT = 2000.0  # m, scale height of water vapour (Bevis et al. 1992; Doin et al. 2009 for its seasons)
BACKSCATTER = -8.0  # dB at 30° over open ground at C band VV (Small 2011: Alpine terrain about −8)
BACKSCATTER_POWER = 2.0  # σ⁰ ∝ cos^2 θ: Lambert's law (Ulaby, Moore & Fung 1982)
FOREST_BACKSCATTER = 1.5  # dB above open ground, volume scattering of the canopy (Rüetschi et al. 2018)
NO_ZERO = np.finfo(np.float32).tiny  # the least normal number: a denormal may be flushed to the zero that it replaces


class Geometry(NamedTuple):
    """How the radar sees the ground, rasters ``(y, x)``.

    Attributes:
        incidence: Local incidence angle in degrees.
        visible: False in layover and shadow.
    """

    incidence: NDArray[np.float64]
    visible: NDArray[np.bool_]


def look_geometry(terrain: Terrain, heading: float = HEADING, incidence: float = INCIDENCE_IW1) -> Geometry:
    """Local incidence from the ground's normal and the direction to the right-looking satellite.

    Args:
        terrain: The ground.
        heading: Flight direction in degrees clockwise from north: −14.5 ascending, 194.5 descending.
        incidence: Incidence angle on flat ground in degrees.
    """
    to_satellite = np.radians(heading - 90)
    angle = np.radians(incidence)
    east, north = np.sin(to_satellite), np.cos(to_satellite)
    line_of_sight = np.array([np.sin(angle) * east, np.sin(angle) * north, np.cos(angle)])
    normal = surface_normal(terrain.elevation, terrain.spacing)
    local = np.degrees(np.arccos(np.clip(np.tensordot(line_of_sight, normal, 1), -1, 1)))
    facing = np.degrees(np.arctan2(normal[0] * east + normal[1] * north, normal[2]))  # slope towards the satellite
    return Geometry(local, (facing < incidence) & (facing > incidence - 90) & (local < 90))


def atmosphere(date: np.datetime64, terrain: Terrain, rng: np.random.Generator) -> NDArray[np.float64]:
    """Zenith wet delay of one date in m, ``(y, x)``: a stratified part that follows height, and turbulence."""
    day_of_year = (date - date.astype("datetime64[Y]")).astype("timedelta64[D]").astype(int)
    season = -WET_DELAY_SEASON * np.cos(2 * np.pi * (day_of_year - 30) / 365.25)  # driest at the end of January
    at_sea_level = max(0.01, WET_DELAY + season + rng.normal(0, WET_DELAY_WEATHER))
    turbulence = TURBULENCE * power_law_field(terrain.elevation.shape, terrain.spacing, TURBULENCE_EXPONENT, rng)
    return at_sea_level * np.exp(-terrain.elevation / WET_DELAY_HEIGHT) + turbulence


def true_coherence(before: SnowState, after: SnowState, forest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coherence of a pair before estimation, ``(y, x)``.

    Through wet snow only the ground's share of the power is coherent, and its phase scatters as the water does.
    """
    accumulation = coherence_of_accumulation(ACCUMULATION_SPREAD * np.abs(after.swe - before.swe))
    canopy = 1 - (1 - FOREST_COHERENCE) * forest
    share = [transmission(state) / _brightness(state) for state in (before, after)]
    scatter = LIQUID_SPREAD * LIQUID_DELAY * np.hypot(before.liquid, after.liquid)
    return BARE_COHERENCE * accumulation * canopy * np.sqrt(share[0] * share[1]) * np.exp(-0.5 * scatter**2)


def transmission(state: SnowState) -> NDArray[np.float64]:
    """Share of the ground's power that comes back through the liquid water of the snow, ``(y, x)``."""
    return np.exp(-LIQUID_LOSS * state.liquid)


def _brightness(state: SnowState) -> NDArray[np.float64]:
    """Power ÷ that of the ground under dry snow or none: what comes through, and the wet snow's own echo."""
    through = transmission(state)
    return through + WET_SURFACE * (1 - through)


def draw_multilook(
    coherence: NDArray[np.float64], looks: int, rng: np.random.Generator
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """What `looks` averaged looks of circular Gaussian speckle give for a pair of unit power and zero phase.

    The 2 × 2 sample covariance is drawn at once by its Bartlett decomposition (Goodman 1963), which has the very
    distribution of averaging `looks` pairs (phase: Tough et al. 1995).

    Args:
        coherence: True coherence, any shape.
        looks: Number of independent looks, at least 2.
        rng: Source of randomness.

    Returns:
        The interferogram (mean `coherence`) and the sample coherence, each of the shape of `coherence`.
    """
    shape = coherence.shape
    incoherent = np.sqrt(1 - coherence**2)
    first = np.sqrt(rng.gamma(looks, size=shape))
    cross = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)
    second = coherence * first + incoherent * cross
    interferogram = first * np.conj(second)
    power = first**2 * (np.abs(second) ** 2 + incoherent**2 * rng.gamma(looks - 1, size=shape))
    return interferogram / looks, np.abs(interferogram) / np.sqrt(power)


def lost_cycles(coherence: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Whole cycles by which unwrapping is wrong: one number for each connected incoherent patch, ``(y, x)``."""
    patches, count = cast(tuple[NDArray[np.int32], int], label(coherence < UNWRAPPING_LIMIT))
    cycles = np.concatenate([[0], rng.choice(CYCLES, count, p=CYCLE_ODDS)])
    return cycles[patches]


def backscatter(
    geometry: Geometry, before: SnowState, after: SnowState, forest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean backscatter of a pair in dB before speckle, ``(y, x)``."""
    brightness = np.cos(np.radians(np.minimum(geometry.incidence, 89))) / np.cos(np.radians(30))
    ground = BACKSCATTER + 10 * BACKSCATTER_POWER * np.log10(brightness)
    darkening = 5 * np.log10(_brightness(before) * _brightness(after))  # an interferogram is their geometric mean
    return ground + FOREST_BACKSCATTER * forest + darkening


def interferograms(
    start: np.ndarray,
    end: np.ndarray,
    states: dict[np.datetime64, SnowState],
    terrain: Terrain,
    rng: np.random.Generator,
    *,
    with_atmosphere: bool = True,
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """The InSAR bands of each window, rasters ``(y, x)``.

    Args:
        start: Date of each window's first acquisition, datetime64[D].
        end: Date of its second.
        states: Snow on every one of these dates.
        terrain: The ground.
        rng: Source of randomness.
        with_atmosphere: False leaves the air out.

    Yields:
        Band name -> raster; NaN in layover and shadow except in `elevation`.
    """
    geometry = look_geometry(terrain)
    slope = np.degrees(np.arccos(surface_normal(terrain.elevation, terrain.spacing)[2]))
    dates = np.unique([start, end])
    # each date has one atmosphere: consecutive interferograms share an acquisition, hence its delay with opposite sign
    delays = {date: atmosphere(date, terrain, rng) if with_atmosphere else 0.0 for date in dates}
    for first, second in zip(start, end, strict=True):
        before, after = states[first], states[second]
        density = float(density_guyennon(second)) / 1000  # kg m⁻³ -> g cm⁻³
        phase = phase_of_swe(per_slope_area(after.swe - before.swe, slope), geometry.incidence, density)
        phase += LIQUID_DELAY * (after.liquid - before.liquid)
        noise, coherence = draw_multilook(true_coherence(before, after, terrain.forest), LOOKS, rng)
        phase += np.angle(noise)
        opaque = np.minimum(transmission(before), transmission(after)) < OPAQUE
        phase = np.where(opaque, wrap(phase), phase)  # no fringe leads to how many cycles the snow makes there
        phase += phase_of_delay(delays[second] - delays[first], INCIDENCE_IW1)
        phase += rng.uniform(-REFERENCE_SPREAD, REFERENCE_SPREAD)
        unwrapped = phase + 2 * np.pi * lost_cycles(coherence, rng)
        power = backscatter(geometry, before, after, terrain.forest) + 10 * np.log10(np.abs(noise))
        bands = {
            "coherence": coherence,
            "displacement": displacement(unwrapped),
            "intensity": power,
            "incidence": geometry.incidence,
            "phase": wrap(unwrapped),
            "unwrapped_phase": unwrapped,
        }
        imaged = {name: _without_zeros(np.where(geometry.visible, values, np.nan)) for name, values in bands.items()}
        yield imaged | {"elevation": _without_zeros(terrain.elevation)}


def _without_zeros(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """As float32, with zero replaced by the least number: readers of the archive take 0 as no data."""
    single = values.astype(np.float32)
    single[single == 0] = NO_ZERO
    return single
