import contextlib
import io
import os
import shutil

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from snowmap.cli import main
from snowmap.errors import SnowmapError
from snowmap.sources.trentino import open_archive, write_archive
from snowmap.sources.trentino.check import check_archive, print_report
from tests.archives import MEXICO_BANDS, write_foreign_archive, write_mexico_archive
from tests.commands import SMALL, fail, train
from tests.cubes import make_cube


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_archive(make_cube(14), tmp_path_factory.mktemp("sound") / "a")


def written(tmp_path, **change):
    """An archive of `make_cube` with bands or targets changed, each by a function."""
    cube = make_cube(windows=change.pop("windows", 14))
    for name, function in change.items():
        values = cube[name].values if name in cube else cube["features"].sel(band=name).values
        if name in cube:
            cube[name].values[:] = function(values)
        else:
            cube["features"].loc[{"band": name}] = function(values)
    return write_archive(cube, tmp_path / "a")


def text_of(report):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        print_report(report)
    return printed.getvalue()


def test_a_sound_archive_is_fit_and_its_gaps_are_told(tmp_path):
    write_foreign_archive(tmp_path / "a", windows=20)
    report = check_archive(tmp_path / "a")
    assert report.faults == []
    assert len(report.windows) == 20
    assert [row[0] for row in report.quantities][:2] == ["coherence", "displacement"]
    assert sum("gap of" in line for line in report.warnings) >= 1
    assert any("SWE is in cm" in line for line in report.notes)
    said = text_of(report)
    assert "fit to train on" in said
    assert all(len(line) <= 80 for line in said.splitlines() if line[:1] in "┃│┏└")
    assert main(["check", str(tmp_path / "a")]) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"coherence": lambda v: v * 100}, "'coherence'"),
        ({"incidence": np.deg2rad}, "'incidence' reaches only"),
        ({"mean_temperature": lambda v: v + 273.15}, "'mean_temperature'"),
        ({"phase": np.rad2deg}, "'phase'"),
        ({"pdd": lambda v: -v - 1}, "'pdd'"),
        ({"hs": lambda v: v * 100, "swe": lambda v: v * 100}, "'hs'"),
        ({"windows": 12}, "needs at least 13 windows"),
        (
            {"hs": lambda v: np.full_like(v, 31), "swe": lambda v: np.full_like(v, 9.3)},
            "target 'swe' is 9.3 everywhere",
        ),
    ],
)
def test_values_that_cannot_be_are_faults(tmp_path, change, told):
    root = written(tmp_path, **change)
    report = check_archive(root)
    assert any(told in fault for fault in report.faults), report.faults
    assert main(["check", str(root)]) == 1


def test_a_few_outliers_are_a_warning(tmp_path):
    def spoil(values):
        values = values.copy()
        values[0, 5, 5] = 1.5
        return values

    report = check_archive(written(tmp_path, coherence=spoil))
    assert report.faults == []
    assert any("'coherence'" in line for line in report.warnings)


def test_every_fault_in_one_go(tmp_path):
    root = written(tmp_path, mean_temperature=lambda v: v + 273.15)
    rasters = sorted((root / "INSAR").glob("*_coh_*.tif"))
    rasters[0].write_bytes(rasters[0].read_bytes()[:500])
    rasters[1].with_name(rasters[1].name.replace("_coh_IW1_VV_", "_coh_IW1_VV_again_")).write_bytes(
        rasters[1].read_bytes()
    )
    next((root / "ITSNOW" / "SWE").glob("2021-05*")).unlink()
    said = text_of(check_archive(root))
    for words in (rasters[0].name, "again", "mean_temperature", "2021-05", "NOT fit"):
        assert words in said


def test_a_unit_that_contradicts_is_a_fault(tmp_path):
    report = check_archive(written(tmp_path), swe_unit="mm")
    assert any("mm" in fault for fault in report.faults)


def test_mm_is_found_and_its_bounds_are_those_of_mm(tmp_path):
    report = check_archive(written(tmp_path, swe=lambda v: v * 10))
    assert report.faults == []
    assert any("SWE is in mm" in line for line in report.notes)


def test_pdd_below_its_bound_is_told(tmp_path):
    report = check_archive(written(tmp_path, mean_temperature=np.abs, pdd=np.zeros_like))
    assert any("'pdd' is below days" in line for line in report.warnings)


