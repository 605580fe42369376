"""From daily weather on a coarse grid, or at stations, to what happened in a window on the ground."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.crs import CRS

from snowmap.data.grid import SPHERE, Grid
from snowmap.errors import SnowmapError
from snowmap.products.weather.daily import DailyWeather, window_days

LAPSE_RATE = 6.5
"""K km⁻¹ where the field does not tell: the standard atmosphere's (ISO 2533)."""

LEAST_SPREAD_M, LEAST_CELLS = 150.0, 8
"""Standard deviation of the heights of cells or stations, beside what a plane explains, and their number, from which
they tell a day's lapse rate: of ERA5's cells about Davos (113 m) it comes out as 4 to 14 K km⁻¹, about Finse (177 m) as
1 to 8 on nine days of ten."""

DRY_ADIABATIC = 9.8
"""K km⁻¹, g over the heat capacity of air: no day's mean cools faster with height; nor does it warm faster."""

PLAUSIBLE = (-90.0, 60.0)
"""°C, daily means of air temperature; beyond is a wrong unit."""

Spread = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From values of cells ``(cell,)`` to the pixels ``(y, x)``; NaN = missing."""


class Cells(NamedTuple):
    """Where the cells of a field, or stations, lie: m in some plane, and m above the sea, each ``(cell,)``."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    height: NDArray[np.float64]


def window_bands(
    weather: DailyWeather,
    start: np.datetime64,
    end: np.datetime64,
    grid: Grid,
    elevation: NDArray[np.floating],
    lapse_rate: float | None = None,
) -> dict[str, NDArray[np.float32]]:
    """The bands of a window on a grid, or on a piece of it with the same values.

    A day's temperature is brought to sea level with the lapse rate, interpolated (bilinearly; of stations by inverse
    squared distance), and brought to the ground. Degree days are those of the daily means of each pixel.

    Args:
        weather: With every day of the window; see `snowmap.products.weather.missing_days`.
        start: First date of the window.
        end: Its last date.
        grid: Of the pixels.
        elevation: ``(y, x)`` in m.
        lapse_rate: K km⁻¹, positive where it cools with height; None: each day the field's own, from all of its cells,
            with a plane beside it, where they differ enough in height, else `LAPSE_RATE`.

    Returns:
        ``mean_temperature`` °C and ``pdd`` °C d, and where it is known ``precipitation`` mm, each ``(y, x)``; NaN where
        elevation or weather is missing.

    Raises:
        SnowmapError: When the height of the cells is needed and not known, or temperatures are not plausible.
    """
    days = window_days(start, end)
    fields = weather.fields.sel(day=days.astype("datetime64[ns]")).compute()
    height = _height(weather, lapse_rate)
    temperatures = fields["temperature"].values.astype(np.float64).reshape(days.size, -1)
    _check(temperatures, days, weather.name)
    cells, spread = _at_stations(fields, grid, height) if "station" in fields.dims else _on_grid(fields, grid, height)
    total, degrees = np.zeros(grid.shape), np.zeros(grid.shape)
    for values in temperatures:
        rate = lapse_rate if lapse_rate is not None else _own_rate(values, cells)
        ground = spread(values + rate * 1e-3 * cells.height) - rate * 1e-3 * np.asarray(elevation, dtype=np.float64)
        total += ground
        degrees += np.maximum(ground, 0)
    bands = {"mean_temperature": total / days.size, "pdd": degrees}
    if "precipitation" in fields:
        amounts = fields["precipitation"].values.astype(np.float64).reshape(days.size, -1)
        bands["precipitation"] = np.sum([spread(values) for values in amounts], axis=0)
    return {name: band.astype(np.float32) for name, band in bands.items()}


def _height(weather: DailyWeather, lapse_rate: float | None) -> NDArray[np.float64]:
    if "height" in weather.fields and lapse_rate != 0:
        return weather.fields["height"].values.astype(np.float64).ravel()
    if lapse_rate == 0:
        return np.zeros(weather.fields["temperature"][0].size)
    raise SnowmapError(
        f"{weather.name}: the height of its cells is not known; add a file with the geopotential z of the same cells "
        "(ERA5's 'Geopotential' at one time; of stations a column elevation), or give weather.lapse_rate: 0, which "
        "leaves the temperature as it is"
    )


def _check(temperatures: NDArray[np.float64], days: NDArray[np.datetime64], name: str) -> None:
    known = temperatures[np.isfinite(temperatures)]
    if known.size and not (PLAUSIBLE[0] <= known.min() and known.max() <= PLAUSIBLE[1]):
        raise SnowmapError(
            f"{name}: daily mean temperatures from {known.min():.4g} to {known.max():.4g} °C on {days[0]} … "
            f"{days[-1]}, expected {PLAUSIBLE[0]:g} … {PLAUSIBLE[1]:g}: its unit is not the one that it states"
        )


