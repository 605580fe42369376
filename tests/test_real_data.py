"""The whole job on real measurements: train, evaluate and export, where the real rasters are at hand."""

import json

import numpy as np
import pytest
import xarray as xr

from snowmap.cli import main
from snowmap.sources.trentino import open_archive
from tests.archives import MEXICO_BANDS, write_mexico_archive
from tests.commands import succeed, train

pytestmark = pytest.mark.slow


def evaluated(folder):
    out = folder / "evaluation" / "test"
    scores = json.loads((out / "metrics.json").read_text())["target"]["swe"]["model"]
    with xr.open_dataset(out / "predictions.nc", decode_coords="all") as file:
        return scores, file.load()


def test_real_coherence_phase_and_terrain(shared_data, tmp_path):
    root, run = tmp_path / "mexico", tmp_path / "run"
    write_mexico_archive(shared_data, root)
    train(root, run, f"data.bands=[{','.join(MEXICO_BANDS)}]", "trainer.max_epochs=1", "split.test=7", "evaluate=none")
    succeed("evaluate.py", f"ckpt={run}/checkpoints/best.ckpt")
    scores, file = evaluated(run)
    cube = open_archive(root, bands=MEXICO_BANDS)
    assert file.sizes["time"] == 7
    assert file.rio.crs == cube.rio.crs
    np.testing.assert_array_equal(file["time_bnds"][:, 0], cube["start"][-7:])
    error = (file["swe"] - file["swe_observed"]).values.astype(float)
    assert scores["rmse"] == pytest.approx(np.sqrt(np.nanmean(error**2)), rel=1e-6)


def test_synthetic_snow_on_the_real_oetztal(shared_data, tmp_path):
    root, run = tmp_path / "oetztal", tmp_path / "run"
    dem = shared_data / "oetztal" / "srtm_oetztal.tif"
    assert main(["synthesize", str(root), "--dem", str(dem), "--windows", "14"]) == 0
    said = train(root, run, "trainer.max_epochs=1")
    assert "SYNTHETIC" in said
    scores, file = evaluated(run)
    assert scores["pixels"] > 1000
    assert "SYNTHETIC" in file.attrs["title"]
    assert 46 < float(file["lat"].mean()) < 48
