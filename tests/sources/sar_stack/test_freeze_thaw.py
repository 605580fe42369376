"""A map of each date with labels, from it and the dates before, by the commands that a user types."""

import json

import numpy as np
import pytest
import rasterio

from snowmap.cli import main
from tests.commands import succeed
from tests.sources.sar_stack.scenes import power, write, write_scene

pytestmark = pytest.mark.slow

DAYS = ("2020-03-01", "2020-03-13", "2020-03-25", "2020-04-06")
CODINGS = {
    "codes 1 to 4, 0 is no data": ({1: "frozen", 2: "thawed", 3: "wet_snow", 4: "water"}, 0),
    "codes 1 and 0, 255 is no data": ({0: "frozen", 1: "thawed"}, 255),
}
SMALL = (
    *("model.channels=[4,8]", "model.hidden=[4]", "data.crop=[16,16]", "data.patches=2", "data.time=2"),
    *("split.rows=2", "split.columns=4", "split.buffer=0", "trainer.max_epochs=2", "optimizer.restarts=[2]"),
    "trainer.enable_progress_bar=false",
)


@pytest.mark.parametrize("name", CODINGS)
def test_dated_class_rasters_from_the_training_to_the_map(name, tmp_path):
    classes, nothing = CODINGS[name]
    scene, run, maps = tmp_path / "root" / "north", tmp_path / "run", tmp_path / "maps"
    write_scene(scene, days=DAYS)
    codes = np.random.default_rng(0).choice([*classes, nothing], power(0).shape).astype(np.uint8)
    for number, day in enumerate(DAYS[1:]):
        write(scene / f"{day}_classes.tif", np.roll(codes, 7 * number, axis=1))
    words = "{" + ", ".join(f"{code}: {word}" for code, word in classes.items()) + "}"
    given = (f"data.root={tmp_path / 'root'}", f"data.classes={words}", f"data.ignore={nothing}")
    several = len(classes) > 2  # of two, the files of an evaluation are those of every segmentation
    evaluate = f"evaluate={'test' if several else 'none'}"
    succeed("train.py", "experiment=freeze_thaw", *given, *SMALL, evaluate, f"hydra.run.dir={run}")
    validation = json.loads((run / "run.json").read_text())["validation"]["freeze_thaw"]
    assert validation["classes"] == [*classes.values()]
    assert 0 <= validation["iou"] <= 1
    if several:
        scores = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())["target"]["freeze_thaw"]
        assert scores["classes"] == [*classes.values()]
        assert {"random_forest"} <= set(scores["baselines"])
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert main(["predict", str(checkpoint), str(scene), str(maps)]) == 0
    written = sorted(maps.glob("*_freeze_thaw.tif"))
    assert [file.name[:10] for file in written][-3:] == [*DAYS[1:]]
    for file in written:
        with rasterio.open(file) as raster:
            assert {*np.unique(raster.read(1, masked=True).compressed())} <= {*classes}
