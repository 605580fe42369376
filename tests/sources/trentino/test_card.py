"""The dataset card's own usage, with only its import line changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from snowmap import SnowmapError
from snowmap.sources.trentino import load_mask, match_insar_to_targets, stack_insar_bands, stack_weather_bands
from snowmap.sources.trentino.quantities import INSAR_BANDS, WEATHER_BANDS
from tests.archives import raster_path, window_dates, write_foreign_archive

WINDOWS = 8


@pytest.fixture
def truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    return write_foreign_archive(Path("Dataset_icip2026"), WINDOWS, (12, 17))


def test_snippet_of_the_card(truth) -> None:
    samples = match_insar_to_targets("Dataset_icip2026/INSAR", "Dataset_icip2026/ITSNOW", "Dataset_icip2026/S3")
    assert len(samples) == WINDOWS
    assert samples[0]["key"] == "2021-01-09_to_2021-01-21"
    assert [sample["key"] for sample in samples] == sorted(sample["key"] for sample in samples)
    mask = load_mask("Dataset_icip2026/master_mask.tif")
    np.testing.assert_array_equal(mask, truth["mask"])
    for number, sample in enumerate(samples):
        insar, profile = stack_insar_bands(sample["band_files"])
        weather, _ = stack_weather_bands(sample["weather_files"])
        assert (insar.shape, weather.shape) == ((12, 17, 7), (12, 17, 2))
        assert (insar.dtype, weather.dtype) == (np.float32, np.float32)
        for b, name in enumerate(INSAR_BANDS):
            np.testing.assert_array_equal(insar[..., b], truth[name][number])
        for b, name in enumerate(WEATHER_BANDS):
            np.testing.assert_array_equal(weather[..., b], truth[name][number])
        assert (profile["count"], profile["crs"]) == (7, CRS.from_epsg(4326))
        assert sample["swe_file"].name == f"{sample['key']}_swe.tif"
        assert sample["hs_file"].name == f"{sample['key']}_hs.tif"


def test_takes_paths_and_lists_of_paths(truth) -> None:
    root = Path("Dataset_icip2026")
    sample = match_insar_to_targets(root / "INSAR", root / "ITSNOW", root / "S3")[1]
    stack, _ = stack_insar_bands([str(path) for path in sample["band_files"].values()])
    np.testing.assert_array_equal(stack[..., 0], truth["coherence"][1])
    assert load_mask(root / "master_mask.tif").any()


def test_incomplete_windows_are_left_out_and_named(truth, caplog) -> None:
    start, end = window_dates(WINDOWS)[2]
    raster_path(Path("Dataset_icip2026"), "pdd", start, end).unlink()
    samples = match_insar_to_targets("Dataset_icip2026/INSAR", "Dataset_icip2026/ITSNOW", "Dataset_icip2026/S3")
    assert f"{start}_to_{end}" not in {sample["key"] for sample in samples}
    assert f"{start}_to_{end}: no raster for band 'pdd'" in caplog.text


def test_faults_are_named(truth) -> None:
    folders = ("Dataset_icip2026/INSAR", "Dataset_icip2026/ITSNOW", "Dataset_icip2026/S3")
    with pytest.raises(SnowmapError, match="no such folder: nowhere"):
        match_insar_to_targets("nowhere", *folders[1:])
    files = match_insar_to_targets(*folders)[0]["band_files"]
    damaged = files["phase"]
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(SnowmapError, match=damaged.name):
        stack_insar_bands(files)
    with pytest.raises(SnowmapError, match="nomask"):
        load_mask("nomask.tif")
    with pytest.raises(SnowmapError, match="no files"):
        stack_weather_bands([])
    shutil.copy("Dataset_icip2026/thumbs/quicklook.tif", damaged)
    with pytest.raises(SnowmapError, match=r"3 × 5 px.*expected the grid"):
        stack_insar_bands(files)
    shutil.copy(files["coherence"], str(files["coherence"]).replace("IW1", "IW3"))
    with pytest.raises(SnowmapError, match="2 files for band 'coherence'"):
        match_insar_to_targets(*folders)
