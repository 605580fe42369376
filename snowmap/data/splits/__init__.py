"""Which windows train, validate and test, and where: ``docs/splits.md`` says what each split can tell.

`dates` and `areas` divide windows and the map by dates and shapes alone; `scenes` divides scenes whose labels are the
same on all dates.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from snowmap.data.cube import archive_names
from snowmap.data.sequences import SEASON, Dates
from snowmap.data.splits.dates import OF_THE_MAP, SPLITS
from snowmap.data.splits.scenes import OF_CUBES, check_classes, refuse_same_labels
from snowmap.data.splits.split import Split
from snowmap.errors import SnowmapError

logger = logging.getLogger(__name__)


def make_split(
    name: str, start: Dates, end: Dates, *, shape: Sequence[int] | None = None, **options: int | None
) -> Split:
    """The split called `name`; `shape`, height and width of the grid, is for those `OF_THE_MAP`.

    Raises:
        SnowmapError: When the split cannot be made from these windows.
    """
    return SPLITS[name](start, end, **options, **({"shape": shape} if name in OF_THE_MAP else {}))


def split_cubes(cubes: Sequence[xr.Dataset], options: Mapping[str, Any]) -> list[Split]:
    """The split of each Cube, from its own dates and with the same options.

    Args:
        cubes: The Cubes.
        options: ``name`` and arguments of the split.

    Raises:
        SnowmapError: When a Cube cannot be split (with several Cubes it is named), or a class has no training pixel.
    """
    if make := OF_CUBES.get(options["name"]):
        splits = make(cubes, **{key: value for key, value in options.items() if key != "name"})
    else:
        refuse_same_labels(cubes, options["name"])
        splits = _splits_of_dates(cubes, options)
    check_classes(cubes, splits)
    return splits


def check_reach(options: Mapping[str, Any], time: int | str, pixels: int) -> None:
    """Refuse a gap that is shorter than the sequences (see `blocked`), warn of a buffer that a net looks across.

    Sequences since 1 September have no length that a gap could keep, which is said; `winters` holds them apart.

    Args:
        options: Name and arguments of the split.
        time: Windows in a sequence, or ``season``.
        pixels: How far the net looks, see `snowmap.models.net.Net.reach`.

    Raises:
        SnowmapError: When the split has a gap and a sequence reaches across it.
    """
    if options.get("buffer", pixels) < pixels:
        logger.warning(
            "split.buffer=%d is less than the %d pixels that the net looks around each: beside the border, maps that "
            "are scored read what maps that train read; split.buffer=%d keeps them apart",
            *(options["buffer"], pixels, pixels),
        )
    if "gap" not in options:
        return
    if time == SEASON:
        logger.warning("sequences since 1 September reach across split.gap; split=winters keeps whole seasons apart")
    elif int(time) > max(1, options["gap"]):
        raise SnowmapError(
            f"split.gap={options['gap']} is shorter than the sequences of {time} windows, which would reach from one "
            f"subset into the other; give split.gap={time}"
        )


def _splits_of_dates(cubes: Sequence[xr.Dataset], options: Mapping[str, Any]) -> list[Split]:
    splits, each = [], [dict(options) for _ in cubes]
    if options["name"] == "regions":
        chosen = held_out_archive(archive_names([cube.attrs for cube in cubes]), options["holdout"])
        each = [{**options, "held_out": number == chosen} for number in range(len(cubes))]
        for of_cube in each:
            del of_cube["holdout"]
    for cube, of_cube in zip(cubes, each, strict=True):
        try:
            start, end = cube["start"].values, cube["end"].values
            splits.append(make_split(start=start, end=end, shape=cube["mask"].shape, **of_cube))
        except SnowmapError as error:
            raise SnowmapError(f"{cube.attrs['archive']}: {error}") if len(cubes) > 1 else error from error
    return splits


def held_out_archive(names: Sequence[str], holdout: int | str | None) -> int:
    """Which archive tests with ``split=regions``.

    Args:
        names: Short names of the archives.
        holdout: The number of one, its name, or None for the last.

    Raises:
        SnowmapError: When there is no other archive to train on, or none of this number or name.
    """
    if len(names) < 2:
        raise SnowmapError("split=regions holds one of several archives out; give data.root=[one,another]")
    chosen = len(names) - 1 if holdout is None else names.index(holdout) if holdout in names else holdout
    if not isinstance(chosen, int) or chosen >= len(names):
        known = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
        raise SnowmapError(f"split.holdout={holdout} is none of the archives of data.root; there are {known}")
    return chosen
