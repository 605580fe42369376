import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from compliance_checker.runner import CheckSuite, ComplianceChecker
from rasterio.transform import from_origin

from snowmap.data.cube import target_attributes
from snowmap.errors import SnowmapError
from snowmap.maps.netcdf import write_predictions
from tests.cubes import make_cube

WINDOWS = [4, 5, 9]


def predictions(cube: xr.Dataset) -> xr.Dataset:
    inside = cube["mask"].values
    maps = cube[["start", "end", "mask"]].isel(window=WINDOWS).drop_vars("mask")
    for name in ("hs", "swe"):
        values = np.where(inside, np.nan_to_num(cube[name].values[WINDOWS]) + 1, np.nan).astype(np.float32)
        maps[name] = (("window", "y", "x"), values, target_attributes(cube, [name])[name])
    return maps


def with_uncertainty(maps: xr.Dataset) -> xr.Dataset:
    """The maps with a standard deviation, quantiles, and the water that comes and goes."""
    maps = maps.copy()
    for target in ("hs", "swe"):
        for part in ("sigma", "q05", "q25", "q75", "q95"):
            words = {"units": maps[target].attrs["units"], "long_name": f"{part} of {target}"}
            more = {"lower_bound": 0.0} if part == "sigma" else {"conformal_factor": 1.2}
            maps[f"{target}_{part}"] = (maps[target] * 0.2 + 0.1).drop_attrs().assign_attrs({**words, **more})
    for name in ("accumulation", "melt"):
        maps[name] = (
            maps["swe"]
            .copy()
            .drop_attrs()
            .assign_attrs(units="mm", long_name=f"{name} of the window", cell_methods="time: sum")
        )
    return maps


def projected(crs: str = "EPSG:32632") -> xr.Dataset:
    cube = make_cube(shape=(6, 5)).drop_vars("spatial_ref")
    cube = cube.assign_coords(x=600_000 + 500 * (np.arange(5) + 0.5), y=5_100_000 - 500 * (np.arange(6) + 0.5))
    return cube.rio.write_crs(crs).rio.write_transform(from_origin(600_000, 5_100_000, 500, 500))


def cf_complaints(path: Path) -> list[str]:
    """What the CF checker's newest test says against a file, errors, warnings and remarks alike."""
    CheckSuite.load_all_available_checkers()
    tests = [test for test in CheckSuite.checkers if test.startswith("cf:") and test != "cf:latest"]
    newest = max(tests, key=lambda test: int(test.split(".")[-1]))
    report = path.with_suffix(".json")
    ComplianceChecker.run_checker(str(path), [newest], 0, "strict", output_filename=str(report), output_format="json")
    results = json.loads(report.read_text())[newest]
    assert results["possible_points"] > 100
    failed = [entry for entry in results["all_priorities"] if entry["value"][0] != entry["value"][1]]
    return [f"{entry['name']}: {message}" for entry in failed for message in entry["msgs"]]


@pytest.fixture
def written(tmp_path):
    cube = make_cube()
    maps = predictions(cube)
    path = write_predictions(maps, cube, WINDOWS, tmp_path / "predictions.nc", {"subset": "test", "seed": {"a": 1}})
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


@pytest.mark.parametrize(("crs", "unit"), [("EPSG:32632", "m"), ("EPSG:3035", "m"), ("EPSG:2263", "US_survey_foot")])
def test_a_projected_grid_keeps_its_unit(tmp_path, crs, unit):
    cube = projected(crs)
    path = write_predictions(predictions(cube), cube, WINDOWS, tmp_path / "p.nc", {})
    with xr.open_dataset(path, decode_coords="all") as file:
        assert file.rio.crs == cube.rio.crs
        assert file["x"].attrs["standard_name"] == "projection_x_coordinate"
        assert file["y"].attrs["units"] == file["x"].attrs["units"] == unit
        assert file.rio.transform() == cube.rio.transform()


@pytest.mark.parametrize("grid", ["geographic", "projected"])
@pytest.mark.parametrize("uncertain", [True, False])
@pytest.mark.parametrize("targets", [True, False], ids=["observed", "predicted only"])
def test_the_cf_checker_has_nothing_to_say(tmp_path, grid, uncertain, targets):
    cube = projected() if grid == "projected" else make_cube()
    maps = with_uncertainty(predictions(cube)) if uncertain else predictions(cube)
    cube = cube if targets else cube.drop_vars(["hs", "swe"])
    path = write_predictions(maps, cube, WINDOWS, tmp_path / "p.nc", {"subset": "test", "seed": {"a": 1}})
    assert cf_complaints(path) == []


