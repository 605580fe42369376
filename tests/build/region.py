"""A region whose truth is known, and its products as their publishers write them, none of it by the package."""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from rasterio.transform import from_origin
from rasterio.warp import transform

from tests.products.writers import Scene, write_hyp3
from tests.products.writers_weather import hours, write_cf_swe, write_era5

CRS = "EPSG:32632"
WEST, NORTH, FINE, BLOCK = 600_000.0, 5_200_000.0, 80, 5
CORNER = from_origin(WEST, NORTH, FINE, FINE)
LAPSE = 6.5e-3


class Region(NamedTuple):
    """The truth.

    Attributes:
        recipe: The recipe's file.
        pairs: Dates of the pairs.
        shape: Of the region's grid, whose pixels are 400 m.
        fine: Layers of each pair on the pixels of 80 m of the whole region, by the names of `writers.Scene`.
        swe: mm on the same pixels at the end of each pair.
        sea_level: Daily mean temperature at sea level in °C.
    """

    recipe: Path
    pairs: list[tuple[str, str]]
    shape: tuple[int, int]
    fine: list[dict[str, np.ndarray]]
    swe: list[np.ndarray]
    sea_level: dict[str, float]

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Of each pixel of the region's grid."""
        height, width = self.shape
        return values.reshape(height, BLOCK, width, BLOCK).mean((1, 3))

    def weather(self, number: int, elevation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean temperature and degree days of a window: the days after its first date, up to its last."""
        first, last = (np.datetime64(day) for day in self.pairs[number])
        days = [self.sea_level[str(day)] - LAPSE * elevation for day in np.arange(first + 1, last + 1)]
        return np.mean(days, axis=0), np.sum([np.maximum(day, 0) for day in days], axis=0)


def write_region(folder: Path, pairs: int = 4, shape: tuple[int, int] = (10, 14), **recipe: object) -> Region:
    """Write HyP3 products of different extents, ERA5 and daily SWE of a region, and its recipe.

    Args:
        folder: A new folder.
        pairs: How many, of 12 days.
        shape: Of the region's grid.
        recipe: Further keys of the recipe, or others.
    """
    random = np.random.default_rng(3)
    dates = [str(np.datetime64("2022-11-01") + 12 * number) for number in range(pairs + 1)]
    height, width = shape[0] * BLOCK, shape[1] * BLOCK
    rows, columns = np.mgrid[:height, :width]
    elevation = 1500 + 600 * np.sin(columns / 17) * np.cos(rows / 11) + 5.0 * columns
    fine, swe, snow = [], [], np.zeros((height, width))
    for number in range(pairs):
        gain = (20 + 10 * number % 30) * (0.5 + elevation / 3000)
        snow = snow + gain
        unwrapped = 0.2 * gain + random.normal(0, 0.05, (height, width))
        fine.append(
            {
                "coherence": random.uniform(0.5, 0.9, (height, width)),
                "unwrapped_phase": unwrapped,
                "wrapped_phase": np.angle(np.exp(1j * unwrapped)),
                "intensity": random.uniform(0.05, 0.2, (height, width)),
                "elevation": elevation,
                "incidence": 38 + 8 * np.sin(rows / 9),
                "look_east": np.full((height, width), 0.6),
                "look_north": np.full((height, width), 0.1),
                "look_up": np.full((height, width), np.sqrt(1 - 0.37)),
                "component": np.ones((height, width)),
                "water": np.zeros((height, width)),
            }
        )
        swe.append(snow)
    fine[0]["water"][:BLOCK, :BLOCK] = 1
    _write_pairs(folder, dates, fine)
    sea_level = _write_weather(folder, dates, shape)
    days = np.arange(dates[0], np.datetime64(dates[-1]) + 1, dtype="datetime64[D]")
    daily = [swe[max(0, int(np.searchsorted(dates[1:], str(day))))] if str(day) <= dates[-1] else snow for day in days]
    write_cf_swe(folder / "swe.nc", days, np.array(daily), CORNER, CRS, unit="mm")
    keys = {
        "name": "synthetic region",
        "grid": {
            "bounds": [WEST, NORTH - 400 * shape[0], WEST + 400 * shape[1], NORTH],
            "crs": CRS,
            "resolution": 400,
        },
        "insar": {"source": "hyp3", "path": "downloads/*.zip"},
        "weather": {"source": "era5", "path": "era5/*.nc"},
        "targets": {"swe": {"source": "cf", "path": "swe.nc", "variable": "SWE"}},
    }
    path = folder / "region.yaml"
    path.write_text(yaml.safe_dump(keys | recipe))
    return Region(path, list(itertools.pairwise(dates)), shape, fine, swe, sea_level)


def _write_pairs(folder: Path, dates: list[str], fine: list[dict[str, np.ndarray]]) -> None:
    """Each product has an extent of its own, a few pixels more than the region."""
    for number, layers in enumerate(fine):
        top, left, bottom, right = 1 + number % 3, 2 + number % 4, 3, 1 + number % 2
        padded = {name: np.pad(values, ((top, bottom), (left, right)), mode="edge") for name, values in layers.items()}
        corner = from_origin(WEST - left * FINE, NORTH + top * FINE, FINE, FINE)
        scene = Scene(dates[number], dates[number + 1], padded, corner, CRS)
        write_hyp3(folder / "downloads", scene, orbit=47_000 + 175 * number, identifier=f"{number:04X}", nodata=0)


def _write_weather(folder: Path, dates: list[str], shape: tuple[int, int]) -> dict[str, float]:
    """Temperature that falls with height alone, on cells of 0.25° whose heights differ."""
    (folder / "era5").mkdir()
    count = int((np.datetime64(dates[-1]) - np.datetime64(dates[0])).astype(int)) + 1
    times = hours(dates[0], count)
    latitude, longitude = np.arange(47.5, 46.2, -0.25), np.arange(9.5, 11.3, 0.25)
    height = 800 + 900 * np.random.default_rng(1).random((len(latitude), len(longitude)))
    season = 9 + 6 * np.sin(np.arange(len(times)) / 90) + 4 * np.sin(2 * np.pi * np.arange(len(times)) / 24)
    rain = np.where(np.arange(len(times)) % 24 == 7, 2.4e-3, 0.0)  # m in an hour of each day
    kelvin = 273.15 + season[:, None, None] - LAPSE * height
    fields = {
        "t2m": kelvin,
        "tp": np.broadcast_to(rain[:, None, None], kelvin.shape),
        "z": np.broadcast_to(height * 9.80665, kelvin.shape),
    }
    write_era5(folder / "era5" / "one.nc", fields, times, latitude, longitude)
    (x0, x1), (y0, y1) = transform(CRS, "EPSG:4326", [WEST, WEST + 400 * shape[1]], [NORTH, NORTH - 400 * shape[0]])
    assert longitude[0] < x0 < x1 < longitude[-1]
    assert latitude[-1] < y1 < y0 < latitude[0]
    daily = season[:-1].reshape(-1, 24).mean(1)
    first = np.datetime64(dates[0])
    return {str(first + number): float(mean) for number, mean in enumerate(daily)}
