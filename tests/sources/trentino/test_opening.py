"""Opening an archive: values as the truth has them, and every fault named."""

import logging
import os
import shutil
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from snowmap import SnowmapError, open_archive
from snowmap.data.cube import check, window_names
from snowmap.sources.trentino import open_lazily, stack_insar_bands, stack_weather_bands, survey
from snowmap.sources.trentino.quantities import STANDARD_BANDS
from tests.archives import (
    INSAR_NAMES,
    MEXICO_BANDS,
    raster_path,
    window_dates,
    write_foreign_archive,
    write_mexico_archive,
    write_raster,
)

WINDOWS, SHAPE = 8, (12, 17)
DATES = window_dates(WINDOWS)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    root = tmp_path_factory.mktemp("archive") / "Dataset_icip2026"
    return root, write_foreign_archive(root, WINDOWS, SHAPE)


@pytest.fixture
def root(pristine: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(pristine[0], tmp_path / "Dataset_icip2026"))


def name_of(number: int) -> str:
    return "{}_to_{}".format(*DATES[number])


def open_afresh(root: Path, **options: object) -> xr.Dataset:
    return open_archive(root, cache=False, **options)


def overwrite(path: Path, **change: object) -> None:
    """Write the raster again with other values, transform, CRS or shape."""
    with rasterio.open(path) as raster:
        old = {"values": raster.read(1), "transform": raster.transform, "crs": raster.crs, "nodata": raster.nodata}
    path.unlink()
    write_raster(path, **(old | change))


@pytest.mark.parametrize(("windows", "shape", "swe_unit"), [(20, (40, 57), "cm"), (3, (5, 4), "mm")])
def test_every_value_and_sentinel_of_an_archive_by_other_hands(tmp_path, windows, shape, swe_unit) -> None:
    truth = write_foreign_archive(tmp_path / "a", windows, shape, seed=1, swe_unit=swe_unit)
    for threads in (1, 3):
        cube = open_afresh(tmp_path / "a", threads=threads)
        check(cube)
        assert list(cube["band"].values) == list(STANDARD_BANDS)
        for b, band in enumerate(STANDARD_BANDS):
            np.testing.assert_array_equal(cube["features"].values[:, b], truth[band], err_msg=band)
        for name in ("hs", "swe", "mask"):
            np.testing.assert_array_equal(cube[name].values, truth[name])
        for name in ("start", "end"):
            np.testing.assert_array_equal(cube[name].values, truth[name])
        assert cube["hs"].attrs["units"] == "cm"
        assert cube["swe"].attrs["units"] == swe_unit


def test_grid_crs_and_attributes(pristine, tmp_path) -> None:
    cube = open_afresh(pristine[0])
    assert cube.rio.crs == CRS.from_epsg(4326)
    assert cube.rio.transform() == from_origin(9.8, 46.4, 0.005, 0.0051)
    np.testing.assert_allclose(cube["x"].values[[0, -1]], [9.8025, 9.8025 + 16 * 0.005])
    np.testing.assert_allclose(cube["y"].values[[0, -1]], [46.4 - 0.00255, 46.4 - 11.5 * 0.0051])
    assert cube.attrs["origin"] == "Dataset_icip2026"
    assert cube.attrs["excluded"] == []
    cube.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")


def test_bands_and_targets_as_requested(root: Path) -> None:
    shutil.rmtree(root / "S3")
    raster_path(root, "swe", *DATES[2]).unlink()
    cube = open_afresh(root, bands=["phase", "coherence"], targets=["hs"])
    assert list(cube["band"].values) == ["coherence", "phase"]
    assert np.isnan(cube["swe"].values).all(axis=(1, 2)).tolist() == [number == 2 for number in range(WINDOWS)]
    shutil.rmtree(root / "ITSNOW")
    assert "hs" not in open_afresh(root, bands=["phase"], targets=())


def test_zero_is_missing_where_it_is_said_to_be(root: Path) -> None:
    overwrite(raster_path(root, "mean_temperature", *DATES[0]), values=np.zeros(SHAPE, np.float32), nodata=None)
    phase = np.ones(SHAPE, np.float32)
    phase[5, 5:9] = 0
    overwrite(raster_path(root, "phase", *DATES[0]), values=phase, nodata=None)
    cube = open_afresh(root)
    assert (cube["features"].sel(band="mean_temperature").values[0] == 0).all()
    assert np.isnan(cube["features"].sel(band="phase").values[0]).sum() == 4
    cube = open_afresh(root, zero_is_missing=["coherence"])
    assert (cube["features"].sel(band="phase").values[0] == phase).all()


