"""The wavelength is data: from the rasters' tag or the configuration to every formula."""

import numpy as np
import pytest
import rasterio

from snowmap.baselines import BASELINES
from snowmap.data.features import with_derived
from snowmap.data.radar.phase import Phase
from snowmap.errors import SnowmapError
from snowmap.sources import open_cube
from snowmap.sources.trentino import open_archive, open_lazily, write_archive
from snowmap.sources.trentino.check import check_archive
from tests.baselines.snow import snow_told_by_phase
from tests.cubes import make_cube

L_BAND = 0.24


@pytest.fixture(scope="module")
def l_band(tmp_path_factory):
    """The folder of an archive at L band, and the Cube that was written."""
    cube = snow_told_by_phase().assign_attrs(wavelength=L_BAND)
    phase = cube["features"].sel(band="unwrapped_phase") - 2.0
    cube["features"].loc[{"band": "unwrapped_phase"}] = phase * np.float32(0.05547 / L_BAND)
    return write_archive(cube, tmp_path_factory.mktemp("l_band") / "a"), cube


@pytest.mark.parametrize("opened", [open_archive, open_lazily])
def test_the_snow_of_an_l_band_archive_is_the_truth(l_band, opened):
    root, cube = l_band
    found = opened(root)
    assert found.attrs["wavelength"] == L_BAND
    assert open_archive(root).attrs["wavelength"] == L_BAND  # also from the cache
    fitted = BASELINES["insar_swe"]().fit(
        found.load().assign(swe=cube["swe"]), list(range(30)), ["swe"], Phase(reference="none")
    )
    maps = fitted.predict(found, [35, 50])["swe"].values
    truth = np.where(cube["mask"].values, cube["swe"].values[[35, 50]], np.nan)
    np.testing.assert_allclose(maps, truth, atol=1e-3)


def test_an_archive_without_a_tag_is_sentinel_1s_unless_the_configuration_says_otherwise(tmp_path):
    root = write_archive(make_cube(windows=2), tmp_path / "a")
    c_band, given = open_archive(root), open_archive(root, wavelength_m=L_BAND)
    assert (c_band.attrs["wavelength"], given.attrs["wavelength"]) == (0.05547, L_BAND)
    short, long = (
        with_derived(cube, ["phase_swe"], Phase(1))["features"].sel(band="phase_swe") for cube in (c_band, given)
    )
    np.testing.assert_allclose(long, short * (L_BAND / 0.05547), rtol=1e-4, atol=1e-3)
    assert any("wavelength 0.05547 m (not stated" in line for line in check_archive(root).notes)


def test_contradictory_wavelengths_are_one_line(l_band, tmp_path):
    root, _ = l_band
    data = {"name": "archive", "root": str(root), "bands": None, "zero_is_missing": None, "wavelength_m": 0.0555}
    with pytest.raises(SnowmapError, match=r"^data.wavelength_m=0.0555, but .* WAVELENGTH_METRES=0.24; "):
        open_cube(data)
    assert any("wavelength 0.24 m (from the tag" in line for line in check_archive(root).notes)
    two = write_archive(make_cube(windows=2), tmp_path / "two")
    for path, tag in zip(sorted((two / "INSAR").glob("*_Unw_*")), ("0.0555", "0.24"), strict=True):
        with rasterio.open(path, "r+") as raster:
            raster.update_tags(WAVELENGTH_METRES=tag)
    with pytest.raises(SnowmapError, match=r"_Unw_.*is 0.24, in other rasters 0.0555; expected one radar"):
        open_archive(two)
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(WAVELENGTH_METRES="55 mm")
    assert [fault for fault in check_archive(two).faults if "'55 mm'; expected metres, from 0.005 to 2" in fault]
