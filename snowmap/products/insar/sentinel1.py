"""Which track of Sentinel-1 an acquisition is of."""

import numpy as np

from snowmap.errors import SnowmapError

ORBITS = 175
"""In a repeat cycle of 12 days."""
_FIRST: dict[str, int] = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 42}
"""Absolute orbits whose relative orbit is 1, modulo `ORBITS` (MintPy, Sentinel-1 users' tools)."""
_S1C_MOVED, _FIRST_MOVED = np.datetime64("2026-06-16"), 99
"""Sentinel-1C changed its place in the orbit in June 2026."""
_BURST_CYCLE_S, _PREAMBLE_S = 2.758273, 2.299849
"""Of IW (Sentinel-1 Level 1 Detailed Algorithm Definition, table 9-7)."""


def relative_orbit(satellite: str, absolute: int, day: np.datetime64) -> int:
    """Relative orbit, 1 … 175, of an absolute orbit.

    Args:
        satellite: ``S1A`` … ``S1D``.
        absolute: Number of the orbit since launch.
        day: Of the acquisition.

    Raises:
        SnowmapError: When the satellite is another one.
    """
    if satellite not in _FIRST:
        raise SnowmapError(f"satellite {satellite} is not known; expected one of {', '.join(_FIRST)}")
    first = _FIRST_MOVED if satellite == "S1C" and day >= _S1C_MOVED else _FIRST[satellite]
    return (absolute - first) % ORBITS + 1


def relative_orbit_of_burst(burst: int) -> int:
    """Relative orbit, 1 … 175, of the relative number of an IW burst, which counts through the repeat cycle."""
    orbit_s = 12 * 24 * 3600 / ORBITS
    return int(((burst - 0.5) * _BURST_CYCLE_S + _PREAMBLE_S) // orbit_s) + 1