def restore(path: Path, values: np.ndarray, mask: np.ndarray | None = None, **form: object) -> None:
    """Write the raster anew as other programs store it: scaled numbers, with a mask or an alpha band."""
    with rasterio.open(path) as raster:
        grid = {"transform": raster.transform, "crs": raster.crs}
    path.unlink()
    scale, offset, alpha = form.pop("scale", 1), form.pop("offset", 0), form.pop("alpha", None)
    count = 1 if alpha is None else 2
    with rasterio.open(path, "w", "GTiff", *SHAPE[::-1], count, dtype=values.dtype.name, **grid, **form) as raster:
        raster.write(values, 1)
        raster.scales, raster.offsets = [scale] * count, [offset] * count
        if mask is not None:
            raster.write_mask(mask)
        if alpha is not None:
            raster.write(alpha, 2)
            raster.colorinterp = ColorInterp.gray, ColorInterp.alpha


def test_scale_offset_and_masks_of_gdal_are_applied(root: Path) -> None:
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 1
    known = values % 3 > 0
    path = {name: raster_path(root, name, *DATES[0]) for name in STANDARD_BANDS}
    restore(path["elevation"], values, scale=2, offset=100)
    thousandths = np.where(known, np.linspace(-31416, 31416, values.size).reshape(SHAPE), -32768).astype(np.int16)
    restore(path["phase"], thousandths, scale=1e-4, nodata=-32768)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        restore(path["coherence"], values, known)
        restore(root / "master_mask.tif", np.ones(SHAPE, np.uint8), known)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        restore(path["incidence"], values, known)
    assert path["incidence"].with_name(path["incidence"].name + ".msk").exists()
    restore(path["pdd"], values.astype(np.uint8), alpha=known.astype(np.uint8) * 255)
    restore(path["mean_temperature"], values)
    path["mean_temperature"].with_name(path["mean_temperature"].name + ".aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Offset>-5</Offset><Scale>0.1</Scale></PAMRasterBand></PAMDataset>'
    )
    expected = dict.fromkeys(("coherence", "incidence", "pdd"), np.where(known, values, np.nan)) | {
        "elevation": values * 2 + 100,
        "phase": np.where(known, thousandths * 1e-4, np.nan),
        "mean_temperature": values * 0.1 - 5,
    }
    cubes = open_afresh(root), open_lazily(root)
    for cube, (band, right) in product(cubes, expected.items()):
        found = cube["features"].sel(band=band).isel(window=0).values
        np.testing.assert_allclose(found, right, rtol=1e-6, err_msg=band)
    np.testing.assert_array_equal(cubes[0]["mask"], known)
    stack, _ = stack_weather_bands([path["mean_temperature"], path["pdd"]])
    np.testing.assert_array_equal(stack, np.moveaxis(cubes[0]["features"].values[0, -2:], 0, -1))


def test_complex_rasters_are_refused(root: Path) -> None:
    path = raster_path(root, "phase", *DATES[0])
    overwrite(path, values=np.full(SHAPE, 1j, np.complex64), nodata=None)
    for opening in (open_archive, open_lazily, lambda root: stack_insar_bands([path])):
        with pytest.raises(SnowmapError, match=rf"{path.name}: holds complex values"):
            opening(root)
    (fault,) = survey(root).faults
    assert "complex64" in fault


def test_fingerprint_is_of_the_content(pristine, root: Path) -> None:
    before = open_afresh(pristine[0]).attrs["fingerprint"]
    assert open_afresh(root, threads=2).attrs["fingerprint"] == before
    with rasterio.open(raster_path(root, "hs", *DATES[0])) as raster:
        values = raster.read(1)
    values[6, 6] = 33
    overwrite(raster_path(root, "hs", *DATES[0]), values=values)
    assert open_afresh(root).attrs["fingerprint"] != before


@pytest.mark.parametrize(
    ("name", "reason"),
    [("coherence", "band 'coherence'"), ("pdd", "band 'pdd'"), ("hs", "target 'hs'")],
)
def test_window_without_a_file_is_excluded_by_name(root: Path, caplog, name: str, reason: str) -> None:
    raster_path(root, name, *DATES[3]).unlink()
    with caplog.at_level(logging.WARNING, "snowmap.sources.trentino"):
        cube = open_afresh(root)
    expected = f"{name_of(3)}: no raster for {reason}"
    assert cube.attrs["excluded"] == [expected]
    assert "windows left out: 1" in caplog.text
    assert expected in caplog.text
    assert window_names(cube) == [name_of(number) for number in range(WINDOWS) if number != 3]
    with pytest.raises(SnowmapError, match=expected):
        open_afresh(root, strict=True)


