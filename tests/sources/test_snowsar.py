"""Flights of SnowSAR, on a stand-in over a known truth: cells, units, points, and a whole training."""

import json
from dataclasses import asdict

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rasterio.transform import from_origin

from snowmap.config.sources import SnowSar
from snowmap.errors import SnowmapError
from snowmap.sources import open_cube
from tests.commands import fail, succeed
from tests.config.test_checking import checked

WEST, NORTH, PIXEL, CRS = 480_000, 7_480_000, 10, "EPSG:32635"
SHAPE = 160, 200  # of 10 m: 16 × 20 cells of 100 m
DAYS = ("2011-12-19", "2012-01-10", "2012-02-01", "2012-02-25", "2012-03-15")
CHANNELS = ("KuVV", "KuVH", "XVV", "XVH")


def swe_on(day: int) -> np.ndarray:
    """mm of water on the 10 m grid: more to the north, more each flight."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 80 + 25 * day + 40 * np.sin(rows / 30) + 30 * np.cos(columns / 25)


def write_flight(folder, day, *, unit="dB", crs=CRS, south_up=False, drop=()):
    """One NetCDF file; backscatter rises with SWE at Ku band and scatters by pixel, incidence rises to the east."""
    random = np.random.default_rng(day)
    columns = np.broadcast_to(np.arange(SHAPE[1]), SHAPE)
    angle = 30 + 0.1 * columns
    variables = {}
    for number, channel in enumerate(CHANNELS):
        decibel = -14 - 4 * number + (0.05 if "Ku" in channel else 0.01) * swe_on(day) + random.normal(0, 1, SHAPE)
        variables[channel] = decibel if unit == "dB" else 10 ** (decibel / 10)
        variables[f"{channel}_incidence"] = angle if unit == "dB" else np.radians(angle)
    variables |= {"DEM": 250 + columns, "LandCover": 1.0 + (columns >= 95), "Vegetation": columns / 10}
    units = dict.fromkeys(CHANNELS, unit) | {
        f"{name}_incidence": "degree" if unit == "dB" else "rad" for name in CHANNELS
    }
    units |= {"DEM": "m", "Vegetation": "m3 ha-1"}
    for values in variables.values():
        values = values if values.flags.writeable else values.copy()
    arrays = {
        name: (("y", "x"), np.array(values, np.float32), {"units": units[name]} if units.get(name) else {})
        for name, values in variables.items()
        if name not in drop
    }
    for _, values, _ in arrays.values():
        values[:14, :10] = np.nan  # beside the swath: one cell whole, and 40 % of the next
    file = xr.Dataset(
        arrays,
        {
            "y": NORTH - PIXEL * (np.arange(SHAPE[0]) + 0.5),
            "x": WEST + PIXEL * (np.arange(SHAPE[1]) + 0.5),
        },
    )
    if crs:
        file = file.rio.write_crs(crs)
    path = folder / f"snowsar_sodankyla_{DAYS[day].replace('-', '')}.nc"
    (file.isel(y=slice(None, None, -1)) if south_up else file).to_netcdf(path, engine="h5netcdf")
    return path


def points(seed=0, count=1500) -> gpd.GeoDataFrame:
    """Depth in cm and SWE in mm at places within the flights, a day after each."""
    random = np.random.default_rng(seed)
    rows, columns = random.integers(0, SHAPE[0], count), random.integers(0, SHAPE[1], count)
    day = random.integers(0, len(DAYS), count)
    swe = np.stack([swe_on(number) for number in range(len(DAYS))])[day, rows, columns]
    dates = np.array(DAYS, "datetime64[D]")[day] + 1
    x, y = WEST + PIXEL * (columns + 0.5), NORTH - PIXEL * (rows + 0.5)
    table = pd.DataFrame(
        {"date": dates.astype(str), "SWE": swe, "HS": swe / 2.5, "flight": day, "row": rows, "column": columns}
    )
    return gpd.GeoDataFrame(table, geometry=gpd.points_from_xy(x, y), crs=CRS)


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snowsar")
    for day in range(len(DAYS)):
        write_flight(folder, day)
    points().to_file(folder / "points.gpkg")
    lonlat = points().to_crs(4326)
    table = lonlat.drop(columns="geometry").assign(lon=lonlat.geometry.x, lat=lonlat.geometry.y)
    table.to_csv(folder / "points.csv", index=False)
    return folder


def options(root, **other):
    of_points = asdict(SnowSar().points) | {"hs_unit": "cm", "swe_unit": "mm"}
    of_points |= {"path": str(root / "points.gpkg")} | other.pop("points", {})
    return asdict(SnowSar()) | {"root": str(root), "points": of_points} | other


def by_cell(values, reduce=np.mean):
    return reduce(values.reshape(16, 10, 20, 10), axis=(1, 3))


def test_cells_hold_means_of_power_angles_and_shares(flights):
    cube = open_cube(options(flights), ["swe", "hs"])
    assert cube["start"].identical(cube["end"].rename("start"))
    np.testing.assert_array_equal(cube["end"], np.array(DAYS, "datetime64[ns]"))
    assert cube.rio.crs.to_epsg() == 32635
    assert cube.rio.transform() == from_origin(WEST, NORTH, 100, 100)
    pixels = xr.load_dataset(flights / "snowsar_sodankyla_20120110.nc")
    first = cube["features"].isel(window=1)
    inside = np.ones((16, 20), bool)
    inside[:2, 0] = False, True
    for band, name in (("ku_vv", "KuVV"), ("x_vh", "XVH")):
        power = by_cell(10 ** (pixels[name].values / 10))
        np.testing.assert_allclose(first.sel(band=band).values[2:], 10 * np.log10(power)[2:], rtol=1e-4)
        spread = by_cell(pixels[name].values, np.std)
        np.testing.assert_allclose(first.sel(band=f"{band}_std").values[2:], spread[2:], rtol=1e-3)
    angle = by_cell(pixels["KuVV_incidence"].values)
    np.testing.assert_allclose(first.sel(band="ku_vv_incidence").values[2:], angle[2:], atol=1e-3)
    np.testing.assert_allclose(first.sel(band="land_cover_1").values[5, 8:11], [1, 0.5, 0])
    assert cube["unit"].sel(band="vegetation") == "m3 ha-1"
    np.testing.assert_array_equal(np.isfinite(first.sel(band="elevation")), inside)  # of the second, 60 % are there


def test_points_become_the_mean_in_their_cell_on_the_nearest_day(flights):
    cube = open_cube(options(flights), ["swe", "hs"])
    table = points()
    expected = table.groupby(["flight", table["row"] // 10, table["column"] // 10])["SWE"].mean()
    maps = cube["swe"].values
    assert np.isfinite(maps).sum() == len(expected)
    np.testing.assert_allclose(maps[tuple(np.array(expected.index.to_list()).T)], expected, rtol=1e-5)
    np.testing.assert_allclose(cube["hs"], maps / 2.5, rtol=1e-5)
    assert (cube["swe"].attrs["units"], cube["hs"].attrs["units"]) == ("mm", "cm")
    of_table = {"path": str(flights / "points.csv"), "swe_unit": "cm"}
    with_centimetres = open_cube(options(flights, points=of_table), ["swe"])["swe"]
    np.testing.assert_allclose(with_centimetres, 10 * maps, rtol=1e-5)


def test_units_and_the_order_of_rows_do_not_matter(flights, tmp_path):
    write_flight(tmp_path, 1, unit="linear", south_up=True)
    other = open_cube(options(tmp_path))["features"].isel(window=0)
    one = open_cube(options(flights))["features"].isel(window=1)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("flight", "other", "message"),
    [
        ({"drop": ["XVH"]}, {}, r"data\.variables\.x_vh=XVH: .*0110\.nc has no such variable; it has KuVV, .*; give"),
        ({"unit": ""}, {}, r"KuVV has the unit ''; expected dB or .*: data\.sigma0_unit=dB"),
        ({"crs": None}, {}, "no CRS with coordinates x and y"),
        ({"crs": "EPSG:4326"}, {}, "is on EPSG:4326; expected one projected CRS"),
        ({}, {"resolution": 5.0}, r"data\.resolution=5: .* has pixels of 10 m"),
        ({}, {"bands": ["ku_hh"]}, r"data\.bands: no band ku_hh; there are ku_vv, ku_vv_std"),
        ({}, {"points": {"path": None}}, r"no points for target=swe; name their file as data\.points\.path"),
        ({}, {"points": {"swe": "water"}}, "water"),
        ({}, {"points": {"days": 0}}, "no point lies in the flights and within 0 days"),
    ],
)
def test_what_does_not_fit_is_named(flights, tmp_path, flight, other, message):
    write_flight(tmp_path, 1, **flight)
    changed = {"path": "points.gpkg"} | other.get("points", {})
    changed["path"] = changed["path"] and str(flights / changed["path"])
    with pytest.raises(SnowmapError, match=message):
        open_cube(options(tmp_path, **other | {"points": changed}), ["swe"])


def test_a_file_cut_short_or_without_a_day_is_named(tmp_path):
    path = write_flight(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SnowmapError, match=r"not readable as NetCDF .*; fetch it again"):
        open_cube(options(tmp_path))
    path.rename(tmp_path / "flight.nc")
    with pytest.raises(SnowmapError, match=r"flight\.nc: no day in its name; expected one such as 20120301"):
        open_cube(options(tmp_path))
    with pytest.raises(SnowmapError, match=r"no NetCDF files \(\*\.nc\); name the folder"):
        open_cube(options(tmp_path / "none"))


def test_the_experiment_composes():
    config = checked("experiment=snowsar", "data.variables.x_vh=null", "data.points.days=1")
    assert (config["data"]["name"], config["split"]["name"], config["selection"]) == (
        "snowsar",
        "spatial",
        "validation",
    )
    assert config["data"]["variables"]["x_vh"] is None


@pytest.mark.slow
def test_a_net_trains_on_flights(flights, tmp_path):
    """The path from the files to scores; the stand-in says nothing of skill."""
    given = [f"data.root={flights}", f"data.points.path={flights}/points.gpkg"]
    given += ["data.points.swe_unit=mm", "split.test=1", "split.buffer=1", "experiment=snowsar"]
    said = fail("train.py", *given, f"hydra.run.dir={tmp_path}/none", "data.variables.ku_vv=sigma")
    assert "it has KuVV, KuVV_incidence" in said
    quick = ["trainer.max_epochs=1", "model.channels=[8,16]", "trainer.enable_progress_bar=false"]
    succeed("train.py", *given, *quick, f"hydra.run.dir={tmp_path}/net")
    scores = json.loads((tmp_path / "net" / "evaluation" / "test" / "metrics.json").read_text())
    assert scores["target"]["swe"]["model"]["pixels"] > 10
