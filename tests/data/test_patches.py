"""Patches of class maps: their share of the rare class, flips and turns, steps that move, bands that are cut off."""

import numpy as np
import pytest
import torch

from snowmap.data.augment import MAPS, turn
from snowmap.data.batch import CubeTensors
from snowmap.data.classes import observed
from snowmap.data.datamodule import SnowDataModule
from snowmap.data.normalize import Normalizer
from snowmap.data.pieces import around, class_centres
from snowmap.data.sequences import Sample, jittered, samples
from snowmap.data.splits.split import Split
from tests.class_cubes import glacier_cube


def rare(cube):
    """One pixel of the class in the whole scene."""
    values = np.zeros(cube["glacier"].shape[1:], np.float32)
    values[30, 41] = 1
    return cube.assign(glacier=cube["glacier"].copy(data=np.broadcast_to(values, cube["glacier"].shape)))


def module(cube, **options) -> SnowDataModule:
    tensors = CubeTensors.of(cube, ["VV"], ["glacier"])
    split = Split([cube.sizes["window"] - 1], [cube.sizes["window"] - 1], [])
    return SnowDataModule([cube], [tensors], [split], ["glacier"], crop_size=(8, 8), **options)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_so_many_patches_hold_the_rare_class_at_any_place_in_them(share):
    datamodule = module(rare(glacier_cube()), class_share=share, patches=4000)
    assert len(datamodule.train) == 4000
    torch.manual_seed(0)
    pieces = datamodule._pieces(datamodule.train, (8, 8))
    held = [piece for piece in pieces if 30 in range(48)[piece.rows] and 41 in range(64)[piece.columns]]
    by_chance = 64 / (41 * 57)
    assert len(held) / len(pieces) == pytest.approx(share + (1 - share) * by_chance, abs=0.025)
    assert {(30 - piece.rows.start, 41 - piece.columns.start) for piece in held} == {
        (row, column) for row in range(8) for column in range(8)
    }


def test_only_what_the_loss_may_see_counts_as_the_rare_class():
    cube, area = rare(glacier_cube()), np.ones((48, 64), bool)
    area[:, 40:] = False
    cube["glacier"] = cube["glacier"].copy(data=cube["glacier"].values.copy())
    cube["glacier"].values[:, 20, 10] = 1
    datamodule = SnowDataModule(
        *([cube], [CubeTensors.of(cube, ["VV"], ["glacier"])], [Split([3], [3], [], area, area)], ["glacier"]),
        crop_size=(8, 8),
        class_share=1.0,
    )
    assert datamodule.centres[0, 3].tolist() == [20 * 64 + 10]


def test_a_patch_at_the_edge_of_a_scene_lies_within_it():
    centres = class_centres({0: torch.eye(5)[:, :5]})
    assert centres[0].tolist() == [0, 6, 12, 18, 24]
    for seed in range(20):
        torch.manual_seed(seed)
        piece = around(Sample((0,), (True,), slice(1, 4), slice(0, 5)), torch.tensor([0, 24]), (5, 5))
        assert piece.rows.stop - piece.rows.start == 3
        assert 0 <= piece.rows.start <= 2
        assert piece.columns == slice(0, 5)


def test_a_scene_smaller_than_a_patch_is_named(caplog):
    cube = glacier_cube(shape=(48, 64))
    SnowDataModule(
        *([cube], [CubeTensors.of(cube, ["VV"], ["glacier"])], [Split([3], [3], [])], ["glacier"]), crop_size=(60, 60)
    )
    assert "memory 0 is 48 × 64 px, smaller than the pieces of data.crop, 60 × 60 px" in caplog.text


@pytest.mark.parametrize("shape", [(6, 6), (4, 7)])
def test_a_turn_is_one_of_the_eight_of_the_whole_stack(shape):
    cube = glacier_cube(shape=(48, 64))
    tensors = CubeTensors.of(cube, ["VV", "VH"], ["glacier"])
    piece = Sample((0, 1, 2), (True,), slice(28, 28 + shape[0]), slice(36, 36 + shape[1]))
    found = set()
    for seed in range(40):
        torch.manual_seed(seed)
        batch = tensors.collate([piece] * 2)
        turned = turn(batch)
        for index in range(2):
            known = {
                (flips, swapped): {
                    name: (each.mT if swapped else each).flip([axis for axis in (-1, -2) if axis in flips])
                    for name, each in zip(MAPS, (getattr(batch, name)[index] for name in MAPS), strict=True)
                }
                for flips in ((), (-1,), (-2,), (-1, -2))
                for swapped in (False, True)
            }
            same = [
                key
                for key, maps in known.items()
                if all(
                    maps[name].shape == getattr(turned, name)[index].shape
                    and torch.equal(maps[name], getattr(turned, name)[index])
                    for name in MAPS
                )
            ]
            assert len(same) == 1
            found.update(same)
    assert len(found) == 8


def test_steps_move_within_their_bounds_and_the_target_stays():
    (sample,) = samples(np.arange(20).astype("datetime64[D]"), [14], 10)
    seen = set()
    for seed in range(200):
        torch.manual_seed(seed)
        moved = jittered(sample, 2)
        assert moved.steps[-1] == 14
        assert list(moved.steps) == sorted(moved.steps)
        assert all(abs(a - b) <= 2 for a, b in zip(moved.steps, sample.steps, strict=True))
        seen.update(moved.steps)
    assert seen == set(range(3, 15))
    assert jittered(Sample((3,), (True,)), 2).steps == (3,)


def test_percentiles_cut_bands_off_before_they_are_scaled():
    cube = glacier_cube()
    cube["features"].values[3, 0, 10, 10], cube["features"].values[3, 0, 10, 11] = -146, 43
    tensors = CubeTensors.of(cube, ["VV", "elevation"], [])
    normalizer = Normalizer(["VV", "elevation"])
    normalizer.fit([(tensors, [2, 3])], [1.0, 99.0], ["VV"])
    values = cube["features"].values[2:4, 0][:, cube["mask"].values].astype(np.float64)
    low, high = np.percentile(values[np.isfinite(values)], [1, 99])
    assert normalizer.band_low[0].item() == pytest.approx(low, rel=1e-5)
    clipped = values.clip(low, high)
    assert normalizer.band_mean[0].item() == pytest.approx(np.nanmean(clipped), rel=1e-4)
    assert normalizer.band_std[0].item() == pytest.approx(np.nanstd(clipped), rel=1e-4)
    x = torch.tensor([[-146.0, 43.0], [-146.0, 43.0]])[..., None].expand(2, 2, 1).clone()
    encoded = normalizer.encode(x, torch.ones_like(x).bool())
    expected = (np.array([low, high]) - np.nanmean(clipped)) / np.nanstd(clipped)
    assert encoded[0].flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    plain = (x[1] - normalizer.band_mean[1]) / normalizer.band_std[1]
    assert torch.equal(encoded[1], plain)


def test_what_is_to_be_ignored_is_missing_and_one_map_for_all_dates_stays_one():
    cube = glacier_cube()
    same = np.broadcast_to(cube["glacier"].values[0].copy(), (4, 48, 64))
    cube["glacier"] = cube["glacier"].copy(data=same)
    values = observed(cube["glacier"])
    assert np.isnan(values[0, 5]).all()
    assert values.strides[0] == 0
    (tensor,) = CubeTensors.of(cube, [], ["glacier"]).y
    assert tensor.shape == (4, 48, 64)
    assert tensor.untyped_storage().nbytes() == 4 * 48 * 64
