"""Checkpoints open without Hydra, and those of another format are refused."""

import os
import subprocess
import sys

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from snowmap.baselines import build_baseline, save_baseline
from snowmap.checkpoints.provenance import FORMAT, metadata_of
from snowmap.data.splits.dates import rolling
from snowmap.errors import SnowmapError
from snowmap.tasks.load import load_model
from snowmap.tasks.pixel import SnowRegression
from tests.commands import ROOT
from tests.cubes import make_cube
from tests.tasks.test_pixel import parts


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder, cube = tmp_path_factory.mktemp("checkpoints"), make_cube()
    _, task, _ = parts(cube, "model.channels=[4,8]", "target=both")
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(task)
    trainer.save_checkpoint(folder / "net.ckpt")
    baseline = build_baseline({"name": "climatology"}).fit(cube, range(12), ["swe"])
    baseline.metadata = metadata_of([cube], [rolling(cube["start"].values, cube["end"].values)], {"data": {}})
    save_baseline(baseline, folder / "baseline.ckpt")
    return folder


@pytest.mark.parametrize("name", ["net", "baseline"])
@pytest.mark.parametrize("number", [FORMAT + 1, FORMAT - 1, None, "two"])
def test_one_of_another_format_is_refused(name, number, checkpoints, tmp_path):
    content = torch.load(checkpoints / f"{name}.ckpt", weights_only=True)
    content.get("hyper_parameters", content)["metadata"]["format"] = number
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(SnowmapError, match=rf"other.ckpt has the format {number!r}; this snowmap .* reads format"):
        load_model(tmp_path / "other.ckpt")


def test_a_plain_process_elsewhere_opens_and_maps_it_without_hydra(checkpoints, tmp_path):
    make_cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    program = f"""
import sys
import xarray as xr
from snowmap.tasks.pixel import SnowRegression
cube = xr.open_dataset("cube.nc", decode_coords="all").load().assign_coords()
cube["mask"] = cube["mask"].astype(bool)
maps = SnowRegression.load_from_checkpoint({str(checkpoints / "net.ckpt")!r}).predict(cube, [3, 15])
assert type(maps) is xr.Dataset
assert maps.rio.crs.to_epsg() == 4326 and maps.rio.transform() == cube.rio.transform()
hydra = sys.modules.get("hydra.core.global_hydra")
assert hydra is None or not hydra.GlobalHydra.instance().is_initialized()
maps["swe"].values.tofile("maps")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=300)
    expected = SnowRegression.load_from_checkpoint(checkpoints / "net.ckpt").predict(make_cube(), [3, 15])
    maps = np.fromfile(tmp_path / "maps", np.float32).reshape(expected["swe"].shape)
    np.testing.assert_allclose(maps, expected["swe"].values, rtol=1e-5)
