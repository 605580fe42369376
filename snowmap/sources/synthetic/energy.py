"""What heats and cools snow: sun, sky and air, by formulas of the literature that no model of the project shares.

Temperatures are in °C, vapour pressures and pressures in hPa, fluxes in W m⁻², positive towards the snow; arrays of
any shapes that broadcast.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64] | float

SOLAR_CONSTANT = 1361.0  # W m⁻² (Kopp & Lean 2011)
STEFAN_BOLTZMANN = 5.670e-8  # W m⁻² K⁻⁴
SNOW_EMISSIVITY = 0.98  # of long waves (Dozier & Warren 1982: 0.98–0.99)
KELVIN = 273.15
SUBLIMATION_HEAT = 2.834e6  # J kg⁻¹ at 0 °C
AIR_HEAT, GAS_CONSTANT = 1005.0, 287.0  # J kg⁻¹ K⁻¹: heat capacity at constant pressure, and of the gas law, of dry air
MEASURING_HEIGHT, ROUGHNESS = 2.0, 1e-3  # m; the roughness of seasonal snow is about a millimetre (Brock et al. 2006)
EXCHANGE = (0.4 / np.log(MEASURING_HEIGHT / ROUGHNESS)) ** 2  # of a neutral boundary layer, by the logarithmic law
STEPS_OF_A_DAY = 24


def daily_sunshine(normal: NDArray[np.float64], latitude: float, day_of_year: int) -> NDArray[np.float64]:
    """Daily mean irradiance of the ground without an atmosphere; declination and distance as in FAO-56.

    (Allen et al. 1998, equations 23 and 24.) The ground shades itself, and its neighbours do not shade it.

    Args:
        normal: Unit normals ``(3, ...)``: east, north, up.
        latitude: In degrees.
        day_of_year: 1 January is 1.
    """
    angle, latitude = 2 * np.pi * day_of_year / 365, np.radians(latitude)
    declination = 0.409 * np.sin(angle - 1.39)
    hour = 2 * np.pi * ((np.arange(STEPS_OF_A_DAY) + 0.5) / STEPS_OF_A_DAY - 0.5)
    east = -np.cos(declination) * np.sin(hour)
    north = np.sin(declination) * np.cos(latitude) - np.cos(declination) * np.sin(latitude) * np.cos(hour)
    up = np.sin(declination) * np.sin(latitude) + np.cos(declination) * np.cos(latitude) * np.cos(hour)
    total = np.zeros(normal.shape[1:])
    for sun in np.stack([east, north, up], axis=1)[up > 0]:
        total += np.maximum(0, sun[0] * normal[0] + sun[1] * normal[1] + sun[2] * normal[2])
    return SOLAR_CONSTANT * (1 + 0.033 * np.cos(angle)) * total / STEPS_OF_A_DAY


def shortwave(
    sunshine: Array, sunshine_flat: float, sky_view: Array, elevation: Array, clearness: float
) -> NDArray[np.float64]:
    """Global radiation on the ground as it lies.

    Clear sky lets 0.75 + 2·10⁻⁵z through (FAO-56, Allen et al. 1998). The diffuse share follows the clearness index
    (Erbs et al. 1982) and comes from the part of the sky that a slope sees; the rest follows the sun's beam.

    Args:
        sunshine: Of `daily_sunshine` on the ground.
        sunshine_flat: The same on flat ground.
        sky_view: Share of the sky in view, (1 + cos slope) ÷ 2.
        elevation: m.
        clearness: What clouds let through of the radiation of a clear sky, 0–1.
    """
    index = clearness * (0.75 + 2e-5 * np.asarray(elevation))
    polynomial = 0.9511 + index * (-0.1604 + index * (4.388 + index * (-16.638 + index * 12.336)))
    diffuse = np.where(index <= 0.22, 1 - 0.09 * index, np.where(index <= 0.80, polynomial, 0.165))
    return index * ((1 - diffuse) * sunshine + diffuse * sky_view * sunshine_flat)


def vapour_pressure(temperature: Array) -> NDArray[np.float64]:
    """Of saturated air over water, 6.112·exp(17.62T / (243.12 + T)) hPa: the Magnus formula (WMO 2008)."""
    temperature = np.asarray(temperature)
    return 6.112 * np.exp(17.62 * temperature / (243.12 + temperature))


def wet_bulb(temperature: Array, humidity: float) -> NDArray[np.float64]:
    """Wet-bulb temperature at sea level from −20 to 50 °C (Stull 2011, equation 1).

    Args:
        temperature: Of the air.
        humidity: Relative, 0–1.
    """
    percent, temperature = 100 * humidity, np.asarray(temperature)
    first = temperature * np.arctan(0.151977 * np.sqrt(percent + 8.313659))
    rest = 0.00391838 * percent**1.5 * np.arctan(0.023101 * percent) - np.arctan(percent - 1.676331) - 4.686035
    return first + np.arctan(temperature + percent) + rest


def snow_share(temperature: Array, humidity: float) -> NDArray[np.float64]:
    """Share of precipitation that falls as snow, 1 / (1 + 6.99·10⁻⁵·exp(2(T_w + 3.97))) (Wang et al. 2019).

    Half of it at a wet-bulb temperature of 0.8 °C; dry air lets snow fall at higher temperatures.

    Args:
        temperature: Of the air.
        humidity: Relative, 0–1.
    """
    return 1 / (1 + 6.99e-5 * np.exp(2 * np.minimum(wet_bulb(temperature, humidity) + 3.97, 50)))


def longwave(temperature: Array, vapour: Array, clearness: float) -> NDArray[np.float64]:
    """Radiation of the sky: clear by Brutsaert (1975), where clouds stand black (Crawford & Duchon 1999).

    Args:
        temperature: Of the air.
        vapour: Its vapour pressure.
        clearness: As in `shortwave`.
    """
    kelvin = np.asarray(temperature) + KELVIN
    clear = 1.24 * (vapour / kelvin) ** (1 / 7)
    return (clearness * clear + 1 - clearness) * STEFAN_BOLTZMANN * kelvin**4


def turbulent(
    temperature: Array, vapour: Array, surface: Array, pressure: Array, wind: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sensible and latent heat by the bulk formulas (Oke 1987): exchange · wind · difference to the surface.

    Args:
        temperature: Of the air.
        vapour: Its vapour pressure.
        surface: Temperature of the snow's surface.
        pressure: Of the air.
        wind: m s⁻¹.
    """
    temperature, surface = np.asarray(temperature), np.asarray(surface)
    conductance = 100 * pressure / (GAS_CONSTANT * (temperature + KELVIN)) * EXCHANGE * wind  # kg m⁻² s⁻¹
    moisture = 0.622 * (vapour - vapour_pressure(surface)) / pressure
    return conductance * AIR_HEAT * (temperature - surface), conductance * SUBLIMATION_HEAT * moisture


def pressure_at(elevation: Array) -> NDArray[np.float64]:
    """Of the standard atmosphere, 1013.25·(1 − 2.2558·10⁻⁵z)^5.2559 hPa (ISO 2533)."""
    return 1013.25 * (1 - 2.2558e-5 * np.asarray(elevation)) ** 5.2559
