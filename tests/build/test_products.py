"""Every InSAR product that the issue of a region may come as, from its files to the archive."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from rasterio.transform import Affine

import snowmap
from snowmap.build.building import build
from tests.build.region import CORNER, CRS, Region, write_region
from tests.products.writers import Scene, write_licsar, write_mintpy
from tests.products.writers_hdf5 import NISAR_TRANSFORM, look_at, make_truth, write_dem, write_nisar


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return write_region(tmp_path_factory.mktemp("region"), pairs=2)


@pytest.mark.parametrize("source", ["mintpy", "licsar"])
def test_stacks_give_the_truth_of_the_region(source: str, region: Region, tmp_path: Path) -> None:
    scenes = [Scene(*dates, layers, CORNER, CRS) for dates, layers in zip(region.pairs, region.fine, strict=True)]
    path = write_mintpy(tmp_path / "inputs", scenes) if source == "mintpy" else write_licsar(tmp_path, scenes)
    keys = yaml.safe_load(region.recipe.read_text())
    recipe = region.recipe.with_name(f"{source}.yaml")
    recipe.write_text(yaml.safe_dump(keys | {"insar": {"source": source, "path": str(path)}}))
    build(recipe, tmp_path / "out")
    cube = snowmap.open_archive(tmp_path / "out", targets=["swe"])
    for number, truth in enumerate(region.fine):
        bands = {name: cube["features"].values[number, i] for i, name in enumerate(cube["band"].values)}
        np.testing.assert_allclose(bands["unwrapped_phase"], region.mean(truth["unwrapped_phase"]), atol=1e-4)
        np.testing.assert_allclose(bands["coherence"], region.mean(truth["coherence"]), atol=2e-3)
        weighted = region.mean(truth["coherence"] * np.exp(1j * truth["unwrapped_phase"]))
        assert np.abs(np.angle(np.exp(1j * bands["phase"]) / weighted)).max() < 1e-2
        assert np.isfinite(bands["incidence"]).all()
        assert "intensity" not in bands  # which neither product has


def test_nisar_with_its_ionosphere_taken_off_and_the_incidence_of_the_ground(tmp_path: Path) -> None:
    truth = make_truth((25, 30))
    write_nisar(tmp_path / "NISAR_L2_GUNW.h5", truth)
    columns = np.mgrid[:35, :40][1]
    corner = NISAR_TRANSFORM @ Affine.translation(-5, -5)
    write_dem(tmp_path / "dem.tif", "EPSG:32611", corner, 500 + 20.0 * (columns - 5))  # rises by 1 in 4 to the east
    recipe = {
        "name": "synthetic",
        "grid": {"bounds": [500_000, 4_398_000, 502_400, 4_400_000], "crs": "EPSG:32611", "resolution": 400},
        "insar": {"source": "nisar", "path": "NISAR_*.h5", "dem": "dem.tif", "components": "all"},
    }
    (tmp_path / "region.yaml").write_text(yaml.safe_dump(recipe))
    build(tmp_path / "region.yaml", tmp_path / "out")
    cube = snowmap.open_archive(tmp_path / "out", targets=[])
    assert cube.attrs["wavelength"] == pytest.approx(0.2384, rel=1e-3)
    bands = {name: cube["features"].values[0, i] for i, name in enumerate(cube["band"].values)}
    mean = truth.phase.reshape(5, 5, 6, 5).mean((1, 3))
    np.testing.assert_allclose(bands["unwrapped_phase"][1:], mean[1:], atol=1e-3)  # its first row is not whole
    y, x = -0.4 * (np.arange(5)[:, None] + 0.5), 0.4 * (np.arange(6) + 0.5)
    height = 500 + 20.0 * (5 * np.arange(6) + 2)
    east, north = look_at(height, y, x)
    up = np.sqrt(1 - east**2 - north**2)
    slope = 20 / 80
    expected = np.degrees(np.arccos((up - slope * east) / np.hypot(1, slope)))
    np.testing.assert_allclose(bands["incidence"][1:], expected[1:], atol=0.1)
