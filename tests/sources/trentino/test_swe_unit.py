"""The verdict on the unit of SWE, against ratios typed by hand."""

import logging

import numpy as np
import pytest

from snowmap import SnowmapError
from snowmap.sources.trentino.swe_unit import decide, median_ratio, ratios


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
