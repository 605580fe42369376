"""Derived features: further bands of a Cube, computed from its own, for networks and baselines alike.

`derive` gives them as maps, `with_derived` appends them to the Cube under names and units of their own, so that
everything after it treats them as bands. A derived feature of a window uses that window and earlier ones only, except
for the dry reference of `wet_snow`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float32

from snowmap.data.cube import Quantity, band_coordinates, quantities_of, units_of
from snowmap.data.sequences import season_of
from snowmap.data.wet_snow import wet_snow
from snowmap.errors import SnowmapError
from snowmap.physics import phase_of_swe_oveisgharan
from snowmap.units import BAND_UNITS

Maps = Float32[np.ndarray, "window y x"]

REFERENCE_SHARE = 0.1
"""Share of the study area, from its lowest pixel up, that is the reference of the phase: least likely to hold snow."""

FLAT = 1e-6
"""Rise per m below which ground faces no direction: what rounding of float32 heights makes of a plain."""

SPHERE = 6_371_000.0
"""Mean radius of the Earth in m."""


class Derived(NamedTuple):
    """A derived feature.

    Attributes:
        bands: Those that it gives, by name.
        needs: Bands that it is computed from.
        make: ``(cube, phase_sign) -> {band: maps}``.
        summed: Whether it looks back to 1 September, beyond its window.
    """

    bands: Mapping[str, Quantity]
    needs: tuple[str, ...]
    make: Callable[[xr.Dataset, int], Mapping[str, Maps]]
    summed: bool = False


def day_of_year(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``day_of_year_cos``, ``day_of_year_sin`` (1): the end of the window on the circle of the year."""
    end = cube["end"].dt
    angle = 2 * np.pi * ((end.dayofyear - 1) / (365 + end.is_leap_year)).values[:, None, None]
    shape = _shape(cube)
    return {  # views of one value for each window, which take no memory
        "day_of_year_cos": np.broadcast_to(np.cos(angle).astype(np.float32), shape),
        "day_of_year_sin": np.broadcast_to(np.sin(angle).astype(np.float32), shape),
    }


