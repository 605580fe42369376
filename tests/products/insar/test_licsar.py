"""LiCSAR's frames, against the truth that they were written from."""

import numpy as np
import pytest

from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR
from tests.products.writers import make_scene, write_licsar, write_raster

read = INSAR["licsar"].read
GRID = {"corner": (9.8, 46.4), "crs": "EPSG:4326", "resolution": 0.001}
SCENES = [make_scene(**GRID), make_scene("2023-01-15", "2023-01-27", **GRID)]
OF_A_PAIR = ("coherence", "unwrapped_phase")
OF_A_FRAME = ("elevation", "look_east", "look_north", "look_up")


def assert_truth(pairs):
    for pair, scene in zip(pairs, SCENES, strict=True):
        assert (str(pair.start), str(pair.end)) == (scene.start, scene.end)
        assert pair.track == "relative orbit 22, descending, frame 022D_05000_131313"
        assert pair.wavelength_m == pytest.approx(0.05547, abs=1e-4)
        assert set(pair.layers) == {*OF_A_PAIR, *OF_A_FRAME}
        for name in pair.layers:
            truth = (scene if name in OF_A_PAIR else SCENES[0]).layers[name]
            tolerance = 0.5 / 255 if name == "coherence" else 1e-5
            raster = pair.layers[name]()
            np.testing.assert_allclose(raster.values, truth, rtol=1e-5, atol=tolerance, err_msg=name)
            assert raster.grid.transform == scene.transform
            assert raster.grid.crs == "EPSG:4326"


def test_a_frame_of_the_portal(tmp_path):
    found = read([write_licsar(tmp_path, SCENES)], {})
    assert not found.left_out
    assert_truth(found.pairs)


def test_pairs_by_a_pattern(tmp_path):
    root = write_licsar(tmp_path, SCENES)
    assert_truth(read(sorted(root.glob("interferograms/*")), {}).pairs)


def test_the_layout_of_licsbas(tmp_path):
    geoc = write_licsar(tmp_path, SCENES).rename(tmp_path / "GEOC")
    for file in geoc.glob("metadata/*"):
        file.rename(geoc / file.name)
    for folder in geoc.glob("interferograms/*"):
        folder.rename(geoc / folder.name)
    assert_truth(read([geoc], {}).pairs)


def test_coherence_in_floats(tmp_path):
    root = write_licsar(tmp_path, SCENES[:1])
    (file,) = root.rglob("*.cc.tif")
    truth = SCENES[0].layers["coherence"]
    write_raster(file, np.nan_to_num(truth).astype(np.float32), SCENES[0].transform, SCENES[0].crs)
    (pair,) = read([root], {}).pairs
    np.testing.assert_allclose(pair.layers["coherence"]().values, truth, rtol=1e-6)


def test_dates_in_reverse_turn_the_sign(tmp_path):
    scene = make_scene("2023-01-15", "2023-01-03", **GRID)
    (pair,) = read([write_licsar(tmp_path, [scene])], {}).pairs
    assert (str(pair.start), str(pair.end)) == ("2023-01-03", "2023-01-15")
    np.testing.assert_allclose(pair.layers["unwrapped_phase"]().values, -scene.layers["unwrapped_phase"], rtol=1e-6)


def test_what_cannot_be_taken_is_named(tmp_path):
    root = write_licsar(tmp_path, SCENES)
    (root / "interferograms/20230103_20230115/20230103_20230115.geo.cc.tif").unlink()
    found = read([root, root / "metadata"], {})
    assert [str(pair.start) for pair in found.pairs] == ["2023-01-15"]
    missing, nothing = found.left_out
    assert missing.endswith("20230103_20230115.geo.unw.tif: no 20230103_20230115.geo.cc.tif beside it; fetch it")
    assert nothing.startswith(f"{root}/metadata: no unwrapped phase of LiCSAR there")


def test_a_frame_without_name_is_refused(tmp_path):
    root = write_licsar(tmp_path, SCENES).rename(tmp_path / "mine")
    for file in root.glob("metadata/*.tif"):
        file.unlink()
    with pytest.raises(SnowmapError, match=r"20230103_20230115.geo.unw.tif: no frame; expected files such as"):
        read([root], {})
