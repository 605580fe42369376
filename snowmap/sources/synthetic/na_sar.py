"""A stand-in for NA-SAR: patches of North America in WebDataset shards, in the layout of its dataset card."""

import io
import json
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from snowmap.errors import SnowmapError
from snowmap.files import whole_folder, write_whole
from snowmap.physics import density_guyennon, per_slope_area, phase_of_delay, phase_of_swe
from snowmap.sources.synthetic.backscatter import (
    FROZEN_GROUND,
    LEVELS,
    NOISE_DB,
    OPAQUE_MM,
    SURFACES,
    TEXTURE,
    Season,
    season,
)
from snowmap.sources.synthetic.ice import LAKE_SLOPE, SMOOTHING
from snowmap.sources.synthetic.insar import (
    HEADING,
    LIQUID_DELAY,
    LOOKS,
    TURBULENCE,
    TURBULENCE_EXPONENT,
    WET_DELAY_HEIGHT,
    WET_DELAY_WEATHER,
    Geometry,
    backscatter,
    draw_multilook,
    look_geometry,
    transmission,
    true_coherence,
)
from snowmap.sources.synthetic.snow import HELD_WATER, SnowState
from snowmap.sources.synthetic.terrain import (
    TERRAIN_EXPONENT,
    Terrain,
    forest_cover,
    power_law_field,
    surface_normal,
)
from snowmap.units import METRES_PER_DEGREE

Field = NDArray[np.float64]
Arrays = dict[str, NDArray[np.float32]]

PATCH, SIDE = 128, 2
"""Pixels of a patch, and patches of a scene, on a side: what is drawn for a scene serves all of its patches."""
SPACING = 30.0  # m, the grid of OPERA RTC-S1 and of the interferograms made with it
WEST, SOUTH, EAST, NORTH = -125.0, 25.0, -65.0, 60.0
FIRST_YEAR, YEARS, REPEAT = 2017, 7, 12  # Sentinel-1's repeat cycle in days
RELIEF = (3.0, 200.0)  # m; spread of heights within a scene, of plains and of mountains
CORDILLERA, PLATEAU = -112.0, 1700.0  # degrees east and m: heights of the continent are a broad arch in the west
# m at 25° N, and per degree: the height that `season` counts from. Lower than that of glaciers, so that January has
# −2 °C at 35° N and −11 °C at 55° N in the plains of the interior (assumed)
SNOW_LINE, SNOW_LINE_BY_LATITUDE = 3500.0, 70.0
TREE_LINE, TREE_LINE_BY_LATITUDE = 3900.0, 75.0  # m at 25° N, and per degree (Körner & Paulsen 2004)
RTC_LOOKS = 13  # equivalent number of looks: log ratios of the quietest 12-day pairs of OPERA RTC-S1 (VH) give 12–15
DRIFT = 0.25  # spread of snow about what height explains, over some 100 m (Clark et al. 2011: 0.1–0.9)
TURBULENCE_HERE = TURBULENCE * (PATCH * SIDE * SPACING / 80_000.0) ** (5 / 6)  # m; TURBULENCE is over 80 km
MELT_SHARE = 0.4  # of the scenes see the onset of melt, where there is one, so that dry and wet snow are both common
WITHOUT_CROSS = 0.1  # share of scenes with one polarisation
LOWEST_QUALITY = 0.53  # of the patches in the data set
DIGITS = 11  # bits of the mantissa that are cleared: 1e-4 of a value remains, and compresses twice as fast
CORRUPT = ("cut short", "coh_view_1 missing", "NaN in dem")
"""What `corrupt` does to members, in turn."""


