import numpy as np
import torch

from snowmap.augment import flip
from snowmap.batch import Windows
from snowmap.cube import BANDS
from tests.cubes import make_cube


def test_gathers_windows_in_the_order_asked_for():
    cube = make_cube()
    windows = Windows.of(cube, list(BANDS), ["hs", "swe"])
    batch = windows.gather([3, 1])
    np.testing.assert_array_equal(batch.x[:, 0], cube["features"].values[[3, 1]])
    known = np.isfinite(cube["features"].values[[3, 1]]) & cube["mask"].values
    np.testing.assert_array_equal(batch.x_valid[:, 0], known)
    np.testing.assert_array_equal(batch.y[:, 1], cube["swe"].values[[3, 1]])
    np.testing.assert_array_equal(batch.day_of_year[:, 0], cube["end"].dt.dayofyear.values[[3, 1]])
    assert batch.window.tolist() == [3, 1]
    assert batch.days.tolist() == [[0], [0]]


def test_targets_are_valid_inside_the_study_area_where_they_have_a_value():
    cube = make_cube()
    batch = Windows.of(cube, list(BANDS), ["swe"]).gather([0])
    known = np.isfinite(cube["swe"].values[0]) & cube["mask"].values
    np.testing.assert_array_equal(batch.y_valid[0, 0], known)


def test_some_bands_and_a_target_that_is_not_there():
    cube = make_cube().drop_vars("swe")
    batch = Windows.of(cube, ["elevation", "pdd"], ["swe"]).gather([2])
    np.testing.assert_array_equal(batch.x[0, 0], cube["features"].sel(band=["elevation", "pdd"]).values[2])
    assert not batch.y_valid.any()


def test_flip_moves_bands_targets_and_validity_together_and_changes_no_value():
    cube = make_cube(windows=40)
    batch = Windows.of(cube, list(BANDS), ["swe"]).gather(range(40))
    torch.manual_seed(0)
    flipped = flip(batch)
    kinds = set()
    for index in range(40):
        for axes in ((), (-1,), (-2,), (-2, -1)):
            moved = [
                torch.equal(
                    getattr(flipped, name)[index].nan_to_num(), getattr(batch, name)[index].flip(axes).nan_to_num()
                )
                for name in ("x", "x_valid", "y", "y_valid")
            ]
            if all(moved):
                kinds.add(axes)
                break
        else:
            raise AssertionError(f"window {index} was not mirrored as one")
    assert kinds == {(), (-1,), (-2,), (-2, -1)}
