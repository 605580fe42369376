import numpy as np
import pytest
import xarray as xr
from rasterio.transform import from_origin

from snowmap.errors import SnowmapError
from snowmap.maps import read_maps
from tests.cubes import make_cube
from tests.maps import make_maps, write_maps
from tests.test_export import WINDOWS, predictions

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
    from snowmap.export import write_predictions

    cube = make_cube()
    maps = predictions(cube)
    read = read_maps(write_predictions(maps, cube, WINDOWS, tmp_path / "predictions.nc", {"part": "test"}))
    assert_same_maps(read, maps)
    observed = np.where(cube["mask"].values, cube["swe"].values[WINDOWS], np.nan)
    np.testing.assert_array_equal(read["swe_observed"].values, observed)
    assert set(read.data_vars) == {"hs", "swe", "hs_observed", "swe_observed"}
    assert read.attrs["origin"] == "synthetic: a test"


def test_a_projected_file_with_uncertainty(tmp_path):
    maps = make_maps(VALUES, sigma=VALUES + 1, q05=VALUES - 1, q95=VALUES + 3)
    assert_same_maps(read_maps(write_maps(maps, tmp_path / "predictions.nc")), maps)


def test_a_folder_of_windows_in_order_and_nothing_else(tmp_path):
    maps = make_maps(VALUES, sigma=VALUES + 1)
    folder = per_window(maps, tmp_path / "out")
    write_maps(make_maps(VALUES[:, :2]), folder / "overview.nc")
    (folder / "2021-01-09_to_2021-01-21.tif").write_bytes(b"other")
    (folder / ".2021-01-09_to_2021-01-21.nc.part").write_bytes(b"half written")
    read = read_maps(folder)
    assert_same_maps(read, maps)
    assert read.attrs["origin"] == "synthetic: a test"


def test_windows_are_read_when_they_are_used(tmp_path):
    read = read_maps(per_window(make_maps(VALUES), tmp_path / "out"))
    assert read["swe"].chunks is not None
    np.testing.assert_array_equal(read["swe"].isel(window=1).values, VALUES[1])


def test_attributes_of_layers_stay(tmp_path):
    path = write_maps(make_maps(VALUES, sigma=VALUES + 1), tmp_path / "p.nc")
    with xr.open_dataset(path, decode_cf=False) as file:
        file = file.load()
    file["swe_sigma"].attrs["correlation_length_m"] = 2500.0
    file.to_netcdf(tmp_path / "q.nc", engine="h5netcdf")
    assert read_maps(tmp_path / "q.nc")["swe_sigma"].attrs["correlation_length_m"] == 2500.0


def changed(path, change):
    with xr.open_dataset(path, decode_cf=False) as file:
        file = file.load()
    change(file).to_netcdf(path, engine="h5netcdf")
    return path


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
    ],
)
def test_a_file_that_lacks_something(tmp_path, change, says):
    path = changed(write_maps(make_maps(VALUES), tmp_path / "p.nc"), change)
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
        (make_maps(VALUES[:1, :2]), "another grid"),
        (make_maps(VALUES[:1], transform=from_origin(600_100, 5_150_000, 500, 500)), "another grid"),
        (make_maps(VALUES[:1], crs="EPSG:32633"), "EPSG:32633"),
        (make_maps(VALUES[:1], unit="mm"), "other maps or units"),
        (make_maps(VALUES[:1], sigma=VALUES[:1] + 1), "other maps or units"),
    ],
)
def test_files_that_differ(tmp_path, other, says):
    folder = per_window(make_maps(VALUES), tmp_path / "out")
    write_maps(other, folder / "2021-03-10_to_2021-03-22.nc")
    with pytest.raises(SnowmapError, match=says) as caught:
        read_maps(folder)
    assert "2021-03-10_to_2021-03-22.nc" in str(caught.value)
