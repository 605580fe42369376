"""Small Cubes made in memory, valid and with gaps."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from rasterio.transform import from_origin

from snowmap.baselines import BASELINES
from snowmap.data.cube import band_coordinates, check
from snowmap.data.grid import steepness
from snowmap.physics import per_slope_area, phase_of_swe_oveisgharan
from snowmap.sources.trentino.quantities import BANDS, STANDARD_BANDS, TARGETS

PIXEL_DEGREES = 0.005
BASELINES_OF_QUANTITIES = [name for name, kind in BASELINES.items() if not kind.maps_classes]


def make_cube(
    windows: int = 20, shape: tuple[int, int] = (12, 17), seed: int = 0, bands: Sequence[str] | None = None
) -> xr.Dataset:
    """A valid Cube of 12-day windows from 2021-01-09: smooth targets, 5 % of the values missing, a mask with a rim."""
    generator = np.random.default_rng(seed)
    height, width = shape
    names = list(bands or STANDARD_BANDS)
    made = list(dict.fromkeys([*STANDARD_BANDS, *names]))
    features = np.stack([_band(name, windows, shape, generator) for name in made], axis=1)
    features[generator.random(features.shape) < 0.05] = np.nan
    start = np.datetime64("2021-01-09", "ns") + np.arange(windows) * np.timedelta64(12, "D")
    season = 1 + np.cos(np.arange(windows) / 30 * 2 * np.pi)
    swe = season[:, None, None] * (5 + 20 * np.linspace(0, 1, width)) + generator.random((windows, *shape))
    swe[generator.random(swe.shape) < 0.03] = np.nan
    mask = np.ones(shape, dtype=bool)
    mask[0], mask[:, :2] = False, False
    cube = xr.Dataset(
        {
            "features": (("window", "band", "y", "x"), features[:, [made.index(name) for name in names]]),
            "hs": (("window", "y", "x"), (swe / 0.3).astype(np.float32), TARGETS["hs"].attributes),
            "swe": (("window", "y", "x"), swe.astype(np.float32), TARGETS["swe"].attributes),
            "mask": (("y", "x"), mask),
        },
        coords={
            "start": ("window", start),
            "end": ("window", start + np.timedelta64(12, "D")),
            **band_coordinates({name: BANDS[name] for name in names}),
            "x": 9.8 + PIXEL_DEGREES * (np.arange(width) + 0.5),
            "y": 46.4 - PIXEL_DEGREES * (np.arange(height) + 0.5),
        },
        attrs={"origin": "synthetic: a test", "fingerprint": f"seed {seed}", "archive": "memory"},
    )
    cube = cube.rio.write_crs("EPSG:4326").rio.write_transform(from_origin(9.8, 46.4, PIXEL_DEGREES, PIXEL_DEGREES))
    check(cube)
    return cube


def dry_phase(cube: xr.Dataset, change: np.ndarray) -> np.ndarray:
    """Unwrapped phase in rad of a change of dry snow in mm, by Oveisgharan et al., at an incidence of 38°."""
    return phase_of_swe_oveisgharan(per_slope_area(change, np.nan_to_num(steepness(cube.isel(window=[0])))), 38.0)


def _band(name: str, windows: int, shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Uniform noise inside the middle of the band's plausible range; elevation is a slope that stays."""
    low, high = {"elevation": (500, 2500), "pdd": (0, 60), "mean_temperature": (-8, 4)}.get(name, BANDS[name][1:3])
    values = generator.uniform(low, high, (windows, *shape))
    if name == "elevation":
        values[:] = np.linspace(low, high, shape[1])
    return values.astype(np.float32)
