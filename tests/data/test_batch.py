import numpy as np
import pytest
import torch

from snowmap.data.augment import flip
from snowmap.data.batch import CubeTensors
from snowmap.data.pieces import random_pieces, tiled
from snowmap.data.sequences import Sample, samples
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.cubes import make_cube


def single(cube, windows, bands=tuple(STANDARD_BANDS), targets=("swe",)):
    return CubeTensors.of(cube, list(bands), list(targets)).collate(samples(cube["end"].values, list(windows), 1))


def test_gathers_windows_in_the_order_asked_for():
    cube = make_cube()
    batch = single(cube, [3, 1], targets=("hs", "swe"))
    np.testing.assert_array_equal(batch.x[:, 0], cube["features"].values[[3, 1]])
    known = np.isfinite(cube["features"].values[[3, 1]]) & cube["mask"].values
    np.testing.assert_array_equal(batch.x_valid[:, 0], known)
    np.testing.assert_array_equal(batch.y[:, 0, 1], cube["swe"].values[[3, 1]])
    np.testing.assert_array_equal(batch.day_of_year[:, 0], cube["end"].dt.dayofyear.values[[3, 1]])
    assert batch.window.tolist() == [3, 1]
    assert batch.days.tolist() == [[0], [0]]


def test_targets_are_valid_inside_the_study_area_where_they_have_a_value():
    cube = make_cube()
    known = np.isfinite(cube["swe"].values[0]) & cube["mask"].values
    np.testing.assert_array_equal(single(cube, [0]).y_valid[0, 0, 0], known)


def test_some_bands_and_a_target_that_is_not_there():
    cube = make_cube().drop_vars("swe")
    batch = single(cube, [2], bands=("elevation", "pdd"))
    np.testing.assert_array_equal(batch.x[0, 0], cube["features"].sel(band=["elevation", "pdd"]).values[2])
    assert not batch.y_valid.any()


def with_gap():
    """Windows that end on 26 August, 7 and 19 September, then, after two lost cycles, 25 October and 6 November."""
    cube = make_cube(windows=40).isel(window=[18, 19, 20, 23, 24])
    assert str(cube["end"].values[1])[:10] == "2021-09-06"
    return cube


def test_a_sequence_carries_true_days_gaps_and_season_starts():
    cube = with_gap()
    batch = CubeTensors.of(cube, list(STANDARD_BANDS), ["swe"]).collate(samples(cube["end"].values, [4, 1], 4))
    assert batch.step_valid.tolist() == [[True] * 4, [False, False, True, True]]
    assert batch.days.tolist() == [[60, 48, 12, 0], [12, 12, 12, 0]]
    assert batch.gap_days.tolist() == [[0, 0, 24, 0], [0, 0, 0, 0]]
    assert batch.season_start.tolist() == [[True, False, False, False], [False, False, False, True]]
    np.testing.assert_array_equal(batch.x[0], cube["features"].values[1:])
    assert not batch.x_valid[1, :2].any()


def test_only_supervised_steps_show_their_target():
    cube = make_cube(windows=6)
    windows = CubeTensors.of(cube, list(STANDARD_BANDS), ["swe"])
    (sample,) = samples(cube["end"].values, [4], 4, maps_every_step=True, allowed=[1, 3])
    batch = windows.collate([sample])
    assert batch.y_valid.any(dim=(0, 2, 3, 4)).tolist() == [True, False, True, True]
    np.testing.assert_array_equal(batch.y[0, :, 0], cube["swe"].values[1:5])


def test_a_piece_is_gathered_as_that_of_the_whole_maps():
    cube = make_cube(windows=12)
    windows = CubeTensors.of(cube, list(STANDARD_BANDS), ["swe"])
    found = samples(cube["end"].values, range(12), 3)
    whole, area = windows.collate(found), torch.rand(windows.inside.shape) < 0.5
    torch.manual_seed(0)
    pieces = random_pieces(found, (5, 7), windows.inside.shape)
    cut, narrow = windows.collate(pieces), windows.collate(pieces, area)
    for index, piece in enumerate(pieces):
        for name in ("x", "x_valid", "y", "y_valid"):
            known = getattr(whole, name)[index, ..., piece.rows, piece.columns]
            assert torch.equal(known.nan_to_num(), getattr(cut, name)[index].nan_to_num())
        assert torch.equal(cut.y_valid[index] & area[piece.rows, piece.columns], narrow.y_valid[index])
    assert cut.x.shape[-2:] == (5, 7)
    assert len({(piece.rows.start, piece.columns.start) for piece in pieces}) > 5
    assert windows.collate(random_pieces(found, (99, 99), windows.inside.shape)).x.shape == whole.x.shape


@pytest.mark.parametrize(("steps", "tile"), [(1, 512), (5, 256), (17, 128)])
def test_tiles_look_at_each_target_pixel_once(steps, tile):
    size = (700, 1030)
    looked = torch.zeros(size)
    windows = CubeTensors.of(make_cube(windows=1, shape=size), [], ["swe"])
    found = tiled(Sample((0,) * steps, (True,)), size)
    for sample in found:
        looked[sample.rows, sample.columns] += windows.collate([sample]).y_valid[0, 0, 0]
        assert max(sample.rows.stop - sample.rows.start, sample.columns.stop - sample.columns.start) <= tile
        assert sample.rows.start % 32 == sample.columns.start % 32 == 0
    assert torch.equal(looked, (windows.y[0][0].isfinite() & windows.inside).float())
    assert tiled(found[0], (512, 300)) == [found[0]]


def test_flip_moves_bands_targets_and_validity_together_and_changes_no_value():
    cube = make_cube(windows=40)
    batch = single(cube, range(40))
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


def test_a_piece_of_a_cube_is_told_what_it_cannot_know():
    """Of windows before it: that it begins no season, and how long no window covered it."""
    cube = make_cube(windows=30).isel(window=[*range(18), *range(20, 30)])  # 1 September is in window 19
    whole = CubeTensors.of(cube, list(STANDARD_BANDS), ["swe"])
    metadata = {"gap_days": ("window", whole.gap_days.numpy()), "season_start": ("window", whole.season_start.numpy())}
    piece = CubeTensors.of(cube.assign_coords(metadata).isel(window=slice(18, 22)), list(STANDARD_BANDS), ["swe"])
    assert piece.gap_days.tolist() == [24, 0, 0, 0]
    assert piece.season_start.tolist() == whole.season_start[18:22].tolist()
    assert CubeTensors.of(cube.isel(window=slice(18, 22)), list(STANDARD_BANDS), ["swe"]).gap_days[0] == 0
