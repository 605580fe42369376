"""Neighbouring scenes of a pair become one window: the truth of the whole, whatever constant each of them has."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin

import snowmap
from snowmap.build.building import build
from snowmap.build.mosaics import merged
from snowmap.build.preparing import prepare
from snowmap.errors import SnowmapError
from snowmap.products.rasters import as_raster
from tests.build.region import BLOCK, CRS, FINE, NORTH, WEST, Region, write_region
from tests.products.writers import Scene, write_hyp3

UPPER, LOWER, BOTH = slice(0, 30), slice(20, 50), slice(20, 30)
"""Rows of two scenes, which have ten of fifty in common."""


def write_scene(region: Region, rows: slice, identifier: str, **layers: np.ndarray) -> None:
    """A product of some rows of the first pair; `layers` of the whole in place of the region's."""
    cut = {name: values[rows] for name, values in (region.fine[0] | layers).items()}
    corner = from_origin(WEST, NORTH - rows.start * FINE, FINE, FINE)
    write_hyp3(
        region.recipe.parent / "downloads", Scene(*region.pairs[0], cut, corner, CRS), identifier=identifier, nodata=0
    )


@pytest.fixture
def region(tmp_path: Path) -> Region:
    """Two pairs, of which the product of the first is gone."""
    region = write_region(tmp_path, pairs=2)
    next((tmp_path / "downloads").glob("*_0000.zip")).unlink()
    return region


@pytest.mark.parametrize("components", ["largest", "all"])
def test_two_scenes_are_one_window(region: Region, components: str) -> None:
    region.recipe.write_text(
        region.recipe.read_text().replace("source: hyp3", f"source: hyp3\n  components: {components}")
    )
    truth = region.fine[0]
    unwrapped, component = truth["unwrapped_phase"] + 7.3, np.full(truth["component"].shape, 3.0)
    unwrapped[20:25, :15] += 20 * np.pi  # what unwrapping got wrong moves no median
    component[:10, :10] = 2
    unwrapped[:10, :10] += 6 * np.pi
    write_scene(region, LOWER, "0001")
    write_scene(
        region, UPPER, "0002", unwrapped_phase=unwrapped, component=component,
        wrapped_phase=np.angle(np.exp(1j * (truth["wrapped_phase"] + 1))), coherence=truth["coherence"] - 0.2,
        intensity=3 * truth["intensity"],
    )  # fmt: skip
    archive = region.recipe.parent / "out"
    record = build(region.recipe, archive)
    cube = snowmap.open_archive(archive, targets=["swe"])
    bands = {str(name): cube["features"].values[0, i] for i, name in enumerate(cube["band"].values)}

    phase = region.mean(truth["unwrapped_phase"])
    here = np.ones(phase.shape, bool)
    here[4, :3] = here[:2, :2] = False
    np.testing.assert_allclose(bands["unwrapped_phase"][here], phase[here], atol=1e-4)
    between = phase[4, :3] + 10 * np.pi  # the mean of both scenes
    np.testing.assert_allclose(bands["unwrapped_phase"][4, :3], between, atol=1e-4)
    other = np.nan if components == "largest" else phase[:2, :2] + 6 * np.pi
    np.testing.assert_allclose(bands["unwrapped_phase"][:2, :2], np.broadcast_to(other, (2, 2)), atol=1e-4)
    np.testing.assert_allclose(bands["displacement"], -0.05547 / (4 * np.pi) * bands["unwrapped_phase"], atol=1e-5)

    common = np.zeros(phase.shape)
    common[BOTH.start // BLOCK : BOTH.stop // BLOCK] = 0.5
    common[: BOTH.start // BLOCK] = 1
    np.testing.assert_allclose(bands["coherence"], region.mean(truth["coherence"]) - 0.2 * common, atol=1e-5)
    power = region.mean(truth["intensity"]) * (1 + 2 * common)
    np.testing.assert_allclose(bands["intensity"], 10 * np.log10(power), atol=1e-4)
    np.testing.assert_allclose(bands["elevation"], region.mean(truth["elevation"]), atol=1e-2)
    lower = region.mean(truth["coherence"] * np.exp(1j * truth["wrapped_phase"]))[6:]
    assert np.abs(np.angle(np.exp(1j * bands["phase"][6:]) / lower)).max() < 1e-4
    weighted = region.mean((truth["coherence"] - 0.2) * np.exp(1j * truth["wrapped_phase"]))[:4]
    assert np.abs(np.angle(np.exp(1j * bands["phase"][:4]) / weighted)).max() < 1e-4

    notes = [record["windows"][name] for name in record["planned"]]
    assert [note["scenes"] for note in notes] == [2, 1]
    assert notes[0]["product"].count("_000") == 2
    assert not cube["mask"].values[0, 0]  # water, which the upper scene alone has


def test_a_scene_that_comes_later_is_added(region: Region) -> None:
    write_scene(region, LOWER, "0001")
    archive = region.recipe.parent / "out"
    before = build(region.recipe, archive)
    write_scene(region, UPPER, "0002")
    build(region.recipe, archive)
    record = json.loads((archive / "build.json").read_text())
    covered = [each["windows"]["2022-11-01_to_2022-11-13"]["covered"] for each in (before, record)]
    assert covered == [0.6, 1]


def test_scenes_without_a_common_level_are_refused_in_one_line(region: Region) -> None:
    write_scene(region, slice(0, 20), "0001")
    write_scene(region, slice(25, 50), "0002")
    with pytest.raises(SnowmapError, match=r"^insar\.path: .*0002 and .*0001, scenes of .*, do not overlap[^\n]*$"):
        prepare(region.recipe)
    phase = region.fine[0]["unwrapped_phase"].copy()
    phase[BOTH] = 0  # nothing
    next((region.recipe.parent / "downloads").glob("*_0001.zip")).unlink()
    next((region.recipe.parent / "downloads").glob("*_0002.zip")).unlink()
    write_scene(region, UPPER, "0001", unwrapped_phase=phase)
    write_scene(region, LOWER, "0002")
    with pytest.raises(SnowmapError, match=r"^.*0002 and .*0001: no pixel has unwrapped phase in both scenes[^\n]*$"):
        build(region.recipe, region.recipe.parent / "out")


def test_scenes_of_different_processing_are_refused_and_far_ones_left_out(region: Region) -> None:
    write_scene(region, LOWER, "0001")
    write_scene(region, UPPER, "0002")
    plan = prepare(region.recipe)
    lower, upper = plan.pairs[0].scenes
    far = as_raster(np.zeros((9, 9), np.float32), from_origin(WEST, NORTH + 99 * FINE, FINE, FINE), plan.plan.grid.crs)
    beyond = replace(upper, name="beyond", layers={**upper.layers, "coherence": lambda: far})
    pairs, left_out = merged([lower, beyond], plan.plan.grid)
    assert (pairs, left_out) == ([lower], ["beyond: does not reach the region"])
    with pytest.raises(SnowmapError, match=r"is there 2 times: .*GAMMA.* and .*another filter.*processed alike"):
        merged([lower, replace(upper, processing="another filter")], plan.plan.grid)
