from dataclasses import asdict

import numpy as np
import pytest
import xarray as xr
from rasterio.transform import from_origin

from snowmap.config.schema import Scoring
from snowmap.data.radar.wet_snow import with_wet_threshold
from snowmap.evaluation.bins import UNKNOWN
from snowmap.evaluation.classes import pixel_classes
from tests.cubes import make_cube

OPTIONS = asdict(Scoring())
WINDOWS = [3, 4, 15]


def hill(east: float, north: float, shape: tuple[int, int] = (9, 11)) -> xr.Dataset:
    """A plane that rises by `east` and `north` m for each m, in a projected grid of 100 m."""
    cube = make_cube(shape=shape).drop_vars("spatial_ref")
    x, y = 600_000 + 100 * (np.arange(shape[1]) + 0.5), 5_100_000 - 100 * (np.arange(shape[0]) + 0.5)
    cube = cube.assign_coords(x=x, y=y).rio.write_crs("EPSG:32632")
    cube = cube.rio.write_transform(from_origin(600_000, 5_100_000, 100, 100))
    height = 1500 + east * (x - x.mean())[None] + north * (y - y.mean())[:, None]
    cube["features"].loc[{"band": "elevation"}] = height
    return cube


def labels(cube: xr.Dataset, target: str = "swe", **options: float) -> dict[str, np.ndarray]:
    """The label of every pixel, as maps."""
    valid = np.isfinite(cube[target].values[WINDOWS])
    found = {}
    for name, classes in pixel_classes(cube.isel(window=WINDOWS), valid, target, OPTIONS | options).items():
        found[name] = np.full(valid.shape, "", dtype=object)
        found[name][valid] = np.asarray(classes)
    return found


@pytest.mark.parametrize("target", ["swe", "hs"])
@pytest.mark.parametrize(("step", "directions"), [(500.0, 8), (130.0, 4), (5000.0, 8)])
def test_every_valid_pixel_is_in_exactly_one_class(target, step, directions):
    cube = make_cube()
    valid = np.isfinite(cube[target].values[WINDOWS])
    options = OPTIONS | {"elevation_step_m": step, "aspect_directions": directions}
    found = pixel_classes(cube.isel(window=WINDOWS), valid, target, options)
    assert set(found) == {"month", "winter", "elevation", "slope", "aspect", "coherence", "depth"}
    for classes in found.values():
        assert len(classes) == valid.sum()
        assert (classes.codes >= 0).all()
        assert classes.categories[-1] == UNKNOWN


def test_wetness_is_that_of_the_whole_scene():
    cube = make_cube()
    cube["features"].loc[{"band": "intensity"}] = -8.0
    cube["features"].loc[{"band": "intensity", "x": cube["x"][5:]}] -= (
        np.float32(4) * (np.arange(20) == 15)[:, None, None]
    )
    cube["features"].values[15, 3, :, 2] = np.nan
    known = np.isfinite(cube["swe"].values[WINDOWS])
    assert "wetness" not in pixel_classes(cube.isel(window=WINDOWS), known, "swe", OPTIONS)
    found = labels(with_wet_threshold(cube))["wetness"]
    assert set(found[:2][known[:2]]) == {"not wet"}
    assert set(found[2, :, 5:][known[2, :, 5:]]) == {"wet"}
    assert set(found[2, :, 2][known[2, :, 2]]) == {UNKNOWN}


def test_a_pixel_whose_variable_is_missing_is_unknown():
    cube = make_cube()
    found, inside = labels(cube), np.isfinite(cube["swe"].values[WINDOWS])
    for band in ("elevation", "coherence"):
        missing = np.isnan(cube["features"].sel(band=band).values[WINDOWS]) & inside
        assert missing.any()
        np.testing.assert_array_equal(found[band] == UNKNOWN, missing)


def test_elevation_bands_are_round_and_hold_their_lower_edge():
    cube = hill(1.0, 0.0, (4, 11))
    cube["features"].loc[{"band": "elevation"}] = np.array(
        [-20, 0, 499.9, 500, 999, 1000, 1499, 1500, 2600, 2999, 3000]
    )
    row = labels(cube)["elevation"][0, 1]
    known = ["-500–0 m", "0–500 m", "0–500 m", *["500–1000 m"] * 2, *["1000–1500 m"] * 2, "1500–2000 m",
             *["2500–3000 m"] * 2, "3000–3500 m"]  # fmt: skip
    for label, expected, value in zip(row, known, cube["swe"].values[WINDOWS[0], 1], strict=True):
        assert label == (expected if np.isfinite(value) else "")