def test_band_without_a_value_in_the_study_area_excludes_its_window(root: Path, pristine) -> None:
    values = np.where(pristine[1]["mask"], 0, 0.5).astype(np.float32)
    overwrite(raster_path(root, "coherence", *DATES[1]), values=values)
    cube = open_afresh(root)
    assert cube.attrs["excluded"] == [f"{name_of(1)}: no value inside the study area in band 'coherence'"]
    assert cube.sizes["window"] == WINDOWS - 1
    np.testing.assert_array_equal(cube["hs"].values, np.delete(pristine[1]["hs"], 1, axis=0))


def test_all_faults_in_one_error(root: Path) -> None:
    truncated = raster_path(root, "phase", *DATES[0])
    truncated.write_bytes(truncated.read_bytes()[:600])
    text = raster_path(root, "elevation", *DATES[1])
    text.write_text("no raster")
    other_shape = raster_path(root, "pdd", *DATES[2])
    overwrite(other_shape, values=np.ones((3, 4), np.float32))
    other_crs = raster_path(root, "hs", *DATES[4])
    overwrite(other_crs, crs=CRS.from_epsg(32632))
    shifted = raster_path(root, "swe", *DATES[5])
    overwrite(shifted, transform=from_origin(9.81, 46.4, 0.005, 0.0051))
    twice = raster_path(root, "coherence", *DATES[6])
    shutil.copy(twice, twice.with_name(twice.name.replace("IW1", "IW2")))
    with pytest.raises(SnowmapError) as error:
        open_archive(root)
    message = str(error.value)
    assert "6 faults" in message
    for path in (truncated, text, other_shape, other_crs, shifted):
        assert str(path) in message
    for found in ("3 × 4 px", "EPSG:32632", "(9.81, 46.4)", "2 files for band 'coherence'", twice.name):
        assert found in message
    cubes: list[xr.Dataset] = []
    report = survey(root, cubes.append)
    assert len(report.faults) == 6
    assert len(report.windows) == len(cubes) == WINDOWS
    assert np.isnan(cubes[0]["features"].sel(band="phase").values).all()


def test_floating_point_noise_in_the_transform_is_forgiven(root: Path, pristine) -> None:
    path = raster_path(root, "swe", *DATES[5])
    overwrite(path, transform=from_origin(9.8 + 1e-9, 46.4 - 1e-9, 0.005 + 1e-12, 0.0051))
    np.testing.assert_array_equal(open_afresh(root)["swe"].values, pristine[1]["swe"])


def test_mask_missing_empty_of_another_shape_or_unreadable(root: Path) -> None:
    mask = root / "master_mask.tif"
    grid = {"transform": from_origin(9.8, 46.4, 0.005, 0.0051), "crs": CRS.from_epsg(4326)}
    mask.unlink()
    with pytest.raises(SnowmapError, match=r"master_mask\.tif: no such file"):
        open_archive(root)
    write_raster(mask, np.zeros(SHAPE, np.uint8), **grid)
    with pytest.raises(SnowmapError, match="study area is empty"):
        open_archive(root)
    write_raster(mask, np.ones((5, 5), np.uint8), **grid)
    with pytest.raises(SnowmapError, match=r"master_mask\.tif: 5 × 5 px.*12 × 17 px"):
        open_archive(root)
    mask.write_bytes(b"II*\0")
    with pytest.raises(SnowmapError, match=r"master_mask\.tif: not readable"):
        open_archive(root)


def test_folders_that_are_no_archive(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SnowmapError, match=r"no such folder.*snowmap download.*snowmap synthesize"):
        open_archive(tmp_path / "nowhere")
    with pytest.raises(SnowmapError, match=f"name that folder: data.root={root}"):
        open_archive(root.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnowmapError, match="no window found"):
        open_archive(tmp_path / "empty")
    shutil.rmtree(root / "S3")
    with pytest.raises(SnowmapError, match=r"none of the 8 windows is complete.*\n.*band 'mean_temperature'"):
        open_archive(root)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bands": ["coherense"]}, "coherense"),
        ({"bands": []}, "no band"),
        ({"targets": ["depth"]}, "depth"),
        ({"zero_is_missing": ["all"]}, "all"),
        ({"threads": 0}, "threads"),
        ({"swe_unit": "inch"}, "inch"),
    ],
)
def test_impossible_requests(pristine, options: dict, words: str) -> None:
    with pytest.raises(SnowmapError, match=words):
        open_archive(pristine[0], **options)


