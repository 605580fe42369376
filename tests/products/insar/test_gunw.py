"""NISAR and ARIA products become pairs of one sign, whatever their own."""

import cloudpickle
import h5py
import netCDF4
import numpy as np
import pytest
from rasterio.transform import Affine

from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR
from tests.products.writers_hdf5 import (
    ARIA_NAME,
    ARIA_TRANSFORM,
    NISAR_TRANSFORM,
    look_at,
    make_truth,
    write_aria,
    write_dem,
    write_nisar,
)

TRUTH = make_truth()
VALID = np.isfinite(TRUTH.coherence)


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """A product of each kind and a DEM that rises evenly to the east, from 500 m by 20 m a pixel."""
    folder = tmp_path_factory.mktemp("gunw")
    grids = {"nisar": ("EPSG:32611", NISAR_TRANSFORM), "aria": ("EPSG:4326", ARIA_TRANSFORM)}
    found = {"nisar": write_nisar(folder / "NISAR_L2_GUNW.h5", TRUTH), "aria": write_aria(folder, TRUTH)}
    heights = np.broadcast_to(500 + 20.0 * np.arange(-5, 35), (34, 40))
    for name, (crs, transform) in grids.items():
        write_dem(folder / f"{name}.tif", crs, transform @ Affine.translation(-5, -5), heights)
    return {
        name: (path, {"dem": str(folder / f"{name}.tif"), "ionosphere": "subtract"}) for name, path in found.items()
    }


def only_pair(source, path, **options):
    found = INSAR[source].read([path], options)
    assert not found.left_out
    (pair,) = found.pairs
    return pair


@pytest.mark.parametrize(
    ("source", "days", "track", "wavelength", "crs", "transform"),
    [
        ("nisar", ("2026-01-03", "2026-01-15"), "track 77, frame 12, ascending", 0.2384, 32611, NISAR_TRANSFORM),
        ("aria", ("2021-07-11", "2021-07-23"), "relative orbit 64, ascending", 0.0554658, 4326, ARIA_TRANSFORM),
    ],
)
def test_a_product_becomes_a_pair(products, source, days, track, wavelength, crs, transform):
    path, options = products[source]
    pair = only_pair(source, path, **options)
    assert (str(pair.start), str(pair.end)) == days
    assert pair.track == track
    assert pair.wavelength_m == pytest.approx(wavelength, rel=1e-4)
    layers = {name: opener() for name, opener in pair.layers.items()}
    phase = layers["unwrapped_phase"]
    np.testing.assert_allclose(phase.values, np.where(VALID, TRUTH.phase, np.nan), atol=1e-4)
    assert phase.values.dtype == np.float32
    assert phase.grid.crs.to_epsg() == crs
    assert phase.grid.transform.almost_equals(transform, 1e-9)
    np.testing.assert_allclose(phase.grid.axes[0], transform.f + transform.e * (np.arange(24) + 0.5))
    np.testing.assert_allclose(layers["coherence"].values, TRUTH.coherence, rtol=1e-6)
    np.testing.assert_array_equal(layers["component"].values, np.where(VALID, TRUTH.component, np.nan))
    assert float(layers["elevation"].values.max()) == 500 + 20 * 34
    kept = only_pair(source, path, **options | {"ionosphere": "keep"}).layers["unwrapped_phase"]()
    np.testing.assert_allclose(kept.values[VALID], (TRUTH.phase + TRUTH.ionosphere)[VALID], atol=1e-4)


@pytest.mark.parametrize(("source", "y_scale", "x_scale"), [("nisar", 0.08, 0.08), ("aria", 10 / 1200, 10 / 1200)])
def test_the_look_vector_is_that_at_the_height_of_the_ground(products, source, y_scale, x_scale):
    path, options = products[source]
    rows, columns = np.mgrid[:24, :30]
    east, north = look_at(500 + 20 * columns, -(rows + 0.5) * y_scale, (columns + 0.5) * x_scale)
    pair = only_pair(source, path, **options)
    look = {name: pair.layers[name]().values for name in ("look_east", "look_north", "look_up")}
    np.testing.assert_allclose(look["look_east"], east, atol=1e-5)
    np.testing.assert_allclose(look["look_north"], north, atol=1e-5)
    np.testing.assert_allclose(look["look_up"], np.sqrt(1 - east**2 - north**2), atol=2e-3)  # curved


def test_layers_that_one_of_them_has(products):
    nisar = only_pair("nisar", *products["nisar"][:1], **products["nisar"][1]).layers
    wrapped = nisar["wrapped_phase"]()
    expected = np.angle(np.exp(1j * (TRUTH.phase + TRUTH.ionosphere)))
    assert (wrapped.grid.transform.a, wrapped.grid.transform.e) == (20, -20)
    np.testing.assert_allclose(wrapped.values[::4, ::4][VALID], expected[VALID], atol=1e-4)
    assert np.isnan(wrapped.values[:12, :16]).all()
    np.testing.assert_allclose(nisar["intensity"]().values[-1], 2, rtol=1e-5)
    np.testing.assert_array_equal(nisar["water"]().values, np.where(VALID, TRUTH.component == 2, np.nan))
    aria = only_pair("aria", *products["aria"][:1], **products["aria"][1]).layers
    np.testing.assert_allclose(aria["intensity"]().values[VALID], 3)
    np.testing.assert_allclose(aria["delay"]().values, 0.1, atol=1e-5)  # 2.4 m on the first day, 2.5 m on the second