def _own_rate(values: NDArray[np.float64], cells: Cells) -> float:
    """K km⁻¹ of one day: the slope over height, beside a plane."""
    known = np.isfinite(values + cells.height)
    if known.sum() < LEAST_CELLS:
        return LAPSE_RATE
    x, y, height = cells.x[known], cells.y[known], cells.height[known]
    plane = np.column_stack([np.ones_like(x), x - x.mean(), y - y.mean()])
    plane[:, 1:] /= max(np.abs(plane[:, 1:]).max(), 1e-9)
    rest = height - plane @ np.linalg.lstsq(plane, height, rcond=None)[0]
    if rest.std() < LEAST_SPREAD_M:
        return LAPSE_RATE
    return float(np.clip(-1e3 * (rest @ values[known]) / (rest @ rest), -DRY_ADIABATIC, DRY_ADIABATIC))


def _on_grid(fields: xr.Dataset, grid: Grid, height: NDArray[np.float64]) -> tuple[Cells, Spread]:
    """Bilinear between the middles of cells; as in the outermost cell out to its edge, and missing beyond."""
    transform, shape = fields.rio.transform(), (fields.sizes["y"], fields.sizes["x"])
    crs = fields.rio.crs
    x, y = _pixels(grid, crs)
    if crs.is_geographic:  # a field may be counted across 180°
        middle = transform.c + transform.a * shape[1] / 2
        x = x + 360 * np.round((middle - x) / 360)
    column, row = (x - transform.c) / transform.a - 0.5, (y - transform.f) / transform.e - 0.5
    with np.errstate(invalid="ignore"):
        outside = ~(
            (abs(row - (shape[0] - 1) / 2) <= shape[0] / 2) & (abs(column - (shape[1] - 1) / 2) <= shape[1] / 2)
        )
    corners = []
    for position, size in ((row, shape[0]), (column, shape[1])):
        position = np.clip(np.where(outside, 0, position), 0, size - 1)
        low = np.minimum(position.astype(int), max(size - 2, 0))
        corners.append([(low, 1 - (position - low)), (np.minimum(low + 1, size - 1), position - low)])
    picks = [(i * shape[1] + j, v * w) for i, v in corners[0] for j, w in corners[1]]

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        total = sum(weight * filled[index] for index, weight in picks)
        weights = sum(weight * known[index] for index, weight in picks)
        whole = np.full(grid.shape, np.nan)
        return np.divide(total, weights, out=whole, where=(weights > 1e-6) & ~outside)

    scale = np.cos(np.radians(transform.f)) if crs.is_geographic else 1.0
    across, down = np.meshgrid(scale * transform.a * np.arange(shape[1]), transform.e * np.arange(shape[0]))
    return Cells(across.ravel(), down.ravel(), height), spread


def _at_stations(fields: xr.Dataset, grid: Grid, height: NDArray[np.float64]) -> tuple[Cells, Spread]:
    """Inverse squared distance on the ground, by chords of a sphere."""
    wgs84 = CRS.from_epsg(4326)
    to_degrees = Transformer.from_crs(fields.rio.crs, wgs84, always_xy=True)
    lon, lat = to_degrees.transform(fields["x"].values, fields["y"].values)
    stations, pixels = _chords(lon, lat), _chords(*_pixels(grid, wgs84))
    distances = [((pixels - station[:, None, None]) ** 2).sum(axis=0) for station in stations.T]
    weights = np.stack([1 / np.maximum(distance, 1.0) for distance in distances])

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.isfinite(values)
        if not known.any():
            return np.full(grid.shape, np.nan)
        return np.tensordot(values[known], weights[known], axes=1) / weights[known].sum(axis=0)

    metres = np.radians(1) * SPHERE
    return Cells(metres * np.cos(np.radians(np.mean(lat))) * np.asarray(lon), metres * np.asarray(lat), height), spread


def _chords(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places on a sphere in m, ``(3, …)``."""
    lon, lat = np.radians(lon), np.radians(lat)
    return SPHERE * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _pixels(grid: Grid, crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middles of pixels in another CRS, each ``(y, x)``; not finite where it has no such place."""
    height, width = grid.shape
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    a, b, c, d, e, f = grid.transform[:6]
    x, y = a * columns + b * rows + c, d * columns + e * rows + f
    if grid.crs is None or grid.crs == crs:
        return x, y
    return Transformer.from_crs(grid.crs, crs, always_xy=True).transform(x, y)
