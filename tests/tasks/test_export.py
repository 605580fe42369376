"""`snowmap export`: the file runs where there is no snowmap, and maps what the net maps."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snowmap.baselines import build_baseline, save_baseline
from snowmap.checkpoints.provenance import metadata_of
from snowmap.cli import main
from snowmap.data.splits.dates import rolling
from snowmap.errors import SnowmapError
from snowmap.tasks.export import INPUTS, export_program, program_inputs
from snowmap.tasks.pixel import SnowRegression
from tests.cubes import make_cube
from tests.tasks.test_pixel import parts

pytestmark = pytest.mark.slow

FLAT = "model.channels=[4]"
"""One level: it takes long to trace each operation, and all nets but unet3d have the same blocks at their levels."""
FORMS = {
    "unet": ("head=quantile",),
    "unet-stack": ("model.time=stack", "model.steps=3", "ensemble=2", "head=gaussian", "data.derived=[slope]", FLAT),
    "convlstm": ("model=convlstm", "model.hidden=[4]"),
    "transformer": ("model=transformer", "model.heads=2", "model.layers=1", FLAT),
    "unet3d": ("model=unet3d", "data.time=4"),
    "massbalance": ("model=massbalance", "model.hidden=4", "target=both", "head=gaussian", FLAT),
}
UNROLLED = {"convlstm": 3, "massbalance": 3}
"""Nets that go through a season window by window, with as many windows as their programs take."""
FIXED = UNROLLED | {"unet-stack": 3}

ALONE = """
import json, sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("snowmap", "pytorch_lightning"):
            raise ImportError(name)

sys.meta_path.insert(0, Nowhere())
import numpy as np
import torch

for folder in sys.argv[1:]:
    extra = {"snowmap.json": ""}
    program = torch.export.load(f"{folder}/net.pt2", extra_files=extra).module()
    about = json.loads(extra["snowmap.json"])
    with open(f"{folder}/about.json", "w") as file:
        json.dump(about, file)
    for name in ("first", "last"):
        arrays = np.load(f"{folder}/{name}.npz")
        given = [torch.from_numpy(arrays[entry["name"]]) for entry in about["inputs"]]
        assert [str(each.dtype) for each in given] == ["torch." + entry["dtype"] for entry in about["inputs"]]
        np.save(f"{folder}/maps-{name}.npy", program(*given).detach().numpy())
    if about["windows"]:
        try:
            program(*[torch.cat([each, each]) for each in given])
        except (RuntimeError, AssertionError) as error:
            open(f"{folder}/too-long.txt", "w").write(str(error))
try:
    import snowmap
except ImportError:
    print("no snowmap")
