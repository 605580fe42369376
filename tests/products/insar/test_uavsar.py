"""UAVSAR's annotation and binary rasters become pairs."""

import numpy as np
import pytest

from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR

ROWS, COLUMNS = 12, 9
STEM = "lowman_05208_20007-003_20012-000_0013d_s01_L090VV_01"
ANNOTATION = """; UAVSAR RPI Metadata file for lowman ; search for parameters/value rather than placement in file
Site Description                          (&)         = Lowman, CO
Ground Range Unwrapped Phase              (&)         = {stem}.unw.grd ; File Size 432 bytes
Start Time of Acquisition for Pass 1      (&)         = {first} 21:33:14 UTC
Start Time of Acquisition for Pass 2      (&)         = {second} 21:30:02 UTC
Center Wavelength                         (cm)        = 23.8403545 ; for L band
Look Direction                            (&)         = Left
Peg Heading                               (deg)       = 51.99
{grids}
"""


def write_uavsar(folder, values, first="13-Feb-2020", second="26-Feb-2020", stem=STEM, grids=("grd_mag", "grd_phs")):
    """Rasters by their suffixes, with an annotation of the grids; the first pixel's centre is 44.5° N, 115.8° W."""
    lines = [
        f"{grid}.{key}  ({unit}) = {value} ; comment = with a sign"
        for grid in grids
        for key, unit, value in (
            ("set_rows", "pixels", ROWS),
            ("set_cols", "pixels", COLUMNS),
            ("row_addr", "deg", 44.5),
            ("col_addr", "deg", -115.8),
            ("row_mult", "deg/pixel", -5.556e-05),
            ("col_mult", "deg/pixel", 5.556e-05),
        )
    ]
    path = folder / f"{stem}.ann"
    path.write_text(ANNOTATION.format(stem=stem, first=first, second=second, grids="\n".join(lines)))
    for suffix, layer in values.items():
        layer.astype("<c8" if suffix == ".int.grd" else "<f4").tofile(folder / f"{stem}{suffix}")
    return path


@pytest.fixture(scope="module")
def values():
    random = np.random.default_rng(0)
    phase = random.normal(0, 3, (ROWS, COLUMNS))
    layers = {
        ".unw.grd": phase,
        ".int.grd": 2 * np.exp(1j * phase),
        ".cor.grd": random.uniform(0.2, 0.9, phase.shape),
        ".hgt.grd": random.uniform(1500, 2500, phase.shape),
        ".amp1.grd": np.full(phase.shape, 0.5),
        ".amp2.grd": np.full(phase.shape, 0.4),
    }
    for suffix, layer in layers.items():
        layer[:2, :3] = -10000 if suffix == ".hgt.grd" else 0
    layers[".hgt.grd"][5, 5] = 0  # the sea
    return layers


def test_an_annotation_becomes_a_pair(values, tmp_path):
    angle = np.full((ROWS, COLUMNS), 0.75)
    other = write_uavsar(tmp_path, {".inc": angle}, stem="lowman_05208_20007_003_200213_L090_CX_01", grids=("inc",))
    path = write_uavsar(tmp_path, values)
    (pair,) = INSAR["uavsar"].read([path], {"incidence": str(other.with_suffix(".inc"))}).pairs
    assert (str(pair.start), str(pair.end), pair.track) == ("2020-02-13", "2020-02-26", "line lowman_05208")
    assert pair.wavelength_m == pytest.approx(0.238403545)
    layers = {name: opener() for name, opener in pair.layers.items()}
    assert {*layers} == {
        "coherence", "unwrapped_phase", "wrapped_phase", "elevation", "intensity", "incidence"
    }  # fmt: skip
    phase = layers["unwrapped_phase"]
    assert phase.grid.crs.to_epsg() == 4326
    np.testing.assert_allclose([axis[0] for axis in phase.grid.axes], [44.5, -115.8])
    np.testing.assert_allclose(phase.grid.axes[0][-1], 44.5 - 11 * 5.556e-05)
    truth = np.where(np.arange(COLUMNS) < 3, np.where(np.arange(ROWS) < 2, np.nan, 0)[:, None], 0) + values[".unw.grd"]
    np.testing.assert_allclose(phase.values, truth, rtol=1e-6)
    np.testing.assert_allclose(layers["wrapped_phase"].values, np.angle(np.exp(1j * truth)), atol=1e-6)
    assert layers["elevation"].values[5, 5] == 0
    assert np.isnan(layers["elevation"].values).sum() == 6
    np.testing.assert_allclose(layers["intensity"].values[3], 0.2)
    np.testing.assert_allclose(layers["incidence"].values, np.degrees(0.75), rtol=1e-6)


def test_a_later_first_pass_turns_the_phase_round(values, tmp_path):
    path = write_uavsar(tmp_path, values, "26-Feb-2020", "13-Feb-2020")
    (pair,) = INSAR["uavsar"].read([path], {"incidence": None}).pairs
    assert str(pair.start) == "2020-02-13"
    np.testing.assert_allclose(pair.layers["unwrapped_phase"]().values[3:], -values[".unw.grd"][3:], rtol=1e-6)
    np.testing.assert_allclose(pair.layers["wrapped_phase"]().values[3:], -np.angle(values[".int.grd"][3:]), atol=1e-6)


def drop(suffix):
    return lambda path: path.with_suffix(suffix).unlink()


def rewrite(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (drop(".cor.grd"), r"beside it lie no lowman_.*\.cor\.grd and \.unw\.grd or \.int\.grd; fetch the \.grd files"),
        (lambda path: path.with_suffix(".unw.grd").write_bytes(b"cut"), r"unw\.grd: 3 bytes; expected 432, 12 × 9 px"),
        (rewrite("deg/pixel", "m/pixel"), "row_mult is in 'm/pixel'; expected a geographic grid"),
        (rewrite("grd_mag.set_rows", "x"), "says nothing of 'grd.set_rows'"),
        (rewrite("13-Feb-2020", "N/A"), "pass 1 starts at 'N/A 21:33:14 UTC'; expected e.g. 18-Feb-2020"),
        (rewrite("(cm)", "(mm)"), "Center Wavelength is in 'mm'; expected cm or m"),
        (lambda path: path.write_text("hello"), "no annotation of UAVSAR; expected files .ann"),
    ],
)
def test_a_harmed_product_is_named(values, tmp_path, harm, message):
    path = write_uavsar(tmp_path, values, grids=("grd_mag",))
    harm(path)
    with pytest.raises(SnowmapError, match=message):
        INSAR["uavsar"].read([path], {"incidence": None}).pairs[0].layers["unwrapped_phase"]()
