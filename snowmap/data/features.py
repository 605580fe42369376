"""Derived features: further bands of a Cube, computed from its own, for networks and baselines alike.

`derive` gives them as maps, `with_derived` appends them to the Cube under names and units of their own, so that
everything after it treats them as bands. A derived feature of a window uses that window and earlier ones only, except
for the dry reference of `wet_snow`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float32

from snowmap.data.cube import Quantity, band_coordinates, quantities_of, units_of
from snowmap.data.grid import gradient, steepness
from snowmap.data.radar.network import Maps, closure, season_sum
from snowmap.data.radar.phase import DEFAULT_PHASE, PHASE_NEEDS, Phase, added_change, phase_swe_change, referenced
from snowmap.data.radar.wet_snow import wet_snow
from snowmap.data.sequences import added_days, length_days
from snowmap.errors import SnowmapError
from snowmap.physics import snow_fraction
from snowmap.units import BAND_UNITS

FLAT = 1e-6
"""Rise per m below which ground faces no direction: what rounding of float32 heights makes of a plain."""


SHARED = "phase_swe_of_all"
"""Variable of a Cube, in `derive` alone, that holds `phase_swe` for all features that are made of it."""


class Derived(NamedTuple):
    """A derived feature.

    Attributes:
        bands: Those that it gives, by name.
        needs: Bands that it is computed from.
        make: ``(cube, phase) -> {band: maps}``.
        summed: Whether it looks back to 1 September, beyond its window.
    """

    bands: Mapping[str, Quantity]
    needs: tuple[str, ...]
    make: Callable[[xr.Dataset, Phase], Mapping[str, Maps]]
    summed: bool = False


def day_of_year(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``day_of_year_cos``, ``day_of_year_sin`` (1): the end of the window on the circle of the year."""
    end = cube["end"].dt
    angle = 2 * np.pi * ((end.dayofyear - 1) / (365 + end.is_leap_year)).values[:, None, None]
    shape = _shape(cube)
    return {  # views of one value for each window, which take no memory
        "day_of_year_cos": np.broadcast_to(np.cos(angle).astype(np.float32), shape),
        "day_of_year_sin": np.broadcast_to(np.sin(angle).astype(np.float32), shape),
    }


