"""Class maps by the commands that a user types."""

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize

from snowmap.cli import main
from snowmap.sources.zarr import write_zarr
from tests.class_cubes import glacier_cube
from tests.commands import fail, succeed

pytestmark = pytest.mark.slow


def test_a_baseline_is_fitted_scored_and_predicts(tmp_path, capsys):
    scene = write_zarr(glacier_cube(shape=(48, 64)), tmp_path / "scene")
    words = ("data=zarr", f"data.root={scene}", "target=glacier", "task=segmentation")
    run, split = tmp_path / "run", ("split=blocks", "split.buffer=1", "split.rows=3", "split.columns=3")
    said = succeed("train.py", "model=otsu", *words, *split, f"hydra.run.dir={run}")
    for text in ("GLACIER, test windows · SYNTHETIC", "IoU", "terrain alone", "validation IoU GLACIER", "report.html"):
        assert text in said
    entry = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())["target"]["glacier"]
    assert entry["model"] == entry["baselines"]["otsu"]
    assert set(entry["baselines"]) == {"otsu", "random_forest", "terrain"}
    checkpoint, maps = run / "checkpoints" / "best.ckpt", tmp_path / "maps"
    assert main(["predict", *map(str, (checkpoint, scene, maps)), "--windows", "2020-10-01_to_2020-10-01"]) == 0
    start = maps / "2020-10-01_to_2020-10-01"
    assert {file.name for file in maps.iterdir()} == {
        f"{start.name}{end}" for end in (".nc", "_glacier.tif", "_glacier_probability.tif", "_glacier.gpkg")
    }
    with rasterio.open(f"{start}_glacier.tif") as raster:
        classes = raster.read(1)
        outlines = gpd.read_file(f"{start}_glacier.gpkg").to_crs(raster.crs)
        again = rasterize(outlines.geometry, classes.shape, transform=raster.transform)
    np.testing.assert_array_equal(again == 1, classes == 1)
    assert main(["basins", str(maps), f"{start}_glacier.gpkg"]) == 1
    assert main(["predict", *map(str, (checkpoint, scene, maps)), "--basin", f"{start}_glacier.gpkg"]) == 1
    told = capsys.readouterr().err
    assert "'glacier' is a class map (other glacier); expected maps of swe or hs" in told
    assert "--basin: 'glacier' is a class map (other glacier), and tables of basins are of swe and hs" in told
    told = fail("train.py", "model=last_inventory", *words, *split, f"hydra.run.dir={tmp_path}/other")
    assert "model=last_inventory needs an older inventory: give a vector file as model.path=" in told