def test_a_later_reference_turns_the_phase_round(products, tmp_path):
    path = write_nisar(tmp_path / "a.h5", TRUTH, ("2026-01-15", "2026-01-03"), polarisation="VV")
    pair = only_pair("nisar", path, **products["nisar"][1])
    assert str(pair.start) == "2026-01-03"
    assert "VV" in pair.processing
    np.testing.assert_allclose(pair.layers["unwrapped_phase"]().values[VALID], -TRUTH.phase[VALID], atol=1e-4)


@pytest.mark.parametrize("other", [{"ascending": True}, {"east_of": 360.0}])
def test_rising_latitudes_and_longitudes_up_to_360_change_nothing(products, tmp_path, other):
    path, options = products["aria"]
    usual, turned = (
        only_pair("aria", path, **options),
        only_pair("aria", write_aria(tmp_path, TRUTH, **other), **options),
    )
    for name in ("unwrapped_phase", "component", "look_east", "delay"):
        one, two = usual.layers[name](), turned.layers[name]()
        np.testing.assert_allclose(one.values, two.values, atol=1e-5)
        assert one.grid.transform.almost_equals(two.grid.transform, 1e-9)


def test_what_opens_a_layer_can_go_to_another_process(products):
    pair = only_pair("nisar", *products["nisar"][:1], **products["nisar"][1])
    opener = cloudpickle.loads(cloudpickle.dumps(pair.layers["look_east"]))
    np.testing.assert_array_equal(opener().values, pair.layers["look_east"]().values)


def test_without_values_the_screen_is_passed_over_and_other_products_are_left_out(products, tmp_path):
    path = write_nisar(tmp_path / "a.h5", TRUTH._replace(ionosphere=np.full((24, 30), np.nan)))
    with h5py.File(path, "r+") as file:
        unwrapped = file["science/LSAR/GUNW/grids/frequencyA/unwrappedInterferogram/HH/unwrappedPhase"]
        unwrapped[...] = TRUTH.phase
    pair = only_pair("nisar", path, **products["nisar"][1])
    np.testing.assert_allclose(pair.layers["unwrapped_phase"]().values, TRUTH.phase, atol=1e-5)
    found = INSAR["nisar"].read([write_nisar(tmp_path / "b.h5", TRUTH, kind="GOFF")], products["nisar"][1])
    assert found.pairs == []
    assert found.left_out == ["b.h5: a product GOFF, no GUNW"]


UNWRAPPED = "science/LSAR/GUNW/grids/frequencyA/unwrappedInterferogram/HH/unwrappedPhase"


def without_layer(path):
    with h5py.File(path, "r+") as file:
        del file[UNWRAPPED]


def without_units(path):
    with h5py.File(path, "r+") as file:
        del file[UNWRAPPED].attrs["units"]


def without_crs(path):
    with h5py.File(path, "r+") as file:
        del file[UNWRAPPED].attrs["grid_mapping"]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-4000])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (without_layer, "a.h5: no layer .*HH/unwrappedPhase; .*HH has coherenceMagnitude, connectedComponents"),
        (without_units, "unwrappedPhase has the units ''; expected rad or"),
        (without_crs, "unwrappedPhase has no CRS; expected a grid_mapping"),
        (cut_short, "a.h5: not readable as HDF5 .*; fetch it again"),
    ],
)
def test_a_harmed_product_is_named(products, tmp_path, harm, message):
    path = write_nisar(tmp_path / "a.h5", TRUTH)
    harm(path)
    with pytest.raises(SnowmapError, match=message):
        only_pair("nisar", path, **products["nisar"][1]).layers["unwrapped_phase"]()


def test_the_days_of_an_aria_product_stand_in_its_name_and_in_it(products, tmp_path):
    other = ARIA_NAME.replace("20210723", "20210804")
    with pytest.raises(SnowmapError, match="says 20210804 for the reference acquisition, the file 20210723"):
        only_pair("aria", write_aria(tmp_path, TRUTH, name=other), **products["aria"][1])
    with pytest.raises(SnowmapError, match="its name tells no dates; expected S1-GUNW"):
        only_pair("aria", tmp_path / "renamed.nc", **products["aria"][1])
    path = write_aria(tmp_path, TRUTH)
    with netCDF4.Dataset(path, "r+") as file:
        file["science/grids/imagingGeometry"].renameVariable("azimuthAngle", "azimuth")
    with pytest.raises(SnowmapError, match=r"no layer /science/grids/imagingGeometry/azimuthAngle; .* has .*azimuth"):
        only_pair("aria", path, **products["aria"][1])
