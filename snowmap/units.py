"""Units of snow maps and of observations beside them, from which depth on there is snow, and levels of intervals."""

from collections.abc import Mapping

from snowmap.errors import SnowmapError

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Metres in a unit of length: of snow for HS, of water for SWE."""

METRES_PER_DEGREE = 111_195.0
"""Of latitude, on a sphere of 6371 km."""

MASS = "kg m-2"
"""Unit of SWE as a mass; 1 kg m⁻² is 1 mm of water."""

IN_UNITS = ("rmse", "mae", "bias", "median_error", "nmad")
"""Scores that are in the unit of the target; the others have none."""

SNOW_DEPTH_M: Mapping[str, float] = {"hs": 0.05, "swe": 0.010}
"""A pixel with this or more is covered with snow, if nothing else is said: m of snow, m of water."""

WET_SNOW_DB = -3.0
"""Change of C-band backscatter below which snow is wet, if nothing else is said (Nagler & Rott 2000; −2 in Nagler et
al. 2016)."""

MOST_SNOW_M: Mapping[str, float] = {"hs": 15.0, "swe": 6.0}
"""More at a station is an error: m of snow, m of water."""

QUANTILES: Mapping[str, float] = {"q05": 0.05, "q25": 0.25, "q75": 0.75, "q95": 0.95}
"""Levels of the layers of uncertainty beside a map, which is the median, by their names."""

INTERVALS: Mapping[int, tuple[str, str]] = {50: ("q25", "q75"), 90: ("q05", "q95")}
"""Quantiles at the ends of each central interval, by its share in per cent."""

BAND_UNITS: Mapping[str, str] = {
    "coherence": "1",
    "elevation": "m",
    "incidence": "degree",
    "intensity": "dB",
    "unwrapped_phase": "rad",
    "delay": "m",
    "mean_temperature": "degC",
    "pdd": "degC d",
    "precipitation": "mm",
    "glacier": "1",
}
"""In which the formulas of derived features, nets and baselines take the bands that they read by name."""


def metres_per(unit: str, quantity: str, source: str) -> float:
    """Metres (of snow for ``hs``, of water for ``swe``) in one `unit`.

    Args:
        unit: ``m``, ``cm`` or ``mm``; for SWE also with ``w.e.`` behind it, or ``kg m-2`` in its usual spellings.
        quantity: ``hs`` or ``swe``.
        source: Where the unit stands, for the error.

    Raises:
        SnowmapError: When the unit is unknown.
    """
    spelt = unit.strip().lower()
    if quantity == "swe":
        spelt = spelt.removesuffix("w.e.").removesuffix("we").strip()
        spelt = spelt.replace("⁻²", "-2").replace("²", "2")
        if spelt.replace("^", "").replace("**", "") in ("kg m-2", "kg/m2"):
            spelt = "mm"
    if spelt not in METRES:
        known = ", ".join(METRES) + (f", {MASS}" if quantity == "swe" else "")
        raise SnowmapError(f"{source}: the unit '{unit}' of {quantity} is unknown; known are {known}")
    return METRES[spelt]


def unit_factor(unit: str, other: str, quantity: str = "swe", source: str = "the maps") -> float:
    """By what a value in `unit` is multiplied to be in the `other` one; arguments and errors as of `metres_per`."""
    return metres_per(unit, quantity, source) / metres_per(other, quantity, source)


def snow_threshold(target: str, unit: str, depth_m: Mapping[str, float] = SNOW_DEPTH_M) -> float:
    """A pixel with this value or more is covered with snow, in the unit of the target.

    Args:
        target: Its name.
        unit: Its unit.
        depth_m: The same in m for each target; 0 counts for one that is not in it.
    """
    if target not in depth_m:
        return 0.0
    return float(f"{depth_m[target] / metres_per(unit, target, 'the maps'):.9g}")  # 7 cm is 7, not 7.000000000000001
