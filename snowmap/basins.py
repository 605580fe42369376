"""What lies in a basin: mean, volume and snow-covered area of each window, with their uncertainty."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float64
from rich.console import Console
from rich.table import Table

from snowmap.correlation import pixel_spacing_m, sigma_of_sum
from snowmap.cube import targets_of, window_names
from snowmap.errors import SnowmapError
from snowmap.files import write_whole
from snowmap.grid import cell_areas
from snowmap.map_uncertainty import interval_of, sigma_of
from snowmap.outlines import shares_of_pixels
from snowmap.units import metres_per

logger = logging.getLogger(__name__)

SNOW_THRESHOLD_M: Mapping[str, float] = {"swe": 0.010, "hs": 0.05}
"""A pixel with more than this is covered with snow: m of water, m of snow."""

EQUAL_AREA = "EPSG:6933"
"""In which the areas of outlines can be compared."""

MOST_ROWS_PRINTED = 40


class Basin(NamedTuple):
    """A basin on the grid of the maps.

    Attributes:
        name: Its name.
        rows: Rows of the maps in which it lies.
        columns: Columns of the maps in which it lies.
        area_m2: Area of each of these pixels that is inside the basin, in m².
        share_in_map: Share of the basin's whole area that the map shows.
    """

    name: str
    rows: slice
    columns: slice
    area_m2: Float64[np.ndarray, "y x"]
    share_in_map: float


def basin_table(
    maps: xr.Dataset,
    outlines: gpd.GeoDataFrame,
    *,
    snow_threshold_m: Mapping[str, float] = SNOW_THRESHOLD_M,
    correlation_length_m: float | None = None,
) -> pd.DataFrame:
    """One row for each basin, window and target.

    Every pixel counts with its true area inside the basin. Pixels without a value are left out: the mean is that of the
    covered part, and so is the volume; nothing is extrapolated.

    Where the maps have σ, so have the mean and the volume. Errors of neighbouring pixels go together: with weights a_i,
    Var(Σ a_i e_i) = Σ_ij a_i a_j σ_i σ_j exp(−d_ij/L). L is `correlation_length_m`, else the attribute
    ``correlation_length_m`` of the σ layer; where neither is there, errors count as fully correlated, which gives the
    greatest σ that the mean can have. ``sigma_assumes`` says which.

    The snow-covered area comes with the areas in which the 5 % and the 95 % quantile of the pixels lie above the
    threshold. This is its 90 % interval if the errors of all pixels go together, so it is a cautious one. The expected
    area Σ A_i P(x_i > threshold) is not given: it would not be the area of the map that people look at, and its
    standard deviation needs the joint distribution of errors close to the threshold, of which σ and L say little.

    Args:
        maps: Maps as `SnowRegression.predict` or `read_maps` give them.
        outlines: Polygons with a CRS, indexed by the basins' names, as `read_outlines` gives them.
        snow_threshold_m: For each target, depth in m (of water for ``swe``, of snow for ``hs``) above which snow lies.
        correlation_length_m: L in m, for maps that do not say it, or instead of theirs.

    Returns:
        Columns ``basin``, ``window``, ``start``, ``end``, ``quantity``, ``unit`` (of ``mean``), ``area_km2`` (of the
        basin inside the map), ``share_in_map`` (of the basin's whole area), ``covered_share`` (of ``area_km2`` that has
        values), ``mean``, ``volume_m3`` (of water for SWE, of snow for HS), ``snow_area_km2``; where the maps have σ
        also ``mean_sigma``, ``volume_sigma_m3``, ``snow_area_q05_km2``, ``snow_area_q95_km2`` and ``sigma_assumes``.

    Raises:
        SnowmapError: When no basin lies inside the map, the outlines have no CRS, or a unit is unknown.
    """
    targets = targets_of(maps)
    basins = _basins_inside(maps, outlines)
    spacing = pixel_spacing_m(maps)
    metres = {target: metres_per(maps[target].attrs["units"], target, "the maps") for target in targets}
    lengths = {target: correlation_length_m or _length_of(maps, target) for target in targets}
    rows: list[dict[str, Any]] = []
    for index, window in enumerate(window_names(maps)):
        for target in targets:
            layers = _layers(maps.isel(window=index), target)  # one window at a time: a scene may be large
            for basin in basins:
                part = {name: layer[basin.rows, basin.columns].astype(np.float64) for name, layer in layers.items()}
                head = {
                    "basin": basin.name,
                    "window": window,
                    "start": maps["start"].values[index],
                    "end": maps["end"].values[index],
                    "quantity": target,
                    "unit": maps[target].attrs["units"],
                    "area_km2": basin.area_m2.sum() / 1e6,
                    "share_in_map": basin.share_in_map,
                }
                threshold = snow_threshold_m[target] / metres[target]
                found = _sums(part, basin.area_m2, metres[target], threshold)
                if "sigma" in part:
                    found |= _uncertainty(part, basin.area_m2, metres[target], threshold, spacing, lengths[target])
                rows.append(head | found)
    return pd.DataFrame(rows)


def _length_of(maps: xr.Dataset, target: str) -> float | None:
    sigma = f"{target}_sigma"
    length = maps[sigma].attrs.get("correlation_length_m") if sigma in maps else None
    return None if length is None else float(length)


def _basins_inside(maps: xr.Dataset, outlines: gpd.GeoDataFrame) -> list[Basin]:
    if outlines.crs is None:
        raise SnowmapError("the outlines of the basins have no CRS; set one with outlines.set_crs(...)")
    areas = cell_areas(maps)
    whole_m2 = outlines.to_crs(EQUAL_AREA).area.to_numpy()
    basins, outside = [], []
    for name, outline, whole in zip(outlines.index, outlines.to_crs(maps.rio.crs).geometry, whole_m2, strict=True):
        place = shares_of_pixels(outline, maps)
        if place is None:
            outside.append(str(name))
            continue
        rows, columns, shares = place
        area = areas[rows, columns] * shares
        basins.append(Basin(str(name), rows, columns, area, min(float(area.sum() / whole), 1.0)))
    if not basins:
        own = outlines.to_crs(maps.rio.crs).total_bounds
        told = [", ".join(f"{value:.6g}" for value in bounds) for bounds in (own, maps.rio.bounds())]
        raise SnowmapError(
            f"no basin lies inside the maps: the outlines reach over {told[0]} (west, south, east, north in "
            f"{maps.rio.crs}), the maps over {told[1]}; check the CRS of the outlines"
        )
    if outside:
        logger.warning("left out, since they lie outside the maps: %s", ", ".join(outside))
    return basins


def _layers(maps: xr.Dataset, target: str) -> dict[str, np.ndarray]:
    """The target of one window, and its σ and 90 % interval where it has them."""
    layers = {"values": maps[target]}
    sigma, interval = sigma_of(maps, target), interval_of(maps, target, 0.9)
    if sigma is not None and interval is not None:
        layers |= {"sigma": sigma, "low": interval[0], "high": interval[1]}
    return {name: layer.values for name, layer in layers.items()}


def _sums(part: Mapping[str, np.ndarray], area_m2: np.ndarray, metres: float, threshold: float) -> dict[str, float]:
    values = part["values"]
    valid = np.isfinite(values)
    covered = area_m2[valid].sum()
    if covered == 0:
        return {"covered_share": 0.0, "mean": np.nan, "volume_m3": np.nan, "snow_area_km2": np.nan}
    total = np.sum(area_m2[valid] * values[valid])
    return {
        "covered_share": covered / area_m2.sum(),
        "mean": total / covered,
        "volume_m3": total * metres,
        "snow_area_km2": area_m2[values > threshold].sum() / 1e6,
    }


def _uncertainty(
    part: Mapping[str, np.ndarray],
    area_m2: np.ndarray,
    metres: float,
    threshold: float,
    spacing_m: tuple[float, float],
    length_m: float | None,
) -> dict[str, float | str]:
    valid = np.isfinite(part["values"]) & (area_m2 > 0)
    covered = area_m2[valid].sum()
    if covered == 0:
        return {}
    sigma = sigma_of_sum(np.where(valid, area_m2 * part["sigma"], 0.0), spacing_m, length_m)
    return {
        "mean_sigma": sigma / covered,
        "volume_sigma_m3": sigma * metres,
        "snow_area_q05_km2": area_m2[valid & (part["low"] > threshold)].sum() / 1e6,
        "snow_area_q95_km2": area_m2[valid & (part["high"] > threshold)].sum() / 1e6,
        "sigma_assumes": (
            "fully correlated errors (upper bound)"
            if length_m is None
            else f"errors correlated over {length_m / 1000:.3g} km"
        ),
    }


def write_basins(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, whole or not at all.

    Raises:
        WriteError: When `path` cannot be written.
    """
    write_whole(path, table.to_csv(index=False))


