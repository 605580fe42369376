"""Mean, volume and snow-covered area of basins, window by window, with their uncertainty."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportOptionalSubscript=false, reportReturnType=false
# pandas has no stubs here: every selection is a Series, a DataFrame or an array to the type checker

import logging
from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from shapely import box

from snowmap.data.cube import is_synthetic, window_names
from snowmap.data.grid import cell_areas
from snowmap.errors import SnowmapError
from snowmap.maps.correlation import pixel_spacing_m, sigma_of_sum
from snowmap.maps.read import interval_of, snow_targets
from snowmap.tables import SYNTHETIC, listed, print_table
from snowmap.units import INTERVALS, SNOW_DEPTH_M, metres_per, snow_threshold

logger = logging.getLogger(__name__)

EQUAL_AREA = "EPSG:6933"
"""In which the areas of outlines can be compared."""

MOST_ROWS_PRINTED = 40


def pixels_of_basins(maps: xr.Dataset, outlines: gpd.GeoDataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lay outlines on the grid of maps; a warning names those that lie outside.

    A pixel that an outline cuts counts with its share of area, which is exact in the plane of the CRS.

    Returns:
        For each basin on the grid ``basin`` (its name), ``area_km2`` inside the grid, and ``share_in_map``, the share
        of its whole area. For each pixel of a basin ``basin`` (the row of the first table), ``y`` and ``x`` (the
        pixel's place on the grid), and ``area_m2`` inside the basin.

    Raises:
        SnowmapError: When no basin lies on the grid, or the outlines have no CRS.
    """
    if outlines.crs is None:
        raise SnowmapError("the outlines of the basins have no CRS; set one with outlines.set_crs(...)")
    areas, frame = cell_areas(maps), box(*maps.rio.bounds())
    local = outlines.to_crs(maps.rio.crs)
    finite = np.isfinite(local.bounds).all(axis=1)  # the CRS of the maps does not reach everywhere
    inside = (finite & local.intersects(frame) & ~local.touches(frame)).to_numpy()
    if not inside.any():
        reach = [", ".join(f"{value:.6g}" for value in bounds) for bounds in (local.total_bounds, frame.bounds)]
        raise SnowmapError(
            f"no basin lies inside the maps: the outlines reach over {reach[0]} (west, south, east, north in "
            f"{maps.rio.crs}), the maps over {reach[1]}; check the CRS of the outlines"
        )
    if not inside.all():
        logger.warning("left out, since they lie outside the maps: %s", listed(map(str, local.index[~inside])))
    grid = NumPyRasterSource(areas, *frame.bounds)
    cells = exact_extract(grid, local[inside], ["cell_id", "coverage"], output="pandas")
    y, x = np.unravel_index(np.concatenate(cells["cell_id"]), areas.shape)  # from the north-west, however the maps run
    y, x = np.argsort(-maps["y"].values)[y], np.argsort(maps["x"].values)[x]
    number = np.repeat(np.arange(len(cells)), cells["cell_id"].map(len))
    pixels = pd.DataFrame({"basin": number, "y": y, "x": x, "area_m2": areas[y, x] * np.concatenate(cells["coverage"])})
    area_m2 = pixels.groupby("basin")["area_m2"].sum().to_numpy()
    share = np.minimum(area_m2 / outlines[inside].to_crs(EQUAL_AREA).area.to_numpy(), 1.0)
    basins = pd.DataFrame({"basin": local.index[inside].map(str), "area_km2": area_m2 / 1e6, "share_in_map": share})
    return basins, pixels


def basin_table(
    maps: xr.Dataset,
    outlines: gpd.GeoDataFrame,
    *,
    snow_threshold_m: Mapping[str, float] = SNOW_DEPTH_M,
    correlation_length_m: float | None = None,
) -> pd.DataFrame:
    """One row for each basin, window and target.

    Every pixel counts with its true area inside the basin. Pixels without a value are left out: the mean is that of the
    covered part, and so is the volume; nothing is extrapolated.

    Where the maps have σ, so have the mean and the volume: Var(Σ a_i e_i) = Σ_ij a_i a_j σ_i σ_j exp(−d_ij/L) with
    weights a_i. L is `correlation_length_m`, else the attribute ``correlation_length_m`` of the σ layer; where neither
    is there, errors count as fully correlated. ``sigma_assumes`` says which. The snow-covered area comes with the areas
    in which the 5 % and the 95 % quantile of the pixels reach the threshold; docs/basins-and-stations.md says what they
    mean.

    Args:
        maps: Maps as `SnowRegression.predict` or `read_maps` give them.
        outlines: Polygons with a CRS, indexed by the basins' names; see `snowmap.products.outlines.read_outlines`.
        snow_threshold_m: For each target, depth in m (of water for ``swe``, of snow for ``hs``) from which a pixel is
            covered with snow.
        correlation_length_m: L in m, for maps that do not say it, or instead of theirs.

    Returns:
        Columns ``basin``, ``window``, ``start``, ``end``, ``quantity``, ``unit`` (of ``mean``), ``area_km2`` (of the
        basin inside the map), ``share_in_map`` (of the basin's whole area), ``covered_share`` (of ``area_km2`` that has
        values), ``mean``, ``volume_m3`` (of water for SWE, of snow for HS), ``snow_area_km2``; where the maps have σ
        also ``mean_sigma``, ``volume_sigma_m3``, ``snow_area_q05_km2``, ``snow_area_q95_km2`` and ``sigma_assumes``.

    Raises:
        SnowmapError: When no basin lies inside the map, the outlines have no CRS, or a unit is unknown.
    """
    basins, pixels = pixels_of_basins(maps, outlines)
    spacing_m, parts = pixel_spacing_m(maps), []
    for index, window in enumerate(window_names(maps)):  # one at a time: a scene may be large
        dates = {"window": window, "start": maps["start"].values[index], "end": maps["end"].values[index]}
        for target in snow_targets(maps):
            columns = dates | {"quantity": target, "unit": maps[target].attrs["units"]}
            snow = _snow(maps.isel(window=index), target, pixels, snow_threshold_m, correlation_length_m, spacing_m)
            parts.append(pd.DataFrame({"basin": basins["basin"], **columns, **basins.drop(columns="basin"), **snow}))
    return pd.concat(parts, ignore_index=True)


