"""A fitted baseline as a file."""

from dataclasses import asdict

import numpy as np
import pytest
import skops.io
import torch
import xarray as xr

import snowmap
from snowmap.baselines import BASELINES, save_baseline
from snowmap.checkpoints.provenance import metadata_of
from snowmap.config.schema import TrainConfig
from snowmap.data.radar.phase import Phase
from snowmap.data.splits import make_split
from snowmap.errors import SnowmapError
from snowmap.tasks.load import load_model
from tests.cubes import BASELINES_OF_QUANTITIES, make_cube

LATER = [13, 14, 15]
OPTIONS = {"climatology": {"season_days": 30.0}, "boosted_trees": {"derived": ["slope", "cumulative_pdd"]}}


def fitted(name: str, **options):
    cube = make_cube()
    split = make_split("rolling", cube["start"].values, cube["end"].values)
    baseline = BASELINES[name](**options)
    baseline.metadata = metadata_of([cube], [split], asdict(TrainConfig()) | {"model": {"name": name, **options}})
    return cube, baseline.fit(cube, split.train, ["hs", "swe"], phase=Phase(-1))


@pytest.mark.parametrize("name", BASELINES_OF_QUANTITIES)
def test_what_comes_back_gives_the_same_maps_bit_for_bit(name, tmp_path):
    cube, baseline = fitted(name, **OPTIONS.get(name, {}))
    loaded = load_model(save_baseline(baseline, tmp_path / "checkpoints" / "best.ckpt")).to("cpu")
    assert type(loaded) is BASELINES[name]
    xr.testing.assert_identical(loaded.predict(cube, LATER), baseline.predict(cube, LATER))
    for key in ("targets", "metadata", "archive_bands", "grid", "options"):
        assert getattr(loaded, key) == getattr(baseline, key)
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["best.ckpt"]


@pytest.mark.parametrize("name", BASELINES_OF_QUANTITIES)
def test_the_file_holds_plain_containers_and_tensors(name, tmp_path):
    _, baseline = fitted(name)
    stored = torch.load(save_baseline(baseline, tmp_path / "a.ckpt"), weights_only=True)
    assert stored["baseline"]["name"] == name
    assert {target: layer["units"] for target, layer in stored["layers"].items()} == {"hs": "cm", "swe": "cm"}
    assert stored["preprocessing"] == baseline.preprocessor.options
    assert {"units", "long_names", "archives", "versions", "git_revision", "config"} <= set(stored["metadata"])
    assert "scikit-learn" in stored["metadata"]["versions"]


def test_the_numbers_of_the_degree_day_model_can_be_read_in_the_file(tmp_path):
    _, baseline = fitted("degree_day")
    stored = torch.load(save_baseline(baseline, tmp_path / "a.ckpt"), weights_only=True)
    assert set(stored["learned"]["swe"]) == {
        *("degree_day_factor", "precipitation", "gradient", "beginning", "mean_elevation")
    }


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", "truncated", "foreign", "tensor", "unknown", "half"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "x.ckpt"
    _, baseline = fitted("boosted_trees")
    save_baseline(baseline, tmp_path / "whole.ckpt")
    stored = torch.load(tmp_path / "whole.ckpt", weights_only=True)
    other = {
        "foreign": {"state_dict": {}, "epoch": 3},
        "tensor": torch.zeros(3),
        "unknown": {**stored, "baseline": {"name": "of another version"}},
        "half": {key: value for key, value in stored.items() if key != "learned"},
    }
    if content == "truncated":
        path.write_bytes((tmp_path / "whole.ckpt").read_bytes()[:5000])
    elif content in other:
        torch.save(other[content], path)
    elif content is not None:
        path.write_bytes(content)
    told = "does not exist" if content is None else "is cut short, no snowmap checkpoint, or one of another version"
    with pytest.raises(SnowmapError, match=rf"x\.ckpt {told}"):
        load_model(path)


class Surprise:
    def __reduce__(self):
        return print, ("executed",)


def test_an_estimator_that_is_none_of_ours_is_refused(tmp_path, capsys):
    _, baseline = fitted("boosted_trees")
    stored = torch.load(save_baseline(baseline, tmp_path / "a.ckpt"), weights_only=True)
    planted = torch.frombuffer(bytearray(skops.io.dumps(Surprise())), dtype=torch.uint8)
    stored["learned"]["swe"]["estimator"]["skops"] = planted
    torch.save(stored, tmp_path / "b.ckpt")
    with pytest.raises(SnowmapError, match=r"b\.ckpt"):
        load_model(tmp_path / "b.ckpt")
    assert "executed" not in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SnowmapError, match="cannot be written"):
        save_baseline(fitted("persistence")[1], tmp_path / "file" / "best.ckpt")


def test_an_archive_of_other_units_is_refused(tmp_path):
    cube, baseline = fitted("degree_day")
    loaded = snowmap.load_model(save_baseline(baseline, tmp_path / "a.ckpt"))
    units = np.where(cube["unit"].values == "degC", "K", cube["unit"].values)
    with pytest.raises(SnowmapError, match="band 'mean_temperature' is in K; the checkpoint was trained on degC"):
        loaded.predict(cube.assign_coords(unit=("band", units)))
