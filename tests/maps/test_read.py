import shutil

import numpy as np
import pytest
import xarray as xr
from rasterio.transform import from_origin

from snowmap.errors import SnowmapError
from snowmap.maps.read import read_maps
from tests.cubes import make_cube
from tests.map_files import NORTH, PIXEL, WEST, make_maps, write_maps
from tests.maps.test_netcdf import WINDOWS, predictions

VALUES = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
VALUES[:, 0, 0] = np.nan


def per_window(maps, folder):
    folder.mkdir(exist_ok=True)
    for index in range(maps.sizes["window"]):
        one = maps.isel(window=[index])
        days = [np.datetime_as_string(one[name].values[0], "D") for name in ("start", "end")]
        write_maps(one, folder / f"{days[0]}_to_{days[1]}.nc")
    return folder


def assert_same_maps(read, maps):
    for name in maps.data_vars:
        assert read[name].dims == ("window", "y", "x")
        np.testing.assert_array_equal(read[name].values, maps[name].values)
        assert read[name].attrs["units"] == maps[name].attrs["units"]
    for name in ("start", "end", "x", "y"):
        np.testing.assert_array_equal(read[name].values, maps[name].values)
    assert read.rio.crs == maps.rio.crs
    assert read.rio.transform() == maps.rio.transform()


def test_a_geographic_file_comes_back_with_its_observed_maps(tmp_path):
    from snowmap.maps.netcdf import write_predictions

    cube = make_cube()
    maps = predictions(cube)
    read = read_maps(write_predictions(maps, cube, WINDOWS, tmp_path / "predictions.nc", {"subset": "test"}))
    assert_same_maps(read, maps)
    observed = np.where(cube["mask"].values, cube["swe"].values[WINDOWS], np.nan)
    np.testing.assert_array_equal(read["swe_observed"].values, observed)
    assert set(read.data_vars) == {"hs", "swe", "hs_observed", "swe_observed"}
    assert read.attrs["origin"] == "synthetic: a test"


def test_a_projected_file_with_uncertainty(tmp_path):
    maps = make_maps(VALUES, sigma=VALUES + 1, q05=VALUES - 1, q95=VALUES + 3)
    assert_same_maps(read_maps(write_maps(maps, tmp_path / "predictions.nc")), maps)


def test_a_folder_of_windows_in_order_and_nothing_else(windows, tmp_path):
    folder = shutil.copytree(windows, tmp_path / "out")
    (folder / "overview.nc").write_bytes(b"no map")
    (folder / "2021-01-09_to_2021-01-21.tif").write_bytes(b"other")
    (folder / ".2021-01-09_to_2021-01-21.nc.part").write_bytes(b"half written")
    read = read_maps(folder)
    assert read["swe"].chunks is not None  # read when it is used, window by window
    np.testing.assert_array_equal(read["swe"].isel(window=1).values, VALUES[1])
    assert_same_maps(read, make_maps(VALUES, sigma=VALUES + 1))
    assert read.attrs["origin"] == "synthetic: a test"


def test_attributes_of_layers_stay(one_file, tmp_path):
    def change(file):
        file["swe_sigma"].attrs["correlation_length_m"] = 2500.0
        return file

    assert read_maps(changed(one_file, change, tmp_path))["swe_sigma"].attrs["correlation_length_m"] == 2500.0


@pytest.mark.parametrize("x", [slice(None), slice(2, None)])
@pytest.mark.parametrize("y", [slice(None), slice(None, None, -1)])
def test_axes_in_another_order_cropped_or_flipped_since(one_file, tmp_path, x, y):
    path = changed(one_file, lambda file: file.isel(x=x, y=y).transpose("x", "y", "bnds", "time"), tmp_path)
    read = read_maps(path)
    np.testing.assert_array_equal(read["swe"].values, VALUES[:, y, x])
    np.testing.assert_array_equal(read["swe_sigma"].values, VALUES[:, y, x] + 1)
    west, north = WEST + (x.start or 0) * PIXEL, NORTH - (4 * PIXEL if y.step else 0)
    assert tuple(read.rio.transform())[:6] == (PIXEL, 0, west, 0, PIXEL if y.step else -PIXEL, north)