def test_a_missing_folder_is_an_error_or_a_fault(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none")]) == 1
    out = capsys.readouterr()
    assert "none" in out.err + out.out


def rotate(root):
    for path in root.rglob("*.tif"):
        with rasterio.open(path, "r+") as raster:
            raster.transform = raster.transform @ Affine.rotation(20)


def rename(root, old, new):
    path = next(path for path in root.rglob("2021-01-09*") if old in path.name)
    path.rename(path.with_name(path.name.replace(old, new)))


def loop(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (rotate, "the grid is rotated"),
        (lambda root: loop(root / "S3"), "S3: cannot be looked at (Too many levels of symbolic links)"),
        (lambda root: loop(next(root.glob("S3/2021-01-09*pdd.tif"))), "pdd.tif: cannot be looked at"),
        (lambda root: rename(root, "IW1_VV_", os.fsdecode(b"IW1_VV_\xff")), "the path is not UTF-8"),
        (lambda root: rename(root, "2021-01-09", "1600-01-09"), "1600-01-09_to_2021-01-21 is no period"),
        (lambda root: rename(root, "_2021-01-21", "_9999-01-21"), "2021-01-09_to_9999-01-21 is no period"),
    ],
)
def test_what_cannot_be_opened_is_one_line_of_check_and_of_opening(sound, tmp_path, capsys, spoil, words):
    root = shutil.copytree(sound, tmp_path / "a")
    spoil(root)
    assert main(["check", str(root)]) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAULT")]
    assert len(faults) == 1
    assert words in faults[0]
    with pytest.raises(SnowmapError) as error:
        open_archive(root)
    assert words in str(error.value)


@pytest.mark.skipif(os.name == "nt", reason="no permissions of this kind there")
def test_an_unreadable_folder_is_one_line(sound, tmp_path):
    root = shutil.copytree(sound, tmp_path / "a")
    (root / "S3").chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # whom no permission stops
            os.seteuid(65534)
        faults = check_archive(root).faults
    finally:
        os.seteuid(user)
        (root / "S3").chmod(0o755)
    assert len(faults) == 1
    assert "cannot be looked at (Permission denied)" in faults[0]


def test_an_unknown_band_is_named(tmp_path):
    with pytest.raises(SnowmapError, match="coherense"):
        check_archive(tmp_path, bands=["coherense"])


def test_synthetic_data_is_named(tmp_path):
    assert "SYNTHETIC" in text_of(check_archive(written(tmp_path)))


def test_real_sentinel_1_pairs_are_judged_sensibly(shared_data, tmp_path):
    write_mexico_archive(shared_data, tmp_path / "mexico")
    report = check_archive(tmp_path / "mexico", bands=MEXICO_BANDS)
    assert report.faults == []
    assert len(report.windows) == 30
    assert any("windows of 12 to" in line for line in report.warnings)
    network = "a network of 30 windows between 13 dates in 1 connected parts, which close 24 triplets"
    assert any(network in line for line in report.notes)
    assert any("closure of these triplets: median 0." in line for line in report.notes)
    assert {row[0]: row[-1] for row in report.quantities}["coherence"] == "ok"
    assert main(["check", str(tmp_path / "mexico"), "--bands", ",".join(MEXICO_BANDS)]) == 0
    assert main(["check", str(tmp_path / "mexico")]) == 1


def test_one_wild_pixel_is_told_in_the_same_words_by_check_and_while_training(tmp_path):
    def spoil(values):
        values = values.copy()
        values[0, 5, 5] = 1e6
        return values

    root = written(tmp_path, hs=spoil, swe=spoil)
    said = "values lie outside 0 … 600 cm (found "
    assert any(line.startswith("'swe': 1 of ") and said in line for line in check_archive(root).warnings)
    train(root, tmp_path / "run", "trainer.max_epochs=1", "evaluate=none", "logger=none")
    lines = (tmp_path / "run" / "run.log").read_text().splitlines()
    assert any("training windows: 'swe': 1 of " in line and said in line for line in lines)


def test_a_training_that_cannot_fit_is_refused_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("snowmap.runs.memory.SMALL", 0)
    monkeypatch.setattr("snowmap.runs.memory.free_bytes", lambda device: 2**20)
    root = write_archive(make_cube(shape=(64, 96)), tmp_path / "a")
    words = (f"data.root={root}", "evaluate=none", "trainer.max_epochs=1", *SMALL)
    told = fail("train.py", *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert "data.batch_size=4, each of 1 windows of 64 × 96 px, needs at least" in told
    assert "data.crop=" in told
    assert not (tmp_path / "run" / "checkpoints").exists()
    train(root, tmp_path / "run", *words[1:], "data.crop=[8,8]", "data.batch_size=1")
