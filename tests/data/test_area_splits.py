"""Splits of scenes, blocks and outlines: nothing is on two sides, and every class can be learnt."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from snowmap.data.splits import split_cubes
from snowmap.data.splits.scenes import OF_CUBES, SUBSETS
from snowmap.errors import SnowmapError
from snowmap.maps.predict import choose_windows
from snowmap.tasks.build import make_parts
from tests.class_cubes import glacier_cube
from tests.config.test_checking import checked

SHAPE = (48, 64)


def cubes(count, **coordinates):
    """Scenes of four dates, of which the last ends a sequence."""
    made = []
    for number in range(count):
        cube = glacier_cube(SHAPE, seed=number).assign_attrs(archive=f"/data/scene_{number}")
        made.append(cube.assign_coords(sequence_end=("window", np.arange(4) == 3), **coordinates))
    return made


def quarters(source="outlines.gpkg"):
    """Outlines 1 … 16, a disc in each sixteenth of the map; between them none."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    number = 4 * (y // 12) + x // 16 + 1
    inside = np.hypot(y % 12 - 6, x % 16 - 8) < 5
    return (("y", "x"), np.where(inside, number, 0).astype(np.int32), {"source": source})


class TestScenes:
    def test_each_scene_is_in_one_subset_with_its_last_date(self):
        splits = split_cubes(cubes(5), {"name": "scenes", "validation": 0.2, "test": 0.4, "seed": 3})
        used = [[subset for subset, windows in split.subsets.items() if windows] for split in splits]
        assert all(len(subsets) == 1 for subsets in used)
        assert sorted(subsets[0] for subsets in used) == ["test", "test", "train", "train", "validation"]
        assert all(windows in ([], [3]) for split in splits for windows in split.subsets.values())
        assert split_cubes(cubes(5), {"name": "scenes", "validation": 0.2, "test": 0.4, "seed": 3}) == splits

    def test_scenes_by_name(self):
        options = {"name": "scenes", "validation": ["scene_2"], "test": ["scene_0"]}
        splits = split_cubes(cubes(4), options)
        assert [split.train for split in splits] == [[], [3], [], [3]]
        assert (splits[2].validation, splits[0].test) == ([3], [3])
        with pytest.raises(SnowmapError, match=r"split=scenes: scene_9 is named twice, or no scene; there are scene_0"):
            split_cubes(cubes(4), {**options, "test": ["scene_9"]})

    def test_too_few_scenes(self):
        with pytest.raises(SnowmapError, match=r"needs a scene for each of train, .* data\.root has 2; .*split=blocks"):
            split_cubes(cubes(2), {"name": "scenes", "validation": 0.2, "test": 0.2})


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99),
    buffer=st.integers(0, 4),
    name=st.sampled_from(["blocks", "outlines"]),
)
def test_areas_keep_a_buffer_and_cover_nothing_twice(seed, buffer, name):
    made = cubes(2, outline=quarters())
    splits = OF_CUBES[name](made, buffer=buffer, validation=0.2, test=0.2, seed=seed)
    for cube, split in zip(made, splits, strict=True):
        areas = [split.areas[subset] for subset in SUBSETS]
        assert not (np.sum(areas, axis=0) > 1).any()
        assert not np.any(areas, axis=0)[~cube["mask"].values].any()
        for first in areas:
            for second in areas:
                if first is not second and first.any() and second.any():
                    assert distance_transform_cdt(~first, "chessboard")[second].min() > buffer
        if buffer == 0:
            assert (np.any(areas, axis=0) == cube["mask"].values).all()


def test_no_outline_is_in_two_subsets_of_any_scene():
    made = cubes(3, outline=quarters())
    splits = split_cubes(made, {"name": "outlines", "buffer": 0, "validation": 0.25, "test": 0.25, "seed": 1})
    number = made[0]["outline"].values
    pixels = dict.fromkeys(SUBSETS, 0)
    for outline in range(1, 17):
        subsets = {
            subset
            for cube, split in zip(made, splits, strict=True)
            for subset, area in split.areas.items()
            if (area & (number == outline) & cube["mask"].values).any()
        }
        assert len(subsets) == 1
        pixels[subsets.pop()] += (number == outline).sum()
    assert pixels["validation"] / (number > 0).sum() == pytest.approx(0.25, abs=0.1)
    assert pixels["test"] / (number > 0).sum() == pytest.approx(0.25, abs=0.1)


def test_outlines_of_the_same_number_in_two_files_are_two():
    first, second = cubes(2)
    whole = (("y", "x"), np.ones(SHAPE, np.int32))
    made = [cube.assign_coords(outline=(*whole, {"source": str(n)})) for n, cube in enumerate((first, second))]
    with pytest.raises(SnowmapError, match="needs at least three outlines, but the scenes have 2"):
        split_cubes(made, {"name": "outlines"})


@pytest.mark.parametrize("name", ["rolling", "spatial", "winters"])
def test_dates_are_not_divided_where_all_have_the_same_labels(name):
    with pytest.raises(SnowmapError, match=f"split={name} divides dates, .* choose split=scenes or split=blocks or"):
        split_cubes(cubes(1), {"name": name})


def test_a_class_without_training_pixels_is_named():
    made = cubes(3)
    bare = made[1].assign(glacier=made[1]["glacier"].copy(data=np.zeros_like(made[1]["glacier"])))
    options = {"name": "scenes", "validation": ["scene_0"], "test": ["scene_2"]}
    with pytest.raises(SnowmapError, match=r"target 'glacier': no training pixel of class glacier; choose another"):
        split_cubes([made[0], bare, made[2]], options)


def test_a_class_that_cannot_be_scored_is_said(caplog):
    made = cubes(3)
    made[0] = made[0].assign(glacier=made[0]["glacier"].copy(data=np.zeros_like(made[0]["glacier"])))
    with caplog.at_level(logging.WARNING):
        split_cubes(made, {"name": "scenes", "validation": ["scene_0"], "test": ["scene_2"]})
    assert "target 'glacier': no validation pixel of class glacier" in caplog.text


def test_statistics_are_of_the_scenes_that_train_and_the_others_validate():
    made = cubes(3)
    bright = made[1].assign(features=made[1]["features"] + 20)
    names = ("split.validation=[scene_1]", "split.test=[scene_2]")
    config = checked("task=segmentation", "target=glacier", "split=scenes", *names)
    splits = split_cubes([made[0], bright, made[2]], config["split"])
    task, datamodule = make_parts(config, [made[0], bright, made[2]], splits)
    assert {sample.cube for sample in datamodule.train} == {0}
    assert {tile.cube for tile in datamodule.tiles} == {1}
    normalizer = task.preprocessor.normalizer
    known = made[0]["features"].sel(band="VV").values[:, made[0]["mask"].values]
    assert normalizer.band_mean[normalizer.bands.index("VV")].item() == pytest.approx(np.nanmean(known), abs=0.5)


def test_the_end_of_each_sequence_is_mapped_unless_others_are_named():
    (cube,) = cubes(1)
    assert choose_windows(cube, []) == [3]
    assert choose_windows(cube, ["2020-01-05_to_2020-01-05"]) == [0]
    assert choose_windows(cube.drop_vars("sequence_end"), []) == [0, 1, 2, 3]
