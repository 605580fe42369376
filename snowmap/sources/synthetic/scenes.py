"""Stand-ins for SAR time series, in the layout that `snowmap.sources.sar_stack` reads: glaciers, and cracks in ice."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import geopandas as gpd
import numpy as np
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.transform import Affine, from_origin
from scipy.ndimage import gaussian_filter
from shapely.geometry import shape as geometry_of

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.files import whole_folder
from snowmap.products.outlines import read_outlines
from snowmap.sources.sar_stack.reading import ORIGIN_TAG
from snowmap.sources.synthetic.backscatter import LOOKS, Sight, season
from snowmap.sources.synthetic.ice import Ground, fractal_ground, real_grounds
from snowmap.sources.synthetic.terrain import power_law_field
from snowmap.sources.trentino.writing import write_raster

YEAR = np.datetime64("2021-01-01")
REPEAT = 12  # days of Sentinel-1's repeat cycle
SHAPE = (256, 256)

SHELF, SHELF_RATIO = -7.0, -6.0  # dB, and cross over co: firn of an ice shelf in EW (Fahnestock et al. 1993; assumed)
SHELF_SPREAD = 2.0  # dB, from accumulation and melt, over kilometres (assumed)
SHELF_LOOKS = 10.7  # equivalent number of looks of an EW GRDM product (ESA, Sentinel-1 Product Specification)
CONTRAST = (2.0, 6.0)  # dB by which the two walls of a crack are brighter, or its filling darker (assumed)
BRIGHT_SHARE = 0.6  # of the cracks; the others are dark
CRACK_AREA = 0.015  # of the shelf
SHELF_CRS, SHELF_PIXEL = CRS.from_epsg(3031), 40.0


def synthesize_glaciers(
    out: Path,
    *,
    seed: int = 0,
    scenes: int = 3,
    dates: int = 15,
    shape: tuple[int, int] | None = None,
    dem: Path | None = None,
    outlines: Path | None = None,
    looks: float | None = None,
) -> int:
    """Scenes of a year over glaciers: HH and HV as linear power, ``dem.tif`` and one ``outlines.gpkg``.

    Args:
        out: The new folder.
        seed: Everything random follows from it.
        scenes: Number of scenes; with a DEM its strips from west to east.
        dates: Of each scene, spread over the year.
        shape: Rows and columns of a scene of fractal terrain.
        dem: Raster of elevations in m, in place of the fractal terrain, on its own grid.
        outlines: Glaciers on the DEM, any vector file; else they follow from a mass balance.
        looks: Equivalent number of looks of the speckle.

    Returns:
        Glacier pixels in all.

    Raises:
        SnowmapError: When an option cannot be, or the folder holds something or cannot be written.
    """
    _check(out, seed=seed, scenes=scenes, dates=dates, looks=looks)
    if outlines is not None and dem is None:
        raise SnowmapError("--outlines needs the elevation of the same place; give it as --dem")
    if dem is not None and shape is not None:
        raise SnowmapError("--shape is of fractal terrain; a DEM keeps its own grid")
    if dem is None:
        size = shape or SHAPE
        grounds = [fractal_ground(size, n, np.random.default_rng([seed, n, 0])) for n in range(scenes)]
    else:
        grounds = real_grounds(dem, outlines, scenes, np.random.default_rng([seed, 0, 0]))
    polygons = read_outlines(outlines) if outlines is not None else _polygons(grounds)
    if not len(polygons):
        raise SnowmapError("no scene has ice above its equilibrium line; give another --seed or a larger --shape")
    with whole_folder(out) as part:
        for number, ground in enumerate(grounds):
            drawn, speckle = (np.random.default_rng([seed, number, stream]) for stream in (1, 2))
            tags, folder = _tags("glaciers", seed, ground.terrain.source), part / f"scene_{number + 1:02d}"
            place = (ground.crs, ground.terrain.transform)
            _write(folder / "dem.tif", np.where(ground.terrain.valid, ground.terrain.elevation, np.nan), *place, tags)
            sight, year = Sight(ground, drawn, looks or LOOKS), season(drawn)
            for day in _days(dates, drawn):
                for band, power in zip(("HH", "HV"), sight.powers(day, year, speckle), strict=True):
                    _write(folder / f"{YEAR + day}_{band}.tif", power, *place, tags)
        polygons.to_file(part / "outlines.gpkg", driver="GPKG")
    return int(sum(ground.ice.sum() for ground in grounds))


def synthesize_cracks(
    out: Path,
    *,
    seed: int = 0,
    scenes: int = 3,
    dates: int = 1,
    shape: tuple[int, int] | None = None,
    looks: float | None = None,
) -> int:
    """Scenes of an ice shelf with cracks: HH and HV as linear power, and ``classes.tif`` (1 crack, 0 ice).

    The arguments and errors are those of `synthesize_glaciers`; returns the pixels of cracks.
    """
    _check(out, seed=seed, scenes=scenes, dates=dates, looks=looks)
    size, total = shape or SHAPE, 0
    with whole_folder(out) as part:
        for number in range(scenes):
            rng = np.random.default_rng([seed, number])
            west = -1_500_000 + number * (size[1] + 50) * SHELF_PIXEL
            transform = from_origin(west, 1_000_000, SHELF_PIXEL, SHELF_PIXEL)
            contrast, cracks = _cracks(size, rng)
            total += int(cracks.sum())
            tags, folder = _tags("ice_cracks", seed, "an ice shelf"), part / f"scene_{number + 1:02d}"
            _write(folder / "classes.tif", cracks.astype(np.uint8), SHELF_CRS, transform, tags)
            calm = _shelf(size, rng)
            for day in _days(dates, rng):
                for band, ratio in (("HH", 0.0), ("HV", SHELF_RATIO)):
                    mean = 10 ** ((SHELF + ratio + calm + contrast) / 10) + 10 ** (-2.4)
                    noise = rng.gamma(looks or SHELF_LOOKS, 1 / (looks or SHELF_LOOKS), size)
                    _write(folder / f"{YEAR + day}_{band}.tif", mean * noise, SHELF_CRS, transform, tags)
    return total


def _check(out: Path, seed: int, scenes: int, dates: int, looks: float | None) -> None:
    if seed < 0 or scenes < 1 or not 1 <= dates <= 30 or (looks is not None and not 0.5 <= looks <= 1000):
        raise SnowmapError(
            f"--seed {seed} --scenes {scenes} --dates {dates} --looks {looks}: expected a seed from 0, at least 1 "
            f"scene, 1 to 30 dates (a year of {REPEAT}-day cycles), and looks from 0.5 to 1000"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SnowmapError(f"{out} exists and is not an empty folder; name a new one")


def _days(dates: int, rng: np.random.Generator) -> list[int]:
    """Days of the year, one acquisition in each of so many equal periods, at random."""
    days = np.arange(int(rng.integers(REPEAT)), 365, REPEAT)
    return [int(rng.choice(days[days * dates // 365 == period])) for period in range(dates)]


def _polygons(grounds: list[Ground]) -> gpd.GeoDataFrame:
    """The glaciers of all scenes, one polygon for each connected piece of ice."""
    polygons, names = [], []
    for scene, ground in enumerate(grounds, start=1):
        pieces = shapes(ground.ice.astype(np.uint8), mask=ground.ice, transform=ground.terrain.transform)
        for number, (piece, _) in enumerate(pieces, start=1):
            polygons.append(geometry_of(piece))
            names.append(f"synthetic {scene}-{number}")
    return gpd.GeoDataFrame({"name": names}, geometry=polygons, crs=grounds[0].crs)


def _cracks(shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Contrast in dB, and where a crack is, ``(y, x)``.

    A crack wanders about one direction, is one to three pixels wide, and fades where snow bridges it; it is a crack
    there, too. Directions of neighbouring cracks are alike, as they follow the stress.
    """
    contrast, cracks = np.zeros(shape), np.zeros(shape, bool)
    main = rng.uniform(0, np.pi)
    while cracks.mean() < CRACK_AREA:
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        direction, width = main + rng.normal(0, 0.25), int(rng.integers(1, 4))
        length = int(rng.uniform(0.08, 0.4) * max(shape))
        sign = 1 if rng.random() < BRIGHT_SHARE else -1
        strength, bridges = sign * rng.uniform(*CONTRAST), gaussian_filter(rng.normal(size=length), 12)
        fading = np.clip(0.6 + bridges / (bridges.std() + 1e-9), 0, 1) if length > 1 else np.ones(length)
        for step in range(length):
            direction += rng.normal(0, 0.06)
            y, x = y + np.sin(direction), x + np.cos(direction)
            row, column = int(y), int(x)
            if not (0 <= row < shape[0] and 0 <= column < shape[1]):
                break
            place = np.s_[row : row + width, column : column + width]
            cracks[place], contrast[place] = True, strength * fading[step]
    return contrast, cracks


