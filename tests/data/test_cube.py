"""What a Cube promises, and what becomes of one that breaks it."""

import numpy as np
import pytest
import xarray as xr

from snowmap.baselines import build_baseline
from snowmap.data.cube import (
    BAND_COORDINATES,
    Quantity,
    band_coordinates,
    check,
    quantities_of,
    target_attributes,
)
from snowmap.data.features import derive
from snowmap.errors import SnowmapError
from snowmap.sources import SOURCES, open_cube
from snowmap.sources.trentino.quantities import STANDARD_BANDS, TARGETS
from tests.cubes import make_cube
from tests.tasks.test_pixel import parts

OTHER = {
    "sigma0_x": Quantity("dB", -40.0, 10.0, "X-band backscatter", "sar"),
    "sigma0_ku": Quantity("dB", -40.0, 10.0, "Ku-band backscatter", "sar"),
}


def other_words() -> xr.Dataset:
    """A Cube with bands and a target that nothing in the package has a name for."""
    cube = make_cube(bands=["intensity", "coherence"]).assign_coords(band_coordinates(OTHER))
    ice = Quantity("m", 0.0, 50.0, "ice thickness")
    return cube.drop_vars(["hs", "swe"]).assign(ice=cube["swe"].drop_attrs().assign_attrs(ice.attributes))


def test_quantities_come_back_from_the_cube():
    assert quantities_of(make_cube()) == STANDARD_BANDS | {
        name: quantity._replace(group="") for name, quantity in TARGETS.items()
    }


def test_every_broken_promise_is_in_one_error():
    cube = make_cube(bands=["phase", "pdd"])
    cube = cube.assign_coords(unit=("band", ["", "degC d"]), valid_max=("band", [3.1, -1.0]))
    cube["hs"].attrs.clear()
    with pytest.raises(SnowmapError, match="'hs' has no attribute units, long_name, valid_min, valid_max"):
        check(cube)
    cube = cube.drop_vars("hs").assign_coords(end=cube["start"] - np.timedelta64(1, "D"))
    cube["swe"][0, 0, 0] = np.inf
    with pytest.raises(SnowmapError) as caught:
        check(cube)
    for words in (
        "'phase' has the unit ''",
        "'pdd' is plausible from 0.0 to -1.0",
        "ends before it",
        "'swe' holds inf",
    ):
        assert words in str(caught.value)
    for name in BAND_COORDINATES:
        with pytest.raises(SnowmapError, match=f"'{name}' is missing"):
            check(make_cube().drop_vars(name))
    with pytest.raises(SnowmapError, match=r"\['pdd'\] are repeated"):
        check(make_cube().isel(band=[7, 8, 8]))


def test_windows_are_in_the_order_of_the_dates_that_they_map_of_one_date_the_shortest_first():
    cube = make_cube(windows=4)
    long = cube.isel(window=[2]).assign_coords(start=("window", cube["start"].values[1:2]))
    both = [xr.concat(pair, "window", data_vars="minimal") for pair in ((cube.isel(window=[2]), long), (long, cube))]
    check(both[0])
    with pytest.raises(SnowmapError, match="not sorted by end"):
        check(both[1])


CLASSES = Quantity(
    "", 0, 255, "snow class", flag_values=(0, 1, 2), flag_meanings="bare wet_snow dry_snow", ignore_index=255
)


def with_classes(**changes) -> xr.Dataset:
    """A Cube whose only target is a class map with missing and with ignored pixels."""
    cube = make_cube()
    classes = (cube["swe"] // 20).clip(0, 2).drop_attrs()
    classes[0, 1] = 255
    return cube.drop_vars(["hs", "swe"]).assign(cover=classes.assign_attrs({**CLASSES.attributes, **changes}))


def test_a_target_may_be_a_class_map():
    cube = with_classes()
    check(cube)
    assert np.isnan(cube["cover"].values).any()
    assert quantities_of(cube)["cover"] == CLASSES
    assert quantities_of(with_classes(flag_values=np.arange(3, dtype=np.int8)))["cover"] == CLASSES
    assert "units" not in target_attributes(cube, ["cover"])["cover"]
    assert target_attributes(cube, ["cover"])["cover"] == CLASSES.attributes


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"flag_meanings": "bare snow"}, r"'cover' has the flag_values \[0, 1, 2\] for the flag_meanings"),
        ({"flag_values": [0, 1, 1]}, "expected one for each"),
        ({"ignore_index": 9}, r"'cover' holds \[255"),
    ],
)
def test_a_class_map_that_breaks_a_promise_is_named(changes, fault):
    with pytest.raises(SnowmapError, match=fault):
        check(with_classes(**changes))


def test_a_net_and_a_baseline_that_map_quantities_refuse_a_class_map():
    cube = with_classes()
    words = r"target 'cover' is a class map \(bare wet_snow dry_snow\), but .* maps quantities; choose another target="
    with pytest.raises(SnowmapError, match=words):
        parts(cube, "target.names=[cover]")
    with pytest.raises(SnowmapError, match=words):
        build_baseline({"name": "climatology"}).fit(cube, [0, 1, 2], ["cover"])


def test_a_net_reads_bands_and_maps_a_target_of_any_name(monkeypatch):
    monkeypatch.setitem(SOURCES, "archive", lambda data, targets: other_words())
    cube = open_cube({"name": "archive", "root": "x"}, ["ice"])
    _, task, _ = parts(cube, "target.names=[ice]", "ablation=without_sigma0_x")
    assert task.preprocessor.archive_bands == ["sigma0_x", "sigma0_ku"]
    maps = task.predict(cube, [3])
    assert maps["ice"].attrs == {"units": "m", "long_name": "ice thickness"}
    assert task.metadata["long_names"] == {name: quantity.long_name for name, quantity in OTHER.items()}
    other = cube.assign_coords(unit=("band", ["dB", "1"]))
    with pytest.raises(SnowmapError, match="'sigma0_ku' is in 1; the checkpoint was trained on dB"):
        task.predict(other)


def test_a_formula_refuses_a_band_in_another_unit():
    cube = make_cube()
    units = ["rad" if unit == "degree" else unit for unit in cube["unit"].values]
    with pytest.raises(SnowmapError, match="'phase_swe' needs the band 'incidence' in degree, not rad"):
        derive(cube.assign_coords(unit=("band", units)), ["phase_swe"])


def test_a_source_whose_cube_lacks_the_target_or_is_none_is_named(monkeypatch):
    monkeypatch.setitem(SOURCES, "archive", lambda data, targets: other_words())
    with pytest.raises(SnowmapError, match="data=archive gives no target swe; choose another target="):
        open_cube({"name": "archive", "root": "x"}, ["swe"])
    monkeypatch.setitem(SOURCES, "archive", lambda data, targets: other_words().drop_vars("mask"))
    with pytest.raises(SnowmapError, match="not a valid Cube:\n  - 'mask' is missing"):
        open_cube({"name": "archive", "root": "x"}, ["ice"])
