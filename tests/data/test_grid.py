import numpy as np
import pytest
import rasterio.crs
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from pyproj import CRS, Geod, Transformer
from rasterio.transform import Affine, from_origin

from snowmap.data.cube import check
from snowmap.data.grid import cell_areas, fault_of_grid
from snowmap.errors import SnowmapError
from tests.cubes import make_cube

EDGE_POINTS = 100


def grid(crs: str, west: float, north: float, size: tuple[float, float], shape: tuple[int, int] = (4, 3)) -> xr.Dataset:
    coordinates = {
        "y": north - size[1] * (np.arange(shape[0]) + 0.5),
        "x": west + size[0] * (np.arange(shape[1]) + 0.5),
    }
    return xr.Dataset(coords=coordinates).rio.write_crs(crs).rio.write_transform(from_origin(west, north, *size))


def geodesic_areas(cube: xr.Dataset) -> np.ndarray:
    """Areas of polygons on the ellipsoid whose edges follow those of the cells in many small steps."""
    crs = CRS.from_user_input(cube.rio.crs.to_wkt())
    geod = Geod(a=crs.ellipsoid.semi_major_metre, b=crs.ellipsoid.semi_minor_metre)
    to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    degree = np.degrees(crs.geodetic_crs.axis_info[0].unit_conversion_factor)
    step = np.arange(EDGE_POINTS) / EDGE_POINTS
    right = np.concatenate([step, np.ones(EDGE_POINTS), 1 - step, np.zeros(EDGE_POINTS)])
    down = np.roll(right, EDGE_POINTS)
    areas = np.zeros((cube.sizes["y"], cube.sizes["x"]))
    for row, column in np.ndindex(areas.shape):
        longitude, latitude = to_degrees.transform(*(cube.rio.transform() @ (column + right, row + down)))
        area, _ = geod.polygon_area_perimeter(np.multiply(longitude, degree), np.multiply(latitude, degree))
        areas[row, column] = abs(area)
    return areas


@pytest.mark.parametrize(
    "cube",
    [
        grid("EPSG:4326", 9.8, 46.4, (0.005, 0.005)),
        grid("EPSG:4326", -70, -33, (0.5, 0.25)),
        grid("EPSG:4314", 9, 50, (0.01, 0.01)),  # Bessel's ellipsoid
        grid("EPSG:4807", 8, 52, (0.01, 0.01)),  # in grads, on Clarke's ellipsoid
        grid("EPSG:32632", 600_000, 5_100_000, (500, 500)),
        grid("EPSG:32632", 950_000, 5_100_000, (500, 400)),  # far outside the zone
        grid("EPSG:3857", 1_100_000, 5_800_000, (700, 700)),
        grid("EPSG:3857", 1_100_000, 1_000, (700, 700)),
        grid("EPSG:3413", -1_500, 1_500, (1_000, 1_000)),  # around the pole
        grid("EPSG:2263", 600_000, 200_000, (500, 500)),  # in feet
    ],
    ids=lambda cube: f"{cube.rio.crs} {cube.rio.transform().f:g}",
)
def test_equals_the_area_of_geodesic_polygons(cube):
    areas = cell_areas(cube)
    assert areas.dtype == np.float64
    assert areas.shape == (4, 3)
    np.testing.assert_allclose(areas, geodesic_areas(cube), rtol=1e-7)


def test_the_pixel_of_the_public_archive():
    areas = cell_areas(grid("EPSG:4326", 9.80, 46.40, (1.07 / 211, 0.47 / 93), (93, 211)))
    assert areas.shape == (93, 211)
    assert areas.mean() == pytest.approx(391 * 562, rel=5e-3)
    assert areas.mean() == pytest.approx(0.22e6, rel=5e-3)
    assert (areas[-1] > areas[0]).all()  # the south is wider


def test_all_cells_of_the_globe_make_its_surface():
    areas = cell_areas(grid("EPSG:4326", -180, 90, (5, 5), (36, 72)))
    a, b = 6378137.0, 6356752.314245179
    e = np.sqrt(1 - (b / a) ** 2)
    surface = 2 * np.pi * a**2 * (1 + (1 - e**2) / e * np.arctanh(e))
    assert areas.sum() == pytest.approx(surface, rel=1e-12)
    sphere = cell_areas(grid("+proj=longlat +R=6371000", -180, 90, (5, 5), (36, 72)))
    assert sphere.sum() == pytest.approx(4 * np.pi * 6371000.0**2, rel=1e-12)


UTM = rasterio.crs.CRS.from_epsg(32632)
DEGREES = rasterio.crs.CRS.from_epsg(4326)


@pytest.mark.parametrize(
    ("transform", "crs", "words"),
    [
        (from_origin(9.8, 46.4, 0.005, 0.005), None, "no CRS"),
        (from_origin(0, 0, 10, 10), rasterio.crs.CRS.from_wkt('LOCAL_CS["mine",UNIT["metre",1]]'), "'mine'"),
        (from_origin(4e6, 7e5, 10, 10), rasterio.crs.CRS.from_epsg(4978), "Geocentric"),
        (from_origin(9.8, 46.4, 0.005, 0.005) @ Affine.rotation(20), DEGREES, "rotated"),
        (from_origin(6e5, 5.1e6, 50, 50) @ Affine.shear(10), UTM, "rotated or sheared"),
        (Affine(0.005, 0, 9.8, 0, 0, 46.4), DEGREES, "steps"),
        (Affine(np.nan, 0, 9.8, 0, -1, 46.4), DEGREES, "steps"),
        (from_origin(6e5, 5.1e6, 50, 50), DEGREES, "off the Earth in EPSG:4326"),
        (from_origin(9.8, 92, 0.005, 0.005), DEGREES, "off the Earth"),
        (from_origin(0, 90, 4, 1), DEGREES, "off the Earth"),
        (from_origin(6e8, 5e9, 50, 50), UTM, "off the Earth in EPSG:32632"),
        (from_origin(3e7, 1e6, 50, 50), rasterio.crs.CRS.from_epsg(3413), ""),
        (from_origin(6e5, 5.1e6, 50, 50), UTM, ""),
        (from_origin(6e5, 5.1e6, 50, 50) @ Affine.rotation(1e-6), UTM, ""),
        (from_origin(9.8, 46.4, 0.005, 0.005), DEGREES, ""),
        (from_origin(-0.5, 90.5, 1, 1.5), DEGREES, ""),  # pixels about the pole, and the whole circle
        (from_origin(6e5, 5.1e6, 50, 50), rasterio.crs.CRS.from_string("EPSG:25832+7837"), ""),
    ],
)
def test_a_grid_that_cannot_be_mapped_is_told_by_its_fault(transform, crs, words):
    found = fault_of_grid((120, 360), transform, crs)
    assert (words in found) if words else found == ""


def test_a_rotated_cube_is_no_valid_one():
    cube = make_cube(1)
    with pytest.raises(SnowmapError, match="not a valid Cube:\n  - the grid is rotated"):
        check(cube.rio.write_transform(cube.rio.transform() @ Affine.rotation(20)))
