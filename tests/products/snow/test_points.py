"""Snow at points: tables as people keep them, vector files, and real ones."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from rasterio.crs import CRS
from rasterio.transform import from_origin
from shapely import Point

from snowmap.data.grid import Grid
from snowmap.errors import SnowmapError
from snowmap.products.snow import SNOW, points_to_grid

DAY = np.datetime64("2021-01-09")


def read(path, target="hs", **options):
    return SNOW["points"].read([path], {"target": target} | options)


def table(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "Lon,Lat,Date,HS_cm\n10.1,46.1,2021-01-09,120\n10.2,46.2,20210109,-9999\n10.2,46.2,soon,5\n",
        "# probes\n#Lon,of the probe\nlongitude;latitude;date;depth [cm]\n10,1;46,1;2021-01-09;120,0\n",
        "date\tgeometry\tdepth\tdepth_units\n2021-01-09T08:00\tPOINT Z (10.1 46.1 3000)\t1200\tmm\n",
    ],
)
def test_tables(tmp_path, text):
    points = read(table(tmp_path / "a.csv", text)).maps[DAY]()
    assert points["value"].tolist() == pytest.approx([1.2])
    assert (points.geometry.iloc[0].x, points.geometry.iloc[0].y) == (10.1, 46.1)


@pytest.mark.parametrize("suffix", ["shp", "gpkg"])
def test_vector_files_in_any_crs(tmp_path, suffix):
    places = gpd.GeoDataFrame({"swe_mm": [100.0, 300.0]}, geometry=[Point(600_010, 5_100_010)] * 2, crs=32632)
    places.to_file(tmp_path / f"a.{suffix}")
    points = read(tmp_path / f"a.{suffix}", "swe", date="2021-01-09").maps[DAY]()
    grid = Grid((2, 2), from_origin(600_000, 5_100_100, 100, 100), CRS.from_epsg(32632))
    np.testing.assert_allclose(points_to_grid(points, grid), [[0.2, np.nan], [np.nan, np.nan]], rtol=1e-6)


def test_what_cannot_be_used(tmp_path):
    text = "lon,lat,date,hs_cm,swe\n10,46,2021-01-09,50,3\n10,46,,50,3\n10,46,2021-01-09,9999,3\n10,46,2021-01-09,,3\n"
    path = table(tmp_path / "a.csv", text)
    assert read(path).left_out == [
        "a.csv: 1 of 4 rows: no date",
        "a.csv: 1 of 4 rows: no value of hs",
        "a.csv: 1 of 4 rows: not within 0 … 15 m",
    ]
    with pytest.raises(SnowmapError, match="column 'swe': the file states no unit; give the key unit"):
        read(path, "swe")
    with pytest.raises(SnowmapError, match="no column 'depth'; it has lon, lat, date, hs, swe"):
        read(path, variable="depth")
    with pytest.raises(SnowmapError, match="no column of dates; give the key date:"):
        read(table(tmp_path / "b.csv", "lon,lat,hs_cm\n10,46,50\n"))
    with pytest.raises(SnowmapError, match="several columns of hs: hs, depth; name one"):
        read(table(tmp_path / "c.csv", "lon,lat,date,hs_cm,depth_m\n10,46,2021-01-09,50,.5\n"))


def test_real_tables(shared_data):
    folder = shared_data / "grand_mesa"
    path = folder / "SnowEx2020_SnowDepths_COGM_alldepths_v01.csv"
    probes, real = read(path), pd.read_csv(path)
    first = real[real["Date (yyyymmdd)"] == 20200128]
    np.testing.assert_allclose(probes.maps[np.datetime64("2020-01-28")]()["value"], first["Depth (cm)"] / 100)
    assert len(probes.maps) == real["Date (yyyymmdd)"].nunique()

    path = folder / "SNEX20_TS_SP_Summary_SWE_v02.csv"
    before = [line.startswith("Location,Site,") for line in path.read_text().splitlines()].index(True)
    real = pd.read_csv(path, skiprows=before + 2, header=None)
    pits = read(path, "swe")
    real = real[pd.to_numeric(real[14], errors="coerce").ge(0) & real[3].astype(str).str.contains("T")]
    assert sum(len(points()) for points in pits.maps.values()) == len(real)
    one = pits.maps[np.datetime64("2019-12-20")]()
    there = real[real[3].str.startswith("2019-12-20")]
    np.testing.assert_allclose(one["value"], pd.to_numeric(there[14]) / 1e3)

    path = folder / "grand_mesa_snotel.csv"
    real = pd.read_csv(path)
    for target, column in (("swe", "SWE"), ("hs", "SNOWDEPTH")):
        day = read(path, target).maps[np.datetime64("2021-03-01")]()
        expected = real[real["datetime"].str.startswith("2021-03-01")][column] * 0.0254
        np.testing.assert_allclose(day["value"], expected)
