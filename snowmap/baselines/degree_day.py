"""A degree-day model as a baseline: four numbers, calibrated on the training windows."""

import logging
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.optimize import least_squares

from snowmap.baselines.base import Maps, QuantityBaseline
from snowmap.data.sequences import Dates, added_days, gap_days, length_days, season_of, season_starts
from snowmap.errors import SnowmapError
from snowmap.physics import DEGREE_DAY_FACTOR, snow_fraction

logger = logging.getLogger(__name__)


PRECIPITATION = "precipitation"


class Parameters(NamedTuple):
    """What is calibrated.

    Attributes:
        degree_day_factor: Melt in mm °C⁻¹ d⁻¹.
        precipitation: At the mean elevation, mm d⁻¹; of an archive that holds precipitation, what it is multiplied by.
        gradient: Share by which precipitation grows with every km of elevation.
        beginning: Snow with which a season begins whose first window comes late, as a share of all snowfall since
            1 November.
    """

    degree_day_factor: float
    precipitation: float
    gradient: float
    beginning: float


START = Parameters(DEGREE_DAY_FACTOR, 3.0, 0.3, 1.0)
"""Where the calibration begins: 3 mm d⁻¹ are the 1100 mm of an Alpine year."""

START_OF_KNOWN = START._replace(precipitation=1.0, gradient=0.0)
"""Of an archive that holds precipitation: as it is."""

LOWEST, HIGHEST = Parameters(0.0, 0.0, -5.0, 0.0), Parameters(20.0, 50.0, 5.0, 20.0)
"""Bounds of the calibration, wide about what is known of snow (Hock 2003) and rain."""


class Weather(NamedTuple):
    """What drives the snow of each pixel, on the flattened grid.

    Attributes:
        snowfall: In days that a window adds to those before it, days that no window covers included, mm; without
            precipitation as of 1 mm d⁻¹.
        degree_days: Positive degree days of as many days, °C d.
        late_snowfall: From 1 November to the beginning of a season whose first window comes late, at its rate.
        first: Whether a window is the first of its season.
        height: Elevation above the mean, km.
    """

    snowfall: Float[np.ndarray, "window pixel"]
    degree_days: Float[np.ndarray, "window pixel"]
    late_snowfall: Float[np.ndarray, "window pixel"]
    first: Bool[np.ndarray, " window"]
    height: Float[np.ndarray, " pixel"]


class DegreeDay(QuantityBaseline):
    """SWE ← max(0, SWE + days·P(z)·snow fraction(T) − DDF·PDD), window by window (Hock 2003).

    P(z) = p₀·(1 + gradient·(z − z̄)/1000) ≥ 0, the same on all days; of an archive that holds precipitation, × that of
    the window per day.
    The snow fraction is that of `snowmap.physics.snow_fraction` at the mean temperature of the window. Days that no
    window covers count by the weather of the window after them; days of several windows count once. A season starts
    bare on 1 September; one whose first window comes late starts with a share of the snowfall since 1 November, by
    that window's snow fraction.

    DDF, p₀, gradient and that share are calibrated by least squares on the training windows, at as many pixels as the
    option ``pixels`` says; the state runs through all windows, by their inputs alone. HS is by Guyennon's density of
    the date.
    """

    name = "degree_day"
    needs = ("elevation", "mean_temperature", "pdd")

    def choose_inputs(self, cube: xr.Dataset) -> None:
        """Precipitation, too, where the Cube has it."""
        super().choose_inputs(cube)
        if PRECIPITATION in cube["band"]:
            self.needs = (*self.needs, PRECIPITATION)

    def learn(self, inputs: xr.Dataset, train: list[int], known: Maps, target: str) -> dict[str, Any]:
        """The four numbers, and the elevation that P refers to."""
        ground = _ground(inputs)
        usable = np.flatnonzero((np.isfinite(known).any(axis=0) & np.isfinite(ground)).ravel())
        if not usable.size:
            raise SnowmapError(f"{self.name}: no training pixel has {target} and an elevation")
        mean_elevation = float(np.nanmean(ground[inputs["mask"].values]))
        chosen = np.sort(np.random.default_rng(0).permutation(usable)[: self.options["pixels"]])
        weather, end = weather_of(inputs, mean_elevation, chosen), inputs["end"].values[train]
        observed = known.reshape(len(known), -1)[:, chosen]
        valid = np.isfinite(observed)

        def errors(numbers: np.ndarray) -> np.ndarray:
            water = run(Parameters(*numbers.tolist()), weather)[train]
            return (self.in_unit(water[:, :, None], end, target)[:, :, 0] - observed)[valid]

        known_precipitation = PRECIPITATION in self.needs
        start = START_OF_KNOWN if known_precipitation else START
        fit = least_squares(errors, start, bounds=(LOWEST, HIGHEST), x_scale=START)
        calibrated = Parameters(*fit.x.tolist())
        logger.info(
            "%s, calibrated on %s: melt %.2f mm °C⁻¹ d⁻¹, precipitation %s%.2f%s at %.0f m and %+.0f %% per km, "
            "a late season begins with %.0f %% of the snowfall since 1 November",
            self.name, target, calibrated.degree_day_factor, "× " * known_precipitation, calibrated.precipitation,
            "" if known_precipitation else " mm d⁻¹", mean_elevation, 100 * calibrated.gradient,
            100 * calibrated.beginning,
        )  # fmt: skip
        return {**calibrated._asdict(), "mean_elevation": mean_elevation}

    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """NaN where a pixel has no elevation in any window."""
        numbers = dict(self.learned[target])
        weather = weather_of(inputs, numbers.pop("mean_elevation"))
        water = run(Parameters(**numbers), weather)[windows].reshape(-1, *inputs["mask"].shape)
        return self.in_unit(water, inputs["end"].values[windows], target)


