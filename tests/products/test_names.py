"""Names of files with dates in them."""

import numpy as np
import pytest

from snowmap.products.names import Name

DATES = {"start": np.datetime64("2023-01-03"), "end": np.datetime64("2023-01-15")}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{start:%Y%m%d}_{end:%Y%m%d}_cc.tif", "20230103_20230115_cc.tif"),
        ("coh_IW*_VV_{start:%d%b%Y}_{end:%d%b%Y}.tif", "coh_IW1_VV_03Jan2023_15Jan2023.tif"),
        ("{start:%y%m%d}-{end:%y%m%d}/{start:%y%m%d}-{end:%y%m%d}.cc", "230103-230115/230103-230115.cc"),
        ("{start:%Y%j}_{end:%Y%j}.tif", "2023003_2023015.tif"),
        ("{start:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}.tif", "20230103T053411_20230115T053411.tif"),
    ],
)
def test_dates_are_found(pattern, name):
    assert Name(pattern).match(name) == DATES
    assert Name(pattern).dates == {"start", "end"}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{start:%Y%m%d}_{end:%Y%m%d}_cc.tif", "20230103_20230115_ccXtif"),  # a dot is a dot
        ("{start:%Y%m%d}_{end:%Y%m%d}_cc.tif", "20231303_20230115_cc.tif"),  # no month 13
        ("{start:%Y%m%d}/{start:%Y%m%d}.tif", "20230103/20230115.tif"),  # one date, twice
        ("*/dem.tif", "a/b/dem.tif"),  # a star ends with its folder
    ],
)
def test_other_names_do_not_match(pattern, name):
    assert Name(pattern).match(name) is None


def test_a_name_without_dates():
    assert Name("dem*.tif").match("dem_30m.tif") == {}


@pytest.mark.parametrize("pattern", ["{start:%A}.tif", "{start:date}.tif", "{start:%Y%m%d}_{start:%y%m%d}.tif"])
def test_formats_that_cannot_be_read_are_refused(pattern):
    with pytest.raises(ValueError):  # noqa: PT011
        Name(pattern)
