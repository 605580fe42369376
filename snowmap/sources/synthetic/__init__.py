"""A physically based stand-in for the Trentino archive: terrain, weather, snow, and what the radar sees of it.

The physics and every constant come from the literature named beside them, not from what a model can learn.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from snowmap.data.cube import band_coordinates, check
from snowmap.errors import SnowmapError
from snowmap.physics import density_guyennon
from snowmap.sources.synthetic.insar import interferograms
from snowmap.sources.synthetic.snow import run_snow_model
from snowmap.sources.synthetic.terrain import CRS_OF_ARCHIVE, Terrain, make_terrain
from snowmap.sources.synthetic.weather import make_weather, window_weather
from snowmap.sources.trentino.quantities import STANDARD_BANDS, TARGETS

__all__ = ["synthesize"]

FIRST_ACQUISITION = np.datetime64("2021-01-09", "D")
REPEAT = np.timedelta64(12, "D")  # Sentinel-1's repeat cycle
BARE_GROUND = np.datetime64("2020-09-01", "D")  # day before the first winter: no seasonal snow yet
KEPT_AT_END = 10  # cycles that are never missing: the last 7 windows are the test of the default split


def synthesize(
    seed: int = 0, windows: int = 64, shape: tuple[int, int] | None = (93, 211), dem: Path | None = None
) -> xr.Dataset:
    """A synthetic Cube: 12-day windows from 2021-01-09, one cycle in about twenty missing.

    Args:
        seed: Everything random follows from it; the character of the winters (2020/21 snow-rich, 2021/22 dry, 2022/23
            drought) does not.
        windows: Number of windows.
        shape: Rows and columns. Without a DEM the pixels are about 0.005° and (93, 211) is the Trentino frame.
        dem: Raster of elevations in m in any CRS, in place of the fractal landscape; its extent is resampled to
            `shape`, or to about 0.005° if `shape` is None.

    Returns:
        A valid Cube with all bands, `hs` and `swe` in cm at each window's end (NaN outside the mask),
        weather of the days of each window, InSAR bands NaN in layover and shadow except `elevation`.

    Raises:
        SnowmapError: If `windows`, `shape` or `seed` is too small, or the DEM cannot be used.
    """
    if windows < 1:
        raise SnowmapError(f"windows is {windows}; a synthetic archive has at least 1")
    if seed < 0:
        raise SnowmapError(f"seed is {seed}; expected a whole number from 0 on")
    calendar, ground, air, snow, radar = (np.random.default_rng([seed, part]) for part in range(5))
    start = _starts(windows, calendar)
    end = start + REPEAT
    terrain = make_terrain(shape, dem, ground)
    weather = make_weather(BARE_GROUND, end[-1], air)
    states = run_snow_model(weather, terrain, np.unique([start, end]), snow)
    features = np.full((windows, len(STANDARD_BANDS), *terrain.elevation.shape), np.nan, dtype=np.float32)
    row = {name: index for index, name in enumerate(STANDARD_BANDS)}
    for window, bands in enumerate(interferograms(start, end, states, terrain, radar)):
        temperature, degree_days = window_weather(weather, start[window], end[window], terrain.elevation)
        for name, values in (bands | {"mean_temperature": temperature, "pdd": degree_days}).items():
            features[window, row[name]] = np.where(terrain.valid, values, np.nan)
    swe = np.where(terrain.mask, np.stack([states[date].swe for date in end]), np.nan)
    cube = _cube(features, swe, start, terrain)
    cube.attrs = {
        "origin": f"synthetic: snowmap {version('snowmap')}, seed {seed}, {terrain.source}",
        "fingerprint": "",
        "archive": "memory",
    }
    check(cube)
    return cube


def _starts(windows: int, rng: np.random.Generator) -> np.ndarray:
    """First day of each window; one cycle per 20 windows is missing, as 3 of the 67 cycles of the real archive are."""
    missing = windows // 20
    cycles = np.arange(windows + missing)
    lost = rng.choice(cycles[1 : cycles.size - KEPT_AT_END], missing, replace=False) if missing else []
    return FIRST_ACQUISITION + np.setdiff1d(cycles, lost) * REPEAT


def _cube(features: NDArray[np.float32], swe: NDArray[np.float64], start: np.ndarray, terrain: Terrain) -> xr.Dataset:
    """The Cube's variables and coordinates, from `swe` in mm."""
    density = density_guyennon(start + REPEAT)[:, None, None]
    height, width = terrain.elevation.shape
    targets = {"hs": swe / density * 100, "swe": swe / 10}  # mm of water = kg m⁻² -> m -> cm; mm -> cm
    maps = {
        name: (("window", "y", "x"), values.astype(np.float32), TARGETS[name].attributes)
        for name, values in targets.items()
    }
    cube = xr.Dataset(
        {"features": (("window", "band", "y", "x"), features), **maps, "mask": (("y", "x"), terrain.mask)},
        coords={
            "start": ("window", start.astype("datetime64[ns]")),
            "end": ("window", (start + REPEAT).astype("datetime64[ns]")),
            **band_coordinates(STANDARD_BANDS),
            "x": terrain.transform.c + terrain.transform.a * (np.arange(width) + 0.5),
            "y": terrain.transform.f + terrain.transform.e * (np.arange(height) + 0.5),
        },
    )
    return cube.rio.write_crs(CRS_OF_ARCHIVE).rio.write_transform(terrain.transform)