def test_impossible_dates_are_a_fault(root: Path) -> None:
    path = raster_path(root, "incidence", *DATES[0])
    path.rename(path.with_name("2021-02-30_2021-03-11_localIncidenceAngle.tif"))
    with pytest.raises(SnowmapError, match="2021-02-30_to_2021-03-11 is no period"):
        open_archive(root)


@pytest.mark.skipif(os.name == "nt", reason="folders have no read-only mode there")
def test_read_only_archive_opens(root: Path) -> None:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    before = sorted(path for path in root.rglob("*"))
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert open_archive(root).sizes["window"] == WINDOWS
        assert open_archive(root).sizes["window"] == WINDOWS
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert sorted(path for path in root.rglob("*")) == before


def test_survey_of_a_sound_archive_equals_opening_it(pristine) -> None:
    cubes: list[xr.Dataset] = []
    reader, cube = survey(pristine[0], cubes.append), open_afresh(pristine[0])
    assert reader.faults == []
    assert len(reader.windows) == len(cubes) == WINDOWS
    assert (reader.origin, reader.swe_unit) == (cube.attrs["origin"], cube["swe"].attrs["units"])
    for index, window in enumerate(cubes):
        xr.testing.assert_equal(window, cube.isel(window=[index]))
    assert 0.2 < reader.swe_per_hs < 0.31


def test_survey_never_raises_for_what_is_on_disk(root: Path, tmp_path: Path) -> None:
    assert "no such folder" in survey(tmp_path / "nowhere").faults[0]
    reader = survey(root, swe_unit="mm")
    assert "data.swe_unit=mm" in reader.faults[0]
    assert len(reader.windows) == WINDOWS
    for path in root.rglob("*.tif"):
        path.write_bytes(b"")
    reader = survey(root)
    assert len(reader.faults) == 1 + 11 * WINDOWS
    assert reader.windows == []


def test_real_sentinel1_pairs(shared_data: Path, tmp_path: Path) -> None:
    pairs = write_mexico_archive(shared_data, tmp_path / "mexico")
    cube = open_afresh(tmp_path / "mexico", bands=MEXICO_BANDS)
    check(cube)
    assert len(pairs) == 30
    pairs.sort(key=lambda pair: (pair.end, pair.end - pair.start))  # of one end, the shortest first
    assert [(pair.start, pair.end) for pair in pairs] == list(
        zip(*(cube[edge].values.astype("datetime64[D]").tolist() for edge in ("start", "end")), strict=True)
    )
    assert cube["start"].values[0].astype("datetime64[D]").item() == date(2018, 1, 6)
    features = {str(name): cube["features"].sel(band=name).values for name in cube["band"].values}
    for number, pair in enumerate(pairs):
        with rasterio.open(pair.unwrapped) as raster:
            assert raster.crs == cube.rio.crs
            assert raster.transform == cube.rio.transform()
            unwrapped = raster.read(1, masked=True).filled(np.nan)
        with rasterio.open(pair.coherence) as raster:
            coherence = raster.read(1, masked=True).filled(np.nan)
            angle = np.float32(raster.tags()["INCIDENCE_DEGREES"])
        np.testing.assert_array_equal(features["unwrapped_phase"][number], unwrapped)
        np.testing.assert_array_equal(features["coherence"][number], coherence)
        np.testing.assert_array_equal(features["incidence"][number], np.where(np.isnan(unwrapped), np.nan, angle))
    valid = ~np.isnan(features["unwrapped_phase"])
    turns = (features["unwrapped_phase"] - features["phase"])[valid] / (2 * np.pi)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-5)
    assert np.nanmax(np.abs(features["phase"])) <= np.float32(np.pi)
    heights = features["elevation"]
    assert (heights == heights[0]).all()
    assert 2000 < heights.min() < heights.max() < 4000


def test_the_archive_names_of_this_helper_are_the_cards() -> None:
    """The names above are typed by hand from the dataset card; this pins one of each."""
    assert raster_path(Path("D"), "coherence", date(2021, 1, 9), date(2021, 1, 21)) == Path(
        "D/INSAR/2021-01-09_2021-01-21_coh_IW1_VV_09Jan2021_21Jan2021.tif"
    )
    assert set(INSAR_NAMES) < set(STANDARD_BANDS)
