"""Archives of whole winters, by code that shares nothing with the package but the permittivity of dry snow.

Snow melts by temperature and sun (Pellicciotti et al. 2005), the radar averages looks of speckle, and scikit-image
unwraps what they leave: wet snow hides its phase, storms of more than a cycle and the atmosphere spoil it.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.transform import from_origin
from scipy.ndimage import zoom
from skimage.restoration import unwrap_phase

from tests.archives import raster_path, write_raster

PIXEL, LOOKS = 400.0, 20
NEW_SNOW = 0.25
"""Density in g cm⁻³ of all snow that the radar sees come: what the phase says of it is exact."""
C_BAND, L_BAND = 0.0555, 0.2384

Dates = Sequence[tuple[date, date]]


class Truth(NamedTuple):
    """What lies behind an archive, maps ``(y, x)`` by date or window.

    Attributes:
        swe: mm of water per horizontal area, by date.
        wet: Whether the snow was wet, by date.
        coherence: Without speckle, of each window.
        radians_per_mm: Phase of dry snow.
        lake: Water that no radar sees through, if there is any.
    """

    swe: dict[date, np.ndarray]
    wet: dict[date, np.ndarray]
    coherence: list[np.ndarray]
    radians_per_mm: np.ndarray
    lake: np.ndarray


def every(days: int, first: date, last: date) -> list[tuple[date, date]]:
    """Windows of so many days, one after the other, without the last of them if it would end too late."""
    starts = [first + timedelta(step) for step in range(0, (last - first).days - days + 1, days)]
    return [(start, start + timedelta(days)) for start in starts]


def write_winters(
    root: Path,
    windows: Dates,
    seed: int = 0,
    shape: tuple[int, int] = (40, 56),
    wavelength: float = C_BAND,
    lake: bool = False,
    hard: bool = True,
    precipitation: bool = False,
) -> Truth:
    """Write an archive.

    Args:
        root: Its folder.
        windows: First and last date of each.
        seed: Of every random number.
        shape: Rows and columns, of `PIXEL` metres.
        wavelength: Of the radar, m; the rasters are tagged with it.
        lake: Whether the lowest 6 % of the ground are a lake: noise, one cycle off.
        hard: Whether there are an atmosphere and phases to be unwrapped; else noise and constants alone, and no snow on
            the lowest fifth of the ground.
        precipitation: Whether there is a reanalysis of it, too coarse to tell one pixel from another.
    """
    random = np.random.default_rng([seed, 77])
    elevation = 1400 + 400 * _field(random, shape, 4) + 140 * _field(random, shape, 9) + 40 * _field(random, shape, 18)
    elevation = np.maximum(elevation, 200)
    north, east = np.gradient(elevation, PIXEL)
    normal = np.stack([-east, north, np.ones(shape)]) / np.sqrt(1 + east**2 + north**2)  # rows go south
    look = np.array([np.sin(np.radians(38)), 0.0, np.cos(np.radians(38))])
    incidence = np.degrees(np.arccos(np.clip(np.tensordot(look, normal, 1), 0.15, 1)))
    snowy = np.ones(shape, bool) if hard else elevation > np.quantile(elevation, 0.2)
    water = (elevation <= np.quantile(elevation, 0.06)) if lake else np.zeros(shape, bool)
    dates = sorted({day for window in windows for day in window})
    swe, wet, temperature, melting, fallen = _snow(random, elevation, normal, snowy & ~water, dates)
    reanalysed = _reanalysis(fallen, seed)
    sine, cosine = np.sin(np.radians(incidence)), np.cos(np.radians(incidence))
    permittivity = 1 + 1.5995 * NEW_SNOW + 1.861 * NEW_SNOW**3
    path = (np.sqrt(permittivity - sine**2) - cosine) / NEW_SNOW * normal[2]  # of 1 m of water on horizontal ground
    per_mm = 4 * np.pi / wavelength * path * 1e-3
    forest = np.where((elevation < 1700) & (_field(random, shape, 8) > 0.3), 0.6, 1.0)
    delay = {
        day: hard * (0.005 * _field(random, shape, 3) + random.normal(0, 0.004) * (elevation - 1400) / 1000)
        for day in dates
    }
    truth = Truth(swe, wet, [], per_mm, water)
    crs, transform = CRS.from_epsg(32632), from_origin(620000, 5190000, PIXEL, PIXEL)
    for start, end in windows:
        snow = per_mm * (swe[end] - swe[start])
        coherence = 0.85 * forest * np.exp(-0.5 * (0.08 * snow) ** 2 - (end - start).days / 150)
        coherence = np.where(wet[start] | wet[end], 0.1, np.where(water, 0.05, coherence))
        truth.coherence.append(coherence)
        phase = snow + 4 * np.pi / wavelength * (delay[end] - delay[start]) / np.cos(np.radians(38))
        seen, noise = _speckle(random, coherence)
        unwrapped = unwrap_phase(np.angle(np.exp(1j * (phase + noise)))) if hard else phase + noise
        unwrapped = unwrapped + random.uniform(-12, 12) + 2 * np.pi * water
        days = [start + timedelta(step) for step in range(1, (end - start).days + 1)]
        mean, pdd = np.mean([temperature[day] for day in days], 0), np.sum([melting[day] for day in days], 0)
        layers = {
            "coherence": seen,
            "displacement": -unwrapped * wavelength / (4 * np.pi),
            "elevation": elevation,
            "intensity": -7 + 20 * np.log10(cosine) - 5 * wet[end] + random.normal(0, 1, shape),
            "incidence": incidence,
            "phase": np.angle(np.exp(1j * unwrapped)),
            "unwrapped_phase": unwrapped,
            "mean_temperature": mean,
            "pdd": np.maximum(pdd, len(days) * np.maximum(mean, 0)),
            "hs": np.where(water, np.nan, swe[end] / (2.2 + 0.008 * ((end - date(end.year - 1, 10, 1)).days % 365))),
            "swe": np.where(water, np.nan, swe[end] / 10),
        }
        if precipitation:
            layers["precipitation"] = np.full(shape, sum(reanalysed[day] for day in days))
        for name, values in layers.items():
            path_of = raster_path(root, name, start, end)
            write_raster(path_of, values.astype(np.float32), transform, crs, nodata=np.nan)
            if name == "unwrapped_phase":
                with rasterio.open(path_of, "r+") as raster:
                    raster.update_tags(WAVELENGTH_METRES=wavelength)
    write_raster(root / "master_mask.tif", np.ones(shape, np.uint8), transform, crs)
    return truth


def _field(random: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """A smooth random field of mean 0 and standard deviation 1."""
    coarse = random.normal(size=(cells, cells + cells // 2))
    fine = zoom(coarse, [size / count for size, count in zip(shape, coarse.shape, strict=True)], order=3)
    return (fine - fine.mean()) / fine.std()


def _speckle(random: np.random.Generator, coherence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimated coherence, and noise of the phase: averages over `LOOKS` pairs of circular Gaussian numbers."""
    first, other = (random.normal(size=(2, LOOKS, *coherence.shape)).T @ [1, 1j] for _ in range(2))
    first, other = first.T, other.T
    second = coherence * first + np.sqrt(1 - coherence**2) * other
    product = (second * first.conj()).mean(0)
    power = np.sqrt((np.abs(first) ** 2).mean(0) * (np.abs(second) ** 2).mean(0))
    return np.abs(product) / power, np.angle(product)


