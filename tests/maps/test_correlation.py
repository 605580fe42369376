import geopandas as gpd
import numpy as np
import pytest
from pyproj import Geod
from rasterio.transform import from_origin
from scipy.spatial.distance import cdist
from shapely import Point, box

from snowmap.maps.basins import basin_table
from snowmap.maps.correlation import correlation_length_m, pixel_spacing_m, sigma_of_sum
from tests.map_files import make_maps

SPACING = (560.0, 390.0)


def places(shape, spacing=SPACING):
    return np.indices(shape).reshape(2, -1).T * np.array(spacing)


def fields(windows, shape, length, seed=0, spacing=SPACING):
    """Gaussian fields of unit variance and exponential correlation, exact by Cholesky."""
    covariance = np.exp(-cdist(*[places(shape, spacing)] * 2) / length)
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))
    noise = np.random.default_rng(seed).standard_normal((len(covariance), windows))
    return (root @ noise).T.reshape(windows, *shape)


@pytest.mark.parametrize("length", [600.0, 1500.0, 3000.0])
def test_the_length_of_simulated_fields_with_gaps(length):
    errors = fields(60, (26, 34), length)
    errors[:, np.random.default_rng(1).random((26, 34)) < 0.3] = np.nan
    errors[::3, :8] = np.nan
    assert correlation_length_m(errors, SPACING) == pytest.approx(length, rel=0.15)


def test_a_sigma_that_is_wrong_by_a_factor_changes_nothing():
    errors = fields(5, (12, 15), 1500.0)
    assert correlation_length_m(7 * errors, SPACING) == pytest.approx(correlation_length_m(errors, SPACING), rel=1e-6)


def test_noise_without_correlation_is_shorter_than_a_pixel():
    noise = np.random.default_rng(0).standard_normal((40, 20, 20))
    assert correlation_length_m(noise, (500.0, 500.0)) < 250


def test_an_error_that_a_whole_window_shares_is_kept():
    alone = fields(40, (16, 16), 1000.0)
    shared = np.random.default_rng(5).standard_normal((40, 1, 1))
    assert correlation_length_m(alone + shared, SPACING) > 2.5 * correlation_length_m(alone, SPACING)
    constant = np.ones((3, 8, 8))
    assert correlation_length_m(constant, SPACING) > 50 * 8 * 560


def test_where_nothing_can_be_told():
    nothing = np.full((3, 8, 8), np.nan)
    assert correlation_length_m(nothing, SPACING) is None
    lonely = nothing.copy()
    lonely[:, 3, 3] = 1.0
    assert correlation_length_m(lonely, SPACING) is None
    assert correlation_length_m(np.zeros((3, 8, 8)), SPACING) is None


@pytest.mark.parametrize("length", [100.0, 1500.0, 40_000.0])
def test_the_convolution_is_the_double_sum(length):
    sigma = np.random.default_rng(2).random((9, 14))
    sigma[2:5, 3:6] = 0
    correlation = np.exp(-cdist(*[places((9, 14))] * 2) / length)
    exact = np.sqrt(sigma.ravel() @ correlation @ sigma.ravel())
    assert sigma_of_sum(sigma, SPACING, length) == pytest.approx(exact, rel=1e-10)


def test_the_limits_are_independent_and_fully_correlated():
    sigma = np.random.default_rng(3).random((9, 14))
    assert sigma_of_sum(sigma, SPACING, 1.0) == pytest.approx(np.sqrt((sigma**2).sum()))
    assert sigma_of_sum(sigma, SPACING, 1e12) == pytest.approx(sigma.sum(), rel=1e-6)
    assert sigma_of_sum(sigma, SPACING, None) == sigma.sum()
    assert sigma_of_sum(np.zeros((3, 3)), SPACING, 500.0) == 0


def test_spacing_in_metres_of_degrees_metres_and_feet():
    degrees = make_maps(np.ones((1, 11, 21)), crs="EPSG:4326", transform=from_origin(10.0, 46.5, 0.005, 0.005))
    lon, lat = float(degrees["x"].mean()), float(degrees["y"].mean())
    geod = Geod(ellps="WGS84")
    expected = geod.inv(lon, lat, lon, lat - 0.005)[2], geod.inv(lon, lat, lon + 0.005, lat)[2]
    assert pixel_spacing_m(degrees) == pytest.approx(expected)
    assert pixel_spacing_m(make_maps(np.ones((1, 11, 21)))) == pytest.approx((500, 500), rel=1e-3)
    feet = from_origin(980_000, 200_000, 1000, 500)
    in_feet = make_maps(np.ones((1, 11, 21)), crs="EPSG:2263", transform=feet)
    assert pixel_spacing_m(in_feet) == pytest.approx((152.4, 304.8), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1000.0, 4000.0])
def test_the_90_percent_interval_of_the_basin_mean_covers_the_truth_in_90_percent(length):
    shape, spacing = (24, 24), (500.0, 500.0)
    sigma = np.broadcast_to(1 + np.linspace(0, 3, 24), (500, *shape))
    told = correlation_length_m(fields(25, shape, length, 7, spacing), spacing)  # as if of validation windows
    errors = sigma * fields(500, shape, length, 8, spacing)
    predicted = np.full((500, *shape), 40.0)
    maps, truth = make_maps(predicted, sigma=sigma), make_maps(predicted - errors)
    maps["swe_sigma"].attrs["correlation_length_m"] = told
    west, south, _, north = maps.rio.bounds()
    basins = gpd.GeoDataFrame(
        geometry=[Point(west + 6000, south + 6000).buffer(4000), box(west, north - 1000, west + 8000, north)],
        index=["disc", "strip"],
        crs=maps.rio.crs,
    )
    table = basin_table(maps, basins)
    table["inside"] = (table["mean"] - basin_table(truth, basins)["mean"]).abs() <= 1.645 * table["mean_sigma"]
    shares = table.groupby("basin")["inside"].mean().to_dict()
    assert shares == pytest.approx({"disc": 0.9, "strip": 0.9}, abs=0.05)
    assert table.groupby("basin")["mean_sigma"].nunique().eq(1).all()  # the windows have one σ, so one of them will do
    first = maps.isel(window=[0])
    upper = basin_table(first.assign(swe_sigma=first["swe_sigma"].assign_attrs(correlation_length_m=None)), basins)
    assert (upper["mean_sigma"] > table["mean_sigma"][: len(upper)]).all()