def run(parameters: Parameters, weather: Weather) -> Float[np.ndarray, "window pixel"]:
    """SWE in mm at the end of every window."""
    gain = parameters.precipitation * np.maximum(0, 1 + parameters.gradient * weather.height)
    snowfall = gain * weather.snowfall
    melt = parameters.degree_day_factor * weather.degree_days
    beginning = parameters.beginning * gain * weather.late_snowfall
    water = np.empty_like(snowfall)
    for window, first in enumerate(weather.first):
        before = beginning[window] if first else water[window - 1]
        water[window] = np.maximum(0, before + snowfall[window] - melt[window])
    return water


def weather_of(inputs: xr.Dataset, mean_elevation: float, chosen: np.ndarray | None = None) -> Weather:
    """The weather of all pixels, or of those `chosen` by their place in the flattened grid.

    A missing value of a band takes the mean of its window; a window without any adds and takes nothing.
    """
    start, end = inputs["start"].values, inputs["end"].values
    first, late, covered, late_days = _calendar(start, end)
    pixels, length = slice(None) if chosen is None else chosen, length_days(start, end)
    temperature, pdd = (_filled(inputs, band)[:, pixels] for band in ("mean_temperature", "pdd"))
    snow = np.where(np.isfinite(temperature), snow_fraction(np.nan_to_num(temperature)), 0)
    if PRECIPITATION in inputs["band"]:
        snow = snow * np.nan_to_num(_filled(inputs, PRECIPITATION)[:, pixels]) / length[:, None]
    return Weather(
        snowfall=covered[:, None] * snow,
        degree_days=(covered / length)[:, None] * np.nan_to_num(pdd),
        late_snowfall=np.where(late, late_days, 0)[:, None] * snow,
        first=first,
        height=(_ground(inputs).ravel()[pixels] - mean_elevation) / 1000,
    )


def _calendar(start: Dates, end: Dates) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each window: whether it is the first of its season, and begins late; days it covers; days since 1 November."""
    season = season_of(end)
    first = np.diff(season, prepend=season[:1] - 1) > 0
    late = first & ~season_starts(start, end)
    september, november = (
        np.array([f"{year}-{month}-01" for year in season], "datetime64[D]") for month in ("09", "11")
    )
    day = start.astype("datetime64[D]")
    before = np.where(first, np.where(late, 0, (day - september).astype(int)), gap_days(start, end))
    return first, late, added_days(start, end) + np.maximum(before, 0), np.maximum((day - november).astype(int), 0)


def _ground(inputs: xr.Dataset) -> np.ndarray:
    """Elevation of each pixel: it does not change, so that of the first window that has one."""
    elevation = inputs["features"].sel(band="elevation").values.astype(float)
    first = np.isfinite(elevation).argmax(axis=0)
    return np.take_along_axis(elevation, first[None], axis=0)[0]


def _filled(inputs: xr.Dataset, band: str) -> Float[np.ndarray, "window pixel"]:
    """A band, its missing pixels filled by their window's mean over the study area; NaN where a window has no value."""
    values = inputs["features"].sel(band=band).astype(float)
    mean = values.where(inputs["mask"]).mean(("y", "x"))
    return values.fillna(mean).values.reshape(len(values), -1)
