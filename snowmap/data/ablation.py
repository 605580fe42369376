"""What a network sees of the bands: all of them, or a Cube from which some were taken away.

The Cube keeps its form, so the same architecture runs in every case, also one that cannot do without a band. A band
that is taken away has one value everywhere, missing pixels included, because what is missing tells something
too: at its mean in the training windows of all Cubes, and at 0 if it is a phase, whose constant is arbitrary (0 is no
change of snow). A band that is shuffled keeps its maps, but each window gets those of another window of the same Cube
and subset of the split; no acquisition changes sides. Derived features and the sign of the phase are then made from
what is left.

The checkpoint keeps the plan, and the Preprocessor applies it to whatever Cube it is given. The baselines never see
it: they are the same in every case.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import xarray as xr

from snowmap.data.cube import narrowed, units_of, window_names
from snowmap.data.normalize import mean_and_std
from snowmap.data.splits.split import Split
from snowmap.errors import SnowmapError

WORDS = ("all", "no_sar", "shuffled_sar", "weather_only")
"""What users type (``ablation=no_sar``), beside ``without_<band>``."""

Plan = Mapping[str, Any]
"""Plain containers: ``name``; ``values``, that of each band that is taken away; ``shuffled``, the bands that are
shuffled; ``seed`` of the shuffle, and ``subsets``, for each Cube the names of the windows of each subset of its split.
"""


def plan_ablation(name: str, cubes: Sequence[xr.Dataset], splits: Sequence[Split], seed: int) -> dict[str, Any] | None:
    """What `ablate` has to do; None for ``all``, which leaves the Cube as it is.

    Args:
        name: One of `WORDS`, or ``without_<band>``.
        cubes: The Cubes that are trained on, which have the same bands.
        splits: Their windows; the means are taken from the training windows and the training area.
        seed: Of the shuffle.

    Raises:
        SnowmapError: When the Cubes have none of the bands that are to be taken away.
    """
    if name == "all":
        return None
    units = units_of(cubes[0])
    bands, groups = list(units), dict(zip(units, cubes[0]["group"].values.tolist(), strict=True))
    chosen = {
        "no_sar": [band for band in bands if groups[band] == "sar"],
        "shuffled_sar": [band for band in bands if groups[band] == "sar"],
        "weather_only": [band for band in bands if groups[band] != "weather"],
    }.get(name, [band for band in bands if name == f"without_{band}"])
    if not chosen:
        raise SnowmapError(
            f"ablation={name} would change nothing: data.bands has none of the bands that it alters; use ablation=all"
        )
    plan = {"name": name, "values": {}, "shuffled": [], "seed": seed}
    pairs = list(zip(cubes, splits, strict=True))
    plan["subsets"] = [split.named(cube["start"].values, cube["end"].values) for cube, split in pairs]
    if name == "shuffled_sar":
        return plan | {"shuffled": chosen}
    values = dict.fromkeys(chosen, 0.0)
    for band in (band for band in chosen if units[band] != "rad"):
        maps = [
            (cube["features"].sel(band=band).values, split.train, narrowed(cube, split.train_area)["mask"].values)
            for cube, split in pairs
        ]
        values[band], _ = mean_and_std(maps, f"band '{band}'")
    return plan | {"values": values}


def ablate(cube: xr.Dataset, plan: Plan | None) -> xr.Dataset:
    """The Cube that the net sees.

    Args:
        cube: The Cube; a dask array of `features` stays one.
        plan: Of `plan_ablation`; None leaves the Cube as it is.

    Returns:
        The Cube itself where there is nothing to do, else one with other `features`.
    """
    if plan is None:
        return cube
    names = window_names(cube)
    # of the Cube that was trained on whose windows are most alike: of it, if this is it
    subsets = min(plan["subsets"], key=lambda each: len({*names} ^ {*chain(*each.values())}))
    order = shuffled_order(names, subsets, plan["seed"])
    features, bands = cube["features"].data, []
    for index, band in enumerate(cube["band"].values.tolist()):
        maps = features[:, index]
        if band in plan["values"]:
            maps = np.full_like(maps, plan["values"][band])
        bands.append(maps[order] if band in plan["shuffled"] else maps)
    return cube.assign(features=(cube["features"].dims, np.stack(bands, axis=1)))


def shuffled_order(names: Sequence[str], subsets: Mapping[str, Sequence[str]], seed: int) -> list[int]:
    """For each window the one whose maps it gets: another one of the same subset, where there is another.

    Args:
        names: Of the windows.
        subsets: Names of the windows of each subset of the split; windows of none are shuffled among themselves.
        seed: The order follows from it alone.
    """
    generator = np.random.default_rng(seed)
    sides = [tuple(name in windows for windows in subsets.values()) for name in names]
    order = list(range(len(names)))
    for side in sorted(set(sides)):
        # one round through all of them in random order: none keeps its maps
        ring = generator.permutation([window for window, its_side in enumerate(sides) if its_side == side]).tolist()
        for window, other in zip(ring, [*ring[1:], ring[0]], strict=True):
            order[window] = other
    return order
