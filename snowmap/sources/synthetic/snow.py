"""The snow pack: one layer with an energy balance, run day by day over the ground."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snowmap.sources.synthetic.energy import (
    KELVIN,
    SNOW_EMISSIVITY,
    STEFAN_BOLTZMANN,
    SUBLIMATION_HEAT,
    daily_sunshine,
    longwave,
    pressure_at,
    shortwave,
    snow_share,
    turbulent,
    vapour_pressure,
)
from snowmap.sources.synthetic.terrain import Terrain, surface_normal
from snowmap.sources.synthetic.weather import Weather, precipitation_at, temperature_at

DAY = 86_400.0  # s
FUSION_HEAT, ICE_HEAT, WATER_HEAT = 3.34e5, 2100.0, 4180.0  # J kg⁻¹; J kg⁻¹ K⁻¹
NEW_ALBEDO, OLD_ALBEDO = 0.85, 0.50  # and how they come about: Verseghy (1991), Douville et al. (1995)
COLD_AGEING, MELT_AGEING = 0.008, 0.24  # per day: linear in cold snow, exponential in melting snow (the same)
REFRESHING = 10.0  # mm of new snow that make the surface new (the same)
CONDUCTANCE = 0.24 / 0.1  # W m⁻² K⁻¹ from the surface into the pack: conductivity ÷ depth of FSM (Essery 2015)
HELD_WATER = 0.05  # of the mass of ice, the most liquid water that snow retains (SNOW-17, Anderson 2006)
NEW_DENSITY, OLD_DENSITY = 0.2237, 0.5975  # g cm⁻³: ρ₀ and ρ_max of alpine snow (Sturm et al. 2010)
BY_DEPTH, BY_DAY = 0.0012, 0.0038  # per cm and per day: k₁ and k₂ (the same)
SUN_STEP = 8  # days for which the sun's path is taken as the same; its noon height changes by 3° at most


class SnowState(NamedTuple):
    """The snow pack at the end of one day, rasters ``(y, x)``.

    Attributes:
        swe: Snow water equivalent in mm, liquid water included.
        liquid: Liquid water in the pack in mm.
        fallen: Precipitation in mm since the weather's first day.
    """

    swe: NDArray[np.float64]
    liquid: NDArray[np.float64]
    fallen: NDArray[np.float64]


class Pack(NamedTuple):
    """What the snow remembers from one day to the next, arrays of one shape.

    Attributes:
        swe: Snow water equivalent in mm, liquid water included.
        liquid: Liquid water in mm.
        cold: Cold content in mm: liquid water that would freeze in warming the pack to 0 °C.
        albedo: Of its surface.
    """

    swe: NDArray[np.float64]
    liquid: NDArray[np.float64]
    cold: NDArray[np.float64]
    albedo: NDArray[np.float64]


class Day(NamedTuple):
    """What meets the snow on one day; arrays that broadcast to those of the pack, or numbers.

    Attributes:
        snowfall: mm.
        rain: mm.
        temperature: Daily mean of the air in °C.
        humidity: Relative, 0–1.
        pressure: hPa.
        wind: m s⁻¹.
        shortwave: Global radiation in W m⁻².
        clearness: What clouds let through of it, 0–1.
    """

    snowfall: NDArray[np.float64]
    rain: NDArray[np.float64]
    temperature: NDArray[np.float64]
    humidity: float
    pressure: NDArray[np.float64]
    wind: float
    shortwave: NDArray[np.float64]
    clearness: float


def run_snow_model(
    weather: Weather, terrain: Terrain, dates: np.ndarray, rng: np.random.Generator
) -> dict[np.datetime64, SnowState]:
    """Snow on the given dates, from bare ground on the weather's first day.

    Args:
        weather: The region's daily weather.
        terrain: The ground.
        dates: Days whose evening state is wanted, datetime64[D].
        rng: Source of randomness of the storms' patterns.
    """
    wanted, states = set(dates.tolist()), {}
    elevation, shape = terrain.elevation.ravel(), terrain.elevation.shape
    normal = surface_normal(terrain.elevation, terrain.spacing).reshape(3, -1)
    sky_view, pressure, nothing = (1 + normal[2]) / 2, pressure_at(elevation), np.zeros(elevation.size)
    pack = Pack(nothing.copy(), nothing.copy(), nothing.copy(), nothing + NEW_ALBEDO)
    total = nothing.copy()
    sun_day, sunshine, sunshine_flat = -1, nothing, 0.0
    day_of_year = (weather.day - weather.day.astype("datetime64[Y]").astype("datetime64[D]")).astype(int) + 1
    for index, day in enumerate(weather.day):
        of_region = {name: float(values[index]) for name, values in weather._asdict().items() if name != "day"}
        fallen = snowfall = nothing
        if of_region["precipitation"] > 0:
            fallen = precipitation_at(of_region["precipitation"], terrain, rng).ravel()
            total += fallen
            temperature = temperature_at(of_region["temperature"], elevation)
            snowfall = fallen * snow_share(temperature, of_region["humidity"])
            snowfall[snowfall < 1e-3 * fallen] = 0  # the logistic never ends
        if (middle := day_of_year[index] // SUN_STEP * SUN_STEP + SUN_STEP // 2) != sun_day:
            sun_day, sunshine = middle, daily_sunshine(normal, terrain.latitude, middle)
            sunshine_flat = float(daily_sunshine(np.array([0.0, 0.0, 1.0]), terrain.latitude, middle))
        here = np.flatnonzero((pack.swe > 0) | (snowfall > 0))  # half of the ground has no snow for half of the year
        clearness, height = of_region["clearness"], elevation[here]
        met = Day(
            snowfall[here],
            (fallen - snowfall)[here],
            temperature_at(of_region["temperature"], height),
            of_region["humidity"],
            pressure[here],
            of_region["wind"],
            shortwave(sunshine[here], sunshine_flat, sky_view[here], height, clearness),
            clearness,
        )
        after, _ = step(Pack(*(values[here] for values in pack)), met)
        for values, new in zip(pack, after, strict=True):
            values[here] = new
        if day.item() in wanted:
            states[day] = SnowState(*(values.reshape(shape).copy() for values in (pack.swe, pack.liquid, total)))
    return states


def step(pack: Pack, day: Day) -> tuple[Pack, NDArray[np.float64]]:
    """The pack one day later, and what left it in mm: runoff and sublimation, less hoar.

    If radiation and turbulent exchange leave a surplus with the surface at 0 °C, it warms the pack, then melts it. Else
    the surface is as cold as closes the balance, linearised (as in FSM, Essery 2015); what it conducts from the pack
    freezes liquid water, then cools the pack, never below the surface. Water beyond `HELD_WATER` runs off.
    """
    swe, liquid = pack.swe + day.snowfall, pack.liquid + day.rain
    albedo = pack.albedo + np.minimum(1, day.snowfall / REFRESHING) * (NEW_ALBEDO - pack.albedo)
    vapour = day.humidity * vapour_pressure(day.temperature)
    sky = longwave(day.temperature, vapour, day.clearness)

    def exchange(surface: float) -> NDArray[np.float64]:
        emitted = STEFAN_BOLTZMANN * (surface + KELVIN) ** 4
        sensible, latent = turbulent(day.temperature, vapour, surface, day.pressure, day.wind)
        return SNOW_EMISSIVITY * (sky - emitted) + sensible + latent

    surplus = (1 - albedo) * day.shortwave + exchange(0.0)  # W m⁻²
    surface = np.minimum(0, surplus / ((exchange(-10.0) - exchange(0.0)) / 10 + CONDUCTANCE))
    balance = np.where(surplus > 0, surplus, CONDUCTANCE * surface)
    _, latent = turbulent(day.temperature, vapour, surface, day.pressure, day.wind)
    rain_heat = WATER_HEAT * day.rain * np.maximum(day.temperature, 0)  # J m⁻²
    heat = (balance * DAY + rain_heat) / FUSION_HEAT - pack.cold  # mm of ice that it melts; below 0 it is lacking

    sublimated = np.minimum(-latent * DAY / SUBLIMATION_HEAT, swe - pack.liquid)
    ice = swe - pack.liquid - sublimated
    melt, lacking = np.minimum(np.maximum(heat, 0), ice), np.maximum(-heat, 0)
    frozen = np.minimum(lacking, liquid)
    ice, liquid = ice - melt + frozen, liquid + melt - frozen
    runoff = np.maximum(0, liquid - HELD_WATER * ice)
    liquid = liquid - runoff
    cold = np.minimum(lacking - frozen, ICE_HEAT / FUSION_HEAT * ice * -surface)
    melting = OLD_ALBEDO + (albedo - OLD_ALBEDO) * np.exp(-MELT_AGEING)
    albedo = np.where(melt > 0, melting, np.maximum(OLD_ALBEDO, albedo - COLD_AGEING))
    return Pack(ice + liquid, liquid, cold, np.where(ice > 0, albedo, NEW_ALBEDO)), runoff + sublimated


def depth(swe: NDArray[np.float64], date: np.datetime64) -> NDArray[np.float64]:
    """Depth in cm of snow of this water equivalent in mm, by the bulk density of alpine snow (Sturm et al. 2010).

    The density grows with depth and with the day, −92 on 1 October to 181 on 30 June, beyond which it stays. The depth
    solves depth · density(depth) = water, by Newton's method.
    """
    day = (date - date.astype("datetime64[Y]").astype("datetime64[D]")).astype(int) + 1
    day = day - 366 if day >= 274 else -92 if day > 243 else min(day, 181)  # September counts as 1 October
    water = swe / 10
    result = water / NEW_DENSITY
    for _ in range(4):
        loose = (OLD_DENSITY - NEW_DENSITY) * np.exp(-BY_DEPTH * result - BY_DAY * day)
        density = OLD_DENSITY - loose
        result = result - (result * density - water) / (density + result * BY_DEPTH * loose)
    return result
