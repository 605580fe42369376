"""The verdict on the unit of SWE, against ratios typed by hand."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from snowmap import SnowmapError
from snowmap.sources.trentino import open_archive, write_archive
from snowmap.sources.trentino.check import check_archive
from snowmap.sources.trentino.swe_unit import decide, median_ratio, ratios
from tests.cubes import make_cube


@pytest.mark.parametrize(
    ("ratio", "unit"), [(0.05, "cm"), (0.3, "cm"), (0.54, "cm"), (0.56, "mm"), (0.6, "mm"), (3.0, "mm"), (6.0, "mm")]
)
def test_ratio_decides_and_says_so(caplog, ratio: float, unit: str) -> None:
    with caplog.at_level(logging.INFO, "snowmap.sources.trentino"):
        assert decide(ratio, "auto", "") == unit
    assert f"SWE is in {unit}" in caplog.text
    assert ("both units are possible" in caplog.text) == (0.5 <= ratio <= 0.6)


def test_in_the_overlap_the_configured_unit_wins() -> None:
    assert decide(0.52, "mm", "") == "mm"
    assert decide(0.58, "cm", "") == "cm"


@pytest.mark.parametrize(("ratio", "configured"), [(3.0, "cm"), (0.3, "mm")])
def test_contradiction(ratio: float, configured: str) -> None:
    with pytest.raises(SnowmapError, match=rf"data.swe_unit={configured}, but SWE/HS has the median {ratio:g}"):
        decide(ratio, configured, "")


@pytest.mark.parametrize("ratio", [0.04, 6.1, 30.0])
def test_ratio_that_fits_no_unit(caplog, ratio: float) -> None:
    with pytest.raises(SnowmapError, match=f"median {ratio:g}.*data.swe_unit"):
        decide(ratio, "auto", "")
    assert decide(ratio, "mm", "") == "mm"
    assert "data.swe_unit=mm is believed" in caplog.text


def test_without_snow_depth_the_rasters_own_unit_or_cm(caplog) -> None:
    assert decide(None, "auto", "mm") == "mm"
    assert decide(None, "mm", "cm") == "mm"
    assert caplog.text == ""
    assert decide(None, "auto", "furlong") == "cm"
    assert "taken to be in cm" in caplog.text


def test_ratio_is_the_median_over_snow_inside_the_study_area() -> None:
    hs = np.array([[10, 100, 50, 0, np.nan, 10]], np.float32)
    swe = np.array([[3, 25, 500, 7, 5, 900]], np.float32)
    mask = np.array([[True, True, True, True, True, False]])
    assert median_ratio([ratios(swe, hs, mask, 1)]) == pytest.approx(0.3)  # of 0.3, 0.25 and 10
    assert median_ratio([ratios(swe, 0 * hs, mask, 1)]) is None


def in_millimetres(root: Path, factor: float, tag: str) -> Path:
    """An archive with both HS and SWE times 10 and the factor, which leaves their ratio as it is."""
    cube = make_cube(windows=15)
    for name in ("hs", "swe"):
        cube[name] = (10 * factor * cube[name]).assign_attrs(units=tag)
    return write_archive(cube, root)


@pytest.mark.parametrize(
    ("factor", "tag", "says"),
    [
        (1.0, "mm", "ITSNOW/HS: its rasters say that they are in mm; expected cm: .* `gdal_edit.py -scale 0.1`"),
        (4.0, "cm", "ITSNOW/HS reaches [0-9],[0-9]+: in cm no snow is so deep, so it is in mm; expected cm"),
    ],
)
def test_both_in_mm_are_refused(tmp_path, factor: float, tag: str, says: str) -> None:
    root = in_millimetres(tmp_path / "a", factor, tag)
    with pytest.raises(SnowmapError, match=says):
        open_archive(root, cache=False)
    assert [line for line in check_archive(root).faults if re.search(says, line)]


def test_deep_snow_is_a_warning_and_a_scale_in_the_rasters_mends_it(tmp_path, caplog) -> None:
    root = in_millimetres(tmp_path / "a", 0.6, "cm")
    cube = open_archive(root, cache=False)
    assert cube["swe"].attrs["units"] == "cm"
    assert "ITSNOW/HS: the median of all snow is" in caplog.text
    for path in (root / "ITSNOW" / "HS").glob("*.tif"):
        with rasterio.open(path, "r+") as raster:
            raster.scales = (0.1,)
    caplog.clear()
    mended = open_archive(root, cache=False)
    assert mended["swe"].attrs["units"] == "mm"
    assert mended["hs"].values == pytest.approx(cube["hs"].values / 10, nan_ok=True)
    assert not caplog.text


def test_without_snow_depth_its_own_magnitude_tells_the_unit_of_swe(caplog) -> None:
    assert decide(None, "auto", "", (210.0, 750.0)) == "mm"
    assert decide(None, "auto", "", (21.0, 75.0)) == "cm"
    assert "taken to be in cm" in caplog.text