@pytest.mark.parametrize(
    ("east", "north", "facing"),
    [(0, -1, "N"), (-1, -1, "NE"), (-1, 0, "E"), (-1, 1, "SE"), (0, 1, "S"), (1, 1, "SW"), (1, 0, "W"), (1, -1, "NW")],
)
def test_ground_faces_away_from_where_it_rises(east, north, facing):
    assert set(np.unique(labels(hill(0.3 * east, 0.3 * north))["aspect"])) - {""} == {facing}


def test_four_directions_and_flat_ground():
    assert set(labels(hill(-0.5, 0.1), aspect_directions=4)["aspect"].ravel()) - {""} == {"E"}
    assert set(labels(hill(0.0, 0.0))["aspect"].ravel()) - {""} == {"flat"}
    assert set(labels(hill(0.02, 0.0))["aspect"].ravel()) - {""} == {"flat"}  # 1.1°


@pytest.mark.parametrize(("rise", "label"), [(0.0, "< 5°"), (0.2, "5–15°"), (0.5, "25–35°"), (2.0, "≥ 35°")])
def test_slope(rise, label):
    assert set(labels(hill(0, rise))["slope"].ravel()) - {""} == {label}


def test_months_and_winters_are_those_of_the_last_day():
    cube = make_cube()
    found = labels(cube)
    for index, window in enumerate(WINDOWS):
        end = cube["end"].values[window].astype("datetime64[D]").item()
        valid = np.isfinite(cube["swe"].values[window])
        assert set(found["month"][index][valid]) == {end.strftime("%B")}
        first = end.year if end.month >= 9 else end.year - 1
        assert set(found["winter"][index][valid]) == {f"{first}/{(first + 1) % 100:02d}"}


@pytest.mark.parametrize(
    ("target", "unit", "values", "known"),
    [
        ("hs", "cm", [0, 4.9, 5, 49, 50, 299, 300, 1400],
         ["snow-free"] * 2 + ["5–50 cm"] * 2 + ["50–100 cm", "200–300 cm", "≥ 300 cm", "≥ 300 cm"]),
        ("swe", "mm", [0, 9.9, 10, 49, 50, 499, 500, 5000],
         ["snow-free"] * 2 + ["10–50 mm"] * 2 + ["50–100 mm", "300–500 mm", "≥ 500 mm", "≥ 500 mm"]),
        ("swe", "cm", [0, 0.9, 1, 4.9, 5, 49.9, 50, 500],
         ["snow-free"] * 2 + ["1–5 cm"] * 2 + ["5–10 cm", "30–50 cm", "≥ 50 cm", "≥ 50 cm"]),
    ],
)  # fmt: skip
def test_depth_classes_are_in_the_unit_of_the_target(target, unit, values, known):
    cube = make_cube(shape=(3, 8))
    cube[target].attrs["units"] = unit
    cube[target].values[:] = values
    assert labels(cube, target)["depth"][0, 0].tolist() == known


def test_a_threshold_beyond_the_first_edges_swallows_them():
    cube = make_cube(shape=(3, 4))
    cube["hs"].values[:] = [0, 60, 120, 160]
    found = labels(cube, "hs", snow_threshold_hs_cm=70.0)["depth"][0, 0].tolist()
    assert found == ["snow-free", "snow-free", "100–150 cm", "150–200 cm"]


def test_a_class_without_its_band_is_left_out():
    found = labels(make_cube(bands=["intensity"]))
    assert set(found) == {"month", "winter", "depth"}
    assert set(labels(make_cube(bands=["coherence", "intensity"]))) == {"month", "winter", "coherence", "depth"}


def test_no_elevation_anywhere_is_unknown():
    cube = make_cube()
    cube["features"].loc[{"band": "elevation"}] = np.nan
    for name in ("elevation", "slope", "aspect"):
        assert set(labels(cube)[name].ravel()) - {""} == {UNKNOWN}
