"""Windows of one acquisition, which begin and end on the same day, all the way from the files to the scored maps."""

import numpy as np
import pytest
import xarray as xr

from snowmap.baselines import baseline_maps
from snowmap.data.cube import check
from snowmap.data.splits.dates import rolling
from snowmap.errors import SnowmapError
from snowmap.maps.netcdf import write_predictions
from snowmap.maps.read import read_maps
from snowmap.sources.trentino import open_archive, write_archive
from snowmap.sources.trentino.check import check_archive
from tests.cubes import BASELINES_OF_QUANTITIES, make_cube
from tests.tasks.test_pixel import fit


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    pairs = make_cube()
    single = pairs.assign_coords(start=("window", pairs["end"].values))
    check(single)
    return single


def test_an_archive_of_them_is_sound_and_comes_back(cube, tmp_path):
    root = write_archive(cube, tmp_path / "a")
    opened = open_archive(root, cache=False)
    np.testing.assert_array_equal(opened["start"], cube["start"])
    np.testing.assert_array_equal(opened["end"], cube["start"])
    np.testing.assert_array_equal(opened["swe"], cube["swe"])
    report = check_archive(root)
    assert report.faults == []
    assert not any("gap of" in line for line in report.warnings)
    assert any(line.startswith("0 of 20 windows begin with the acquisition") for line in report.notes)


def test_the_reference_split_notes_what_its_windows_share(cube):
    for dates, words in ((make_cube(), "share acquisitions"), (cube, "lie side by side")):
        assert f"training and validation windows {words}" in rolling(dates["start"].values, dates["end"].values).note


def test_a_window_that_ends_before_it_starts_is_none(cube):
    with pytest.raises(SnowmapError, match="one ends before it starts"):
        check(cube.assign_coords(end=cube["end"] - np.timedelta64(1, "D")))


def test_every_baseline_maps_them(cube):
    train, windows = range(13), [3, 13, 14]
    maps = baseline_maps(cube, train, windows, ["swe"])
    assert set(maps) == set(BASELINES_OF_QUANTITIES)
    inside = cube["mask"].values
    for name in set(maps) - {"climatology", "persistence", "insar_swe"}:  # these have gaps of their own
        assert np.isfinite(maps[name]["swe"].values[:, inside]).mean() > 0.9, name
    last_seen = maps["persistence"]["swe"].values
    np.testing.assert_array_equal(last_seen[0][inside], cube["swe"].values[2][inside])  # not its own map


@pytest.mark.parametrize("model", ["unet", "massbalance"])
def test_a_net_learns_and_maps_them(cube, model, tmp_path):
    words = (f"model={model}", "model.channels=[8,16]", "trainer.max_epochs=1")
    maps = fit(cube, tmp_path / "run", *words).predict(cube, [17, 18])
    assert np.isfinite(maps["swe"].values[:, cube["mask"].values]).all()
    read = read_maps(write_predictions(maps, cube, [17, 18], tmp_path / "maps.nc", {}))
    np.testing.assert_array_equal(read["start"], read["end"])
