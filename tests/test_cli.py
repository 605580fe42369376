import subprocess
import sys

import numpy as np
import pytest

from snowmap.cli import main
from snowmap.sources.trentino import open_archive


def test_synthesize_writes_an_archive_that_says_what_it_is(tmp_path, capsys):
    out = tmp_path / "archive"
    assert main(["synthesize", str(out), "--windows", "14", "--shape", "12", "17", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "SYNTHETIC" in said
    assert f"python train.py data.root={out}" in said
    cube = open_archive(out)
    assert dict(cube.sizes) == {"window": 14, "band": 9, "y": 12, "x": 17}
    assert cube.attrs["origin"].startswith("synthetic")
    assert "seed 3" in cube.attrs["origin"]


def test_synthesize_touches_no_folder_that_holds_something(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["synthesize", str(tmp_path / "mine"), "--windows", "2", "--shape", "8", "8"]) == 1
    assert str(tmp_path / "mine") in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_negative_seed_is_refused(tmp_path, capsys):
    assert main(["synthesize", str(tmp_path / "a"), "--seed", "-1"]) == 1
    assert capsys.readouterr().err == "error: seed is -1; expected a whole number from 0 on\n"
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_synthesize_on_real_terrain(shared_data, tmp_path):
    dem = shared_data / "oetztal" / "srtm_oetztal.tif"
    assert main(["synthesize", str(tmp_path / "a"), "--dem", str(dem), "--windows", "14"]) == 0
    elevation = open_archive(tmp_path / "a").features.sel(band="elevation").values
    assert 387 <= np.nanmin(elevation) < 1500
    assert 2800 < np.nanmax(elevation) <= 3727
    assert main(["check", str(tmp_path / "a")]) == 0


def test_a_dem_that_is_none(tmp_path, capsys):
    (tmp_path / "dem.tif").write_bytes(b"no raster")
    assert main(["synthesize", str(tmp_path / "a"), "--dem", str(tmp_path / "dem.tif")]) == 1
    assert "dem.tif" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_help_and_version_need_no_torch_and_no_xarray():
    for words in (
        ["--help"],
        ["--version"],
        ["check", "--help"],
        ["basins", "--help"],
        ["compare", "--help"],
        ["view", "--help"],
    ):
        program = (
            "import sys\nfrom snowmap.cli import main\n"
            f"try:\n    main({words})\nfinally:\n    print({{'torch', 'xarray', 'rasterio'}} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.strip().endswith("set()"), done.stdout
        assert done.returncode == 0


@pytest.mark.parametrize("module", ["snowmap.sources", "snowmap.build.building"])
def test_reading_and_building_need_no_torch(module):
    program = f"import sys\nimport {module}\nprint({{'torch', 'pytorch_lightning', 'webdataset'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_word_ends_with_usage():
    with pytest.raises(SystemExit):
        main(["chek"])
