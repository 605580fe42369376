"""What a C-band radar sees of ice, firn, rock, plants and lakes through the year, and its speckle.

Values are gamma0 in dB at co-polarisation (HH or VV) and, after the comma, the cross-polarised power relative to it.
The studies give ranges, not numbers of one place: each value here is the middle of a range of some 4 dB, and every
surface varies around it from place to place (`TEXTURE`). Where a comment says "assumed", only the sign is known.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snowmap.sources.synthetic.ice import Field, Ground
from snowmap.sources.synthetic.insar import look_geometry
from snowmap.sources.synthetic.terrain import power_law_field

SURFACES = {
    # Rott & Mätzler 1987; Engeset et al. 2002 on Kongsvegen: firn is brightest in winter, from lenses and pipes of ice
    "firn": (-5.0, -5.0),
    # the same: smooth glacier ice under dry snow is dark, −10 … −15 dB
    "ice": (-12.0, -9.0),
    # Smith et al. 1997, British Columbia: melting ice without snow is rough, and as bright as its surroundings
    "melting ice": (-9.0, -9.5),
    # Small 2011: Alpine terrain about −8 dB; moraines and debris on ice like the rock that they come from (Rott 1994)
    "rock": (-8.5, -8.0),
    # Small 2011; Ulaby & Dobson 1989, short vegetation −10 … −12 dB
    "vegetation": (-11.0, -6.0),
    # Rott & Mätzler 1987, Nagler & Rott 2000: wet snow −15 … −20 dB at 30–40°
    "wet snow": (-17.0, -7.0),
    # Ulaby & Dobson 1989: calm fresh water, near the noise
    "water": (-20.0, -10.0),
    # Duguay et al. 2002: floating lake ice −6 … −12 dB, from bubbles at its bottom
    "lake ice": (-9.5, -9.0),
}
"""Mean co-polarised gamma0 in dB, and cross- over co-polarised power in dB."""

FROZEN_GROUND = -2.5  # dB of rock and plants below 0 °C without snow melt (Wegmüller 1990: frozen soil 2–4 dB darker)
MOISTURE = 0.8  # dB; day-to-day spread of bare ground with rain (Wagner et al. 1999: 3–5 dB from driest to wettest)
WIND = 3.0  # dB; day-to-day spread of open water
TEXTURE = 1.5  # dB; spread of a surface from place to place, over some 100 m (assumed)
NOISE_DB = -24.0  # noise-equivalent sigma0 of Sentinel-1: −22 dB at worst (ESA, Sentinel-1 Product Definition)
LOOKS = 4.4  # equivalent number of looks of an IW GRD product (ESA, Sentinel-1 Product Specification)
SUMMER_AT_ELA = 2.5  # °C, mean of June to August (Ohmura, Kasser & Funk 1992: 0 … 6 °C by precipitation)
AMPLITUDE = 10.0  # °C, half of the range of monthly means; Svalbard Airport 9, Vent 9
LAPSE = 0.0065  # °C per m
WARMEST_DAY = 205
WEATHER = 2.5  # °C; spread of days around the season, over about a week
DEGREE_DAY = 4.0  # mm °C⁻¹ d⁻¹ (Hock 2003: 2.5–5 for snow)
PRECIPITATION, PER_METRE = 2.0, 0.0015  # mm d⁻¹ at the equilibrium line, and per m above it (assumed)
OPAQUE_MM = 30.0  # of wet snow, that hide the ground (penetration of some cm, Rott & Mätzler 1987)
ON_ICE = 60.0  # m by which snow on a glacier lasts as if it lay higher: ice below it stays cold (assumed)
LEVELS = np.arange(-3000.0, 3000.0, 10.0)


class Season(NamedTuple):
    """Snow and air by day of the year and height above the equilibrium line, ``(day, level)``."""

    snow: NDArray[np.float64]
    temperature: NDArray[np.float64]

    def at(self, day: int, height: Field) -> tuple[Field, Field]:
        """Snow in mm and temperature in °C of a day on a map of heights."""
        return np.interp(height, LEVELS, self.snow[day]), np.interp(height, LEVELS, self.temperature[day])


def season(rng: np.random.Generator) -> Season:
    """A year of snow on bare ground: falls below 1 °C, melts by degree days; the year before it runs it in."""
    days = np.arange(-365, 366)
    cycle = AMPLITUDE * np.cos(2 * np.pi * (days - WARMEST_DAY) / 365.25)
    weather = np.convolve(rng.normal(0, WEATHER * 7**0.5, len(days) + 6), np.ones(7) / 7, "valid")
    mean = SUMMER_AT_ELA - AMPLITUDE * 0.9
    temperature = (mean + cycle + weather)[:, None] - LAPSE * LEVELS
    falling = np.maximum(0, PRECIPITATION + PER_METRE * LEVELS)
    storms = rng.gamma(0.3, 1 / 0.3, len(days))
    snow, states = np.zeros(len(LEVELS)), []
    for day, air in enumerate(temperature):
        melt = DEGREE_DAY * np.maximum(0, air)
        snow = np.maximum(0, snow + np.where(air < 1, falling * storms[day], 0) - melt)
        if days[day] == -100:  # what is left in autumn is firn, and no snow of this year
            snow = np.zeros(len(LEVELS))
        states.append(snow)
    return Season(np.array(states)[365:], temperature[365:])


class Sight:
    """A scene as the radar sees it: what does not change from date to date."""

    def __init__(self, ground: Ground, rng: np.random.Generator, looks: float) -> None:
        """Draw what varies from place to place."""
        self.ground, self.looks = ground, looks
        shape, spacing = ground.ice.shape, ground.terrain.spacing
        self.geometry = look_geometry(ground.terrain)
        self.texture = {name: TEXTURE * power_law_field(shape, spacing, -2.0, rng, 400.0) for name in SURFACES}
        self.snow_height = ground.height + np.where(ground.ice, ON_ICE, 0)
        self.visible = self.geometry.visible & ground.terrain.valid

    def powers(self, day: int, year: Season, rng: np.random.Generator) -> tuple[Field, Field]:
        """Co- and cross-polarised gamma0 of a day of the year as linear power with speckle, NaN where hidden.

        Snow hides what lies below it where it is wet: its power falls as water gathers, `OPAQUE_MM` of snow at or above
        0 °C hide it all. Dry snow is transparent. In layover and shadow there is nothing.
        """
        ground = self.ground
        snow, air = year.at(day, self.snow_height)
        wet = np.clip(snow / OPAQUE_MM, 0, 1) * np.clip((air + 1.0) / 2.0, 0, 1)
        bare = np.clip(1 - snow / OPAQUE_MM, 0, 1)
        firn, melting = ground.ice & (ground.height > 0), np.clip(bare * np.clip(air, 0, 1), 0, 1)
        shift = {"water": rng.normal(0, WIND), "rock": rng.normal(0, MOISTURE), "vegetation": rng.normal(0, MOISTURE)}
        frozen = FROZEN_GROUND * np.clip(-air / 2, 0, 1)
        lake_ice = np.clip(
            -np.interp(ground.height, LEVELS, year.temperature[max(0, day - 30) : day + 1].mean(0)), 0, 1
        )
        observed = []
        for cross in (False, True):
            power = {name: self._power(name, cross, shift.get(name, 0.0)) for name in SURFACES}
            ice = _mixed(power["ice"], power["melting ice"], melting)
            surface = power["rock"] * 10 ** (frozen / 10)
            surface = np.where(ground.vegetation, power["vegetation"] * 10 ** (frozen / 10), surface)
            surface = np.where(ground.ice & ~ground.debris, ice, surface)
            surface = np.where(firn, power["firn"], surface)
            surface = _mixed(surface, power["wet snow"], wet)
            surface = np.where(ground.lake, _mixed(power["water"], power["lake ice"], lake_ice), surface)
            power_seen = surface * 10 ** (-0.03 * (self.geometry.incidence - 39) / 10) + 10 ** (NOISE_DB / 10)
            speckle = rng.gamma(self.looks, 1 / self.looks, power_seen.shape)
            observed.append(np.where(self.visible, power_seen * speckle, np.nan))
        return observed[0], observed[1]

    def _power(self, name: str, cross: bool, shift: float) -> Field:
        co, ratio = SURFACES[name]
        return 10 ** ((co + ratio * cross + shift + self.texture[name]) / 10)


def _mixed(first: Field, second: Field, share: Field) -> Field:
    return first * (1 - share) + second * share