def _snow(
    maps: xr.Dataset,
    target: str,
    pixels: pd.DataFrame,
    depth_m: Mapping[str, float],
    length_m: float | None,
    spacing_m: tuple[float, float],
) -> dict[str, Any]:
    """The columns of the table that depend on the maps, of one window and target."""
    places = pixels["y"].to_numpy(), pixels["x"].to_numpy()
    unit, values = maps[target].attrs["units"], maps[target].values[places]
    metres, threshold = metres_per(unit, target, "the maps"), snow_threshold(target, unit, depth_m)
    area = pixels["area_m2"].where(np.isfinite(values))

    def total(layer: np.ndarray | float) -> pd.Series:
        """Sums over the basins, each pixel times its area; missing where a basin has no value."""
        return (area * layer).groupby(pixels["basin"]).sum(min_count=1)

    covered, sigma, interval = total(1.0), maps.get(f"{target}_sigma"), interval_of(maps, target, 90)
    columns: dict[str, Any] = {
        "covered_share": covered.fillna(0) / pixels.groupby("basin")["area_m2"].sum(),
        "mean": total(values) / covered,
        "volume_m3": total(values) * metres,
        "snow_area_km2": total(values >= threshold) / 1e6,
    }
    if sigma is None or interval is None:
        return columns
    length_m = length_m or sigma.attrs.get("correlation_length_m")
    terms = pixels.assign(term=(area * sigma.values[places]).fillna(0)).groupby("basin")[["y", "x", "term"]]
    of_sum = terms.apply(_sigma_of_sum, spacing_m, length_m).where(covered.notna())
    assumed = (
        f"errors correlated over {length_m / 1000:.3g} km" if length_m else "fully correlated errors (upper bound)"
    )
    return columns | {
        "mean_sigma": of_sum / covered,
        "volume_sigma_m3": of_sum * metres,
        **{
            f"snow_area_{name}_km2": total(end.values[places] >= threshold) / 1e6
            for name, end in zip(INTERVALS[90], interval, strict=True)
        },
        "sigma_assumes": covered.map(lambda _: assumed, na_action="ignore").astype(object),
    }


def _sigma_of_sum(pixels: pd.DataFrame, spacing_m: tuple[float, float], length_m: float | None) -> float:
    """σ of the sum of the ``term`` of pixels, in the smallest rectangle that holds them."""
    y, x = (pixels[axis].to_numpy() - pixels[axis].min() for axis in ("y", "x"))
    terms = np.zeros((y.max() + 1, x.max() + 1))
    terms[y, x] = pixels["term"]
    return sigma_of_sum(terms, spacing_m, length_m)


def print_basins(table: pd.DataFrame, maps: xr.Dataset) -> None:
    """Print a table for each quantity; of more than `MOST_ROWS_PRINTED` rows, those of the last window."""
    shown = table if len(table) <= MOST_ROWS_PRINTED else table[table["window"] == table["window"].iloc[-1]]
    for quantity, rows in shown.groupby("quantity", sort=False):
        title = f"{str(quantity).upper()} of basins"
        title += f", the last of {table['window'].nunique()} windows" if len(shown) < len(table) else ""
        title += f" · {SYNTHETIC}" if is_synthetic(maps) else ""
        numbers = rows.reindex(columns=["mean", "mean_sigma", "volume_m3", "volume_sigma_m3"]).astype(float)
        columns = {
            "basin": rows["basin"],
            "date": rows["end"].dt.strftime("%Y-%m-%d"),
            "km²": rows["area_km2"].map("{:.2f}".format),
            "covered": rows["covered_share"].map("{:.0%}".format),
            f"mean {rows['unit'].iloc[0]}": map(_number, numbers["mean"], numbers["mean_sigma"]),
            "10⁶ m³": map(_number, numbers["volume_m3"] / 1e6, numbers["volume_sigma_m3"] / 1e6),
            "snow km²": rows["snow_area_km2"].map("{:.2f}".format),
        }
        print_table(title, columns)
    if "mean_sigma" in table:
        print(f"± is one σ: {'; '.join(table['sigma_assumes'].dropna().unique())}")


def _number(value: float, sigma: float) -> str:
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{shown} ± {sigma:.2g}" if np.isfinite(sigma) else shown
