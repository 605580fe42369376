"""From a recipe to windows: which pairs, weather and maps of snow make which of them, and what is left out."""

import functools
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snowmap.build.bands import LOOK
from snowmap.build.mosaics import merged
from snowmap.build.recipe import Plan, read_recipe
from snowmap.data.cube import date_order, window_name
from snowmap.errors import SnowmapError
from snowmap.products.outlines import check_outlines
from snowmap.products.overlap import check_overlap
from snowmap.products.pairs import InsarPairs, Opener, Pair
from snowmap.products.rasters import open_raster
from snowmap.products.snow import SnowMaps
from snowmap.products.weather import DailyWeather, missing_days
from snowmap.sources.trentino.raster import SAME_WAVELENGTH
from snowmap.tables import listed

OPTIONAL_LAYERS = ("intensity", "delay", "layover_shadow")
"""Of a pair; the archive has such a band where all pairs have it. The others are needed."""

STATIC_BANDS = ("glacier", "layover_shadow")
"""One map for all windows."""


class Prepared(NamedTuple):
    """What is to be built.

    Attributes:
        plan: The recipe.
        pairs: One for each window, in `snowmap.data.cube.date_order`.
        weather: None without.
        snow: Maps of each target.
        bands: Of the archive.
        left_out: One sentence for each product, or band, that is not taken.
    """

    plan: Plan
    pairs: list[Pair]
    weather: DailyWeather | None
    snow: dict[str, SnowMaps]
    bands: list[str]
    left_out: list[str]

    @property
    def windows(self) -> list[str]:
        """Names of the windows."""
        return [window_name(pair.start, pair.end) for pair in self.pairs]

    @property
    def dem(self) -> Opener | None:
        """Elevation of the recipe."""
        return functools.partial(open_raster, self.plan.dem) if self.plan.dem else None

    def maps_of(self, target: str, pair: Pair) -> list[np.datetime64]:
        """The days whose maps make a target of a window; empty where there is none."""
        days, options = np.array(sorted(self.snow[target].maps), "datetime64[D]"), self.plan.targets[target].options
        if options["aggregate"] == "mean":
            return list(days[(days > pair.start) & (days <= pair.end)])
        distance = np.abs((days - pair.end).astype(int))
        near = distance <= options["days"]
        return [days[near][distance[near].argmin()]] if near.any() else []


def prepare(recipe: Path) -> Prepared:
    """Read a recipe, and what its products say of themselves; no raster is read.

    Args:
        recipe: The YAML file.

    Raises:
        SnowmapError: When products contradict each other, or lack what every window needs.
    """
    plan = read_recipe(recipe)
    for path in plan.outlines.values():
        check_outlines(path, plan.grid)
    products: InsarPairs = plan.insar.reader.read(plan.insar.files, plan.insar.options)
    pairs = _of_one_track(products, plan)
    weather = plan.weather and plan.weather.reader.read(plan.weather.files, plan.weather.options)
    bands, pairs, left_out = _bands(pairs, plan, weather)
    pairs, beside = merged(pairs, plan.grid)
    snow = {
        name: choice.reader.read(choice.files, choice.options | {"target": name})
        for name, choice in plan.targets.items()
    }
    prepared = Prepared(plan, pairs, weather, snow, bands, [*products.left_out, *left_out, *beside])
    if weather is not None:
        _refuse_missing_days(weather, pairs)
    for name, maps in snow.items():
        _refuse_far_maps(name, maps, plan)
        prepared.left_out.extend(maps.left_out)
        if not any(prepared.maps_of(name, pair) for pair in pairs):
            days, most = sorted(maps.maps), plan.targets[name].options["days"]
            raise SnowmapError(
                f"targets.{name}: its maps are of {days[0]} to {days[-1]}, none within {most} days of the end of a "
                f"window ({pairs[0].end} to {pairs[-1].end}); raise targets.{name}.days, or get maps of these dates"
            )
    return prepared