def synthesize_na_sar(out: Path, *, seed: int = 0, patches: int = 256, shards: int = 4, corrupt: int = 0) -> list[str]:
    """Write ``data/nasar-train-*.tar``, ``metadata.parquet`` and ``webdataset_summary.json``.

    Args:
        out: The new folder.
        seed: Everything random follows from it; a patch does not depend on how many there are.
        patches: In all.
        shards: Tar files that they are dealt to.
        corrupt: Members to spoil as `CORRUPT` says; the metadata lists them like any other.

    Returns:
        The names of the spoilt members, and what is wrong with each.

    Raises:
        SnowmapError: When an option cannot be, or the folder holds something or cannot be written.
    """
    if seed < 0 or not 1 <= shards <= patches or not 0 <= corrupt <= patches:
        raise SnowmapError(
            f"--seed {seed} --patches {patches} --shards {shards} --corrupt {corrupt}: expected a seed from 0, "
            "1 shard or more, a patch for each, and no more corrupt members than patches"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SnowmapError(f"{out} exists and is not an empty folder; name a new one")
    chosen = np.random.default_rng([seed, 0]).choice(patches, corrupt, replace=False)
    spoilt = {int(patch): CORRUPT[number % len(CORRUPT)] for number, patch in enumerate(sorted(chosen))}
    years = [season(np.random.default_rng([seed, 1, year])) for year in range(YEARS)]
    origin = f"synthetic: snowmap {version('snowmap')}, na_sar, seed {seed}"
    rows, scene, cuts = [], -1, []
    with whole_folder(out) as part:
        (part / "data").mkdir()
        for shard, numbers in enumerate(np.array_split(np.arange(patches), shards)):
            path = f"data/nasar-train-{shard:05d}.tar"
            with tarfile.open(part / path, "w") as tar:
                for position, number in enumerate(map(int, numbers)):
                    if number // SIDE**2 != scene:
                        scene = number // SIDE**2
                        cuts = draw_scene(scene, years, np.random.default_rng([seed, 2, scene]))
                    arrays, facts = cuts[number % SIDE**2]
                    key = f"synthetic_{number:08d}"
                    _add(tar, f"{key}.npz", _spoilt(arrays, spoilt.get(number)))
                    place = {"shard_path": path, "shard_index": shard, "sample_index_in_shard": position}
                    rows.append({"sample_key": key, **place, **facts, "source": origin})
        table = pa.Table.from_pylist(rows).replace_schema_metadata({"origin": origin})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write_whole(part / "metadata.parquet", buffer.getvalue())
        summary = {"origin": origin, "num_samples": patches, "num_shards": shards, "patch_size": PATCH}
        write_whole(part / "webdataset_summary.json", json.dumps(summary, indent=2) + "\n")
    return [f"{rows[number]['shard_path']}, {rows[number]['sample_key']}: {why}" for number, why in spoilt.items()]


class View(NamedTuple):
    """What one track sees of a scene: arrays ``(channel, y, x)`` by the words of their keys, and where it sees."""

    arrays: dict[str, Field]
    visible: NDArray[np.bool_]


def draw_scene(number: int, years: list[Season], rng: np.random.Generator) -> list[tuple[Arrays, dict[str, Any]]]:
    """The patches of a scene with what the metadata says of each: quality, polarisations, outline and dates.

    Args:
        number: Of the scene; it places it: the places of any first few scenes are spread over the whole area.
        years: Snow and air of each year.
        rng: Source of randomness.
    """
    east, north = (number * 0.7548776662) % 1, (number * 0.5698402910) % 1  # Kronecker sequence (Roberts 2018)
    lon, lat = WEST + (EAST - WEST) * east, SOUTH + (NORTH - SOUTH) * north
    terrain = _terrain(lon, lat, rng)
    normal = surface_normal(terrain.elevation, terrain.spacing)
    slope = np.degrees(np.arccos(np.minimum(normal[2], 1)))
    shape = terrain.elevation.shape
    lake = (slope < LAKE_SLOPE) & (power_law_field(shape, terrain.spacing, -3.0, rng, 2_000.0) > 1.0)
    texture = TEXTURE * power_law_field(shape, terrain.spacing, -2.0, rng, 400.0)
    drift = np.maximum(0.1, 1 + DRIFT * power_law_field(shape, terrain.spacing, -2.6, rng, 800.0))

    height = terrain.elevation - (SNOW_LINE - SNOW_LINE_BY_LATITUDE * (lat - SOUTH))
    year = int(rng.integers(YEARS))
    day = _day(years[year], float(height.mean()), rng)
    dates = [np.datetime64(f"{FIRST_YEAR + year}-01-01") + day + lag for lag in (0, REPEAT)]
    states, airs = [], []
    for lag in (0, REPEAT):
        swe, air = years[year].at(day + lag, height)
        swe = np.where(lake, 0, swe * drift)
        states.append(SnowState(swe, HELD_WATER * swe * np.clip(air, 0, 1), np.zeros(shape)))
        airs.append(air)

    polarisations = np.array([True, rng.random() >= WITHOUT_CROSS])
    views = []
    for heading in (HEADING, 180 - HEADING):
        geometry = look_geometry(terrain, heading, float(rng.uniform(31, 45)))
        phase, coherence = _interferogram(geometry, terrain, states, slope, lake, dates[1], rng)
        arrays = {"inc_angle": geometry.incidence[None], "coh": coherence[None]}
        arrays["ifg"] = np.stack([np.cos(phase), np.sin(phase)])
        for name, state, air in zip(("prime", "secondary"), states, airs, strict=True):
            power = _powers(geometry, terrain, state, air, lake, texture, rng)
            arrays[f"{name}_rtc"] = power * polarisations[:, None, None]
        views.append(View(arrays, geometry.visible))
    flags = dict(zip(("has_co_pol", "has_cross_pol"), polarisations.tolist(), strict=True))
    days = {"prime_date": str(dates[0]), "secondary_date": str(dates[1])}
    return [_cut(index, terrain, slope, views, flags | days) for index in range(SIDE**2)]


def _terrain(lon: float, lat: float, rng: np.random.Generator) -> Terrain:
    """A scene whose middle lies at `lon`, `lat`: heights and relief as they are there, by and large."""
    shape, spacing = (SIDE * PATCH, SIDE * PATCH), (SPACING, SPACING)
    arch = np.exp(-(((lon - CORDILLERA) / 9) ** 2))
    relief = RELIEF[0] * (RELIEF[1] / RELIEF[0]) ** (0.7 * arch + 0.3 * rng.random())
    field = power_law_field(shape, spacing, TERRAIN_EXPONENT, rng, 8_000.0)
    middle = 200 + PLATEAU * arch * rng.uniform(0.5, 1.5)
    elevation = np.maximum(0, middle + relief * gaussian_filter(field, SMOOTHING / SPACING))
    forest = forest_cover(elevation, spacing, rng, TREE_LINE - TREE_LINE_BY_LATITUDE * (lat - SOUTH))
    rows, columns = SPACING / METRES_PER_DEGREE, SPACING / METRES_PER_DEGREE / float(np.cos(np.radians(lat)))
    transform = from_origin(lon - columns * shape[1] / 2, lat + rows * shape[0] / 2, columns, rows)
    whole = np.ones(shape, bool)
    return Terrain(elevation, whole, forest, whole, spacing, transform, "fractal terrain")


def _day(year: Season, height: float, rng: np.random.Generator) -> int:
    """Day of the year of the prime image: any, or one when snow is dry that is wet at the secondary image."""
    level = int(np.searchsorted(LEVELS, height))
    snow, air = year.snow[:, level], year.temperature[:, level]
    onset = (snow[REPEAT:365] > OPAQUE_MM) & (air[: 365 - REPEAT] < 0) & (air[REPEAT:365] > 0.5)
    days = np.flatnonzero(onset) if rng.random() < MELT_SHARE else np.array([])
    return int(rng.choice(days)) if days.size else int(rng.integers(365 - REPEAT))


def _powers(
    geometry: Geometry,
    terrain: Terrain,
    state: SnowState,
    air: Field,
    lake: NDArray[np.bool_],
    texture: Field,
    rng: np.random.Generator,
) -> Field:
    """Co- and cross-polarised gamma0 of a date, linear with speckle, ``(2, y, x)``; zero where hidden."""
    cosine = np.cos(np.radians(np.minimum(geometry.incidence, 89)))
    frozen = FROZEN_GROUND * (1 - terrain.forest) * np.clip(-air / 2, 0, 1)
    land = backscatter(geometry, state, state, terrain.forest) + frozen + texture - 10 * np.log10(cosine)
    wet = 1 - transmission(state)
    ratio = {name: cross for name, (_, cross) in SURFACES.items()}
    bare = ratio["rock"] + (ratio["vegetation"] - ratio["rock"]) * terrain.forest
    ratios = bare + (ratio["wet snow"] - bare) * wet
    water = SURFACES["lake ice" if air.mean() < 0 else "water"]
    mean = np.stack([np.where(lake, water[0], land), np.where(lake, sum(water), land + ratios)])
    power = 10 ** (mean / 10) + 10 ** (NOISE_DB / 10)
    return power * rng.gamma(RTC_LOOKS, 1 / RTC_LOOKS, power.shape) * geometry.visible


def _interferogram(
    geometry: Geometry,
    terrain: Terrain,
    states: list[SnowState],
    slope: Field,
    lake: NDArray[np.bool_],
    date: np.datetime64,
    rng: np.random.Generator,
) -> tuple[Field, Field]:
    """Phase in rad, not wrapped, and coherence of a pair, ``(y, x)``."""
    before, after = states
    noise, coherence = draw_multilook(true_coherence(before, after, terrain.forest) * ~lake, LOOKS, rng)
    change = per_slope_area(after.swe - before.swe, slope)
    phase = phase_of_swe(change, geometry.incidence, float(density_guyennon(date)) / 1000) + np.angle(noise)
    phase += LIQUID_DELAY * (after.liquid - before.liquid) + rng.uniform(-np.pi, np.pi)
    stratified = rng.normal(0, 2**0.5 * WET_DELAY_WEATHER) * np.exp(-terrain.elevation / WET_DELAY_HEIGHT)
    turbulent = power_law_field(slope.shape, terrain.spacing, TURBULENCE_EXPONENT, rng)
    delay = stratified + 2**0.5 * TURBULENCE_HERE * turbulent  # the difference of two dates
    return phase + phase_of_delay(delay, geometry.incidence), coherence


def _cut(
    index: int, terrain: Terrain, slope: Field, views: list[View], facts: dict[str, Any]
) -> tuple[Arrays, dict[str, Any]]:
    """One patch of a scene, with the card's keys; an interferogram is zero where its track sees nothing."""
    row, column = (PATCH * step for step in divmod(index, SIDE))
    inside = np.s_[..., row : row + PATCH, column : column + PATCH]
    arrays = {"dem": terrain.elevation[None], "slope_deg": slope[None]}
    for number, view in enumerate(views):
        for name, values in view.arrays.items():
            arrays[f"{name}_view_{number}"] = values * view.visible if name in ("coh", "ifg") else values
    arrays = {name: _rounded(values[inside].astype(np.float32)) for name, values in arrays.items()}
    coherence = float(np.mean([arrays[f"coh_view_{number}"] for number in range(len(views))]))
    grid = terrain.transform
    west, east = (grid.c + grid.a * end for end in (column, column + PATCH))
    north, south = (grid.f + grid.e * end for end in (row, row + PATCH))
    quality = LOWEST_QUALITY + 0.001 + (1 - LOWEST_QUALITY - 0.001) * coherence
    outline = shapely.to_wkb(shapely.box(west, south, east, north))
    return arrays, {"quality_score": quality, **facts, "geometry": outline}


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    half = np.uint32(1 << (DIGITS - 1))
    return (((values.view(np.uint32) + half) >> DIGITS) << DIGITS).view(np.float32)


def _spoilt(arrays: Arrays, fault: str | None) -> bytes:
    """The compressed npz, with one of the faults of `CORRUPT`."""
    if fault == "coh_view_1 missing":
        arrays = {name: values for name, values in arrays.items() if name != "coh_view_1"}
    elif fault == "NaN in dem":
        arrays = arrays | {"dem": np.where(arrays["dem"] == arrays["dem"].max(), np.nan, arrays["dem"])}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # NumPy's takes 10 × as long
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
    whole = buffer.getvalue()
    return whole[: len(whole) // 2] if fault == "cut short" else whole


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
