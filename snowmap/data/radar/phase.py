"""From unwrapped phase to changes of SWE: reference, sign and retrieval, the same for networks and baselines."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32, Float64

from snowmap.data.cube import window_names
from snowmap.data.grid import steepness
from snowmap.data.radar.network import Maps, increments, overlap, phase_variance
from snowmap.data.radar.reference import LOWEST_GROUND, NO_REFERENCE, read_reference, reference_area
from snowmap.data.radar.trend import fit_trend, trend_map
from snowmap.errors import SnowmapError
from snowmap.physics import (
    SENTINEL_1_WAVELENGTH,
    SNOW_RAIN_TEMPERATURE,
    per_slope_area,
    phase_of_swe,
    phase_of_swe_leinss,
    phase_of_swe_oveisgharan,
)
from snowmap.tables import listed

REFERENCE_SHARE = 0.1
"""Share of the study area, from its lowest pixel up, that is the lowest ground: least likely to hold snow."""

STEEPEST = 80.0
"""Degrees of local incidence from which the sensitivity is that at this angle: the formulas are of gentler ones."""

logger = logging.getLogger(__name__)


class Phase(NamedTuple):
    """How phase becomes a change of SWE; plain data, which every checkpoint holds.

    Attributes:
        sign: +1 where the phase grows with snow, −1 where it falls; None: to be estimated, until then +1.
        reference: `LOWEST_GROUND`, `NO_REFERENCE`, or what `read_reference` gives.
        retrieval: ``oveisgharan`` (2024), ``leinss`` (2015), or ``guneriussen`` (2001), which needs a density.
        density: Of the snow that came or went, kg m⁻³.
        corrections: Keys of `snowmap.data.radar.trend.TERMS`: what is fitted to the phase and taken off.
        uses: Bands beside `PHASE_NEEDS` that the training Cubes have, so that all others have to: see `used_bands`.
    """

    sign: int | None = None
    reference: str | Mapping[str, Any] = LOWEST_GROUND
    retrieval: str = "oveisgharan"
    density: float | None = None
    corrections: Sequence[str] = ()
    uses: Sequence[str] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Phase":
        """What the configuration's ``data`` group says; a vector file is read.

        Raises:
            SnowmapError: When the file cannot be read.
        """
        reference = data["reference"]
        if reference not in (LOWEST_GROUND, NO_REFERENCE):
            reference = read_reference(reference)
        return cls(
            data["phase_sign"], reference, data["retrieval"], data["snow_density_kg_m3"], tuple(data["corrections"])
        )

    def used_bands(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Of a Cube's bands those that change what its phase says: weights, a delay, where trends are fitted."""
        wanted = ("coherence", "delay", *(["mean_temperature"] if self.corrections else []))
        return tuple(band for band in wanted if band in bands)


DEFAULT_PHASE = Phase()


def phase_reference(cube: xr.Dataset, phase: Phase = DEFAULT_PHASE) -> Float32[np.ndarray, " window"]:
    """Phase in rad of the reference in each window, which is the arbitrary constant of its interferogram.

    The median over the reference's pixels (of the lowest ground: over the lowest `REFERENCE_SHARE` of the study area
    that has a phase), weighted by the inverse of `phase_variance`, γ²/(1 − γ²), where there is coherence: the phase of
    a lake is noise. The windows are read one after the other: a Cube may be larger than the memory.

    Returns:
        0 where the window has no phase at all; NaN where it has none in the area of a file.

    Raises:
        SnowmapError: When the area of a file holds no pixel of the study area, or no phase in any window.
    """
    reference = np.zeros(cube.sizes["window"], np.float32)
    if phase.reference == NO_REFERENCE:
        return reference
    of_file = None if isinstance(phase.reference, str) else reference_area(cube, phase.reference)
    inside = cube["mask"].values
    for index in range(len(reference)):
        window = cube.isel(window=[index])
        values = corrected(window, phase)
        known = np.isfinite(values) & inside
        area = known & (_lowest(window, known) if of_file is None else of_file)
        if area.any():
            reference[index] = _weighted_median(values[area], 1 / _variance(window)[0][area])
        elif known.any() and of_file is not None:
            reference[index] = np.nan
    lost = np.flatnonzero(np.isnan(reference))
    if lost.size:
        assert not isinstance(phase.reference, str)  # the lowest ground has a phase wherever there is one
        name, windows = phase.reference["file"], window_names(cube.isel(window=lost))
        if lost.size == len(reference):
            raise SnowmapError(
                f"data.reference={name}: none of its pixels has an unwrapped phase in {listed(windows)}; expected "
                f"ground that the radar sees: name another area, or {LOWEST_GROUND}"
            )
        logger.warning("data.reference=%s: no phase there in %s, whose changes are missing", name, listed(windows))
    return reference


