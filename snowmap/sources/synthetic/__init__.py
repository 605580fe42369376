"""A physically based stand-in for the Trentino archive: terrain, weather, snow, and what the radar sees of it.

The physics and every constant come from the literature named beside them, not from what a model can learn.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from snowmap.data.cube import check
from snowmap.errors import SnowmapError
from snowmap.physics import SENTINEL_1_WAVELENGTH
from snowmap.sources.synthetic.insar import interferograms, look_geometry
from snowmap.sources.synthetic.snow import depth, run_snow_model
from snowmap.sources.synthetic.terrain import CRS_OF_ARCHIVE, make_terrain
from snowmap.sources.synthetic.weather import make_weather, observed_precipitation, window_weather
from snowmap.sources.trentino.quantities import STANDARD_BANDS, as_cube

__all__ = ["synthesize"]

FIRST_ACQUISITION = np.datetime64("2021-01-09", "D")
REPEAT = np.timedelta64(12, "D")  # Sentinel-1's repeat cycle
BARE_GROUND = np.datetime64("2020-09-01", "D")  # day before the first winter: no seasonal snow yet
KEPT_AT_END = 10  # cycles that are never missing: the last 7 windows are the test of the default split


def synthesize(
    seed: int = 0,
    windows: int = 64,
    shape: tuple[int, int] | None = None,
    dem: Path | None = None,
    further: bool = False,
) -> xr.Dataset:
    """A synthetic Cube: 12-day windows from 2021-01-09, one cycle in about twenty missing.

    Args:
        seed: Everything random follows from it; the character of the winters (2020/21 snow-rich, 2021/22 dry, 2022/23
            drought) does not.
        windows: Number of windows.
        shape: Rows and columns; by default (93, 211), the Trentino frame in pixels of about 0.005°, or as many of them
            as cover the DEM.
        dem: Raster of elevations in m in any CRS, in place of the fractal landscape; its extent is resampled to
            `shape`.
        further: Whether `precipitation` (as gauges let it be mapped), `forest_cover` and `layover_shadow` are among the
            bands; all else stays the same.

    Returns:
        A valid Cube with the bands of the public archive, `hs` and `swe` in cm at each window's end (NaN outside the
        mask), weather of the days of each window, InSAR bands NaN in layover and shadow except `elevation`.

    Raises:
        SnowmapError: If `windows`, `shape` or `seed` is too small, or the DEM cannot be used.
    """
    if windows < 1:
        raise SnowmapError(f"windows is {windows}; a synthetic archive has at least 1")
    if seed < 0:
        raise SnowmapError(f"seed is {seed}; expected a whole number from 0 on")
    calendar, ground, air, snow, radar, gauges = (np.random.default_rng([seed, part]) for part in range(6))
    start = _starts(windows, calendar)
    end = start + REPEAT
    terrain = make_terrain(shape, dem, ground)
    weather = make_weather(BARE_GROUND, end[-1], air)
    states = run_snow_model(weather, terrain, np.unique([start, end]), snow)
    names = [*STANDARD_BANDS, *(("precipitation", "forest_cover", "layover_shadow") if further else ())]
    features = np.full((windows, len(names), *terrain.elevation.shape), np.nan, dtype=np.float32)
    row = {name: index for index, name in enumerate(names)}
    static = {"forest_cover": terrain.forest, "layover_shadow": ~look_geometry(terrain).visible}
    for window, bands in enumerate(interferograms(start, end, states, terrain, radar)):
        temperature, degree_days = window_weather(weather, start[window], end[window], terrain.elevation)
        bands |= {"mean_temperature": temperature, "pdd": degree_days}
        if further:
            fallen = states[end[window]].fallen - states[start[window]].fallen
            bands |= static | {"precipitation": observed_precipitation(fallen, terrain, gauges)}
        for name, values in bands.items():
            features[window, row[name]] = np.where(terrain.valid, values, np.nan)
    snow_of = {"hs": lambda date: depth(states[date].swe, date), "swe": lambda date: states[date].swe / 10}  # in cm
    maps = {name: np.where(terrain.mask, [of(date) for date in end], np.nan) for name, of in snow_of.items()}
    layers = {"features": features, **{name: values.astype(np.float32) for name, values in maps.items()}}
    layers["mask"] = terrain.mask
    cube = as_cube(layers, names, start, end, CRS_OF_ARCHIVE, terrain.transform)
    cube.attrs = {
        "origin": f"synthetic: snowmap {version('snowmap')}, seed {seed}, {terrain.source}",
        "fingerprint": "",
        "archive": "memory",
        "wavelength": SENTINEL_1_WAVELENGTH,
    }
    check(cube)
    return cube


def _starts(windows: int, rng: np.random.Generator) -> np.ndarray:
    """First day of each window; one cycle per 20 windows is missing, as 3 of the 67 cycles of the real archive are."""
    missing = windows // 20
    cycles = np.arange(windows + missing)
    lost = rng.choice(cycles[1 : cycles.size - KEPT_AT_END], missing, replace=False) if missing else []
    return FIRST_ACQUISITION + np.setdiff1d(cycles, lost) * REPEAT
