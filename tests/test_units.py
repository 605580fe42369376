import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmap.errors import SnowmapError
from snowmap.units import METRES, metres_per, snow_threshold, unit_factor

SPELLINGS = ("kg m-2", "kg/m2", "kg/m^2", "kg m**-2", "kg m⁻²", "kg/m²", "mm w.e.", "mm", "mm we", " MM ")


@given(st.floats(1e-6, 1e6), st.sampled_from(sorted(METRES)), st.sampled_from(sorted(METRES)))
def test_there_and_back(value, one, other):
    back = unit_factor(one, other, "hs") * unit_factor(other, one, "hs")
    assert value * back == pytest.approx(value, rel=1e-12)


def test_the_depth_from_which_there_is_snow_in_the_unit_of_the_maps():
    assert [snow_threshold("swe", unit) for unit in ("mm", "cm", "kg m-2", "m")] == [10, 1, 10, 0.01]
    assert snow_threshold("hs", "cm") == 5
    assert snow_threshold("swe", "cm", {"swe": 0.07}) == 7  # and not 7.000000000000001
    assert snow_threshold("density", "kg m-3") == 0


@pytest.mark.parametrize("unit", SPELLINGS)
def test_a_kilogram_of_water_on_a_square_metre_is_a_millimetre(unit):
    assert metres_per(unit, "swe", "here") == 0.001


@pytest.mark.parametrize(("unit", "quantity"), [("furlong", "swe"), ("kg m-2", "hs"), ("", "hs"), ("mm w.e.", "hs")])
def test_an_unknown_unit_names_itself_and_its_place(unit, quantity):
    with pytest.raises(SnowmapError, match=rf"a\.csv: the unit '{unit}' of {quantity} is unknown; known are m, cm, mm"):
        metres_per(unit, quantity, "a.csv")
