"""What a product's module gives to the recipe: the keys that a user may type, and the function that reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from snowmap.config.fields import Expected, choice, number, special


def paths() -> Any:
    """A field of one or several paths or patterns such as ``downloads/*.zip``, relative to the recipe's folder."""

    def holds(value: Any) -> bool:
        several = value if isinstance(value, list) else [value]
        return bool(several) and all(isinstance(path, str) and path for path in several)

    return special("???", "a path, a pattern such as downloads/*.zip, or a list of them", holds)


def file(default: Any) -> Any:
    """A field of a file, relative to the recipe's folder; what is read is its whole path."""
    expected = Expected("a path", lambda value: bool(value))
    return field(default=default, metadata={"expected": expected, "file": True})


@dataclass
class Product:
    """Keys of every product; the keys of a reader derive from those of its kind."""

    source: str = "???"
    path: Any = paths()


@dataclass
class Insar(Product):
    """Keys of every InSAR product."""

    track: str | None = None  # text in the track of the pairs to take, where a folder holds several
    components: str = choice("largest", "all")  # connected components whose unwrapped phase is kept


@dataclass
class Weather(Product):
    """Keys of every product of weather."""

    lapse_rate: float | None = number(None, at_least=-20, at_most=20)  # K km⁻¹, positive where it cools with height;
    # None: the field's own, each day, where its cells differ enough in height, else 6.5


@dataclass
class Snow(Product):
    """Keys of every product of snow: a target."""

    unit: str | None = None  # of the values, where the product states none
    days: int = 0  # that a map may differ from the end of the window
    aggregate: str = choice("end", "mean")  # the map at the end of the window, or the mean of those in it


class Reader(NamedTuple):
    """A product's reader.

    Attributes:
        keys: Dataclass of its keys in a recipe: `Insar`, `Weather`, `Snow`, or derived from it.
        read: ``(paths, options)``: what ``path`` matches, sorted, and the checked keys; of snow also ``target``,
            ``swe`` or ``hs``, under which the recipe names the product. Gives `snowmap.products.pairs.InsarPairs`,
            `snowmap.products.weather.DailyWeather` or `snowmap.products.snow.SnowMaps`.
        example: Lines of a recipe below ``source:``, with comments.
    """

    keys: type[Product]
    read: Callable[[list[Path], Mapping[str, Any]], Any]
    example: str = ""
