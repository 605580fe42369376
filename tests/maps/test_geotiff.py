import json
import shutil
import subprocess

import numpy as np
import pytest
import rasterio
import rioxarray
from rio_cogeo import cog_validate

from snowmap.errors import SnowmapError
from snowmap.maps.geotiff import write_geotiff
from tests.cubes import make_cube
from tests.maps.test_netcdf import predictions, projected, with_uncertainty

BANDS = [
    *("hs", "hs_sigma", "hs_q05", "hs_q25", "hs_q75", "hs_q95"),
    *("swe", "swe_sigma", "swe_q05", "swe_q25", "swe_q75", "swe_q95"),
    *("accumulation", "melt"),
]


@pytest.fixture(params=[make_cube, projected], ids=["geographic", "projected"])
def written(request, tmp_path):
    cube = request.param()
    maps = with_uncertainty(predictions(cube)).isel(window=[1])
    return (
        cube,
        maps,
        write_geotiff(maps, cube, tmp_path / "maps.tif", {"checkpoint": "best.ckpt", "versions": {"a": 1}}),
    )


def test_is_cloud_optimised(written, tmp_path):
    assert cog_validate(written[2], strict=True) == (True, [], [])
    large = make_cube(windows=1, shape=(700, 1100), bands=["phase"])
    path = write_geotiff(large[["start", "end", "swe"]], large, tmp_path / "large.tif", {})
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as raster:
        assert raster.overviews(1) == [2, 4]


def test_rasterio_finds_grid_bands_units_nodata_and_tags(written):
    cube, maps, path = written
    with rasterio.open(path) as raster:
        assert raster.crs == cube.rio.crs
        assert raster.transform == cube.rio.transform()
        assert list(raster.descriptions) == BANDS
        assert raster.units == ("cm",) * 12 + ("mm",) * 2
        assert np.isnan(raster.nodata)
        for band, name in enumerate(BANDS, start=1):
            np.testing.assert_array_equal(raster.read(band), maps[name][0])
        np.testing.assert_array_equal(raster.dataset_mask() > 0, cube["mask"])
        tags = raster.tags()
        assert (tags["WINDOW_START"], tags["WINDOW_END"]) == ("2021-03-10", "2021-03-22")
        assert tags["ORIGIN"] == "synthetic: a test"
        assert "SYNTHETIC" in tags["TIFFTAG_IMAGEDESCRIPTION"]
        assert tags["TIFFTAG_SOFTWARE"].startswith("snowmap ")
        assert json.loads(tags["SNOWMAP_VERSIONS"]) == {"a": 1}
        assert raster.tags(2)["long_name"] == "sigma of hs"


def test_rioxarray_opens_it(written):
    cube, maps, path = written
    with rioxarray.open_rasterio(path, masked=True) as opened:
        np.testing.assert_array_equal(opened[BANDS.index("swe")], maps["swe"][0])
        np.testing.assert_allclose(opened["y"], cube["y"])
        np.testing.assert_allclose(opened["x"], cube["x"])
        assert opened.rio.crs == cube.rio.crs


@pytest.mark.skipif(shutil.which("gdal_translate") is None, reason="GDAL's commands are not installed")
def test_gdal_sees_and_keeps_grid_and_values(written, tmp_path):
    cube, maps, path = written
    shown = subprocess.run(["gdalinfo", "-json", "-stats", path], capture_output=True, text=True, check=True).stdout
    told = json.loads(shown)
    assert told["geoTransform"] == list(cube.rio.transform().to_gdal())
    assert [band["description"] for band in told["bands"]] == BANDS
    assert told["bands"][6]["maximum"] == pytest.approx(np.nanmax(maps["swe"]), abs=1e-3)  # NaN has no part in it
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    # the values and the grid survive a program of others
    copy = tmp_path / "copy.tif"
    subprocess.run(["gdal_translate", "-q", "-co", "COMPRESS=LZW", path, copy], check=True)
    with rasterio.open(copy) as raster:
        assert raster.transform == cube.rio.transform()
        np.testing.assert_array_equal(raster.read(7), maps["swe"][0])


def test_a_unit_that_is_no_length_is_refused(tmp_path):
    cube = make_cube()
    maps = predictions(cube).isel(window=[0])
    maps["hs"].attrs["units"] = "furlong"
    with pytest.raises(SnowmapError, match="'hs' is in 'furlong'"):
        write_geotiff(maps, cube, tmp_path / "maps.tif", {})
    assert not list(tmp_path.iterdir())
