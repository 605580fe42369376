"""What a key of the configuration may hold, declared beside the key."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from omegaconf import MISSING


@dataclass
class Named:
    """A choice by its name; what derives from it has further keys."""

    name: str = MISSING


class Expected(NamedTuple):
    """The values that a key takes, besides null where its type allows it.

    Attributes:
        words: What an error says after "expected".
        holds: Whether a value is one of them.
        choices: All of them, where they are a few words or numbers.
    """

    words: str
    holds: Callable[[Any], bool]
    choices: tuple[Any, ...] = ()


def special(default: Any, words: str, holds: Callable[[Any], bool]) -> Any:
    """A field with a rule of its own; lists are copied for each configuration."""
    metadata = {"expected": Expected(words, holds)}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def choice(default: Any, *others: Any) -> Any:
    """A field that holds its default or one of a few other words or numbers; None is no choice."""
    choices = others if default is None else (default, *others)
    expected = Expected(" | ".join(map(str, choices)), lambda value: value in choices, choices)
    return field(default=default, metadata={"expected": expected})


def number(default: Any, **bounds: Any) -> Any:
    """A field that holds a finite number within the bounds of `Within`."""
    within = Within(**bounds)
    return special(default, f"a number {within}", within.holds)


def integer(default: Any, *other: int, at_most: int = 10**6, **bounds: Any) -> Any:
    """A field that holds a whole number within the bounds of `Within`, or one of the `other` numbers."""
    within = Within(at_most=at_most, **bounds)
    words = "".join(f", or {value}" for value in other)
    return special(default, f"a whole number {within}{words}", lambda value: value in other or within.holds(value))


def integers(default: Any, *, length: tuple[int, int], at_most: int = 10**6, **bounds: Any) -> Any:
    """A field that holds a list of whole numbers, of least and greatest `length`, each within bounds."""
    within, (least, greatest) = Within(at_most=at_most, **bounds), length
    count = f"{least}" if least == greatest else f"{least} to {greatest}"
    words = f"a list of {count} whole numbers {within}"
    return special(default, words, lambda value: least <= len(value) <= greatest and all(map(within.holds, value)))


def distinct(default: Any, *, least: int = 0) -> Any:
    """A field that holds a list of at least so many names, none of them twice."""
    words = f"a list of {'at least one name' if least else 'names'}, none of them empty or twice"
    return special(
        default, words, lambda value: len(value) >= least and len(set(value)) == len(value) and "" not in value
    )


def some(*words: str) -> Any:
    """A field that holds a list of some of a few words, by default of none."""
    expected = f"a list of {', '.join(words)}"
    return special([], expected, lambda value: len(set(value)) == len(value) and {*value} <= {*words})


def random_seed() -> Any:
    """A field that holds a seed of random numbers, as NumPy and PyTorch take it."""
    return integer(0, at_least=0, at_most=2**32 - 1)


def arguments(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a class of the schema, with its defaults for those that are left out, and without its ``name``.

    Raises:
        TypeError: When it has no such option.
        ValueError: When it expects another value.
    """
    chosen = kind(**options)
    for entry in fields(chosen):
        expected, value = entry.metadata.get("expected"), getattr(chosen, entry.name)
        if expected and not (value is None is entry.default) and not expected.holds(value):
            raise ValueError(f"{entry.name}={value}: expected {expected.words}")
    return {key: value for key, value in asdict(chosen).items() if key != "name"}


class Within(NamedTuple):
    """Bounds of a number, themselves included (`at_least`, `at_most`) or not; NaN and infinity lie in none."""

    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def holds(self, value: Any) -> bool:
        """Whether a number lies within."""
        return self.at_least <= value <= self.at_most and self.above < value < self.below and math.isfinite(value)

    def __str__(self) -> str:
        """In words, e.g. ``> 0 and ≤ 1``."""
        signs = zip("≥>≤<", self, strict=True)
        return " and ".join(f"{sign} {bound}" for sign, bound in signs if math.isfinite(bound))
