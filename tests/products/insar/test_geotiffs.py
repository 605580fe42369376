"""GeoTIFFs by names, written by the test and real ones."""

from dataclasses import fields

import numpy as np
import pytest
import rasterio

from snowmap.config.checking import typed
from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR
from tests.products.writers import make_scene, write_raster

read = INSAR["geotiffs"].read
SCENE = make_scene()
PATTERNS = {
    "coherence": "{start:%Y%m%d}_{end:%Y%m%d}_cc.tif",
    "unwrapped_phase": "{start:%Y%m%d}_{end:%Y%m%d}_unw.tif",
    "elevation": "dem.tif",
    "incidence": "inc.tif",
}


def options(folder, **changes):
    keys = {"source": "geotiffs", "path": str(folder), "patterns": PATTERNS, "sign": 1, "wavelength_m": 0.0555}
    return typed(INSAR["geotiffs"].keys, {**keys, **changes}, "insar.")


def write(folder, *, scene=SCENE, unit=None, coherence=None):
    pair = "_".join(day.replace("-", "") for day in scene[:2])
    layers = {
        f"{pair}_cc": scene.layers["coherence"] if coherence is None else coherence,
        f"{pair}_unw": np.nan_to_num(scene.layers["unwrapped_phase"]),
        "dem": scene.layers["elevation"],
        "inc": np.radians(scene.layers["incidence"]),
    }
    for name, values in layers.items():
        kind = np.uint8 if values.dtype == np.uint8 else np.float32
        write_raster(folder / f"{name}.tif", values.astype(kind), scene.transform, scene.crs)
    if unit:
        with rasterio.open(folder / "inc.tif", "r+") as raster:
            raster.units = [unit]
    return folder


def test_layers_of_pairs_and_of_all(tmp_path):
    (pair,) = read([write(tmp_path, unit="radians")], options(tmp_path, nodata=0)).pairs
    assert (str(pair.start), str(pair.end)) == (SCENE.start, SCENE.end)
    assert pair.wavelength_m == 0.0555
    assert pair.track == tmp_path.name
    assert set(pair.layers) == set(PATTERNS)
    for name in PATTERNS:
        raster = pair.layers[name]()
        np.testing.assert_allclose(raster.values, SCENE.layers[name], rtol=1e-5, err_msg=name)
        assert raster.grid.transform == SCENE.transform
        assert raster.grid.crs == SCENE.crs


def test_sign_scale_and_unit_of_the_recipe(tmp_path):
    stored = np.arange(48, dtype=np.uint8).reshape(6, 8)
    write(tmp_path, coherence=stored)
    chosen = options(tmp_path, sign=-1, scale={"coherence": 1 / 255}, incidence_unit="radians", nodata=0)
    (pair,) = read(sorted(tmp_path.glob("*.tif")), chosen).pairs
    np.testing.assert_allclose(pair.layers["unwrapped_phase"]().values, -SCENE.layers["unwrapped_phase"], rtol=1e-6)
    np.testing.assert_allclose(pair.layers["coherence"]().values, np.where(stored == 0, np.nan, stored / 255))
    np.testing.assert_allclose(pair.layers["incidence"]().values, SCENE.layers["incidence"], rtol=1e-5)


def test_dates_in_reverse_turn_the_sign(tmp_path):
    scene = make_scene("2023-01-15", "2023-01-03")
    (pair,) = read([write(tmp_path, scene=scene, unit="rad")], options(tmp_path, nodata=0)).pairs
    assert (str(pair.start), str(pair.end)) == ("2023-01-03", "2023-01-15")
    np.testing.assert_allclose(pair.layers["unwrapped_phase"]().values, -scene.layers["unwrapped_phase"], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"wavelength_m": None}, "_unw.tif: no tag WAVELENGTH_METRES"),
        ({"incidence_unit": None}, "inc.tif: states no unit of angles"),
        ({"incidence_unit": "degrees"}, "inc.tif: angles up to 1.2.* are not in degrees; expected .*=radians"),
        (
            {"patterns": {**PATTERNS, "elevation": "height.tif"}},
            "elevation=height.tif: matches no file; found 4",
        ),
        ({"patterns": {**PATTERNS, "elevation": "*.tif"}}, "elevation=.*: matches both .* and "),
    ],
)
def test_what_the_files_do_not_tell_is_asked_for(tmp_path, changes, error):
    with pytest.raises(SnowmapError, match=error):
        read([write(tmp_path)], options(tmp_path, **{"incidence_unit": "radians", **changes}))


def test_a_pair_without_coherence_is_named(tmp_path):
    write(tmp_path, unit="rad")
    write(tmp_path, scene=make_scene("2023-01-15", "2023-01-27"), unit="rad")
    (tmp_path / "20230103_20230115_cc.tif").unlink()
    found = read([tmp_path], options(tmp_path))
    assert [str(pair.start) for pair in found.pairs] == ["2023-01-15"]
    assert found.left_out == ["2023-01-03_2023-01-15: no file of coherence by insar.patterns"]


@pytest.mark.parametrize(
    "changes",
    [
        {"patterns": {"coherence": PATTERNS["coherence"]}},
        {"patterns": {**PATTERNS, "snow": "a.tif"}},
        {"patterns": {**PATTERNS, "coherence": "cc.tif"}},
        {"patterns": {**PATTERNS, "elevation": "{start:%Y%m%d}_dem.tif"}},
        {"patterns": ["a.tif"]},
        {"sign": 0},
        {"sign": "???"},
        {"scale": {"snow": 2}},
        {"scale": {"coherence": "half"}},
    ],
)
def test_keys_are_checked(tmp_path, changes):
    (key,) = changes
    assert key in {entry.name for entry in fields(INSAR["geotiffs"].keys)}
    with pytest.raises(SnowmapError, match=f"insar.{key}"):
        options(tmp_path, **changes)


def test_the_real_pairs_of_mexico(shared_data):
    folder = shared_data / "sentinel1_pairs_mexico"
    patterns = {
        "coherence": "cropA_{start:%Y%m%d}-{end:%Y%m%d}_VV_8rlks_flat_eqa_cc.tif",
        "unwrapped_phase": "cropA_{start:%Y%m%d}-{end:%Y%m%d}_VV_8rlks_eqa_unw.tif",
        "elevation": "*_dem.tif",
    }
    found = read([folder], options(folder, patterns=patterns, wavelength_m=None))
    assert len(found.pairs) == 30
    assert not found.left_out
    for pair in found.pairs:
        assert pair.processing == "GAMMA"
        assert pair.wavelength_m == pytest.approx(0.0555041577, abs=1e-9)
        with rasterio.open(pair.name) as raster:
            assert (str(pair.start), str(pair.end)) == (raster.tags()["FIRST_DATE"], raster.tags()["SECOND_DATE"])
        files = {"unwrapped_phase": pair.name, "coherence": pair.name.replace("eqa_unw", "flat_eqa_cc")}
        files["elevation"] = folder / "cropA_T005A_dem.tif"
        for layer, file in files.items():
            with rasterio.open(file) as raster:
                truth, transform = raster.read(1).astype(np.float32), raster.transform
            opened = pair.layers[layer]()
            np.testing.assert_array_equal(opened.values, np.where(truth == 0, np.nan, truth))
            assert opened.grid.transform == transform
            assert opened.grid.crs == "EPSG:4326"
    np.testing.assert_allclose(found.pairs[0].layers["incidence"]().values, 39.7026, rtol=1e-6)