def _shelf(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Backscatter of the shelf around its mean in dB: accumulation over kilometres, and flow stripes, no cracks."""
    spacing = (SHELF_PIXEL, SHELF_PIXEL)
    wide = SHELF_SPREAD * power_law_field(shape, spacing, -3.0, rng, 8_000.0)
    direction, y, x = rng.uniform(0, np.pi), *np.mgrid[: shape[0], : shape[1]]
    across = x * np.sin(direction) - y * np.cos(direction) + 6 * power_law_field(shape, spacing, -3.5, rng, 6_000.0)
    stripes = gaussian_filter(rng.normal(size=4 * sum(shape)), 3)
    stripes *= 1.5 / stripes.std()
    return wide + np.interp(across, np.arange(len(stripes)) - 2 * sum(shape), stripes)


def _tags(kind: str, seed: int, ground: str) -> dict[str, str]:
    return {ORIGIN_TAG: f"synthetic: snowmap {version('snowmap')}, {kind}, seed {seed}, {ground}"}


def _write(path: Path, values: np.ndarray, crs: CRS, transform: Affine, tags: Mapping[str, str]) -> None:
    form = {"dtype": "uint8", "nodata": 255} if values.dtype == np.uint8 else {"dtype": "float32", "nodata": np.nan}
    grid = Grid((values.shape[0], values.shape[1]), transform, crs)
    write_raster(path, values.astype(form["dtype"]), grid, form | {"compress": "deflate"}, tags)
