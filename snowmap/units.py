"""Units of snow maps and of observations beside them."""

from snowmap.errors import SnowmapError

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Metres in a unit of length: of snow for HS, of water for SWE."""

MASS = "kg m-2"
"""Unit of SWE as a mass; 1 kg m⁻² is 1 mm of water."""

IN_UNITS = ("rmse", "mae", "bias", "median_error", "nmad")
"""Scores that are in the unit of the target; the others have none."""


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
        for other in ("⁻²", "²"):
            spelt = spelt.replace(other, "-2" if other == "⁻²" else "2")
        if spelt.replace("^", "").replace("**", "") in ("kg m-2", "kg/m2"):
            spelt = "mm"
    if spelt not in METRES:
        known = ", ".join(METRES) + (f", {MASS}" if quantity == "swe" else "")
        raise SnowmapError(f"{source}: the unit '{unit}' of {quantity} is unknown; known are {known}")
    return METRES[spelt]