"""


def checkpoint(path: Path, *overrides: str) -> SnowRegression:
    """A net with random weights, in a file with all that the Trainer's has and loading needs."""
    _, task, _ = parts(make_cube(), "model.channels=[4,8]", *overrides)
    with torch.no_grad():
        for parameter in task.net.parameters():
            if not parameter.any():  # what begins at zero would hide the rest
                parameter.normal_(std=0.1)
    task.hparams["calibration"] = {target: {"factor_50": 1.5, "factor_90": 2.0} for target in task.targets}
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, path)
    return SnowRegression.load_from_checkpoint(path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, Path]:
    """Each form exported, and run on a Cube of another grid in a process without snowmap."""
    folders, cube = {}, make_cube(windows=25, shape=(19, 26), seed=4)
    for form, overrides in FORMS.items():
        folder = folders[form] = tmp_path_factory.mktemp(form)
        task = checkpoint(folder / "net.ckpt", *overrides)
        export_program(folder / "net.ckpt", folder / "net.pt2", windows=UNROLLED.get(form))
        for name, window in (("first", 1), ("last", 21)):  # the archive begins in winter; a season on bare ground
            np.savez(folder / f"{name}.npz", **program_inputs(task, cube, window, FIXED.get(form)))
            np.save(folder / f"known-{name}.npy", np.stack([m[0] for m in task.predict(cube, [window]).values()]))
    run = [sys.executable, "-I", "-c", ALONE, *map(str, folders.values())]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path_factory.mktemp("elsewhere"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "no snowmap"
    return folders


@pytest.mark.parametrize("form", FORMS)
def test_the_file_maps_what_the_net_maps_on_another_grid_without_snowmap(exported, form):
    for name in ("first", "last"):
        known = np.load(exported[form] / f"known-{name}.npy")
        maps = np.load(exported[form] / f"maps-{name}.npy")
        inside = np.isfinite(known)
        assert maps.shape[1:] == known.shape == (len(known), 19, 26)
        np.testing.assert_allclose(maps[-1][inside], known[inside], rtol=1e-4, atol=1e-4)
        assert known[0][inside[0]].std() > 0.01


def test_the_file_says_what_goes_in_and_comes_out(exported):
    about = json.loads((exported["massbalance"] / "about.json").read_text())
    assert [entry["name"] for entry in about["inputs"]] == list(INPUTS)
    bands = {entry["name"]: entry for entry in about["bands"]}
    assert list(bands)[:2] == ["coherence", "elevation"]
    assert bands["elevation"]["unit"] == "m"
    assert bands["phase_swe"]["unit"] == "mm"
    assert "Oveisgharan" in bands["phase_swe"]["derived"]
    outputs = [(entry["name"], entry["units"]) for entry in about["outputs"]]
    assert outputs[:2] == [("hs", "cm"), ("hs_sigma", "cm")]
    assert outputs[-2:] == [("accumulation", "mm"), ("melt", "mm")]
    assert about["windows"] == 3
    assert about["calibration"]["swe"]["factor_90"] == 2.0
    assert {"snowmap", "head", "time", "targets", "steps", "git_revision"} <= set(about)


def test_no_path_of_this_machine_is_in_the_file(exported):
    content = (exported["unet"] / "net.pt2").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in content


def test_a_sequence_that_does_not_fit_is_refused(exported):
    task = SnowRegression.load_from_checkpoint(exported["convlstm"] / "net.ckpt")
    with pytest.raises(SnowmapError, match=r"has 18 windows, the program takes 3; export it with --windows 18"):
        program_inputs(task, make_cube(), 17, 3)
    for form in UNROLLED:
        assert "3" in (exported[form] / "too-long.txt").read_text()  # the program refuses twice as many windows itself


@pytest.mark.parametrize(
    ("overrides", "windows", "told"),
    [
        (("ablation=no_sar",), [], "was trained with ablation=no_sar"),
        ((), ["--windows", "4"], "only for nets that go through a season window by window"),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path, capsys, overrides, windows, told):
    checkpoint(tmp_path / "net.ckpt", *overrides)
    assert main(["export", str(tmp_path / "net.ckpt"), str(tmp_path / "net.pt2"), *windows]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "net.pt2").exists()


def test_a_baseline_cannot_be_exported(tmp_path, capsys):
    cube = make_cube()
    baseline = build_baseline({"name": "climatology"}).fit(cube, range(12), ["swe"])
    baseline.metadata = metadata_of([cube], [rolling(cube["start"].values, cube["end"].values)], {"data": {}})
    path = save_baseline(baseline, tmp_path / "best.ckpt")
    assert main(["export", str(path), str(tmp_path / "net.pt2")]) == 1
    assert "holds the baseline climatology; only nets can be exported" in capsys.readouterr().err


def test_a_file_that_cannot_be_written(tmp_path, capsys):
    checkpoint(tmp_path / "net.ckpt", FLAT)
    (tmp_path / "file").touch()
    assert main(["export", str(tmp_path / "net.ckpt"), str(tmp_path / "file" / "net.pt2")]) == 1
    assert "cannot be written" in capsys.readouterr().err
