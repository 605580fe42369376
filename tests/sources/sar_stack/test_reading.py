"""Scenes of a SAR time series as Cubes: values, names, dates, scales, and what is wrong with them."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from snowmap.config.sources import SarStack
from snowmap.data.radar.despeckle import despeckle
from snowmap.errors import SnowmapError
from snowmap.sources import open_cube, open_cubes
from snowmap.sources.sar_stack.dates import by_calendar
from snowmap.sources.sar_stack.layout import rasters_of
from tests.sources.sar_stack.scenes import CORNER, PIXEL, SHAPE, TRANSFORM, decibel, power, write, write_scene


def settings(root, **options):
    return {**vars(SarStack(root=str(root))), **options}


def values_of(cube, band):
    return cube["features"].sel(band=band).values


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("stack") / "north")


def test_a_scene_is_a_cube_in_db(scene):
    cube = open_cube(settings(scene))
    assert cube["band"].values.tolist() == ["HH", "HV"]
    assert cube["unit"].values.tolist() == ["dB", "dB"]
    assert (cube["start"].values == cube["end"].values).all()
    assert cube["sequence_end"].values.tolist() == [False, False, True]
    assert cube.rio.crs.to_epsg() == 32633
    with rasterio.open(scene / "2020-04-11_HV.tif") as raster:
        np.testing.assert_allclose(values_of(cube, "HV")[1], decibel(raster.read(1)), rtol=1e-6)
    assert cube["features"].chunks  # nothing is read before it is looked at
    assert cube["mask"].values.all()


def test_real_opera_rasters(shared_data):
    """Three bursts in one folder are three scenes; values are those of plain rasterio."""
    root = shared_data / "opera_rtc_s1"
    cubes = open_cubes(settings(root))
    assert [cube.attrs["archive"].rsplit("/")[-1] for cube in cubes] == [
        f"T137-29232{number}-IW2" for number in range(3)
    ]
    assert all(cube.sizes["window"] == 22 and cube["band"].values.tolist() == ["VH", "VV"] for cube in cubes)
    for number, cube in enumerate(cubes):
        paths = sorted(root.glob(f"*T137-29232{number}-IW2*_VV.tif"), key=lambda path: path.name.split("_")[4])
        for window, path in enumerate(paths):
            assert str(cube["start"].values[window])[:10].replace("-", "") == path.name.split("_")[4][:8]
            with rasterio.open(path) as raster:
                np.testing.assert_allclose(values_of(cube, "VV")[window], decibel(raster.read(1)), rtol=1e-5)


NAMES = {
    "20200703_HH.tif": ("2020-07-03", "HH"),
    "2020-07-03_HH_grd.tif": ("2020-07-03", "HH_grd"),
    "2020-07-03_vv_db.tif": ("2020-07-03", "VV"),
    "2020-06-21_2020-07-03_coherence.tif": ("2020-07-03", "coherence"),
    "S1A_IW_20200703T052810_DVP_RTC30_G_gpuned_1B2C_VH.tif": ("2020-07-03", "VH"),
    "S1AA_20200621T052809_20200703T052810_VVP012_INT80_G_ueF_1B2C_corr.tif": ("2020-07-03", "coherence"),
    "S1A__IW___A_20200703T173017_VV_gamma0-rtc_db.tif": ("2020-07-03", "VV"),
    "subset_S1B_EW_GRDM_1SDH_20200703T052810_20200703T052914_022301_02A54A_3C2F_Gamma0_HV_db.tif": ("2020-07-03", "HV"),
    "S1A_IW_20200703T052810_DVP_RTC30_G_gpuned_1B2C_ls_map.tif": None,
    "2020-13-45_HH.tif": None,
    "readme_HH.tif": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_processors(tmp_path, name):
    (tmp_path / "a" / name).parent.mkdir()
    (tmp_path / "a" / name).touch()
    if NAMES[name] is None:
        with pytest.raises(SnowmapError, match=r"no raster of a SAR scene there; expected ROOT/<scene>/2020"):
            rasters_of(tmp_path / "a")
        return
    (raster,) = rasters_of(tmp_path / "a")
    assert (str(raster.date), raster.band) == NAMES[name]


def test_products_in_folders_of_their_own_are_one_scene(tmp_path):
    for day in ("20200703", "20200715"):
        product = f"S1A_IW_{day}T052810_DVP_RTC30_G_gpuned_1B2C"
        write(tmp_path / product / f"{product}_VV.tif", power(1))
    (cube,) = open_cubes(settings(tmp_path))
    assert cube.sizes["window"] == 2


def test_a_pattern(tmp_path):
    for scene in ("east", "west"):
        write(tmp_path / f"p-{scene}" / "hh" / "x.184.2020.tif", power(len(scene) + ord(scene[0])))
    data = settings(tmp_path, pattern="p-{scene}/{band}/*.{date:%j.%Y}.tif")
    east, west = open_cubes(data)
    assert str(east["start"].values[0])[:10] == "2020-07-02"
    np.testing.assert_array_equal(
        open_cube({**data, "root": str(tmp_path / "west")})["features"].values, west["features"].values
    )
    with pytest.raises(SnowmapError, match=r"expected one \{date:…\}"):
        open_cubes(settings(tmp_path, pattern="{scene}_{polarisation}.tif"))


def test_linear_power_and_db_are_told_apart(tmp_path, caplog):
    values = power(3)
    write(tmp_path / "a" / "2020-01-05_HH.tif", values)
    write(tmp_path / "a" / "2020-02-05_HH.tif", decibel(values))
    cube = open_cube(settings(tmp_path / "a"))
    np.testing.assert_allclose(*values_of(cube, "HH"), rtol=1e-5)
    with pytest.raises(SnowmapError, match=r"2020-02-05_HH\.tif: data\.scale=linear, but 5 % .* give data\.scale=db"):
        open_cube(settings(tmp_path / "a", scale="linear"))
    with pytest.raises(SnowmapError, match=r"2020-01-05_HH\.tif: data\.scale=db, but .* give data\.scale=linear"):
        open_cube(settings(tmp_path / "a", scale="db"))
    write(tmp_path / "b" / "2020-01-05_HH.tif", (values * 1e6).astype(np.uint16))
    with pytest.raises(SnowmapError, match="neither power nor dB; calibrate it"):
        open_cube(settings(tmp_path / "b"))


def test_no_data_is_missing_and_the_study_area_is_what_any_date_covers(tmp_path):
    first, second = power(1), power(2)
    first[:5], first[:, :7], second[:5] = 0, -9999, np.nan
    write(tmp_path / "2020-01-05_HH.tif", first, nodata=-9999)
    write(tmp_path / "2020-02-05_HH.tif", second)
    cube = open_cube(settings(tmp_path))
    assert (np.isnan(values_of(cube, "HH")[0]) == (first <= 0)).all()
    assert not cube["mask"].values[:5].any()
    assert cube["mask"].values[5:].all()


def test_a_missing_polarisation_is_missing_and_said(tmp_path, caplog):
    write_scene(tmp_path)
    (tmp_path / "2020-04-11_HV.tif").unlink()
    with caplog.at_level(logging.WARNING):
        cube = open_cube(settings(tmp_path))
    assert np.isfinite(values_of(cube, "HV")).all(axis=(1, 2)).tolist() == [True, False, True]
    assert "no HV on 2020-04-11" in caplog.text
    with pytest.raises(SnowmapError, match=r"has no band VV; it has HH, HV"):
        open_cube(settings(tmp_path, bands=["VV"]))


def test_one_date_of_each_period_of_a_year(tmp_path):
    days = ("2019-12-20", "2020-01-02", "2020-02-14", "2020-02-20", "2020-08-01", "2020-11-15", "2021-05-01")
    scene = write_scene(tmp_path, days=days, bands=("HH",))
    cube = open_cube(settings(scene, dates=4, sequences="yearly"))
    read = [str(day)[:10] for day in cube["start"].values]
    there = np.isfinite(values_of(cube, "HH")).all(axis=(1, 2)).tolist()
    assert read[1:5] == ["2020-02-14", "2020-05-17", "2020-08-01", "2020-11-15"]
    assert there == [True, True, False, True, True, False, True]  # none before the first and after the last date
    assert cube["sequence_end"].values.tolist() == [True, False, False, False, True, False, True]
    with pytest.raises(SnowmapError, match=r"data\.dates=8: .* has 7 dates; ask for at most 7"):
        open_cube(settings(scene, dates=8))


@pytest.mark.parametrize(
    ("days", "windows", "missing"),
    [
        (pd.date_range("2020-07-02", "2021-06-28", freq="12D"), 16, 0),  # a year across New Year
        (pd.date_range("2020-01-02", "2020-09-30", freq="12D"), 15, 4),  # fewer windows would be less than was asked
        (pd.date_range("2020-06-20", "2020-09-20", freq="6D"), 16, 0),  # a summer: every date
    ],
    ids=["year", "part", "season"],
)
def test_dates_by_calendar_cover_what_there_is(days, windows, missing):
    chosen = by_calendar(days.values.astype("datetime64[D]"), 15, Path("scene"))
    assert (len(chosen.days), int((~chosen.present).sum())) == (windows, missing)
    assert (np.diff(chosen.days).astype(int) > 0).all()


def test_dates_on_different_grids(tmp_path):
    write_scene(tmp_path, bands=("HH",))
    write(tmp_path / "2020-09-01_HH.tif", power(9), transform=TRANSFORM @ TRANSFORM.translation(1, 0))
    with pytest.raises(SnowmapError, match=r"2020-09-01_HH\.tif is on another grid .*500030.* than 2020-01-05_HH\.tif"):
        open_cube(settings(tmp_path))


def test_two_rasters_of_one_date_and_band(tmp_path):
    for sensor in "AB":
        write(tmp_path / f"S1{sensor}_IW_20200703T052810_VV.tif", power(1))
    with pytest.raises(SnowmapError, match=r"are both VV of 2020-07-03; keep one track"):
        open_cube(settings(tmp_path))


def test_elevation_is_placed_on_the_grid(tmp_path):
    write_scene(tmp_path / "north")
    coarse = TRANSFORM @ TRANSFORM.scale(2)
    rows = np.arange(SHAPE[0] // 2, dtype=np.float32)
    write(tmp_path / "dem.tif", np.repeat(rows[:, None] * 60, SHAPE[1] // 2, 1), transform=coarse)
    cube = open_cube(settings(tmp_path / "north"))
    elevation = values_of(cube, "elevation")
    assert (elevation == elevation[0]).all()
    np.testing.assert_allclose(elevation[0, 10:-10, 5], 30 * np.arange(10, SHAPE[0] - 10) - 15, atol=1)
    assert cube["group"].values.tolist() == ["sar", "sar", "terrain"]
    write(tmp_path / "north" / "dem.tif", np.ones(SHAPE, np.float32), transform=coarse @ coarse.translation(1e4, 0))
    with pytest.raises(SnowmapError, match=r"dem\.tif lies over .* beside the scene"):
        open_cube(settings(tmp_path / "north"))


def test_scenes_that_do_not_go_together(tmp_path):
    write_scene(tmp_path / "north")
    write_scene(tmp_path / "south", bands=("HH",), seed=5)
    with pytest.raises(SnowmapError, match=r"'HV' is in 'dB' in .*north, missing in .*south"):
        open_cubes(settings(tmp_path))
    with pytest.raises(SnowmapError, match=r"no raster of a scene, but the scenes north, south: name one"):
        open_cube(settings(tmp_path))
    assert len(open_cubes({**settings(tmp_path), "root": [str(tmp_path / "north")]})) == 1


def test_the_origin_of_a_raster_is_that_of_the_cube(tmp_path):
    write(tmp_path / "2020-01-05_HH.tif", power(1), tags={"ORIGIN": "synthetic: by hand"})
    assert open_cube(settings(tmp_path)).attrs["origin"] == "synthetic: by hand"


def test_the_corner_is_that_of_the_rasters(scene):
    cube = open_cube(settings(scene))
    assert (float(cube["x"][0]), float(cube["y"][0])) == (CORNER[0] + PIXEL / 2, CORNER[1] - PIXEL / 2)


def test_speckle_is_filtered_on_linear_power_before_db(scene):
    keys = {"despeckle": "boxcar", "despeckle_window": 3}
    with rasterio.open(scene / "2020-04-11_HV.tif") as raster:
        power = raster.read(1)
    filtered = values_of(open_cube({**settings(scene), **keys}), "HV")[1]
    assert filtered[5, 7] == pytest.approx(10 * np.log10(power[4:7, 6:9].mean()), abs=1e-4)


@pytest.mark.parametrize("name", ["lee", "ppb"])
def test_a_tile_of_a_filtered_scene_is_that_of_the_whole(tmp_path, name):
    """Of a scene of two blocks with a gap, across and beside the seam; the looks are estimated from the file."""
    values = power(0, (32, 1100))
    values[10:14, 1020:1040] = np.nan
    write(tmp_path / "north" / "2020-01-05_HH.tif", values)
    ppb_keys = {"search": 7, "patch": 3, "alpha": 0.92, "iterations": 2, "kl_scale": 0.2}
    data = {"despeckle": name, "despeckle_window": 7, "ppb": ppb_keys, "looks": 4.0}
    cube = open_cube({**settings(tmp_path / "north"), **data})
    tile = cube["features"][0, 0, :, 1000:1050].values
    expected = decibel(despeckle(values, 4.0, data))
    np.testing.assert_allclose(tile, expected[:, 1000:1050], atol=1e-3)
    np.testing.assert_allclose(cube["features"][0, 0].values, expected, atol=1e-3)
    estimated = open_cube({**settings(tmp_path / "north"), **data, "looks": None})["features"][0, 0].values
    assert np.nanmean(np.abs(estimated - expected)) < 0.3


def test_a_scene_too_small_to_estimate_its_looks(tmp_path):
    write(tmp_path / "north" / "2020-01-05_HH.tif", power(0, (12, 40)))
    with pytest.raises(SnowmapError, match=r"data\.looks=4\.4"):
        open_cube({**settings(tmp_path / "north"), "despeckle": "lee", "despeckle_window": 7})