def test_the_cf_checker_finds_what_is_planted(tmp_path):
    cube = make_cube()
    maps = with_uncertainty(predictions(cube))
    maps["swe_sigma"].attrs["units"] = "parsec per fortnight"
    maps["swe"].attrs["units"] = "mm"
    found = cf_complaints(write_predictions(maps, cube, WINDOWS, tmp_path / "p.nc", {}))
    assert any("swe_sigma" in complaint for complaint in found)


def test_uncertainty_belongs_to_its_map_and_fluxes_are_sums(tmp_path):
    cube = make_cube().drop_vars(["hs", "swe"])
    maps = with_uncertainty(predictions(make_cube()))
    path = write_predictions(maps, cube, WINDOWS, tmp_path / "p.nc", {})
    with xr.open_dataset(path) as file:
        assert set(file["swe"].attrs["ancillary_variables"].split()) == {
            *(f"swe_{part}" for part in ("sigma", "q05", "q25", "q75", "q95")),
            "valid",
        }
        sigma = file["swe_sigma"].attrs
        assert sigma["standard_name"] == "lwe_thickness_of_surface_snow_amount standard_error"
        assert (sigma["units"], sigma["lower_bound"], file["hs_q95"].attrs["conformal_factor"]) == (
            "cm",
            0.0,
            1.2,
        )
        assert "standard_name" not in file["hs_q05"].attrs
        assert file["melt"].attrs["cell_methods"] == "time: sum"
        assert file["swe"].attrs["cell_methods"] == file["swe_q05"].attrs["cell_methods"] == "time: point"
        np.testing.assert_array_equal(file["swe_sigma"], maps["swe_sigma"])
        assert "swe_observed" not in file


def test_the_flag_tells_what_each_pixel_is(tmp_path):
    cube = make_cube()
    maps = predictions(cube)
    inside = np.argwhere(cube["mask"].values)[5]
    maps["swe"].values[1, inside[0], inside[1]] = np.nan
    with xr.open_dataset(write_predictions(maps, cube, WINDOWS, tmp_path / "p.nc", {})) as file:
        words = dict(zip(file["valid"].attrs["flag_meanings"].split(), file["valid"].attrs["flag_values"], strict=True))
        flags = file["valid"].values
    assert (flags[:, ~cube["mask"].values] == words["outside_study_area"]).all()
    assert flags[1, inside[0], inside[1]] == words["no_map"]
    assert (flags == words["map"]).sum() == 3 * cube["mask"].values.sum() - 1


def test_a_unit_that_is_no_length_is_refused(tmp_path):
    cube = make_cube()
    maps = predictions(cube)
    maps["swe"].attrs["units"] = "inch"
    with pytest.raises(SnowmapError, match=r"'swe' is in 'inch'; .*m, cm, mm"):
        write_predictions(maps, cube, WINDOWS, tmp_path / "p.nc", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [make_cube, projected])
def test_gdal_opens_every_map_upright_and_on_the_very_grid(tmp_path, make):
    if "nc" not in rasterio.drivers.raster_driver_extensions():
        pytest.skip("this GDAL reads no netCDF")
    cube = make()
    maps = with_uncertainty(predictions(cube))
    path = write_predictions(maps, cube, WINDOWS, tmp_path / "p.nc", {})
    for name in ("hs", "swe", "swe_sigma", "hs_q95", "melt"):
        with rasterio.open(f"netcdf:{path}:{name}") as raster:
            assert raster.crs == cube.rio.crs
            assert raster.transform.almost_equals(cube.rio.transform(), 1e-12)
            assert np.isnan(raster.nodata)
            np.testing.assert_array_equal(raster.read(), maps[name])


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="GDAL's commands are not installed")
@pytest.mark.parametrize("make", [make_cube, projected])
def test_gdalinfo_shows_grid_and_unit(tmp_path, make):
    cube = make()
    path = write_predictions(predictions(cube), cube, WINDOWS, tmp_path / "p.nc", {})
    done = subprocess.run(["gdalinfo", "-json", f"NETCDF:{path}:swe"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["geoTransform"] == pytest.approx(cube.rio.transform().to_gdal(), rel=1e-12)
    assert told["size"] == [cube.sizes["x"], cube.sizes["y"]]
    assert [band["unit"] for band in told["bands"]] == ["cm"] * len(WINDOWS)


def test_nothing_half_written_stays(written):
    assert [file.name for file in written[2].parent.iterdir()] == ["predictions.nc"]