def _lowest(window: xr.Dataset, known: np.ndarray) -> np.ndarray:
    height = _band(window, "elevation")
    known = known & np.isfinite(height)
    return known & (height <= np.quantile(height[known], REFERENCE_SHARE)) if known.any() else known


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value below which half of the weight lies; weights are positive."""
    order = np.argsort(values)
    share = np.cumsum(weights[order], dtype=np.float64)
    ends = np.searchsorted(share / share[-1], (0.5 - 1e-9, 0.5 + 1e-9))  # two where half the weight lies below one
    return float(values[order][ends].mean())


def warn_of_snow(cube: xr.Dataset, phase: Phase) -> None:
    """Warn where the reference gains snow by its own weather, which the changes of all other pixels then lack.

    In a window whose mean temperature lies below that at which half of the precipitation is snow, what falls stays.
    Of the windows in which this holds for the mean of the study area, it should not hold for the reference in most.
    """
    if phase.reference == NO_REFERENCE or "mean_temperature" not in cube["band"].values:
        return
    of_file = None if isinstance(phase.reference, str) else reference_area(cube, phase.reference)
    inside, snowing, on_reference = cube["mask"].values, 0, 0
    for index in range(cube.sizes["window"]):
        window = cube.isel(window=[index])
        temperature = _band(window, "mean_temperature")
        known = np.isfinite(temperature) & inside
        area = known & (_lowest(window, known) if of_file is None else of_file)
        if area.any() and temperature[known].mean() < SNOW_RAIN_TEMPERATURE:
            snowing += 1
            on_reference += bool(temperature[area].mean() < SNOW_RAIN_TEMPERATURE)
    if 2 * on_reference > snowing:
        logger.warning(
            "the reference of the phase is below %g °C, too, in %d of the %d windows in which the study area is: it "
            "gains snow itself, which all changes from the phase then lack; name snow-free ground by data.reference=",
            SNOW_RAIN_TEMPERATURE, on_reference, snowing,
        )  # fmt: skip


def with_ground_slope(cube: xr.Dataset) -> xr.Dataset:
    """The Cube with the coordinate ``ground_slope (y, x)`` in degrees, unless it has it, as a piece of a scene does.

    From the elevation of the first window inside the study area; flat beside what is missing or outside, and without
    such a band.
    """
    if "ground_slope" in cube.coords:
        return cube
    slope = np.zeros(cube["mask"].shape, np.float32)
    if "elevation" in cube["band"].values:
        ground = cube[["features", "mask"]].isel(window=[0]).sel(band=["elevation"])
        slope[:] = np.nan_to_num(steepness(ground.assign(features=ground["features"].where(ground["mask"])))[0])
    return cube.assign_coords(ground_slope=(("y", "x"), slope))


def sensitivity(cube: xr.Dataset, phase: Phase) -> Maps:
    """Phase in rad of 1 mm of dry snow on horizontal ground below it, ``(window, y, x)``.

    At the Cube's ``wavelength`` (m), else Sentinel-1's; see `snowmap.physics.per_slope_area`.
    """
    water: Any = per_slope_area(1.0, with_ground_slope(cube)["ground_slope"].values)
    angle = np.minimum(cube["features"].sel(band="incidence").values, np.float32(STEEPEST))
    wavelength = float(cube.attrs.get("wavelength", SENTINEL_1_WAVELENGTH))
    if phase.retrieval == "guneriussen":
        assert phase.density is not None  # the configuration is checked
        return np.asarray(phase_of_swe(water, angle, phase.density / 1000, wavelength))
    formula = {"oveisgharan": phase_of_swe_oveisgharan, "leinss": phase_of_swe_leinss}[phase.retrieval]
    return np.asarray(formula(water, angle, wavelength))


def phase_trend(cube: xr.Dataset, phase: Phase) -> Float64[np.ndarray, "window term"]:
    """Coefficients of `fit_trend` for every window; a window without enough stable ground has none."""
    trends = np.zeros((cube.sizes["window"], 4))
    for index in range(len(trends)):
        window = cube.isel(window=[index])
        trends[index] = fit_trend(window, corrected(window, phase), squared_coherence(window), phase.corrections)
    lost = np.isnan(trends[:, 0])
    if lost.any():
        logger.warning(
            "data.corrections=[%s]: too little coherent ground without snow in %d of %d windows, which stay so",
            ",".join(phase.corrections), lost.sum(), len(lost),
        )  # fmt: skip
    return np.where(lost[:, None], 0, trends)


def corrected(window: xr.Dataset, phase: Phase) -> Float[np.ndarray, "y x"]:
    """Unwrapped phase in rad of a Cube of one window, less what a delay map and a fitted trend say.

    The band ``delay`` (m) is the change of the path along the line of sight, which lengthens as it does by snow.
    """
    values = _band(window, "unwrapped_phase")
    if "delay" in phase.uses:
        cycle = window.attrs.get("wavelength", SENTINEL_1_WAVELENGTH)
        values = values - np.float32((phase.sign or 1) * 4 * np.pi / cycle) * _band(window, "delay")
    if "phase_trend" in window.coords:
        values = (values - trend_map(window, window["phase_trend"].values[0])).astype(np.float32)
    return values


def with_reference(cube: xr.Dataset, phase: Phase) -> xr.Dataset:
    """The Cube with `phase_reference` and, for corrections, `phase_trend` as coordinates, as a piece of a scene has."""
    if phase.corrections and "phase_trend" not in cube.coords:
        cube = cube.assign_coords(phase_trend=(("window", "term"), phase_trend(cube, phase)))
    if "phase_reference" not in cube.coords:
        cube = cube.assign_coords(phase_reference=("window", phase_reference(cube, phase)))
    return cube


def referenced(cube: xr.Dataset, phase: Phase) -> Maps:
    """Unwrapped phase in rad of every window, positive for accumulation, relative to the reference."""
    cube = with_reference(cube, phase)
    windows = [corrected(cube.isel(window=[index]), phase) for index in range(cube.sizes["window"])]
    return (phase.sign or 1) * (np.stack(windows) - cube["phase_reference"].values[:, None, None])


def phase_swe_change(cube: xr.Dataset, phase: Phase) -> Maps:
    """ΔSWE in mm of every window from its phase.

    The reference is taken off before the phase is divided by its sensitivity to snow, which follows the incidence.
    """
    change, cube = np.empty(cube["features"].isel(band=0).shape, np.float32), with_reference(cube, phase)
    cube = with_ground_slope(cube)
    for index in range(len(change)):  # intermediate maps are those of one window
        window = cube.isel(window=[index])
        change[index] = (referenced(window, phase) / sensitivity(window, phase))[0]
    return change


def added_change(change: Maps, cube: xr.Dataset, phase: Phase) -> Maps:
    """ΔSWE in mm that each window adds to those before it; see `snowmap.data.radar.network.increments`.

    Where windows overlap each counts by the variance of its phase, from its coherence where there is such a band.
    """
    start, end = cube["start"].values, cube["end"].values
    if not overlap(start, end):
        return change
    variance = _variance(cube) / sensitivity(cube, phase).astype(np.float64) ** 2
    known = np.isfinite(variance)  # a change that was filled in from the surroundings has none: it is worth least
    return increments(change, np.where(known, variance, variance[known].max(initial=1e-9)), start, end)


def _variance(cube: xr.Dataset) -> np.ndarray:
    """`phase_variance`, ``(window, y, x)``; 1 without coherence."""
    if "coherence" not in cube["band"].values:
        return np.ones(cube["features"].isel(band=0).shape)
    return phase_variance(cube["features"].sel(band="coherence").values)


def squared_coherence(window: xr.Dataset) -> np.ndarray:
    """Of one window, 0 where it is missing; 1 without such a band."""
    if "coherence" not in window["band"].values:
        return np.ones(window["mask"].shape)
    return np.nan_to_num(_band(window, "coherence")) ** 2


def estimate_phase_sign(training: Sequence[tuple[xr.Dataset, Sequence[int]]], phase: Phase = DEFAULT_PHASE) -> int:
    """Whether the phase grows (+1) or falls (−1) where snow is added: processors differ.

    What the Cubes state (``phase_sign``), else the sign of the covariance, pooled over Cubes and weighted by coherence
    where there is such a band, between the ΔSWE of a window from its phase and the gain of SWE (or HS) since the
    training window that ended at its beginning, over windows in which snow is gained. Within each both are centred, so
    the arbitrary reference of the phase plays no part. +1 where nothing is known.

    Args:
        training: Cubes, and the indices of the training windows of each.
        phase: How phase becomes a change of SWE.

    Raises:
        SnowmapError: When two Cubes state opposite signs.
    """
    stated = {int(cube.attrs["phase_sign"]) for cube, _ in training if "phase_sign" in cube.attrs}
    if len(stated) > 1:
        raise SnowmapError("data.root: the phase grows with snow in one archive and falls in another; build them alike")
    if stated:
        return stated.pop()
    known = phase._replace(sign=1, reference=NO_REFERENCE, corrections=(), uses=())
    return -1 if sum(_covariance(cube, train, known) for cube, train in training) < 0 else 1


PHASE_NEEDS = ("unwrapped_phase", "incidence", "elevation")
"""Bands from which a change of SWE is computed."""


def _covariance(cube: xr.Dataset, train: Sequence[int], phase: Phase) -> float:
    target = next((name for name in ("swe", "hs") if name in cube), None)
    bands = cube["band"].values.tolist()
    if target is None or any(band not in bands for band in PHASE_NEEDS):
        return 0.0
    ended = {cube["end"].values[index]: index for index in train}
    cube = with_ground_slope(cube)  # once: else every window would compute it
    inside, total = cube["mask"].values, 0.0
    for after in train:
        before = ended.get(cube["start"].values[after])
        if before is None or before == after:
            continue
        window = cube.isel(window=[after])
        change, weight = phase_swe_change(window, phase)[0], squared_coherence(window)
        gained = window[target].values[0] - cube[target][before].values
        usable = inside & np.isfinite(gained) & np.isfinite(change)
        if usable.sum() > 1 and np.mean(gained[usable]) > 0:
            centred = change[usable] - np.median(change[usable])
            total += float(np.sum(weight[usable] * centred * (gained[usable] - np.median(gained[usable]))))
    return total


def _band(window: xr.Dataset, name: str) -> np.ndarray:
    band = window.get_index("band").get_loc(name)  # the coordinates of a selection would take longer than its values
    return window["features"].variable.isel(window=0, band=band).values
