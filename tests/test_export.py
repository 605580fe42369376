import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from snowmap.export import write_predictions
from tests.cubes import make_cube

WINDOWS = [4, 5, 9]


def predictions(cube: xr.Dataset) -> xr.Dataset:
    inside = cube["mask"].values
    maps = cube[["start", "end", "mask"]].isel(window=WINDOWS).drop_vars("mask")
    for name in ("hs", "swe"):
        values = np.where(inside, np.nan_to_num(cube[name].values[WINDOWS]) + 1, np.nan).astype(np.float32)
        maps[name] = (("window", "y", "x"), values, {"units": cube[name].attrs["units"]})
    return maps


@pytest.fixture
def written(tmp_path):
    cube = make_cube()
    maps = predictions(cube)
    path = write_predictions(maps, cube, WINDOWS, tmp_path / "predictions.nc", {"part": "test", "seed": {"a": 1}})
    return cube, maps, path


def test_opens_again_with_values_dates_units_crs_and_grid(written):
    cube, maps, path = written
    with xr.open_dataset(path, decode_coords="all") as file:
        assert file.rio.crs == cube.rio.crs
        assert file.rio.transform() == cube.rio.transform()
        np.testing.assert_array_equal(file["swe"], maps["swe"])
        np.testing.assert_array_equal(file["time"], maps["end"])
        np.testing.assert_array_equal(file["time_bnds"][:, 0], maps["start"])
        np.testing.assert_array_equal(file["lat"], cube["y"])
        np.testing.assert_array_equal(file["study_area"], cube["mask"])
        inside = cube["mask"].values
        np.testing.assert_array_equal(file["hs_observed"].values[:, inside], cube["hs"].values[WINDOWS][:, inside])
        assert np.isnan(file["hs_observed"].values[:, ~inside]).all()
        assert file["swe"].attrs["units"] == "cm"
        assert file["swe"].attrs["standard_name"] == "lwe_thickness_of_surface_snow_amount"
        assert file["hs"].attrs["standard_name"] == "surface_snow_thickness"
        assert file.attrs["Conventions"] == "CF-1.11"
        assert "SYNTHETIC" in file.attrs["title"]
        assert file.attrs["snowmap_seed"] == '{"a": 1}'


def test_the_first_row_is_the_north(written):
    cube, _, path = written
    with xr.open_dataset(path) as file:
        assert file["lat"].values[0] > file["lat"].values[-1]
        assert file["lat"].values[0] == cube["y"].values[0]


def test_gdal_reads_the_same_grid(written):
    cube, maps, path = written
    if "netCDF" not in rasterio.drivers.raster_driver_extensions().values():
        pytest.skip("this GDAL reads no netCDF")
    with rasterio.open(f"netcdf:{path}:swe") as raster:
        assert raster.transform.almost_equals(cube.rio.transform())
        np.testing.assert_array_equal(raster.read(1), maps["swe"].values[0])


@pytest.mark.parametrize(("crs", "unit"), [("EPSG:32632", "m"), ("EPSG:3035", "m"), ("EPSG:2263", "US_survey_foot")])
def test_a_projected_grid_keeps_its_unit(tmp_path, crs, unit):
    cube = make_cube(shape=(6, 5)).drop_vars("spatial_ref")
    cube = cube.assign_coords(x=600_000 + 500 * (np.arange(5) + 0.5), y=5_100_000 - 500 * (np.arange(6) + 0.5))
    cube = cube.rio.write_crs(crs).rio.write_transform(from_origin(600_000, 5_100_000, 500, 500))
    path = write_predictions(predictions(cube), cube, WINDOWS, tmp_path / "p.nc", {})
    with xr.open_dataset(path, decode_coords="all") as file:
        assert file.rio.crs == cube.rio.crs
        assert file["x"].attrs["standard_name"] == "projection_x_coordinate"
        assert file["y"].attrs["units"] == file["x"].attrs["units"] == unit
        assert file.rio.transform() == cube.rio.transform()


def test_nothing_half_written_stays(written):
    assert [file.name for file in written[2].parent.iterdir()] == ["predictions.nc"]