def test_a_value_that_no_snow_has_is_an_error_when_it_is_read(one_file, tmp_path):
    def change(file):
        file["swe"] = file["swe"].astype(np.float64)
        file["swe"].values[1, 2, 3] = 1e300
        return file

    read = read_maps(changed(one_file, change, tmp_path))
    with pytest.raises(SnowmapError, match=r"changed\.nc: swe holds 1e\+300 cm; expected .* no value beyond 100000 cm"):
        read["swe"].load()


def changed(path, change, folder):
    """The file as another program would have rewritten it."""
    with xr.open_dataset(path, decode_cf=False) as file:
        other = change(file.load())
    other.to_netcdf(folder / "changed.nc", engine="h5netcdf")
    return folder / "changed.nc"


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """A folder with one file for each window."""
    return per_window(make_maps(VALUES, sigma=VALUES + 1), tmp_path_factory.mktemp("windows"))


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    return write_maps(make_maps(VALUES, sigma=VALUES + 1), tmp_path_factory.mktemp("maps") / "p.nc")


def without_crs(file):
    for variable in file.variables.values():
        variable.attrs.pop("grid_mapping", None)
    return file.drop_vars("crs")


def in_furlongs(file, name="swe"):
    file[name].attrs["units"] = "furlong"
    return file


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without_crs, "no CRS"),
        (in_furlongs, "'furlong' of swe is unknown"),
        (lambda file: in_furlongs(file, "swe_observed"), "swe_observed is in 'furlong', but swe is in 'cm'"),
        (lambda file: file.drop_vars("time_bnds"), "not written by snowmap: it has no time_bnds"),
        (lambda file: file.drop_vars(["swe", "swe_observed"]), "it has no swe and hs"),
        (
            lambda file: file.assign(swe=file["swe"].isel(time=0)),
            r"swe has the dimensions \('y', 'x'\); expected time, y",
        ),
    ],
)
def test_a_file_that_lacks_something(one_file, tmp_path, change, says):
    path = changed(one_file, change, tmp_path)
    with pytest.raises(SnowmapError, match=says) as caught:
        read_maps(path)
    assert str(path) in str(caught.value)


def test_no_file_no_netcdf_and_an_empty_folder(tmp_path):
    with pytest.raises(SnowmapError, match="does not exist"):
        read_maps(tmp_path / "nowhere.nc")
    (tmp_path / "p.nc").write_bytes(b"no NetCDF")
    with pytest.raises(SnowmapError, match="cannot be read as NetCDF"):
        read_maps(tmp_path / "p.nc")
    with pytest.raises(SnowmapError, match="holds no file of maps"):
        read_maps(tmp_path)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (make_maps(VALUES[:1, :2], sigma=VALUES[:1, :2]), "another grid"),
        (make_maps(VALUES[:1], sigma=VALUES[:1], transform=from_origin(600_100, 5_150_000, 500, 500)), "another grid"),
        (make_maps(VALUES[:1], sigma=VALUES[:1], crs="EPSG:32633"), "EPSG:32633"),
        (make_maps(VALUES[:1], sigma=VALUES[:1], unit="mm"), "other maps or units"),
        (make_maps(VALUES[:1]), "other maps or units"),
    ],
)
def test_files_that_differ(windows, tmp_path, other, says):
    shutil.copy(next(windows.glob("2021-01-09*")), tmp_path)
    write_maps(other, tmp_path / "2021-03-10_to_2021-03-22.nc")
    with pytest.raises(SnowmapError, match=says) as caught:
        read_maps(tmp_path)
    assert "2021-03-10_to_2021-03-22.nc" in str(caught.value)
