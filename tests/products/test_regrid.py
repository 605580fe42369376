"""Regridding is a mean of what lies in a cell, right by kind."""

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform

from snowmap.data.grid import Grid
from snowmap.products.pairs import ANGLE, CLASS, MEAN, POWER, WRAPPED
from snowmap.products.rasters import as_raster
from snowmap.products.regrid import pixels_per_cell, reach, regrid

UTM = CRS.from_epsg(32632)
FINE = from_origin(500_000, 5_000_000, 10, 10)
BLOCKS = Grid((8, 12), from_origin(500_000, 5_000_000, 50, 50), UTM)


def layer(values, affine=FINE, crs=UTM):
    return as_raster(np.asarray(values, np.float32), affine, crs)


@pytest.fixture
def values() -> np.ndarray:
    values = np.random.default_rng(0).uniform(0.1, 1, (40, 60)).astype(np.float32)
    values[3:9, 5:20] = np.nan
    return values


def blocks(values: np.ndarray) -> np.ndarray:
    return values.reshape(8, 5, 12, 5)


def expected(values: np.ndarray, mean: np.ndarray, coverage: float = 0.5) -> np.ndarray:
    return np.where(np.isfinite(blocks(values)).mean((1, 3)) >= coverage, mean, np.nan)


def test_a_cell_is_the_mean_of_its_valid_pixels(values: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        mean = np.nansum(blocks(values), (1, 3)) / np.isfinite(blocks(values)).sum((1, 3))
    for coverage in (0.05, 0.5, 1):
        made = regrid({"a": layer(values)}, {"a": MEAN}, BLOCKS, coverage)["a"]
        np.testing.assert_allclose(made, expected(values, mean, coverage), atol=1e-6)


def test_pixels_weigh_as_much_as_lies_in_the_cell() -> None:
    values = np.arange(20, dtype=np.float32).reshape(4, 5)
    grid = Grid((1, 1), from_origin(500_005, 4_999_995, 25, 25), UTM)  # 2.5 px, from the middle of the first
    rows = columns = np.array([0.5, 1, 1, 0])
    weights = np.outer(rows, np.append(columns, 0))
    made = regrid({"a": layer(values)}, {"a": MEAN}, grid)["a"]
    np.testing.assert_allclose(made, [[(weights * values).sum() / weights.sum()]], rtol=1e-6)


def test_a_cell_that_a_product_covers_by_less_than_the_share_has_no_value(values: np.ndarray) -> None:
    shifted = Grid((1, 2), from_origin(499_970, 5_000_000, 50, 50), UTM)  # 40 % of the first cell are covered
    made = regrid({"a": layer(values)}, {"a": MEAN}, shifted, coverage=0.5)["a"]
    assert np.isnan(made[0, 0])
    assert np.isfinite(made[0, 1])
    assert np.isfinite(regrid({"a": layer(values)}, {"a": MEAN}, shifted, coverage=0.39)["a"]).all()


def test_a_wrapped_phase_is_that_of_the_mean_of_complex_numbers_weighted_by_coherence(values: np.ndarray) -> None:
    phase = np.angle(np.exp(1j * 40 * values))
    made = regrid({"coherence": layer(values), "phase": layer(phase)}, {"coherence": MEAN, "phase": WRAPPED}, BLOCKS)
    total = np.nansum(blocks(values * np.exp(1j * phase)), (1, 3))
    off = np.angle(np.exp(1j * (made["phase"] - expected(values, np.angle(total)))))
    assert np.nanmax(abs(off)) < 1e-4
    np.testing.assert_array_equal(np.isnan(made["phase"]), np.isnan(expected(values, total.real)))


def test_power_is_averaged_before_it_becomes_db(values: np.ndarray) -> None:
    values = np.nan_to_num(values, nan=0.5)
    made = regrid({"a": layer(values)}, {"a": POWER}, BLOCKS)["a"]
    np.testing.assert_allclose(made, 10 * np.log10(blocks(values).mean((1, 3))), atol=1e-4)


def test_angles_are_averaged_as_unit_vectors() -> None:
    angles = np.tile(np.float32([350, 10]), (40, 30))
    made = regrid({"a": layer(angles)}, {"a": ANGLE}, Grid((4, 6), from_origin(500_000, 5_000_000, 100, 100), UTM))["a"]
    np.testing.assert_allclose(made, 0, atol=1e-3)


def test_a_class_is_that_of_the_majority() -> None:
    classes = np.zeros((40, 60), np.float32)
    classes[:, 1::5] = classes[:, 3::5] = classes[:, 4::5] = 7
    np.testing.assert_array_equal(regrid({"a": layer(classes)}, {"a": CLASS}, BLOCKS)["a"], 7)


def test_a_plane_is_interpolated_where_cells_are_smaller_and_in_another_crs() -> None:
    """Whatever the CRS: a value that is linear in the source's coordinates stays what it is at that place."""
    rows, columns = np.mgrid[:50, :60]
    coarse = from_origin(600_000, 5_200_000, 1000, 1000)
    plane = layer(columns * 1000 - rows * 500, coarse)
    fine = Grid((30, 40), from_origin(10.4, 46.8, 0.002, 0.002), CRS.from_epsg(4326))
    made = regrid({"a": plane}, {"a": MEAN}, fine)["a"]
    lon, lat = np.meshgrid(10.4 + 0.002 * (np.arange(40) + 0.5), 46.8 - 0.002 * (np.arange(30) + 0.5))
    x, y = transform(fine.crs, UTM, lon.ravel(), lat.ravel())
    known = (np.array(x) - 600_500) - 0.5 * (5_199_500 - np.array(y))
    np.testing.assert_allclose(made.ravel(), known, atol=130 * 0.125)  # an eighth of a pixel is how exact the warp is
    assert pixels_per_cell(plane.grid, fine) < 1


def test_rows_from_south_to_north_are_the_same_map(values: np.ndarray) -> None:
    upright = regrid({"a": layer(values)}, {"a": MEAN}, BLOCKS)["a"]
    flipped = layer(values[::-1], Affine(10, 0, 500_000, 0, 10, 4_999_600))
    np.testing.assert_allclose(regrid({"a": flipped}, {"a": MEAN}, BLOCKS)["a"], upright, atol=1e-6)


def test_what_does_not_reach_the_grid_is_missing(values: np.ndarray) -> None:
    far = Grid((2, 2), from_origin(900_000, 5_000_000, 50, 50), UTM)
    assert reach(layer(values).grid, far) is None
    assert np.isnan(regrid({"a": layer(values)}, {"a": MEAN}, far)["a"]).all()
