"""Checkpoints of earlier versions: they map as they did, are scored, and go on; those of later versions are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snowmap import schema
from snowmap.archive import write_archive
from snowmap.errors import SnowmapError
from snowmap.loading import load_model
from snowmap.provenance import FORMAT, read_checkpoint
from snowmap.schema import TrainConfig
from snowmap.scoring import score_checkpoint
from snowmap.task import SnowRegression
from snowmap.upgrading import with_added_keys, without_gone_keys
from tests.commands import ROOT, succeed
from tests.cubes import make_cube

FOLDER = ROOT / "tests" / "checkpoints"
KNOWN = json.loads((FOLDER / "known.json").read_text())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with the archive where the checkpoints' configuration has it."""
    folder = tmp_path_factory.mktemp("workplace")
    write_archive(make_cube(), folder / "data" / "Dataset_icip2026")
    return folder


def test_each_has_its_known_numbers():
    assert set(KNOWN) == {path.name for path in FOLDER.glob("*.ckpt")}
    for path in FOLDER.glob("*.ckpt"):
        assert path.stat().st_size < 150_000


@pytest.mark.parametrize("name", KNOWN)
def test_it_maps_as_it_did(name):
    maps = load_model(FOLDER / name).predict(make_cube(), [3, 15])
    assert set(maps.data_vars) == set(KNOWN[name]["maps"])
    for layer, known in KNOWN[name]["maps"].items():
        np.testing.assert_allclose(maps[layer].values[:, 5, [2, 8, 16]], known, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_it_is_scored_as_it_was(name, workplace, tmp_path):
    result = score_checkpoint(FOLDER / name, root=str(workplace / "data" / "Dataset_icip2026"), out=tmp_path / "out")
    found = {target: entry["model"]["rmse"] for target, entry in result["target"].items()}
    assert found == pytest.approx(KNOWN[name]["test_rmse"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "epochs"), [("0.1.0-unet.ckpt", 3), ("0.1.0-massbalance.ckpt", 4)])
def test_it_goes_on(name, epochs, workplace, monkeypatch):
    old, run = load_model(FOLDER / name), workplace / name
    words = (f"hydra.run.dir={run}", f"trainer.max_epochs={epochs + 2}", "evaluate=none")
    monkeypatch.chdir(workplace)
    succeed("train.py", f"ckpt={FOLDER / name}", *words)
    new = load_model(run / "checkpoints" / "last.ckpt")
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert stored["epoch"] == epochs + 1
    assert stored["hyper_parameters"]["facts"]["format"] == FORMAT
    assert set(new.facts["config"]) >= {"init_from", "freeze"}
    assert new.facts["config"]["model"] == old.facts["config"]["model"]
    assert any(not torch.equal(a, b) for a, b in zip(old.net.parameters(), new.net.parameters(), strict=True))


def test_a_plain_process_elsewhere_opens_and_maps_it_without_hydra(tmp_path):
    make_cube().to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    program = f"""
import sys
import xarray as xr
from snowmap.task import SnowRegression
cube = xr.open_dataset("cube.nc", decode_coords="all").load().assign_coords()
cube["mask"] = cube["mask"].astype(bool)
maps = SnowRegression.load_from_checkpoint({str(FOLDER / "0.1.0-unet.ckpt")!r}).predict(cube, [3, 15])
assert type(maps) is xr.Dataset
assert maps.rio.crs.to_epsg() == 4326 and maps.rio.transform() == cube.rio.transform()
hydra = sys.modules.get("hydra.core.global_hydra")
assert hydra is None or not hydra.GlobalHydra.instance().is_initialized()
maps["swe"].values[:, 5, [2, 8, 16]].tofile("maps")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=300)
    found = np.fromfile(tmp_path / "maps", np.float32).reshape(2, 3)
    np.testing.assert_allclose(found, KNOWN["0.1.0-unet.ckpt"]["maps"]["swe"], rtol=1e-3)


@pytest.mark.parametrize("name", ["0.1.0-unet.ckpt", "0.1.0-elevation.ckpt"])
def test_one_of_a_newer_format_is_refused(name, tmp_path):
    content = torch.load(FOLDER / name, weights_only=True)
    facts = content.get("hyper_parameters", content)["facts"]
    facts["format"], facts["versions"]["snowmap"] = FORMAT + 1, "9.1.0"
    content.get("hyper_parameters", content)["unheard_of"] = 1
    torch.save(content, tmp_path / "new.ckpt")
    told = rf"new.ckpt was written by a newer snowmap \(9.1.0, format {FORMAT + 1}; .* up to {FORMAT}\); update snowmap"
    with pytest.raises(SnowmapError, match=told):
        load_model(tmp_path / "new.ckpt")
    if "unet" in name:
        with pytest.raises(SnowmapError, match=told):
            SnowRegression.load_from_checkpoint(tmp_path / "new.ckpt")


def test_keys_that_were_added_since_have_their_defaults(monkeypatch):
    stored = torch.load(FOLDER / "0.1.0-unet.ckpt", weights_only=True)["hyper_parameters"]["facts"]["config"]
    assert "init_from" not in stored
    assert "layer_decay" not in stored["optimizer"]
    config = read_checkpoint(FOLDER / "0.1.0-unet.ckpt")["hyper_parameters"]["facts"]["config"]
    assert config["init_from"] is None
    assert config["optimizer"] == {**stored["optimizer"], "layer_decay": 1.0}
    assert config["model"] == stored["model"]  # of a net that is not the schema's default size
    assert set(config) == set(TrainConfig.__dataclass_fields__)
    del stored["model"]["dropout"], stored["data"]["crop"]
    assert with_added_keys(stored)["model"]["dropout"] == schema.UNet.dropout
    assert with_added_keys(stored)["data"]["crop"] is None


def test_keys_that_are_gone_are_left_out_and_named(caplog):
    stored = read_checkpoint(FOLDER / "0.1.0-unet.ckpt")["hyper_parameters"]["facts"]["config"]
    clean = without_gone_keys(stored)
    assert clean == stored
    assert not caplog.text
    old = {**stored, "colour": "blue", "data": {**stored["data"], "zoom": 3}, "model": {**stored["model"], "depth": 2}}
    assert without_gone_keys(old) == clean
    assert all(key in caplog.text for key in ("no longer exist", "colour", "data.zoom", "model.depth"))
