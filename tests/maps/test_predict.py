"""`snowmap predict` as a user types it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
import xarray as xr
from rio_cogeo import cog_validate
from shapely import box

from snowmap.baselines import build_baseline, save_baseline
from snowmap.checkpoints.provenance import metadata_of
from snowmap.cli import main
from snowmap.data.cube import window_names
from snowmap.data.splits.dates import rolling
from snowmap.errors import SnowmapError
from snowmap.maps.basins import basin_table
from snowmap.maps.predict import choose_windows
from snowmap.maps.read import read_maps
from snowmap.products.outlines import read_outlines
from snowmap.sources.trentino import open_archive, write_archive
from snowmap.sources.zarr import write_zarr
from snowmap.tasks.pixel import SnowRegression
from tests.commands import ROOT, fail
from tests.cubes import make_cube
from tests.tasks.test_pixel import fit

SHAPE = (150, 210)
CONFIG = {"data": {"name": "archive", "zero_is_missing": None}, "seed": 0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(make_cube(), folder, "trainer.max_epochs=2")
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Four windows on another grid than the checkpoint's, without targets."""
    root = write_archive(make_cube(windows=4, shape=SHAPE, seed=3), tmp_path_factory.mktemp("archive") / "a")
    shutil.rmtree(root / "ITSNOW")
    return root


@pytest.fixture(scope="module")
def names(archive) -> list[str]:
    return window_names(open_archive(archive, targets=(), cache=False))


@pytest.mark.parametrize(
    ("band", "change", "says"),
    [
        ("incidence", lambda band: np.radians(band), "'incidence' reaches only 1.57: it is in radians"),
        (
            "mean_temperature",
            lambda band: band + 273.15,
            r"'mean_temperature': 11,722 of 11,722 values lie .*\n.*100% of it outside the range of the training",
        ),
        ("pdd", lambda band: band * 15, r"'pdd' is .* 94% of it outside the range of the training"),
        ("", None, None),
    ],
)
def test_what_is_unlike_the_training_is_a_warning(checkpoint, tmp_path, caplog, band, change, says):
    cube = make_cube(windows=2, shape=(80, 80), seed=3)
    if band:
        values = cube["features"].sel(band=band)
        cube["features"].loc[{"band": band}] = change(values)
    root = write_archive(cube, tmp_path / "a")
    assert main(["predict", str(checkpoint), str(root), str(tmp_path / "maps"), "--format", "netcdf"]) == 0
    said = (record.getMessage() for record in caplog.records if record.name == "snowmap.maps.predict")
    warned = [line for line in said if "'elevation'" not in line]  # the terrain is another one, lower than any trained
    assert bool(warned) == bool(says)
    assert all(str(root) in line and f"'{band}'" in line for line in warned)
    assert not says or re.search(says, "\n".join(warned))


