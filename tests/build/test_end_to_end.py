"""From products to a trained model and its maps, as a user types it."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from rasterio.warp import transform
from scipy.interpolate import NearestNDInterpolator
from scipy.ndimage import gaussian_filter

import snowmap
from snowmap.cli import main
from tests.build.region import write_region
from tests.commands import succeed, train
from tests.products.writers import Scene, write_hyp3

pytestmark = pytest.mark.slow


def test_train_evaluate_and_predict_on_what_was_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    region, out, run = write_region(tmp_path / "in", pairs=13, shape=(10, 12)), tmp_path / "archive", tmp_path / "run"
    assert main(["build", str(region.recipe), str(out)]) == 0
    assert "next: snowmap check" in capsys.readouterr().out
    assert main(["check", str(out), "--targets", "swe"]) == 0
    train(out, run, "target=swe", "trainer.max_epochs=2")
    succeed("evaluate.py", f"ckpt={run}/checkpoints/best.ckpt")
    folder = run / "evaluation" / "test"
    scores = json.loads((folder / "metrics.json").read_text())["target"]["swe"]
    assert scores["model"]["pixels"] == 3 * (10 * 12 - 1)  # one pixel is water
    assert "SYNTHETIC" in (folder / "report.html").read_text().upper()
    assert main(["predict", f"{run}/checkpoints/best.ckpt", str(out), str(tmp_path / "maps")]) == 0
    with xr.open_dataset(next((tmp_path / "maps").glob("*.nc")), decode_coords="all") as maps:
        assert maps.rio.crs == "EPSG:32632"


def test_grand_mesa_with_real_weather_and_snow(shared_data: Path, tmp_path: Path) -> None:
    """Terrain from heights measured on the ground, ERA5 and SNOTEL of 2021; only the interferograms are made here."""
    folder, real = tmp_path / "in", shared_data / "grand_mesa"
    with rasterio.open(real / "ASO_GrandMesa_Mosaic_2020Feb1-2_snowdepth_50m.tif") as aso:
        corner, crs, shape = aso.transform, aso.crs, aso.shape
    elevation = _terrain(real, corner, crs, shape)
    random, rows = np.random.default_rng(0), np.mgrid[: shape[0], : shape[1]][0]
    dates = [np.datetime64("2021-01-02") + 12 * number for number in range(15)]
    for number, (start, end) in enumerate(pairwise(dates)):
        phase = gaussian_filter(random.normal(0, 30, shape), 20) + elevation / 2000
        layers = {
            "coherence": random.uniform(0.3, 0.9, shape),
            "unwrapped_phase": phase,
            "wrapped_phase": np.angle(np.exp(1j * phase)),
            "intensity": random.uniform(0.05, 0.2, shape),
            "elevation": elevation,
            "incidence": 38 + 3 * np.sin(rows / 20),
            **{name: np.full(shape, 0.5) for name in ("look_east", "look_north", "look_up")},
            "component": np.ones(shape),
            "water": np.zeros(shape),
        }
        scene = Scene(str(start), str(end), layers, corner, crs.to_string())
        write_hyp3(folder / "downloads", scene, orbit=47_000 + 175 * number, identifier=f"{number:04X}", nodata=0)
    west, north = corner.c, corner.f
    recipe = {
        "name": "synthetic interferograms over Grand Mesa",
        "grid": {"bounds": [west, north - 42 * 250, west + 91 * 250, north], "crs": "EPSG:32612", "resolution": 250},
        "insar": {"source": "hyp3", "path": "downloads/*.zip"},
        "weather": {"source": "era5", "path": str(real / "era5_grand_mesa.nc"), "lapse_rate": 0},
        "targets": {name: {"source": "points", "path": str(real / "grand_mesa_snotel.csv")} for name in ("swe", "hs")},
    }
    (folder / "region.yaml").write_text(yaml.safe_dump(recipe))
    out, run = tmp_path / "archive", tmp_path / "run"
    assert main(["build", str(folder / "region.yaml"), str(out)]) == 0
    cube = snowmap.open_archive(out)
    snotel = pd.read_csv(real / "grand_mesa_snotel.csv", parse_dates=["datetime"])
    snotel = snotel[snotel["site"].str.startswith("622")]  # the other station lies to the east
    for number, end in enumerate(cube["end"].values):
        stated = snotel[snotel["datetime"].dt.tz_localize(None).dt.floor("D") == end]
        for name, column in (("swe", "SWE"), ("hs", "SNOWDEPTH")):
            built = cube[name].values[number]
            known = np.sort(stated[column].dropna().to_numpy()) * 2.54
            np.testing.assert_allclose(np.sort(built[np.isfinite(built)]), known, rtol=1e-5)
    with xr.open_dataset(real / "era5_grand_mesa.nc") as era5:
        days = era5["t2m"].sel(time=slice("2021-01-03", "2021-01-14")).resample(time="D").mean() - 273.15
        least, most = float(days.mean("time").min()), float(days.mean("time").max())
    temperature = cube["features"].sel(band="mean_temperature").values[0]
    assert least - 0.01 <= np.nanmin(temperature) <= np.nanmax(temperature) <= most + 0.01
    assert main(["check", str(out)]) == 0
    train(out, run, "target=swe", "debug=fast")


def _terrain(real: Path, corner: rasterio.Affine, crs: rasterio.crs.CRS, shape: tuple[int, int]) -> np.ndarray:
    probes = pd.read_csv(real / "SnowEx2020_SnowDepths_COGM_alldepths_v01.csv")
    x, y = (np.array(axis) for axis in transform("EPSG:4326", crs, probes["Longitude"], probes["Latitude"]))
    nearest = NearestNDInterpolator(np.column_stack([x, y]), probes["elevation (m)"])
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    return gaussian_filter(nearest(corner.c + corner.a * columns, corner.f + corner.e * rows), 5)
