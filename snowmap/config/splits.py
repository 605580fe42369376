"""Keys of ``split=``."""

from dataclasses import dataclass
from typing import Any

from snowmap.config.fields import Named, integer, number, random_seed, special


def _holdout() -> Any:
    """One of several archives."""

    def holds(value: Any) -> bool:
        return value is None or (isinstance(value, str) and value != "") or (type(value) is int and value >= 0)

    return special(None, "the number of an archive, its short name, or null", holds)


def _scenes() -> Any:
    """Scenes by name, or a share of them."""

    def holds(value: Any) -> bool:
        if isinstance(value, list):
            return len({*map(str, value)}) == len(value) > 0 and all(isinstance(name, str) and name for name in value)
        return type(value) in (int, float) and 0 < value < 1

    return special(0.2, "a share above 0 and below 1, or a list of names of scenes", holds)


@dataclass
class Split(Named):
    """Arguments of every split; see `snowmap.data.splits`."""

    test: int = integer(7, at_least=1)  # windows at the end of the archive that are kept for the test


@dataclass
class InTurn(Named):
    """Training and validation windows alternate."""

    train: int = integer(5, at_least=1)
    validation: int = integer(1, at_least=1)


@dataclass
class Rolling(InTurn, Split):
    """Training and validation windows alternate; see `snowmap.data.splits.dates.rolling`."""


@dataclass
class Winters(Split):
    """A whole winter validates; see `snowmap.data.splits.dates.winters`."""

    fold: int = integer(1, at_least=0)  # which snow year of the archive validates


@dataclass
class HoldoutWinter(InTurn):
    """A whole winter tests; see `snowmap.data.splits.dates.holdout_winter`."""

    winter: int | None = integer(None, at_least=1978)  # year in which it begins; null: the last whole one


@dataclass
class Blocked(Split):
    """A block of windows validates; see `snowmap.data.splits.dates.blocked`."""

    folds: int = integer(5, at_least=2)  # blocks before the test windows
    fold: int = integer(0, at_least=0)  # which of them validates
    gap: int = integer(1, at_least=0)  # windows between two subsets; at least as many as a sequence has


@dataclass
class Expanding(Blocked):
    """What lies before a block trains, the block validates; see `snowmap.data.splits.dates.expanding`."""

    folds: int = integer(4, at_least=1)  # blocks that can validate; the first has the shortest past


@dataclass
class Spatial(Split):
    """A rectangle of the map is held out; see `snowmap.data.splits.areas.spatial`."""

    rows: int = integer(2, at_least=1)  # rectangles from north to south
    columns: int = integer(2, at_least=1)  # rectangles from west to east
    fold: int = integer(0, at_least=0)  # which of them is held out, row by row
    buffer: int = integer(8, at_least=0)  # pixels around it of neither side; about what a net sees beside a pixel


@dataclass
class Regions(InTurn):
    """A whole archive tests, the others train; see `snowmap.data.splits.dates.regions`."""

    holdout: Any = _holdout()  # which archive of data.root, by its number from 0 or its short name; null: the last


@dataclass
class Scenes(Named):
    """Whole scenes validate and test; see `snowmap.data.splits.scenes.scenes`."""

    validation: Any = _scenes()  # a share of the scenes, drawn by the seed, or their names
    test: Any = _scenes()
    seed: int = random_seed()


@dataclass
class Outlines(Named):
    """Outlines validate and test, with what is nearest to them; see `snowmap.data.splits.scenes.outlines`."""

    buffer: int = integer(8, at_least=0)  # pixels of neither side between two subsets
    validation: float = number(0.2, above=0, below=1)  # of the area
    test: float = number(0.2, above=0, below=1)
    seed: int = random_seed()


@dataclass
class Blocks(Outlines):
    """Rectangles of each scene validate and test; see `snowmap.data.splits.scenes.blocks`."""

    rows: int = integer(4, at_least=1)  # rectangles from north to south
    columns: int = integer(4, at_least=1)  # rectangles from west to east


@dataclass
class Geography(Named):
    """Blocks of the Earth validate and test; see `snowmap.sources.na_sar.index.split_patches`."""

    degrees: float = number(2.0, at_least=0.01, at_most=90)  # height and width of a block
    buffer_km: float = number(10.0, at_least=0, at_most=1000)  # of neither side, around a block
    validation: float = number(0.1, above=0, below=1)  # of the patches
    test: float = number(0.1, above=0, below=1)
    seed: int = random_seed()


SPLITS: dict[str, type] = {
    "rolling": Rolling,
    "winters": Winters,
    "holdout_winter": HoldoutWinter,
    "blocked": Blocked,
    "expanding": Expanding,
    "spatial": Spatial,
    "scenes": Scenes,
    "blocks": Blocks,
    "outlines": Outlines,
    "regions": Regions,
    "geography": Geography,
}
"""Schema of each `split=`."""
