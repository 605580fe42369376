"""The synthetic archive: a valid Cube whose parts obey the physics that they claim."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from snowmap.data.cube import check
from snowmap.errors import SnowmapError
from snowmap.physics import SENTINEL_1_WAVELENGTH, wrap
from snowmap.sources.synthetic import synthesize
from snowmap.sources.synthetic.terrain import make_terrain, power_law_field
from snowmap.sources.trentino.quantities import INSAR_BANDS, STANDARD_BANDS


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return synthesize()


def band(cube: xr.Dataset, name: str) -> np.ndarray:
    return cube["features"].sel(band=name).values


def february(cube: xr.Dataset, year: int, name: str = "swe") -> float:
    end = cube["end"].dt
    return float(cube[name][((end.year == year) & (end.month == 2)).values].mean())


def test_the_default_has_the_layout_of_the_trentino_archive(cube: xr.Dataset) -> None:
    check(cube)
    assert cube["features"].shape == (64, 9, 93, 211)
    assert cube["start"].values[0] == np.datetime64("2021-01-09")
    assert cube["end"].values[-1] == np.datetime64("2023-03-24")
    steps = np.diff(cube["start"].values).astype("timedelta64[D]").astype(int)
    assert set(steps % 12) == {0}
    assert (steps // 12 - 1).sum() == 3
    assert (steps[-9:] == 12).all()
    assert cube.rio.bounds() == pytest.approx((9.80, 45.93, 10.87, 46.40))
    assert cube.attrs["origin"].startswith("synthetic: snowmap ")
    assert cube.attrs["origin"].endswith("seed 0, fractal terrain")
    assert 0.4 < cube["mask"].values.mean() < 0.95


def test_values_are_plausible_and_never_zero_where_zero_means_missing(cube: xr.Dataset) -> None:
    for name, quantity in STANDARD_BANDS.items():
        values = band(cube, name)
        assert np.nanmin(values) >= quantity.valid_min, name
        assert np.nanmax(values) <= quantity.valid_max, name
        if name in INSAR_BANDS:
            assert not (values == 0).any(), name
    inside = np.broadcast_to(cube["mask"].values, cube["swe"].shape)
    for name in ("hs", "swe"):
        assert np.array_equal(np.isfinite(cube[name].values), inside)
        assert np.nanmin(cube[name].values) >= 0


def test_layover_and_shadow_blind_every_radar_band_and_only_those(cube: xr.Dataset) -> None:
    hidden = np.isnan(band(cube, "coherence"))
    assert 0 < hidden.mean() < 0.1
    for name in set(INSAR_BANDS) - {"elevation"}:
        assert np.array_equal(np.isnan(band(cube, name)), hidden), name
    for name in ("elevation", "mean_temperature", "pdd"):
        assert np.isfinite(band(cube, name)).all(), name


@pytest.mark.parametrize("seed", [0, 1])
def test_winters_differ_as_those_of_2021_to_2023_did(seed: int) -> None:
    cube = synthesize(seed)
    rich, dry, drought = (february(cube, year) for year in (2021, 2022, 2023))
    assert rich > 1.5 * dry > 1.5 * drought


def test_depth_is_swe_over_the_density_of_depth_and_day(cube: xr.Dataset) -> None:
    end = cube["end"].values.astype("datetime64[D]")
    for date, day in (("2021-02-02", 33), ("2021-12-11", -21), ("2022-04-10", 100)):  # of Sturm et al. (2010)
        swe, hs = (cube[name].values[np.flatnonzero(end == np.datetime64(date))[0]] for name in ("swe", "hs"))
        density = 0.2237 + (0.5975 - 0.2237) * (1 - np.exp(-0.0012 * hs - 0.0038 * day))
        assert np.allclose(hs * density, swe, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_degree_days_fit_the_mean_temperature(cube: xr.Dataset) -> None:
    mean, degree_days = band(cube, "mean_temperature"), band(cube, "pdd")
    assert (degree_days >= 12 * np.maximum(mean, 0) - 1e-2).all()
    assert (degree_days[mean > 15] > 0).all()


def test_temperature_falls_six_degrees_per_km(cube: xr.Dataset) -> None:
    slope, _ = np.polyfit(band(cube, "elevation")[0].ravel(), band(cube, "mean_temperature")[0].ravel(), 1)
    assert slope == pytest.approx(-0.006, rel=1e-3)


def test_phase_is_the_wrapped_unwrapped_phase_and_displacement_its_length(cube: xr.Dataset) -> None:
    seen = np.isfinite(band(cube, "phase"))
    unwrapped = band(cube, "unwrapped_phase")[seen].astype(float)
    assert np.abs(wrap(band(cube, "phase")[seen] - unwrapped)).max() < 1e-4
    assert np.allclose(
        band(cube, "displacement")[seen], -SENTINEL_1_WAVELENGTH / (4 * np.pi) * unwrapped, rtol=0, atol=1e-6
    )


def test_same_seed_same_cube_other_seed_other_cube() -> None:
    first, again, other = (synthesize(seed, windows=2, shape=(16, 20)) for seed in (3, 3, 4))
    xr.testing.assert_identical(first, again)
    for name in ("features", "swe", "mask"):
        assert not first[name].equals(other[name]), name


def test_further_bands_come_on_top_and_leave_the_others_as_they_are() -> None:
    plain, more = (synthesize(3, windows=14, shape=(40, 57), further=further) for further in (False, True))
    xr.testing.assert_equal(plain, more.sel(band=plain["band"].values))
    assert more["band"].values.tolist() == [*STANDARD_BANDS, "precipitation", "forest_cover", "layover_shadow"]
    assert np.array_equal(np.isnan(band(more, "phase")), band(more, "layover_shadow") == 1)
    yearly = band(more, "precipitation").mean() * 365 / 12
    assert 300 < yearly < 2500
    cold = (band(more, "mean_temperature")[1:] < -6) & more["mask"].values
    gained = 10 * np.diff(more["swe"].values, axis=0)[cold]
    assert np.corrcoef(gained, band(more, "precipitation")[1:][cold])[0, 1] > 0.7


@pytest.mark.parametrize(("windows", "shape"), [(1, (8, 8)), (20, (40, 57)), (3, (2, 2)), (2, (150, 20))])
def test_other_sizes(windows: int, shape: tuple[int, int]) -> None:
    cube = synthesize(windows=windows, shape=shape)
    assert cube["swe"].shape == (windows, *shape)
    assert np.isfinite(band(cube, "elevation")).all()


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(SnowmapError, match="windows is 0"):
        synthesize(windows=0)
    with pytest.raises(SnowmapError, match="at least 2 rows"):
        synthesize(shape=(1, 50))


def test_power_law_field_has_the_asked_spectrum() -> None:
    spacing, exponent = (500.0, 500.0), -3.0
    rng, spectrum = np.random.default_rng(0), np.zeros(64)
    for _ in range(50):
        field = power_law_field((128, 128), spacing, exponent, rng)
        spectrum += (np.abs(np.fft.fft(field * np.hanning(128), axis=1)) ** 2).mean(axis=0)[:64]
    wavenumber = np.arange(4, 24)
    slope, _ = np.polyfit(np.log(wavenumber), np.log(spectrum[wavenumber]), 1)
    assert slope == pytest.approx(exponent + 1, abs=0.25)  # a profile's spectrum is one power flatter than the map's


def test_oetztal_dem(shared_data: Path) -> None:
    dem = shared_data / "oetztal" / "srtm_oetztal.tif"
    cube = synthesize(windows=2, shape=None, dem=dem)
    with rasterio.open(dem) as source:
        assert cube.rio.bounds() == pytest.approx(source.bounds)
        heights = source.read(1)
    assert np.allclose(np.abs(cube.rio.resolution()), 0.005, rtol=0.03)
    elevation = band(cube, "elevation")[0]
    assert elevation.mean() == pytest.approx(heights.mean(), rel=0.01)
    assert cube.attrs["origin"].endswith("DEM srtm_oetztal.tif")
    swe, inside = cube["swe"].values[1], cube["mask"].values
    assert swe[inside & (elevation > 2500)].mean() > 1.5 * swe[inside & (elevation < 1500)].mean()
    assert synthesize(windows=1, shape=(30, 20), dem=dem)["swe"].shape == (1, 30, 20)


def test_dem_in_another_crs_with_a_hole(tmp_path: Path) -> None:
    heights = np.tile(np.linspace(500, 2500, 80, dtype=np.float32), (60, 1))
    heights[:10, :10] = -32768
    dem = write_dem(tmp_path / "utm.tif", heights, crs="EPSG:32632", nodata=-32768)
    cube = synthesize(windows=1, shape=(30, 40), dem=dem)
    elevation = band(cube, "elevation")[0]
    assert np.isnan(elevation[:3, :3]).all()
    assert np.isnan(cube["features"].values[0, :, 0, 0]).all()
    assert not cube["mask"].values[np.isnan(elevation)].any()
    assert np.nanmin(elevation) > 490
    columns = np.nanmean(elevation[8:-3, 3:-3], axis=0)
    assert (np.diff(columns) > 0).all()  # still rising to the east


def test_bad_dems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnowmapError, match=r"absent\.tif: cannot be read as a DEM"):
        synthesize(windows=1, dem=tmp_path / "absent.tif")
    flat = np.full((10, 10), 100, dtype=np.float32)
    with pytest.raises(SnowmapError, match="no CRS"):
        synthesize(windows=1, dem=write_dem(tmp_path / "nowhere.tif", flat, crs=None, nodata=-9999))
    with pytest.raises(SnowmapError, match="no valid elevation"):
        synthesize(windows=1, dem=write_dem(tmp_path / "empty.tif", flat, crs="EPSG:32632", nodata=100))


def test_forest_ends_at_the_tree_line() -> None:
    terrain = make_terrain((93, 211), None, np.random.default_rng(0))
    low, high = terrain.elevation < 1600, terrain.elevation > 2300
    assert 0.35 < terrain.forest[low].mean() < 0.75
    assert terrain.forest[high].max() < 0.01


def write_dem(path: Path, heights: np.ndarray, crs: str | None, nodata: float) -> Path:
    profile = {"driver": "GTiff", "height": heights.shape[0], "width": heights.shape[1], "count": 1, "dtype": "float32"}
    transform = from_origin(650_000, 5_150_000, 500, 500)
    with rasterio.open(path, "w", crs=crs, nodata=nodata, transform=transform, **profile) as target:
        target.write(heights, 1)
    return path
