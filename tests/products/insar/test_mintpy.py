"""MintPy's stacks, against the truth that they were written from."""

import numpy as np
import pytest

from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR
from tests.products.writers import make_scene, write_mintpy

read = INSAR["mintpy"].read
SCENES = [make_scene(), make_scene("2023-01-15", "2023-01-27"), make_scene("2023-01-03", "2023-01-27")]
OF_A_PAIR = ("coherence", "unwrapped_phase", "component")
OF_THE_GEOMETRY = ("elevation", "look_east", "look_north", "look_up", "water")


def test_pairs_and_geometry(tmp_path):
    found = read([write_mintpy(tmp_path, SCENES, dropped=[1])], {})
    assert found.left_out == [f"{tmp_path}/ifgramStack.h5: 20230115_20230127 is dropped in the stack (dropIfgram)"]
    for pair, scene in zip(found.pairs, [SCENES[0], SCENES[2]], strict=True):
        assert (str(pair.start), str(pair.end)) == (scene.start, scene.end)
        assert pair.track == "relative orbit 117, ascending"
        assert pair.wavelength_m == 0.05546576
        assert pair.processing == "PROCESSOR isce, ALOOKS 4, RLOOKS 20"
        assert "incidence" not in pair.layers  # MintPy's is that of the ellipsoid
        truth = {name: scene.layers[name] for name in OF_A_PAIR}
        truth |= {name: SCENES[0].layers[name] for name in OF_THE_GEOMETRY}
        truth["layover_shadow"] = SCENES[0].layers["component"] == 2
        assert set(truth) == set(pair.layers)
        for name, values in truth.items():
            raster = pair.layers[name]()
            np.testing.assert_allclose(raster.values, values, rtol=1e-5, atol=1e-5, err_msg=name)
            assert raster.grid.transform == scene.transform
            assert raster.grid.crs == scene.crs


def test_phase_is_relative_to_the_reference_point(tmp_path):
    scenes = [make_scene(), make_scene("2023-01-15", "2023-01-27")]
    scenes[1].layers["unwrapped_phase"][2, 3] = np.nan
    found = read([write_mintpy(tmp_path, scenes, offset=20.0, attributes={"REF_Y": "2", "REF_X": "3"})], {})
    (pair,) = found.pairs
    truth = scenes[0].layers["unwrapped_phase"]
    np.testing.assert_allclose(pair.layers["unwrapped_phase"]().values, truth - truth[2, 3], atol=1e-5)
    (sentence,) = found.left_out
    assert sentence == f"{tmp_path}/ifgramStack.h5: 20230115_20230127 has no phase at the reference point " + (
        "(REF_Y, REF_X); choose another there"
    )


def test_dates_in_reverse_turn_the_sign(tmp_path):
    scene = make_scene("2023-01-15", "2023-01-03")
    (pair,) = read([write_mintpy(tmp_path, [scene])], {}).pairs
    assert (str(pair.start), str(pair.end)) == ("2023-01-03", "2023-01-15")
    np.testing.assert_allclose(
        pair.layers["unwrapped_phase"]().values, -scene.layers["unwrapped_phase"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("attributes", "crs"),
    [
        ({"UTM_ZONE": "19S"}, "EPSG:32719"),
        ({"UTM_ZONE": None, "X_UNIT": "degrees"}, "EPSG:4326"),
        ({"UTM_ZONE": None, "EPSG": "3413"}, "EPSG:3413"),
    ],
)
def test_crs(tmp_path, attributes, crs):
    (pair,) = read([write_mintpy(tmp_path, SCENES[:1], attributes=attributes)], {}).pairs
    assert pair.layers["coherence"]().grid.crs == crs


@pytest.mark.parametrize(
    ("attributes", "track"),
    [
        ({"relative_orbit": None, "PROJECT_NAME": "DavosSenDT66"}, "DavosSenDT66, ascending"),
        ({"ORBIT_DIRECTION": None, "HEADING": "192.8"}, "relative orbit 117, descending"),
    ],
)
def test_track(tmp_path, attributes, track):
    (pair,) = read([write_mintpy(tmp_path, SCENES[:1], attributes=attributes)], {}).pairs
    assert pair.track == track


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"attributes": {"X_FIRST": None}}, r"in radar coordinates .*: geocode.py ifgramStack.h5 geometryRadar.h5"),
        ({"attributes": {"UTM_ZONE": None}}, r"no CRS"),
        ({"attributes": {"WAVELENGTH": None}}, r"no attribute WAVELENGTH"),
        ({"without": {"coherence"}}, r"no layer coherence; / has bperp, connectComponent"),
    ],
)
def test_a_stack_that_cannot_be_placed_is_refused(tmp_path, change, error):
    with pytest.raises(SnowmapError, match=rf"{tmp_path}/ifgramStack.h5: {error}"):
        read([write_mintpy(tmp_path, SCENES[:1], **change)], {})


def test_what_cannot_be_taken_is_named(tmp_path):
    folder = write_mintpy(tmp_path, SCENES[:1])
    (folder / "geometryGeo.h5").unlink()
    short = tmp_path / "short.h5"
    short.write_bytes((folder / "ifgramStack.h5").read_bytes()[:500])
    found = read([folder / "ifgramStack.h5", short], {})
    assert len(found.pairs) == 1
    assert [sentence.split(" (")[0] for sentence in found.left_out] == [
        f"{folder}/ifgramStack.h5: no geometry of its grid",
        f"{short}: not readable as HDF5",
        f"{short}: no MintPy stack",
    ]
