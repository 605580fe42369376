"""Units of products, as they state them, in °C, mm of water and m of snow."""

import re
from typing import NamedTuple

from snowmap.errors import SnowmapError
from snowmap.units import metres_per

SPELT = {
    r"met(?:re|er)s?": "m",
    r"centimet(?:re|er)s?": "cm",
    r"millimet(?:re|er)s?": "mm",
    r"inch(?:es)?": "in",
    r"kg\s*/\s*m\s*(?:\^|\*\*)?\s*2|kg\s+m\s*(?:\^|\*\*)\s*-?2": "kg m-2",
    r"m of water equivalent": "m",
}
"""Units of lengths and masses as products write them, and as `metres_per` takes them."""

INCH = 0.0254

TEMPERATURES = {
    r"k|kelvins?|deg_?k": (1.0, -273.15),
    r"°?c|celsius|deg(?:rees?)?[ _]?c(?:elsius)?": (1.0, 0.0),
    r"°?f|fahrenheit|deg(?:rees?)?[ _]?f(?:ahrenheit)?": (5 / 9, -160 / 9),
}
"""Factor and addend to °C."""

RATES = {r"s|sec|seconds?": 86400.0, r"h|hr|hours?": 24.0, r"d|days?": 1.0}
"""Times a day, by the unit of time."""


class Linear(NamedTuple):
    """What turns values into another unit: value · `factor` + `addend`; `rate`: they are an amount a day."""

    factor: float
    addend: float = 0.0
    rate: bool = False


def to_celsius(unit: str, source: str) -> Linear:
    """From a unit of temperature to °C.

    Raises:
        SnowmapError: When the unit is unknown.
    """
    for form, (factor, addend) in TEMPERATURES.items():
        if re.fullmatch(form, unit.strip().lower()):
            return Linear(factor, addend)
    raise SnowmapError(f"{source}: the unit '{unit}' of temperature is unknown; known are K, degC, degF")


def to_millimetres(unit: str, source: str) -> Linear:
    """From a unit of precipitation, an amount or a rate, to mm, or mm a day.

    Raises:
        SnowmapError: When the unit is unknown.
    """
    amount, *time = re.split(r"\s*/\s*(?=[a-z]+$)|\s+(?=[a-z]+\s*(?:\^|\*\*)?-1$)", unit.strip().lower())
    spelt = re.sub(r"\s*(\^|\*\*)?-1$", "", time[0]) if time else ""
    rate = next((rate for form, rate in RATES.items() if re.fullmatch(form, spelt)), None)
    if time and rate is None:
        raise SnowmapError(f"{source}: the unit '{unit}' of precipitation is unknown; known are m, mm, kg m-2, mm/day")
    return Linear(1e3 * to_metres(amount, "swe", source).factor * (rate or 1.0), rate=rate is not None)


def to_metres(unit: str, quantity: str, source: str) -> Linear:
    """From a unit of snow to m of snow (``hs``) or water (``swe``).

    Raises:
        SnowmapError: When the unit is unknown.
    """
    spelt = unit.strip().lower()
    for form, word in SPELT.items():
        spelt = word if re.fullmatch(form, spelt) else spelt
    return Linear(INCH if spelt == "in" else metres_per(spelt, quantity, source))


def one_unit(stated: str | None, key: str | None, source: str) -> str:
    """The unit that a product states, else the one of the recipe's key ``unit``.

    Raises:
        SnowmapError: When there is none, or both differ.
    """
    if stated and key and to_text(stated) != to_text(key):
        raise SnowmapError(f"{source}: the file states the unit '{stated}', the recipe unit: {key}; leave out the key")
    if not (stated or key):
        raise SnowmapError(f"{source}: the file states no unit; give the key unit:, e.g. unit: cm")
    return stated or key or ""


def to_text(unit: str) -> str:
    """A unit without what spelling alone makes different."""
    spelt = unit.strip().lower()
    return next((word for form, word in SPELT.items() if re.fullmatch(form, spelt)), spelt)
