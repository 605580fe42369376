"""The bands of a pair on the region's grid: local incidence, connected components, what is made of what."""

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import from_origin

from snowmap.build.bands import Scene, insar_bands, largest_component, local_incidence
from snowmap.data.grid import Grid
from snowmap.products.pairs import Pair
from snowmap.products.rasters import as_raster

UTM = CRS.from_epsg(32632)
SHAPE, FINE = (40, 60), from_origin(500_000, 5_000_000, 20, 20)
GRID = Grid((8, 12), from_origin(500_000, 5_000_000, 100, 100), UTM)


def pair(**layers: np.ndarray | float) -> Pair:
    rasters = {name: as_raster(np.broadcast_to(np.float32(of), SHAPE).copy(), FINE, UTM) for name, of in layers.items()}
    days = np.datetime64("2023-01-03"), np.datetime64("2023-01-15")
    openers = {name: (lambda raster=raster: raster) for name, raster in rasters.items()}
    return Pair(*days, "a pair", "a track", 0.24, openers)


@pytest.mark.parametrize(("slope", "aspect"), [(0, 0), (20, 90), (35, 210)])
def test_local_incidence_of_a_tilted_plane(slope: float, aspect: float) -> None:
    """n·l with the normal of a plane that falls towards `aspect`."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] * 20.0
    east, north = np.sin(np.radians(aspect)), np.cos(np.radians(aspect))
    elevation = -np.tan(np.radians(slope)) * (columns * east - rows * north)
    look = np.array([np.sin(np.radians(39)) * part for part in (np.sin(1.8), np.cos(1.8))] + [np.cos(np.radians(39))])
    made = local_incidence(
        as_raster(elevation.astype(np.float32), FINE, UTM),
        [as_raster(np.full(SHAPE, part, np.float32), FINE, UTM) for part in look],
    )
    normal = np.array([np.sin(np.radians(slope)) * east, np.sin(np.radians(slope)) * north, np.cos(np.radians(slope))])
    np.testing.assert_allclose(made.values, np.degrees(np.arccos(normal @ look)), atol=0.02)


def test_ground_that_faces_away_has_no_incidence() -> None:
    elevation = as_raster(np.float32(np.mgrid[: SHAPE[0], : SHAPE[1]][1] * 60), FINE, UTM)  # rises to the east by 72°
    look = [as_raster(np.full(SHAPE, part, np.float32), FINE, UTM) for part in (0.8, 0, 0.6)]
    assert np.isnan(local_incidence(elevation, look).values).all()


def test_phase_and_displacement_follow_from_the_unwrapped_phase_with_the_wavelength_of_the_radar() -> None:
    bands = insar_bands([Scene(pair(unwrapped_phase=9.0, coherence=0.8, elevation=100, incidence=40))], GRID, 0.5)
    np.testing.assert_allclose(bands["phase"], 9 - 4 * np.pi + 2 * np.pi, atol=1e-5)
    np.testing.assert_allclose(bands["displacement"], -0.24 / (4 * np.pi) * 9, atol=1e-6)  # positive towards it
    np.testing.assert_allclose(bands["incidence"], 40, atol=1e-4)
    assert bands.keys() == {"phase", "displacement", "unwrapped_phase", "coherence", "elevation", "incidence"}


def two_components() -> tuple[np.ndarray, np.ndarray]:
    """The second one begins in the middle of a column of cells, three cycles off; a corner is unreliable."""
    number = np.ones(SHAPE)
    number[:, 23:] = 2
    number[:5, :5] = 0
    return np.where(number == 2, 1 + 6 * np.pi, 1.0), number


def test_the_unwrapped_phase_of_the_largest_component_is_kept() -> None:
    phase, number = two_components()
    several = pair(unwrapped_phase=phase, component=number, coherence=0.8, elevation=0, incidence=40)
    component, lost = largest_component(several, GRID)
    assert component == 2
    assert lost == pytest.approx(1 - 7 / 12, abs=0.05)  # five of twelve columns
    made = insar_bands([Scene(several, component)], GRID, 0.3)["unwrapped_phase"]
    np.testing.assert_allclose(made[:, 5:], 1 + 6 * np.pi, rtol=1e-6)
    assert np.isnan(made[:, :4]).all()
    assert np.isfinite(insar_bands([Scene(several, component)], GRID, 0.3)["coherence"]).all()


def test_the_largest_component_is_found_without_looking_at_every_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    number = np.where(np.mgrid[: SHAPE[0], : SHAPE[1]][1] < 24, 5, 3)
    several = pair(unwrapped_phase=1.0, component=number, coherence=0.8, elevation=0, incidence=40)
    monkeypatch.setattr("snowmap.build.bands.THIN_GRID", 5)
    assert largest_component(several, GRID) == (3, pytest.approx(24 / 60, abs=0.1))


def test_a_cell_on_the_border_of_components_is_the_mean_of_one_of_them() -> None:
    phase, number = two_components()
    several = pair(unwrapped_phase=phase, component=number, coherence=0.8, elevation=0, incidence=40)
    made = insar_bands([Scene(several)], GRID, 0.5)["unwrapped_phase"]
    assert np.isnan(made[0, 0])
    np.testing.assert_allclose(made[1:, :5], 1, rtol=1e-6)  # the fifth column is of both, three fifths of the first
    np.testing.assert_allclose(made[:, 5:], 1 + 6 * np.pi, rtol=1e-6)