def print_basins(table: pd.DataFrame, maps: xr.Dataset, console: Console | None = None) -> None:
    """Print a table for each quantity; of more than `MOST_ROWS_PRINTED` rows, those of the last window."""
    console = console or Console()
    last = table["window"].iloc[-1]
    shown = table if len(table) <= MOST_ROWS_PRINTED else table.query("window == @last")
    with_sigma = "mean_sigma" in table
    for quantity in shown["quantity"].unique():
        own = shown.query("quantity == @quantity").to_dict("records")
        title = f"{quantity.upper()} of basins"
        if len(shown) < len(table):
            title += f", {last}, the last of {table['window'].nunique()} windows"
        if str(maps.attrs.get("origin", "")).startswith("synthetic"):
            title += " · SYNTHETIC data, no measure of snow"
        printed = Table(title=title, title_justify="left")
        printed.add_column("basin", overflow="fold", min_width=10)
        printed.add_column("date", no_wrap=True)
        for head in ("km²", "covered", f"mean {own[0]['unit']}", "10⁶ m³", "snow km²"):
            printed.add_column(head, justify="right", no_wrap=True)
        for row in own:
            mean_sigma, volume_sigma = (row["mean_sigma"], row["volume_sigma_m3"]) if with_sigma else (np.nan, np.nan)
            printed.add_row(
                row["basin"],
                f"{row['end']:%Y-%m-%d}",
                f"{row['area_km2']:.2f}",
                f"{row['covered_share']:.0%}",
                _number(row["mean"], mean_sigma),
                _number(row["volume_m3"] / 1e6, volume_sigma / 1e6),
                f"{row['snow_area_km2']:.2f}",
            )
        console.print(printed)
    if with_sigma:
        console.print(f"± is one σ: {'; '.join(table['sigma_assumes'].dropna().unique())}", soft_wrap=True)


def _number(value: float, sigma: float) -> str:
    told = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{told} ± {sigma:.2g}" if np.isfinite(sigma) else told
