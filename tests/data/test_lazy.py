"""A Cube that stays in its store gives a training what one in memory does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from snowmap.data.pieces import random_pieces
from snowmap.data.sequences import Sample
from snowmap.data.splits import split_cubes
from snowmap.sources import open_cubes
from snowmap.sources.zarr import write_zarr
from snowmap.tasks.build import make_parts
from tests.commands import SMALL, succeed
from tests.config.test_checking import checked
from tests.cubes import make_cube

SHAPE = (70, 90)
DERIVED = "[day_of_year,slope,aspect,cumulative_pdd,cumulative_phase_swe,wet_snow]"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    cube = make_cube(windows=30, shape=SHAPE)
    row, column = np.indices(SHAPE)
    cube["features"].loc[{"band": "elevation"}] = 1500 + 900 * np.sin(row / 12) * np.cos(column / 9)
    return write_zarr(cube, tmp_path_factory.mktemp("store") / "cube.zarr", chunk=32)


def parts(store: Path, *words: str) -> tuple:
    config = checked("data=zarr", f"data.root={store}", "model=convlstm", *SMALL, *words)
    cubes = open_cubes(config["data"], config["target"]["names"])
    return cubes[0], *make_parts(config, cubes, split_cubes(cubes, config["split"]))


def test_statistics_and_batches_of_a_store_are_those_of_memory(store):
    words = (f"data.derived={DERIVED}", "data.time=4", "data.crop=[24,24]")
    cube, known, kept = parts(store, *words, "data.in_memory=true")
    lazy, task, fed = parts(store, *words, "data.in_memory=false")
    assert lazy["features"].chunks
    assert not cube["features"].chunks
    for name, values in known.state_dict().items():
        torch.testing.assert_close(task.state_dict()[name], values, rtol=1e-5, atol=1e-6, msg=name)
    assert fed.train == kept.train
    piece = {"rows": slice(20, 44), "columns": slice(64, 88)}
    samples = [fed.train[0]._replace(**piece), fed.train[7]._replace(rows=slice(46, 70), columns=slice(0, 24))]
    for batch in (samples, [fed.tiles[1]._replace(margin=4, **piece)], [fed.train[-1]]):
        for one, other in zip(kept.collate(batch), fed.collate(batch), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True)


def test_crops_lie_within_a_chunk_and_reach_every_pixel():
    torch.manual_seed(0)
    crops = random_pieces([Sample((0,), (True,))] * 4000, (24, 40), SHAPE, chunk=(32, 32))
    seen = np.zeros(SHAPE, int)
    for crop in crops:
        seen[crop.rows, crop.columns] += 1
        assert crop.rows.stop - crop.rows.start == 24
        inside = crop.rows.start // 32 == (crop.rows.stop - 1) // 32
        assert inside or crop.rows.stop == SHAPE[0]  # the last chunk has 6 rows alone
        assert crop.columns.start % 32 == 0 or crop.columns.stop == SHAPE[1]
    assert seen.min() > 0


@pytest.mark.slow
def test_a_training_from_a_store_has_the_scores_of_one_from_an_archive(foreign_archive, tmp_path):
    """To the bit, where the store is read into memory; to what rounding does to a training, where it is not."""
    from snowmap.sources.trentino import open_archive

    root = foreign_archive(20, (24, 32))  # more than one chunk
    store = write_zarr(open_archive(root), tmp_path / "cube.zarr", chunk=16)
    runs = {
        "archive": (f"data.root={root}",),
        "memory": ("data=zarr", f"data.root={store}", "evaluate=none"),
        "lazy": ("data=zarr", f"data.root={store}", "data.in_memory=false"),
    }
    for name, words in runs.items():
        succeed("train.py", f"hydra.run.dir={tmp_path / name}", *words, *SMALL, "trainer.max_epochs=1", "logger=none")
    last = {name: torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in runs}
    for name, values in last["archive"]["state_dict"].items():
        assert torch.equal(last["memory"]["state_dict"][name], values), name
    validation = {name: json.loads((tmp_path / name / "run.json").read_text())["validation"] for name in runs}
    assert validation["memory"] == validation["archive"]
    scored = {
        name: json.loads((tmp_path / name / "evaluation" / "test" / "metrics.json").read_text())["target"]["swe"]
        for name in ("archive", "lazy")
    }
    assert scored["lazy"]["model"] == pytest.approx(scored["archive"]["model"], rel=1e-3)