def _reanalysis(fallen: dict[date, float], seed: int) -> dict[date, float]:
    """Daily precipitation: off by a fifth over the years, and by a third in each storm (assumed)."""
    random = np.random.default_rng([seed, 78])
    bias = random.normal(0, 0.2)
    return {day: amount * np.exp(bias + random.normal(0, 0.3)) for day, amount in fallen.items()}


def _snow(
    random: np.random.Generator, elevation: np.ndarray, normal: np.ndarray, snowy: np.ndarray, dates: Sequence[date]
) -> tuple[dict, dict, dict, dict, dict]:
    """SWE and wetness on `dates`; of every day temperature and its positive part as a reanalysis gives them, and the
    mean of what falls."""
    shape = elevation.shape
    first = date(dates[0].year - (dates[0].month < 9), 9, 1)
    drift = np.exp(0.2 * _field(random, shape, 12))  # the wind's, the same in every storm
    error = 0.6 * _field(random, shape, 3)
    years = {first.year + number: (random.uniform(0.5, 1.3), random.normal(0, 1.2)) for number in range(20)}
    swe, age, noise = np.zeros(shape), np.zeros(shape), 0.0
    found: tuple[dict, dict, dict, dict, dict] = ({}, {}, {}, {}, {})
    for step in range((dates[-1] - first).days + 1):
        day = first + timedelta(step)
        wealth, warmth = years[day.year - (day.month < 9)]
        turn = 2 * np.pi * (day.timetuple().tm_yday - 20) / 365
        noise = 0.8 * noise + random.normal(0, 1.9)
        air = 4.5 + warmth + noise - 9.5 * np.cos(turn) - 0.0062 * (elevation - 1000)
        fallen = np.zeros(shape)
        if random.random() < 0.28:
            fallen = wealth * random.gamma(1.2, 9) * (0.5 + elevation / 2500) * np.exp(0.35 * _field(random, shape, 3))
        snowfall = fallen * np.clip((2.2 - air) / 2, 0, 1) * snowy
        declination = np.radians(-23.44 * np.cos(2 * np.pi * (day.timetuple().tm_yday + 10) / 365))
        height = np.pi / 2 - np.radians(46.5) + declination
        sun = 300 * (0.3 + 0.7 * np.maximum(0, np.sin(height) * normal[2] - np.cos(height) * normal[1]))  # W m⁻²
        age = np.where(snowfall > 3, 0, age + 1)
        albedo = 0.5 + 0.35 * np.exp(-age / 10)
        melt = np.where(air > 1, 24 * (0.04 * air + 0.0094 * (1 - albedo) * sun), 0)
        before = swe + snowfall * drift
        swe = np.maximum(0, before - melt)
        rain = fallen - snowfall
        if day in dates:
            found[0][day], found[1][day] = swe, (before > 5) & ((melt > 1) | (rain > 2)) & snowy
        reanalysis = air + error + random.normal(0, 0.3)
        found[2][day], found[3][day], found[4][day] = reanalysis, np.maximum(reanalysis, 0), float(fallen.mean())
    return found
