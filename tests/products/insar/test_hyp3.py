"""HyP3 products in their layouts, against the truth that they were written from."""

import numpy as np
import pytest
import rasterio

from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR
from snowmap.products.insar.sentinel1 import relative_orbit, relative_orbit_of_burst
from tests.products.writers import make_scene, write_hyp3, write_raster

read = INSAR["hyp3"].read


def assert_layers(pair, scene, names=None):
    for name in names or scene.layers:
        raster = pair.layers[name]()
        rows, columns = scene.layers[name].shape
        np.testing.assert_allclose(
            raster.values[:rows, :columns], scene.layers[name], rtol=1e-5, atol=1e-5, err_msg=name
        )
        assert raster.grid.transform == scene.transform
        assert raster.grid.crs == scene.crs


@pytest.mark.parametrize("zipped", [True, False])
def test_every_layer_of_whole_scenes_of_different_extent(tmp_path, zipped):
    scenes = [make_scene(), make_scene("2023-01-15", "2023-01-27", shape=(7, 5), corner=(600_160, 5_120_240))]
    products = [write_hyp3(tmp_path, scene, zipped=zipped, nodata=0) for scene in scenes]
    found = read(products, {})
    assert not found.left_out
    for pair, scene in zip(found.pairs, scenes, strict=True):
        assert (str(pair.start), str(pair.end)) == (scene.start, scene.end)
        assert pair.track == "relative orbit 28, descending"
        assert pair.wavelength_m == pytest.approx(0.05547, abs=1e-4)
        assert_layers(pair, scene)
    assert found.pairs[0].layers["water"]().grid.shape == (6, 9)  # a column wider than the rest


def test_zero_is_missing_where_no_raster_says_so(tmp_path):
    scene = make_scene()
    (pair,) = read([write_hyp3(tmp_path, scene)], {}).pairs
    assert_layers(pair, scene)


@pytest.mark.parametrize(
    ("burst", "track"),
    [
        ("136231_IW2", "relative orbit 64, ascending, bursts 136231_IW2"),
        (
            "064_000000s1n00-136231s2n02-000000s3n00_IW",
            "relative orbit 64, ascending, bursts 064_000000s1n00-136231s2n02-000000s3n00_IW",
        ),
    ],
)
def test_bursts(tmp_path, burst, track):
    scene = make_scene()
    write_hyp3(tmp_path / "downloads", scene, burst=burst, direction="ASCENDING")
    (pair,) = read([tmp_path / "downloads"], {}).pairs
    assert pair.track == track
    assert_layers(pair, scene, set(scene.layers) - {"intensity"})


def test_optional_layers_may_be_missing(tmp_path):
    optional = {"wrapped_phase", "amp", "dem", "inc_map", "lv_theta", "lv_phi", "conncomp", "water_mask"}
    (pair,) = read([write_hyp3(tmp_path, make_scene(), without=optional)], {}).pairs
    assert set(pair.layers) == {"coherence", "unwrapped_phase"}


def test_a_later_reference_swaps_dates_and_sign(tmp_path):
    scene = make_scene("2023-01-15", "2023-01-03")
    (pair,) = read([write_hyp3(tmp_path, scene)], {}).pairs
    assert (str(pair.start), str(pair.end)) == ("2023-01-03", "2023-01-15")
    for name in ("unwrapped_phase", "wrapped_phase"):
        np.testing.assert_allclose(pair.layers[name]().values, -scene.layers[name], rtol=1e-5)
    assert_layers(pair, scene, ["coherence"])