def _of_one_track(products: InsarPairs, plan: Plan) -> list[Pair]:
    """The pairs of the period and of the requested track, of one radar."""
    if not products.pairs:
        reasons = "".join(f"\n  - {line}" for line in products.left_out[:20])
        raise SnowmapError(f"insar.path: none of the products can be used:{reasons}")
    wanted, first, last = plan.insar.options["track"], plan.keys["first"], plan.keys["last"]
    tracks: dict[str, list[Pair]] = defaultdict(list)
    for pair in products.pairs:
        tracks[pair.track].append(pair)
    counted = listed([f"'{track}' ({len(pairs)} pairs)" for track, pairs in sorted(tracks.items())])
    chosen = [track for track in tracks if wanted is None or wanted in track]
    if len(chosen) != 1:
        number = "several tracks" if chosen else "no track"
        raise SnowmapError(
            f"insar.track={wanted}: {number} of {counted}; expected one, since their geometry differs: give a part of "
            "its name as insar.track, and build an archive of each"
        )
    pairs = [
        pair
        for pair in tracks[chosen[0]]
        if (first is None or str(pair.start) >= first) and (last is None or str(pair.end) <= last)
    ]
    if not pairs:
        raise SnowmapError(f"first={first} and last={last} leave none of the {len(tracks[chosen[0]])} pairs")
    wavelengths = [pair.wavelength_m for pair in pairs]
    if max(wavelengths) / min(wavelengths) - 1 > SAME_WAVELENGTH:
        raise SnowmapError(
            f"insar.path: wavelengths of {min(wavelengths):g} and {max(wavelengths):g} m; expected pairs of one radar"
        )
    start, end = edges(pairs)
    return [pairs[index] for index in date_order(start, end)]


def edges(pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """First and last day of each pair, datetime64[ns]."""
    start, end = (np.array([getattr(pair, edge) for pair in pairs], "datetime64[ns]") for edge in ("start", "end"))
    return start, end


def _bands(pairs: list[Pair], plan: Plan, weather: DailyWeather | None) -> tuple[list[str], list[Pair], list[str]]:
    """The archive's bands, the pairs that have all of them, and what is left out."""
    left_out, kept = [], []
    unwrapped = any("unwrapped_phase" in pair.layers for pair in pairs)
    needed = ("coherence", "unwrapped_phase" if unwrapped else "wrapped_phase", "elevation", "incidence")
    for pair in pairs:
        has = {*pair.layers, *(["elevation"] if plan.dem else [])}
        has |= {"incidence"} if {*LOOK, "elevation"} <= has else set()
        if missing := [name for name in needed if name not in has]:
            hint = "; give an elevation as dem: {path: …}" if "elevation" in missing else ""
            left_out.append(f"{pair.name}: no {', '.join(missing)}{hint}")
        else:
            kept.append(pair)
    if not kept:
        raise SnowmapError(f"insar.path: no pair has all that a window needs, for example {left_out[0]}")
    bands = [
        "coherence",
        "elevation",
        "incidence",
        "phase",
        *(["displacement", "unwrapped_phase"] if unwrapped else []),
    ]
    for name in OPTIONAL_LAYERS:
        without = [pair.name for pair in kept if name not in pair.layers]
        if not without:
            bands.append(name)
        elif len(without) < len(kept):
            left_out.append(f"band '{name}': {len(without)} of {len(kept)} pairs lack it, e.g. {without[0]}")
    if weather is not None:
        bands += ["mean_temperature", "pdd", *(["precipitation"] if "precipitation" in weather.fields else [])]
    if "glaciers" in plan.outlines:
        bands.append("glacier")
    return bands, kept, left_out


def _refuse_missing_days(weather: DailyWeather, pairs: list[Pair]) -> None:
    missing = sorted({day for pair in pairs for day in missing_days(weather, pair.start, pair.end)})
    if missing:
        raise SnowmapError(
            f"weather: {weather.name} lacks {len(missing)} days of the windows: {listed(missing)}; get them, or leave "
            "their pairs out with first: and last:"
        )


def _refuse_far_maps(name: str, maps: SnowMaps, plan: Plan) -> None:
    if not maps.maps:
        reasons = "".join(f"\n  - {line}" for line in maps.left_out[:20])
        raise SnowmapError(f"targets.{name}.path: no map was found:{reasons}")
    check_overlap(maps.maps[min(maps.maps)](), f"targets.{name}: {maps.name}", plan.grid)