def slope(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``slope`` (degree): steepest slope of the ground, by central differences of elevation."""
    return {"slope": _each(cube, steepness)}


def aspect(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``aspect_east``, ``aspect_north`` (1): direction that the ground faces, as a unit vector; 0 on flat ground."""

    def facing(window: xr.Dataset, axis: int) -> np.ndarray:
        rise = gradient(window)
        length = np.hypot(*rise)
        return np.where(length > FLAT, -rise[axis] / np.where(length > FLAT, length, 1), 0 * rise[axis])

    return {
        "aspect_east": _each(cube, lambda window: facing(window, 0)),
        "aspect_north": _each(cube, lambda window: facing(window, 1)),
    }


def cumulative_pdd(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``cumulative_pdd`` (degC d): positive degree days since 1 September, the window included.

    Of a window that overlaps earlier ones the share of the days that it adds counts.
    """
    return {"cumulative_pdd": season_sum(_band(cube, "pdd") * _added_share(cube), cube)}


def cumulative_snowfall(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``cumulative_snowfall`` (mm): snow that fell since 1 September by the weather, the window included.

    Of the precipitation of each window the share of `snowmap.physics.snow_fraction` at its mean temperature. Of a
    window that overlaps earlier ones the share of the days that it adds counts.
    """
    snow = snow_fraction(_band(cube, "mean_temperature"))
    return {"cumulative_snowfall": season_sum(_band(cube, "precipitation") * snow * _added_share(cube), cube)}


def phase_swe(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``phase_swe`` (mm): ΔSWE that the window adds, from its unwrapped phase, were the snow dry.

    Sign × (phase − that of the reference), divided by the sensitivity of the retrieval (Oveisgharan et al. 2024, unless
    another one is chosen). Where windows overlap, what of it the windows before it do not tell; see `added_change`.
    """
    if SHARED in cube:
        return {"phase_swe": cube[SHARED].values}
    return {"phase_swe": added_change(phase_swe_change(cube, phase), cube, phase)}


def coherent_phase_swe(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``coherent_phase_swe`` (mm): `phase_swe` × coherence², so that a change that cannot be trusted counts little."""
    return {"coherent_phase_swe": phase_swe(cube, phase)["phase_swe"] * _band(cube, "coherence") ** 2}


def cumulative_phase_swe(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``cumulative_phase_swe`` (mm): `phase_swe` summed since 1 September, the window included."""
    return {"cumulative_phase_swe": season_sum(phase_swe(cube, phase)["phase_swe"], cube)}


def cumulative_coherent_phase_swe(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``cumulative_coherent_phase_swe`` (mm): `coherent_phase_swe` summed since 1 September, the window included."""
    (change,) = coherent_phase_swe(cube, phase).values()
    return {"cumulative_coherent_phase_swe": season_sum(change, cube)}


def phase_closure(cube: xr.Dataset, phase: Phase) -> dict[str, Maps]:
    """``phase_closure`` (rad), ``cycle_slip`` (1): how far the phase is from that of two windows of the same days.

    Of the triplets of interferograms that the window closes: those of which it is the longest. See `closure`.
    """
    mean, slip = closure(referenced(cube, phase), cube["start"].values, cube["end"].values)
    return {"phase_closure": mean, "cycle_slip": slip}


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
    "cumulative_snowfall": Derived(
        {"cumulative_snowfall": Quantity("mm", 0.0, 20000.0, "snowfall by the weather since 1 September")},
        ("precipitation", "mean_temperature"),
        cumulative_snowfall,
        summed=True,
    ),
    "wet_snow": Derived(
        {"wet_snow": Quantity("1", 0.0, 1.0, "wet snow, 1, by the drop of backscatter")}, ("intensity",), wet_snow
    ),
    "phase_swe": Derived(
        {"phase_swe": Quantity(*WINDOW_MM, "change of SWE from the unwrapped phase")}, PHASE_NEEDS, phase_swe
    ),
    "coherent_phase_swe": Derived(
        {"coherent_phase_swe": Quantity(*WINDOW_MM, "change of SWE from the phase, weighted by coherence")},
        (*PHASE_NEEDS, "coherence"),
        coherent_phase_swe,
    ),
    "cumulative_phase_swe": Derived(
        {"cumulative_phase_swe": Quantity(*SEASON_MM, "change of SWE from the phase since 1 September")},
        PHASE_NEEDS,
        cumulative_phase_swe,
        summed=True,
    ),
    "cumulative_coherent_phase_swe": Derived(
        {
            "cumulative_coherent_phase_swe": Quantity(
                *SEASON_MM, "change of SWE from the phase since 1 September, weighted by coherence"
            )
        },
        (*PHASE_NEEDS, "coherence"),
        cumulative_coherent_phase_swe,
        summed=True,
    ),
    "phase_closure": Derived(
        {
            "phase_closure": Quantity("rad", 0.0, 100.0, "mean closure of the triplets that the window closes"),
            "cycle_slip": Quantity("1", 0.0, 1.0, "whether most of these triplets are off by whole cycles"),
        },
        ("unwrapped_phase", "elevation"),
        phase_closure,
        summed=True,
    ),
}
"""Every derived feature under the name that users type (``data.derived=[slope,cumulative_pdd]``)."""

DERIVED_BANDS = {band: quantity for derived in DERIVED.values() for band, quantity in derived.bands.items()}
"""The bands that derived features give, in the order in which they stand behind those of the Cube."""


def with_derived(cube: xr.Dataset, names: Sequence[str], phase: Phase = DEFAULT_PHASE) -> xr.Dataset:
    """The Cube with derived features as further bands, which copies all bands; for its arguments see `derive`."""
    made = derive(cube, names, phase)
    if not made:
        return cube
    known = quantities_of(cube)
    bands = {band: known[band] for band in cube["band"].values.tolist()} | {band: DERIVED_BANDS[band] for band in made}
    features = np.concatenate([cube["features"].values, np.stack(list(made.values()), axis=1)], axis=1)
    whole = cube.drop_dims("band").assign_coords(band_coordinates(bands))
    return whole.assign(features=(("window", "band", "y", "x"), features))


def derive(cube: xr.Dataset, names: Sequence[str], phase: Phase = DEFAULT_PHASE) -> dict[str, Maps]:
    """The maps of derived features by the names of their bands, as far as the Cube does not hold them already.

    Args:
        cube: The Cube.
        names: Keys of `DERIVED`.
        phase: How phase becomes a change of SWE.

    Raises:
        SnowmapError: When a name is unknown, or the Cube lacks a band that it is computed from.
    """
    if unknown := [name for name in names if name not in DERIVED]:
        raise SnowmapError(f"data.derived={unknown} is unknown; known are {', '.join(DERIVED)}")
    chosen = [name for name in DERIVED if name in names]
    for name in chosen:
        refuse_unfit_bands(cube, DERIVED[name].needs, f"the derived feature '{name}'")
    source = cube
    if sum("phase_swe" in name for name in chosen) > 1:
        source = cube.assign({SHARED: (("window", "y", "x"), phase_swe(cube, phase)["phase_swe"])})
    made: dict[str, Maps] = {}
    for name in chosen:
        made |= DERIVED[name].make(source, phase)
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


def _added_share(cube: xr.Dataset) -> Float32[np.ndarray, "window 1 1"]:
    """Of the days of each window those that the windows before it do not cover."""
    start, end = cube["start"].values, cube["end"].values
    added = cube["added_days"].values if "added_days" in cube.coords else added_days(start, end)
    return np.where(end > start, added / length_days(start, end), 1).astype(np.float32)[:, None, None]


def _each(cube: xr.Dataset, make: Callable[[xr.Dataset], np.ndarray]) -> Maps:
    """What `make` gives for each window by itself: its intermediate maps are those of one window."""
    made = np.empty(_shape(cube), np.float32)
    for index in range(len(made)):
        made[index] = make(cube.isel(window=[index]))[0]
    return made


def _band(cube: xr.Dataset, name: str) -> Maps:
    return cube["features"].sel(band=name).values


def _shape(cube: xr.Dataset) -> tuple[int, ...]:
    return tuple(cube.sizes[name] for name in ("window", "y", "x"))