def test_what_cannot_be_taken_is_named(tmp_path):
    good = write_hyp3(tmp_path, make_scene())
    short = write_hyp3(tmp_path, make_scene(), identifier="0001")
    short.write_bytes(short.read_bytes()[:-900])
    no_phase = write_hyp3(tmp_path, make_scene(), identifier="0002", without={"unw_phase"})
    no_facts = write_hyp3(tmp_path, make_scene(), identifier="0003", without={"txt"})
    other = write_hyp3(tmp_path, make_scene(), identifier="0004", satellite="X")
    again = write_hyp3(tmp_path / "again", make_scene(), zipped=False)
    (tmp_path / "empty").mkdir()
    found = read([good, short, no_phase, no_facts, other, again, tmp_path / "empty"], {})
    assert [pair.name for pair in found.pairs] == [good.stem]
    for sentence, expected in zip(
        found.left_out,
        [
            f"{short}: not a whole zip file",
            f"{tmp_path / 'empty'}: no file of a HyP3 InSAR product",
            f"{no_phase}: {no_phase.stem}_unw_phase.tif is missing",
            f"{no_facts}: {no_facts.stem}.txt is missing",
            f"{other}: satellite S1X is not known",
            f"{again}: holds {good.stem} once more",
        ],
        strict=True,
    ):
        assert sentence.startswith(expected)


def test_two_processings_of_a_pair_can_be_told_apart(tmp_path):
    one = write_hyp3(tmp_path, make_scene())
    other = write_hyp3(tmp_path, make_scene(), identifier="FFFF", zipped=False)
    masked = other.with_name(other.name.replace("ueF", "weF"))
    other.rename(masked)
    for file in list(masked.iterdir()):
        file.rename(masked / file.name.replace("ueF", "weF"))
    first, second = read([one, masked], {}).pairs
    assert first.processing == "GAMMA, 80 m, 20 × 4 looks, unwrapped by mcf, filter 0.6, water masked: no"
    assert second.processing == first.processing.replace("no", "yes")
    assert first.track == second.track


def test_a_raster_without_crs_is_refused_when_opened(tmp_path):
    folder = write_hyp3(tmp_path, make_scene(), zipped=False)
    file = folder / f"{folder.name}_corr.tif"
    write_raster(file, np.ones((6, 8), np.float32), make_scene().transform, None)
    (pair,) = read([folder], {}).pairs
    with pytest.raises(SnowmapError, match=rf"{file}: no CRS"):
        pair.layers["coherence"]()


@pytest.mark.parametrize(
    ("satellite", "absolute", "day", "relative"),  # of real products
    [
        ("S1A", 32861, "2020-06-04", 64),
        ("S1A", 58108, "2025-03-01", 111),
        ("S1B", 10770, "2018-05-04", 69),
        ("S1C", 1681, "2025-03-31", 110),
        ("S1C", 1682, "2025-03-31", 111),
        ("S1D", 4762, "2026-09-27", 171),
    ],
)
def test_relative_orbits(satellite, absolute, day, relative):
    assert relative_orbit(satellite, absolute, np.datetime64(day)) == relative


@pytest.mark.parametrize(("burst", "relative"), [(136231, 64), (292320, 137), (147170, 69), (1, 1), (375887, 175)])
def test_relative_orbits_of_bursts(burst, relative):
    assert relative_orbit_of_burst(burst) == relative


def test_the_real_phase_and_its_wider_water_mask(shared_data, tmp_path):
    folder = shared_data / "hyp3"
    product = write_hyp3(tmp_path, make_scene(), zipped=False)
    for layer in ("unw_phase", "water_mask"):
        file = product / f"{product.name}_{layer}.tif"
        file.unlink()
        file.symlink_to(folder / f"test_{layer}.tif")
    (pair,) = read([product], {}).pairs
    with rasterio.open(folder / "test_unw_phase.tif") as raster:
        phase, transform = raster.read(1), raster.transform
    opened = pair.layers["unwrapped_phase"]()
    np.testing.assert_array_equal(opened.values, np.where(phase == 0, np.nan, phase))
    assert opened.grid.transform == transform
    with rasterio.open(folder / "test_water_mask.tif") as raster:
        land = raster.read(1)
    water = pair.layers["water"]()
    assert water.grid.shape == (718, 2315)
    np.testing.assert_array_equal(water.values, land == 0)
    assert (water.values[:, :-1][np.isfinite(opened.values)] == 0).mean() > 0.99  # where there is phase there is land
