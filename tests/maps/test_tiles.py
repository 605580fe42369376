"""Scenes by tiles: the same as whole where they have to be, smooth and honest where they cannot."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import xarray as xr

from snowmap.data.features import with_derived
from snowmap.data.pieces import tiles
from snowmap.data.sequences import season_of
from snowmap.distribution import distribution_of
from snowmap.maps.tiles import Scene, map_windows, ramp
from snowmap.models import Net
from snowmap.sources.trentino import open_lazily, write_archive
from snowmap.tasks.pixel import SnowRegression
from tests.cubes import make_cube
from tests.tasks.test_pixel import fit, parts

SHAPE = (90, 130)


class Pixelwise(Net):
    """In place of a net: a mean over channels and a sum over windows, pixel by pixel, which no tile can change."""

    in_target_units = True

    def forward(self, inputs):
        known = inputs.step_valid[:, :, None, None, None]
        facts = inputs.gap_days + 100 * inputs.season_start + inputs.days
        summed = (torch.where(known, inputs.x, 0).mean(2, keepdim=True) + facts[..., None, None, None]).sum(1, True)
        return 50 + summed


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> xr.Dataset:
    """A lazy Cube that holds a gap and a 1 September."""
    cube = make_cube(windows=30, shape=SHAPE)
    cube = cube.isel(window=[*range(5), *range(7, 30)])
    row, column = np.indices(SHAPE)
    hills = (1500 + 900 * np.sin(row / 12) * np.cos(column / 9)).astype(np.float32)
    cube["features"].loc[{"band": "elevation"}] = hills
    cube["mask"].values[60:, :70] = False  # whole tiles lie outside
    return open_lazily(write_archive(cube, tmp_path_factory.mktemp("scene") / "a"))


def untrained(*words: str) -> SnowRegression:
    _, task, _ = parts(make_cube(windows=30), *words)
    return task


def pixelwise(*words: str) -> SnowRegression:
    task = untrained(*words)
    task.net = Pixelwise()
    return task


def mapped(scene: Scene) -> xr.Dataset:
    return xr.concat([maps for _, maps in scene.maps()], "window", data_vars="minimal")


def assert_same(found: xr.Dataset, known: xr.Dataset, exact: bool = False) -> None:
    assert set(found.data_vars) == set(known.data_vars)
    assert set(found.coords) == set(known.coords)
    for name in found.data_vars:
        assert found[name].attrs == known[name].attrs
        np.testing.assert_allclose(found[name], known[name], rtol=0 if exact else 1e-4, atol=0 if exact else 1e-3)


@pytest.mark.parametrize("time", ["1", "3", "season"])
@pytest.mark.parametrize(("tile", "overlap"), [(64, 16), (80, 0), (96, 33)])
def test_what_looks_at_pixels_alone_is_the_same_for_every_tile(scene, time, tile, overlap):
    """Gaps, season starts, sums since September, the references of phase and backscatter are facts of the scene."""
    model = pixelwise(
        "model=convlstm",
        "data.derived=[day_of_year,cumulative_pdd,phase_swe,cumulative_phase_swe,wet_snow]",
        f"data.time={time}",
    )
    windows = [4, 5, 18, 27]
    tiled = Scene(model, scene, windows, tile=tile, overlap=overlap)
    assert not tiled.whole
    known = model.predict(scene.load().copy(), windows)
    found = mapped(tiled)
    assert_same(found, known)
    np.testing.assert_array_equal(found["start"], known["start"])


def test_bands_that_an_ablation_shuffles_come_from_the_windows_of_the_whole_scene(scene):
    model, windows = pixelwise("ablation=shuffled_sar"), [4, 18]
    tiled = Scene(model, scene, windows, tile=64, overlap=16)
    assert not tiled.whole
    known = model.predict(scene.load().copy(), windows)
    assert_same(mapped(tiled), known)
    model.preprocessor.ablation = None
    assert not model.predict(scene.load().copy(), windows).equals(known)


def test_slope_is_that_of_the_scene_though_a_tile_ends_in_it(scene, monkeypatch):
    """Only the outermost row of a tile is another, and it hardly counts."""

    def slopes(self, cube, windows):
        made = with_derived(cube, ["slope"])["features"].sel(band="slope", drop=True).isel(window=windows)
        return made.drop_attrs().to_dataset(name="swe")

    monkeypatch.setattr(SnowRegression, "predict_piece", slopes)
    model = untrained()
    found, known = mapped(Scene(model, scene, [3], 64, 16))["swe"], model.predict(scene, [3])["swe"]
    off = np.abs(found.values - known.values)[0, :60]
    assert (off < 1e-3).mean() > 0.9
    assert off.max() < 0.1 * float(known.std())


def test_every_step_of_a_season_is_mapped_in_one_pass(scene, monkeypatch):
    model = untrained("model=massbalance", "model.channels=[8,8]", "target=both")
    windows = [2, 3, 20, 21, 25]
    tiled = Scene(model, scene, windows, tile=64, overlap=16)
    season = season_of(scene["end"].values)
    assert [set(season[some]) for some in tiled.passes] == [{2020}, {2021}]
    assert tiled.steps == 2 * len(tiles(SHAPE, 64, 16))
    together = mapped(tiled)
    assert set(together.data_vars) == {"hs", "swe", "accumulation", "melt"}
    monkeypatch.setattr("snowmap.maps.tiles.MAP_BYTES", 2 * 4 * SHAPE[0] * SHAPE[1] * 4)
    split = Scene(model, scene, windows, tile=64, overlap=16)
    assert split.passes == [[2, 3], [20, 21], [25]]
    assert_same(mapped(split), together)


def test_a_scene_of_a_tile_is_mapped_by_the_plain_path(scene):
    model = untrained("model=convlstm", "model.channels=[8,8]", "model.hidden=[8,8]")
    whole = Scene(model, scene, [1, 6], tile=max(SHAPE))
    assert whole.whole
    assert (whole.passes, whole.steps) == ([[1, 6]], 1)
    assert_same(mapped(whole), model.predict(scene.load(), [1, 6]), exact=True)


def test_a_season_read_in_pieces_is_that_read_at_once(scene, monkeypatch):
    model = untrained("model=convlstm", "model.channels=[8,8]", "model.hidden=[8,8]")
    known = mapped(Scene(model, scene, [9], 64, 16))
    monkeypatch.setattr("snowmap.maps.tiles.READ_BYTES", 1)
    assert_same(mapped(Scene(model, scene, [9], 64, 16)), known, exact=True)


@pytest.mark.parametrize("head", ["gaussian", "quantile"])
def test_uncertainty_is_blended_like_the_maps_and_quantiles_stay_in_order(scene, head):
    model = untrained(f"head={head}")
    found = mapped(Scene(model, scene, [3], 64, 16))
    names = ["swe_q05", "swe_q25", "swe", "swe_q75", "swe_q95"]
    assert set(found.data_vars) == {*names, "swe_sigma"}
    assert found["swe_sigma"].attrs == model.predict(scene.isel(window=[3]).load())["swe_sigma"].attrs
    layers = np.stack([found[name].values[0, scene["mask"].values] for name in names])
    assert (np.diff(layers, axis=0) > 0).all()
    inside = np.isfinite(found["swe"].values)
    np.testing.assert_allclose(
        found["swe_sigma"].values[inside], distribution_of(found, "swe", inside).std(), rtol=1e-5
    )


def test_blending_leaves_no_seam(scene, monkeypatch):
    """Tiles that disagree by a constant meet in a slope as long as half the overlap."""

    def steps(self, cube, windows):
        maps = cube[["start", "end"]].isel(window=windows)
        value = np.full((len(windows), cube.sizes["y"], cube.sizes["x"]), cube["x"].values[0] > 9.9, np.float32)
        return maps.assign(swe=(("window", "y", "x"), value))

    monkeypatch.setattr(SnowRegression, "predict_piece", steps)
    found = mapped(Scene(untrained(), scene, [0], tile=100, overlap=40))["swe"].values[0]
    assert found.min() == 0
    assert found.max() == 1
    assert np.abs(np.diff(found, axis=1)).max() == pytest.approx(1 / 20, rel=0.01)


@pytest.mark.parametrize(
    ("size", "tile", "overlap"),
    [((5000, 5000), 512, 64), ((513, 90), 512, 0), ((1100, 777), 256, 77), ((97, 96), 96, 33)],
)
def test_tiles_cover_a_scene_and_their_weights_add_up_to_one(size, tile, overlap):
    places = tiles(size, tile, overlap)
    for axis, length in enumerate(size):
        sides = sorted({(place[axis].start, place[axis].stop) for place in places})
        assert (sides[0][0], sides[-1][1]) == (0, length)
        assert all(second[0] == first[1] - overlap for first, second in pairwise(sides))
        total = np.zeros(length)
        for start, stop in sides:
            assert stop - start <= tile
            total[start:stop] += ramp(slice(start, stop), length, overlap)
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_weights_are_one_inside_and_at_the_rim_of_the_scene_and_nothing_where_a_tile_is_cut():
    first, inner = ramp(slice(0, 100), 300, 20), ramp(slice(80, 180), 300, 20)
    assert (first[:85] == 1).all()
    assert (inner[15:85] == 1).all()
    assert (first[95:] == 0).all()
    assert (inner[:5] == 0).all()
    assert (inner[95:] == 0).all()
    np.testing.assert_allclose(np.diff(inner[5:15]), 0.1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("model=unet", "trainer.max_epochs=8"), ("model=massbalance", "trainer.max_epochs=4")]
)
def test_the_maps_of_a_trained_net_do_not_depend_on_the_tile(words, tmp_path):
    """A tile that ends beside a pixel does not know its surroundings: that is all, and it hardly counts."""
    model = fit(make_cube(windows=20), tmp_path, *words)
    scene = make_cube(windows=3, shape=(250, 330), seed=1)
    whole = model.predict(scene, [2])["swe"]
    for tile, overlap in ((128, 64), (224, 64)):
        tiled = mapped(Scene(model, scene, [2], tile, overlap))["swe"]
        off = np.abs(tiled - whole).values
        assert np.nanmax(off) < 0.05 * float(whole.std())
        assert np.sqrt(np.nanmean(off**2)) < 0.003 * float(whole.std())


def test_a_scene_larger_than_a_tile_is_mapped_by_tiles_at_the_end_of_a_run_too():
    model, cube = pixelwise(), make_cube(windows=6, shape=(16, 600))
    assert_same(map_windows(model, cube, [2, 5]), model.predict(cube, [2, 5]))