def slope(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``slope`` (degree): steepest slope of the ground, by central differences of elevation."""
    return {"slope": _each(cube, lambda window: np.degrees(np.arctan(np.hypot(*_gradient(window)))))}


def aspect(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``aspect_east``, ``aspect_north`` (1): direction that the ground faces, as a unit vector; 0 on flat ground."""

    def facing(window: xr.Dataset, axis: int) -> np.ndarray:
        gradient = _gradient(window)
        steepness = np.hypot(*gradient)
        unit = -gradient[axis] / np.where(steepness > FLAT, steepness, 1)
        return np.where(steepness > FLAT, unit, 0 * gradient[axis])

    return {
        "aspect_east": _each(cube, lambda window: facing(window, 0)),
        "aspect_north": _each(cube, lambda window: facing(window, 1)),
    }


def cumulative_pdd(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``cumulative_pdd`` (degC d): positive degree days since 1 September, the window included."""
    return {"cumulative_pdd": season_sum(_band(cube, "pdd"), cube)}


def phase_swe(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``phase_swe`` (mm): ΔSWE of the window from its unwrapped phase, were the snow dry.

    Oveisgharan et al. (2024), which needs no density; see `phase_swe_change`.
    """
    return {"phase_swe": phase_swe_change(cube, phase_sign)}


def coherent_phase_swe(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``coherent_phase_swe`` (mm): `phase_swe` × coherence², so that a change that cannot be trusted counts little."""
    return {"coherent_phase_swe": phase_swe_change(cube, phase_sign) * _band(cube, "coherence") ** 2}


def cumulative_phase_swe(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``cumulative_phase_swe`` (mm): `phase_swe` summed since 1 September, the window included."""
    return {"cumulative_phase_swe": season_sum(phase_swe_change(cube, phase_sign), cube)}


def cumulative_coherent_phase_swe(cube: xr.Dataset, phase_sign: int) -> dict[str, Maps]:
    """``cumulative_coherent_phase_swe`` (mm): `coherent_phase_swe` summed since 1 September, the window included."""
    (change,) = coherent_phase_swe(cube, phase_sign).values()
    return {"cumulative_coherent_phase_swe": season_sum(change, cube)}


PHASE_SWE_NEEDS = ("unwrapped_phase", "incidence", "elevation")
WINDOW_MM, SEASON_MM = ("mm", -2000.0, 2000.0), ("mm", -20000.0, 20000.0)

DERIVED: dict[str, Derived] = {
    "day_of_year": Derived(
        {
            "day_of_year_cos": Quantity("1", -1.0, 1.0, "cosine of the day of the year"),
            "day_of_year_sin": Quantity("1", -1.0, 1.0, "sine of the day of the year"),
        },
        (),
        day_of_year,
    ),
    "slope": Derived({"slope": Quantity("degree", 0.0, 90.0, "slope of the ground")}, ("elevation",), slope),
    "aspect": Derived(
        {
            "aspect_east": Quantity("1", -1.0, 1.0, "eastward part of the direction that the ground faces"),
            "aspect_north": Quantity("1", -1.0, 1.0, "northward part of the direction that the ground faces"),
        },
        ("elevation",),
        aspect,
    ),
    "cumulative_pdd": Derived(
        {"cumulative_pdd": Quantity("degC d", 0.0, 12000.0, "positive degree days since 1 September")},
        ("pdd",),
        cumulative_pdd,
        summed=True,
    ),
    "wet_snow": Derived(
        {"wet_snow": Quantity("1", 0.0, 1.0, "wet snow, 1, by the drop of backscatter")}, ("intensity",), wet_snow
    ),
    "phase_swe": Derived(
        {"phase_swe": Quantity(*WINDOW_MM, "change of SWE from the unwrapped phase")}, PHASE_SWE_NEEDS, phase_swe
    ),
    "coherent_phase_swe": Derived(
        {"coherent_phase_swe": Quantity(*WINDOW_MM, "change of SWE from the phase, weighted by coherence")},
        (*PHASE_SWE_NEEDS, "coherence"),
        coherent_phase_swe,
    ),
    "cumulative_phase_swe": Derived(
        {"cumulative_phase_swe": Quantity(*SEASON_MM, "change of SWE from the phase since 1 September")},
        PHASE_SWE_NEEDS,
        cumulative_phase_swe,
        summed=True,
    ),
    "cumulative_coherent_phase_swe": Derived(
        {
            "cumulative_coherent_phase_swe": Quantity(
                *SEASON_MM, "change of SWE from the phase since 1 September, weighted by coherence"
            )
        },
        (*PHASE_SWE_NEEDS, "coherence"),
        cumulative_coherent_phase_swe,
        summed=True,
    ),
}
"""Every derived feature under the name that users type (``data.derived=[slope,cumulative_pdd]``)."""

DERIVED_BANDS = {band: quantity for derived in DERIVED.values() for band, quantity in derived.bands.items()}
"""The bands that derived features give, in the order in which they stand behind those of the Cube."""


def with_derived(cube: xr.Dataset, names: Sequence[str], phase_sign: int = 1) -> xr.Dataset:
    """The Cube with derived features as further bands, which copies all bands; for its arguments see `derive`."""
    made = derive(cube, names, phase_sign)
    if not made:
        return cube
    known = quantities_of(cube)
    bands = {band: known[band] for band in cube["band"].values.tolist()} | {band: DERIVED_BANDS[band] for band in made}
    features = np.concatenate([cube["features"].values, np.stack(list(made.values()), axis=1)], axis=1)
    whole = cube.drop_dims("band").assign_coords(band_coordinates(bands))
    return whole.assign(features=(("window", "band", "y", "x"), features))


def derive(cube: xr.Dataset, names: Sequence[str], phase_sign: int = 1) -> dict[str, Maps]:
    """The maps of derived features by the names of their bands, as far as the Cube does not hold them already.

    Args:
        cube: The Cube.
        names: Keys of `DERIVED`.
        phase_sign: +1 where the phase grows with snow, −1 where it falls; see `estimate_phase_sign`.

    Raises:
        SnowmapError: When a name is unknown, or the Cube lacks a band that it is computed from.
    """
    made: dict[str, Maps] = {}
    for name in DERIVED:
        if name in names:
            refuse_unfit_bands(cube, DERIVED[name].needs, f"the derived feature '{name}'")
            made |= DERIVED[name].make(cube, phase_sign)
    if unknown := [name for name in names if name not in DERIVED]:
        raise SnowmapError(f"data.derived={unknown} is unknown; known are {', '.join(DERIVED)}")
    return {band: maps for band, maps in made.items() if band not in cube["band"]}


def refuse_unfit_bands(cube: xr.Dataset, bands: Sequence[str], reader: str) -> None:
    """Refuse a Cube that lacks a band whose values a formula reads, or has it in another unit.

    Args:
        cube: The Cube.
        bands: Names of the bands.
        reader: What reads them, for the error.

    Raises:
        SnowmapError: Naming the bands.
    """
    units = units_of(cube)
    if missing := [band for band in bands if band not in units]:
        raise SnowmapError(f"{reader} needs the band {', '.join(missing)}; it has {', '.join(units)}")
    if other := [band for band in bands if units[band] != BAND_UNITS.get(band, units[band])]:
        expected = ", ".join(f"'{band}' in {BAND_UNITS[band]}, not {units[band]}" for band in other)
        raise SnowmapError(f"{reader} needs the band {expected}; convert it in the source")


def phase_swe_change(cube: xr.Dataset, phase_sign: int) -> Maps:
    """ΔSWE in mm of every window from its unwrapped phase, relative to the window's low ground.

    An interferogram's phase has an arbitrary constant, which is taken off before the phase is divided by its
    sensitivity to snow, which follows the incidence: the coordinate ``phase_reference (window)`` of a Cube that is a
    piece of a scene, else what `phase_reference` says. Phase to ΔSWE is Oveisgharan et al. (2024).
    """
    reference = cube["phase_reference"].values if "phase_reference" in cube.coords else phase_reference(cube)
    change = np.empty(_shape(cube), np.float32)
    for index, constant in enumerate(reference):
        window = cube.isel(window=[index])
        sensitivity = phase_of_swe_oveisgharan(1.0, np.minimum(_band(window, "incidence"), 80))
        change[index] = (phase_sign * (_band(window, "unwrapped_phase") - constant) / sensitivity)[0]
    return change


def phase_reference(cube: xr.Dataset) -> Float32[np.ndarray, " window"]:
    """Phase in rad of the low ground of each window.

    The median over the lowest `REFERENCE_SHARE` of the study area, where snow is least likely, weighted by coherence²
    where there is such a band: the phase of a lake is noise. 0 where it has no phase. The windows are read one
    after the other: a Cube may be larger than the memory.
    """
    inside = cube["mask"].values
    reference = np.zeros(cube.sizes["window"], np.float32)
    for index in range(len(reference)):
        window = cube.isel(window=[index])
        phase, height = _band(window, "unwrapped_phase")[0], _band(window, "elevation")[0]
        known = np.isfinite(phase) & np.isfinite(height) & inside
        if known.any():
            low = known & (height <= np.quantile(height[known], REFERENCE_SHARE))
            reference[index] = _weighted_median(phase[low], _squared_coherence(window)[low])
    return reference


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The median where no value has a weight."""
    order = np.argsort(values)
    share = np.cumsum(weights[order], dtype=np.float64)
    if share[-1] == 0:
        return float(np.median(values))
    ends = np.searchsorted(share / share[-1], (0.5 - 1e-9, 0.5 + 1e-9))  # two where half the weight lies below one
    return float(values[order][ends].mean())


def _squared_coherence(window: xr.Dataset) -> np.ndarray:
    """Of one window, 0 where it is missing; 1 without such a band."""
    if "coherence" not in window["band"].values:
        return np.ones(_shape(window)[1:])
    return np.nan_to_num(_band(window, "coherence")[0]) ** 2


def season_sum(change: Maps, cube: xr.Dataset) -> Maps:
    """Running sum since 1 September; a missing change counts as none, NaN until a pixel has had a value."""
    total = np.empty(change.shape, np.float32)
    sums: dict[int, np.ndarray] = {}
    for index, (year, of_window) in enumerate(zip(season_of(cube["end"].values).tolist(), change, strict=True)):
        before = sums.get(year, np.full(of_window.shape, np.nan))
        sums[year] = np.where(np.isfinite(of_window), np.nan_to_num(before) + of_window, before)
        total[index] = sums[year]
    return total


def estimate_phase_sign(training: Sequence[tuple[xr.Dataset, Sequence[int]]]) -> int:
    """Whether the phase grows (+1) or falls (−1) where snow is added: processors differ.

    The sign of the covariance, pooled over Cubes and weighted by coherence where there is such a band, between
    `phase_swe` and the change of SWE (or HS) from the window before, over pairs of neighbouring training windows that
    gain snow. Within each pair both are centred, so the arbitrary reference of the phase plays no part. +1 where
    nothing is known.

    Args:
        training: Cubes, and the indices of the training windows of each.
    """
    return -1 if sum(_phase_covariance(cube, train) for cube, train in training) < 0 else 1


def _phase_covariance(cube: xr.Dataset, train: Sequence[int]) -> float:
    target = next((name for name in ("swe", "hs") if name in cube), None)
    bands = cube["band"].values.tolist()
    if target is None or any(band not in bands for band in DERIVED["phase_swe"].needs):
        return 0.0
    inside, total = cube["mask"].values, 0.0
    for before, after in pairwise(train):
        if after != before + 1 or cube["end"].values[before] != cube["start"].values[after]:
            continue
        window = cube.isel(window=[after])
        change, weight = phase_swe_change(window, 1)[0], _squared_coherence(window)
        gained = window[target].values[0] - cube[target].values[before]
        usable = inside & np.isfinite(gained) & np.isfinite(change)
        if usable.sum() > 1 and np.mean(gained[usable]) > 0:
            centred = change[usable] - np.median(change[usable])
            total += float(np.sum(weight[usable] * centred * (gained[usable] - np.median(gained[usable]))))
    return total


def _each(cube: xr.Dataset, make: Callable[[xr.Dataset], np.ndarray]) -> Maps:
    """What `make` gives for each window by itself: its intermediate maps are those of one window."""
    made = np.empty(_shape(cube), np.float32)
    for index in range(len(made)):
        made[index] = make(cube.isel(window=[index]))[0]
    return made


def _band(cube: xr.Dataset, name: str) -> Maps:
    return cube["features"].sel(band=name).values


def _shape(cube: xr.Dataset) -> tuple[int, ...]:
    return cube["features"].isel(band=0).shape


def _gradient(cube: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the ground per m to the east and to the north, ``(window, y, x)``; NaN beside missing elevation."""
    y, x = cube["y"].values, cube["x"].values
    metres = np.ones((len(y), 1)), np.ones((len(y), 1))
    if cube.rio.crs.is_geographic:
        degree = np.radians(1) * SPHERE
        metres = np.full((len(y), 1), degree), degree * np.cos(np.radians(y))[:, None]
    elevation = _band(cube, "elevation").astype(np.float64)
    to_north = np.gradient(elevation, y, axis=1) / metres[0] if len(y) > 1 else np.zeros_like(elevation)
    to_east = np.gradient(elevation, x, axis=2) / metres[1] if len(x) > 1 else np.zeros_like(elevation)
    return to_east, to_north