def test_a_whole_archive_without_targets_on_another_grid(checkpoint, archive, names, tmp_path, capsys):
    out = tmp_path / "new" / "maps"
    assert main(["predict", str(checkpoint), str(archive), str(out)]) == 0
    assert "8 files lie in" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{n}{e}" for n in names for e in (".nc", ".tif"))
    cube = open_archive(archive, targets=(), cache=False)
    known = SnowRegression.load_from_checkpoint(checkpoint).predict(cube)["swe"]
    for index, name in enumerate(names):
        with xr.open_dataset(out / f"{name}.nc", decode_coords="all") as file:
            np.testing.assert_allclose(file["swe"][0], known[index], rtol=1e-5, atol=1e-4)
            np.testing.assert_array_equal(file["time"], cube["end"][[index]])
            bounds = [cube["start"].values[index], cube["end"].values[index]]
            np.testing.assert_array_equal(file["time_bnds"][0], bounds)
            assert file.rio.crs == cube.rio.crs
            assert file.rio.transform() == cube.rio.transform()
            assert str(checkpoint) == file.attrs["snowmap_checkpoint"]
            assert "SYNTHETIC" in file.attrs["title"]
            assert "swe_observed" not in file
            written = file["swe"].values[0]
        assert cog_validate(out / f"{name}.tif", strict=True) == (True, [], [])
        with rasterio.open(out / f"{name}.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), written)
            assert f"{raster.tags()['WINDOW_START']}_to_{raster.tags()['WINDOW_END']}" == name


def test_chosen_windows_by_tiles_and_again_over_the_files_of_before(checkpoint, archive, names, tmp_path):
    words = ["predict", str(checkpoint), str(archive), str(tmp_path), "--format", "netcdf"]
    words += ["--windows", names[3], "--windows", f"{names[0]}..{names[1]}"]
    assert main([*words, "--tile", "96", "--overlap", "32"]) == 0
    files = [tmp_path / f"{names[index]}.nc" for index in (0, 1, 3)]
    assert sorted(tmp_path.iterdir()) == files
    with xr.open_dataset(files[2]) as file:
        assert np.isfinite(file["swe"].values[0]).sum() == (file["study_area"] == 1).sum()
        assert (file.attrs["snowmap_tile"], file.attrs["snowmap_overlap"]) == ("96", "32")
        tiled = file["swe"].values
    assert main(words) == 0
    with xr.open_dataset(files[2]) as file:
        assert "snowmap_tile" not in file.attrs
        assert (file["swe"].values != tiled).any()


def test_basins_beside_the_maps(checkpoint, archive, names, tmp_path, capsys):
    cube = open_archive(archive, targets=(), cache=False)
    west, south, east, north = cube.rio.bounds()
    middle, outside = box(west + 0.2, south + 0.2, east - 0.2, north - 0.2), box(0, 0, 1, 1)
    outlines = gpd.GeoDataFrame({"name": ["Noce", "sea"]}, geometry=[middle, outside], crs=cube.rio.crs)
    outlines.to_crs("EPSG:32632").to_file(tmp_path / "basins.gpkg")
    words = [str(checkpoint), str(archive), str(tmp_path / "out"), "--basin", str(tmp_path / "basins.gpkg")]
    assert main(["predict", *words, "--format", "netcdf", "--snow-threshold", "swe=20mm"]) == 0
    table = pd.read_csv(tmp_path / "out" / "basins.csv")
    assert table["basin"].tolist() == ["Noce"] * 4
    assert table["window"].tolist() == names
    known = basin_table(
        read_maps(tmp_path / "out"), read_outlines(tmp_path / "basins.gpkg"), snow_threshold_m={"swe": 0.02}
    )
    np.testing.assert_allclose(table["volume_m3"], known["volume_m3"], rtol=1e-6)
    np.testing.assert_allclose(table["snow_area_km2"], known["snow_area_km2"], rtol=1e-6)


@pytest.mark.parametrize("name", ["elevation", "climatology"])
def test_a_baseline_maps_an_archive_too(name, archive, names, tmp_path, capsys):
    cube = make_cube()
    baseline = build_baseline({"name": name}).fit(cube, range(12), ["swe"])
    baseline.metadata = {**metadata_of([cube], [rolling(cube["start"].values, cube["end"].values)], CONFIG)}
    path = save_baseline(baseline, tmp_path / "best.ckpt")
    done = main(["predict", str(path), str(archive), str(tmp_path / "out"), "--format", "netcdf"])
    if name == "climatology":  # it remembers maps
        assert done == 1
        assert "shape of the grid is [150, 210]" in capsys.readouterr().err
        return
    assert done == 0
    expected = baseline.predict(open_archive(archive, targets=(), cache=False))["swe"]
    np.testing.assert_allclose(read_maps(tmp_path / "out")["swe"], expected, rtol=1e-5, atol=1e-5)


def test_windows_by_name_and_by_date():
    cube = make_cube(windows=5)  # from 2021-01-09, 12 days each
    assert choose_windows(cube, []) == [0, 1, 2, 3, 4]
    assert choose_windows(cube, ["2021-02-02_to_2021-02-14", "2021-01-09_to_2021-01-21"]) == [0, 2]
    assert choose_windows(cube, ["2021-01-10..2021-02-14"]) == [1, 2]
    assert choose_windows(cube, ["2021-01-21_to_2021-02-02..2099-12-31", "2021-01-21_to_2021-02-02"]) == [1, 2, 3, 4]
    for words in ("2021-01-09", "2021-01-10..2021-01-11", "2021-03-01..2021-02-01"):
        with pytest.raises(SnowmapError, match=r"no such window.*which has 5, from 2021-01-09_to_2021-01-21"):
            choose_windows(cube, [words])
    for words in ("winter..spring", "..2021-02-14", "2021-13-01..2021-14-01"):
        with pytest.raises(SnowmapError, match=r"--windows"):
            choose_windows(cube, [words])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--tile", "32"], "--tile 32 --overlap 64; expected"),
        (["--overlap", "400"], "--tile 512 --overlap 400; expected"),
        (["--device", "cuda:99"], "device cuda:99 "),
        (["--device", "abacus"], "device abacus "),
        (["--windows", "2031-01-01"], "no such window"),
    ],
)
def test_what_makes_no_sense_is_said(checkpoint, archive, tmp_path, capsys, more, told):
    assert main(["predict", str(checkpoint), str(archive), str(tmp_path / "out"), *more]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_named(checkpoint, archive, tmp_path, capsys):
    shutil.copytree(archive, tmp_path / "a")
    for raster in (tmp_path / "a" / "INSAR").glob("*_coh_*"):
        raster.unlink()
    for words in ((tmp_path / "none.ckpt", archive), (checkpoint, tmp_path / "none"), (checkpoint, tmp_path / "a")):
        assert main(["predict", *map(str, words), str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    for told in ("none.ckpt does not exist", "none: no such folder", "none of the 4 windows is complete"):
        assert told in errors
    (tmp_path / "file").touch()
    assert main(["predict", str(checkpoint), str(archive), str(tmp_path / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def program(*words: object) -> list[str]:
    return [sys.executable, "-m", "snowmap.cli", "predict", *map(str, words)]


def test_a_file_that_may_not_grow_is_not_there_and_that_of_before_stays(checkpoint, archive, names, tmp_path):
    words = [*map(str, ("predict", checkpoint, archive, tmp_path)), "--windows", names[0]]
    assert main(words) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 2
    limits = (1000, 100_000, min(map(len, before.values())) - 10)
    script = (
        "import resource, sys\nfrom snowmap.cli import main\n"
        f"for limit in {limits}:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "    assert main(sys.argv[1:]) == 1"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count(f"error: {tmp_path / names[0]}.nc cannot be written: no room on the disk") == len(limits)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_fills_leaves_what_was_complete(checkpoint, archive, names, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    private = ["unshare", "-rm", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=900k none {disk}"
    if not shutil.which("unshare") or subprocess.run([*private, mount], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    command = " ".join(program(checkpoint, archive, disk))
    script = f"{mount} && {command}; status=$?; ls -A {disk} | grep -c part; cp {disk}/* {kept}; exit $status"
    done = subprocess.run([*private, script], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == "0"  # nothing temporary stays
    found = sorted(path.name for path in kept.iterdir())
    assert found[:4] == [f"{name}{ending}" for name in names[:2] for ending in (".nc", ".tif")]
    assert len(found) < 8
    assert f"no room on the disk at {disk} (No space left on device)" in done.stderr
    for path in kept.iterdir():
        if path.suffix == ".nc":
            with xr.open_dataset(path) as file:
                assert np.isfinite(file["swe"].values).any()
        else:
            with rasterio.open(path) as raster:
                assert np.isfinite(raster.read()).any()


@pytest.mark.parametrize("broken", ["weight", "overflow"])
def test_a_net_whose_maps_are_no_numbers_is_refused(checkpoint, archive, tmp_path, capsys, broken):
    stored = torch.load(checkpoint, weights_only=True)
    weight = stored["state_dict"]["net.head.weight"]
    weight.fill_(torch.nan if broken == "weight" else 3e38)
    torch.save(stored, tmp_path / "broken.ckpt")
    told = "hold NaN or infinity" if broken == "weight" else "is NaN or infinite at"
    assert main(["predict", str(tmp_path / "broken.ckpt"), str(archive), str(tmp_path / "maps")]) == 1
    assert told in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.nc"))
    if broken == "weight":
        assert main(["export", str(tmp_path / "broken.ckpt"), str(tmp_path / "net.pt2")]) == 1
        assert told in capsys.readouterr().err
        assert told in fail("evaluate.py", f"ckpt={tmp_path / 'broken.ckpt'}")


@pytest.mark.slow
def test_workers_and_stores_give_the_same_files(checkpoint, archive, tmp_path):
    """To the bit: from an archive by this process, and from a Zarr store by two others."""
    store = write_zarr(open_archive(archive, targets=(), cache=False), tmp_path / "scene.zarr", chunk=64)
    words = ("--tile", "64", "--overlap", "32", "--format", "geotiff")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # as on a machine with more cores
    try:
        assert main(["predict", str(checkpoint), str(archive), str(tmp_path / "alone"), *words]) == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert main(["predict", str(checkpoint), str(store), str(tmp_path / "dealt"), *words, "--workers", "2"]) == 0
    known, found = (sorted((tmp_path / folder).iterdir()) for folder in ("alone", "dealt"))
    assert [path.name for path in found] == [path.name for path in known]
    assert len(known) == 4
    for one, other in zip(known, found, strict=True):
        with rasterio.open(one) as raster, rasterio.open(other) as same:
            assert raster.read().tobytes() == same.read().tobytes()
