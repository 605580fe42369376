import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin

from snowmap.cli import main
from snowmap.errors import SnowmapError
from snowmap.evaluation.charts import stations_figure
from snowmap.evaluation.metrics import scores
from snowmap.evaluation.station_table import read_stations
from snowmap.evaluation.stations import match_stations, score_matches
from snowmap.maps.netcdf import write_predictions
from snowmap.maps.read import read_maps
from tests.cubes import make_cube
from tests.map_files import NORTH, PIXEL, WEST, make_maps, write_maps

FILES = ["left_out.csv", "matches.csv", "scores.csv", "stations.png"]
VALUES = np.add.outer(np.arange(3.0) * 100, np.add.outer(np.arange(8.0) * 10, np.arange(9.0)))
"""Window · 100 + row · 10 + column; windows end on 2021-01-21, 2021-02-02 and 2021-02-14."""


def lonlat(row, column):
    """Degrees of a place inside that pixel of the default grid, away from its centre."""
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    return to_degrees.transform(WEST + (column + 0.9) * PIXEL, NORTH - (row + 0.1) * PIXEL)


def write_csv(path, head, *rows, separator=","):
    path.write_text("\n".join(separator.join(map(str, row)) for row in (head, *rows)) + "\n")
    return path


def station(name, row, column, date, *values):
    return (name, *(f"{value:.7f}" for value in lonlat(row, column)), date, *values)


def three(path, column="swe_cm"):
    return write_csv(
        path,
        ("name", "lon", "lat", "date", column),
        station("Alta", 2, 3, "2021-01-21", 20),
        station("Alta", 2, 3, "2021-02-04", 125),
        station("Bassa", 7, 8, "2021-02-02", 180.5),
    )


def test_matches_in_place_and_time(tmp_path):
    matches = match_stations(make_maps(VALUES), read_stations(three(tmp_path / "s.csv")))
    assert matches["station"].tolist() == ["Alta", "Alta", "Bassa"]
    assert matches["predicted"].tolist() == [23, 123, 178]
    assert matches["difference"].tolist() == [3, -2, -2.5]
    assert matches["window"].tolist() == ["2021-01-09_to_2021-01-21", *["2021-01-21_to_2021-02-02"] * 2]
    assert matches["days"].tolist() == [0, -2, 0]
    assert "sigma" not in matches


@pytest.mark.parametrize("upwards", [False, True])
def test_a_grid_in_degrees_either_way_up(tmp_path, upwards):
    transform = from_origin(10.0, 46.0, 0.01, -0.01) if upwards else from_origin(10.0, 46.08, 0.01, 0.01)
    values = VALUES[:, ::-1] if upwards else VALUES
    path = write_csv(
        tmp_path / "s.csv", ("name", "lon", "lat", "date", "swe"), ("a", 10.0301, 46.0501, "2021-01-21", 1)
    )
    matches = match_stations(make_maps(values, crs="EPSG:4326", transform=transform), read_stations(path, "cm"))
    assert matches["predicted"].tolist() == [23]


@pytest.mark.parametrize(
    ("column", "given", "quantity", "unit", "expected"),
    [
        ("swe_mm", 230, "swe", "cm", 23),
        ("SWE [m]", 0.23, "swe", "cm", 23),
        ("swe (kg m-2)", 230, "swe", "cm", 23),
        ("swe_kg_m-2", 230, "swe", "cm", 23),
        ("Hs", 23, "hs", "cm", 23),
        ("HS m", 0.23, "hs", "cm", 23),
        ("hs_cm", 23, "hs", "m", 0.23),
    ],
)
def test_units_in_the_head(tmp_path, column, given, quantity, unit, expected):
    path = write_csv(
        tmp_path / "s.csv", ("Name", "LON", "Lat", "DATE", column), station("a", 2, 3, "2021-01-21", given)
    )
    matches = match_stations(make_maps(VALUES, quantity, unit), read_stations(path))
    assert matches["observed"][0] == pytest.approx(expected)
    assert matches["unit"].tolist() == [unit]


def test_a_unit_that_nobody_told_is_said_aloud(tmp_path, caplog):
    path = three(tmp_path / "s.csv", "swe")
    with caplog.at_level(logging.WARNING):
        assert match_stations(make_maps(VALUES, unit="mm"), read_stations(path))["observed"][0] == 20
    assert "swe of the stations is taken to be in mm" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert match_stations(make_maps(VALUES, unit="mm"), read_stations(path, "cm"))["observed"][0] == 200
    assert not caplog.text


def test_semicolons_and_decimal_commas(tmp_path):
    row = [str(value).replace(".", ",") for value in station("Pian, alto", 2, 3, "2021-01-21", 20.5)]
    row[0] = "Pian, alto"
    path = write_csv(tmp_path / "s.csv", ("\ufeffname", "lon", "lat", "date", "swe_cm"), row, separator=";")
    matches = match_stations(make_maps(VALUES), read_stations(path))
    assert matches["station"].tolist() == ["Pian, alto"]
    assert matches["observed"].tolist() == [20.5]
    assert matches["predicted"].tolist() == [23]


def test_the_nearest_map_within_the_days(tmp_path, caplog):
    rows = [
        station(day, 2, 3, day, 1) for day in ("2021-01-14", "2021-01-15", "2021-01-28", "2021-02-20", "2021-02-21")
    ]
    path = write_csv(tmp_path / "s.csv", ("name", "lon", "lat", "date", "swe_cm"), *rows)
    with caplog.at_level(logging.WARNING):
        matches = match_stations(make_maps(VALUES), read_stations(path))
    assert matches["station"].tolist() == ["2021-01-15", "2021-01-28", "2021-02-20"]
    assert matches["predicted"].tolist() == [23, 123, 223]
    assert matches["days"].tolist() == [6, 5, -6]
    assert "no map within 6 days: line 2 (2021-01-14), line 6 (2021-02-21)" in caplog.text
    assert len(match_stations(make_maps(VALUES), read_stations(path), days=7)) == 5


def test_a_daily_station_counts_once_for_each_map(tmp_path, caplog):
    days = pd.date_range("2021-01-10", "2021-02-20")
    rows = [station("a", 2, 3, f"{day:%Y-%m-%d}", day.day) for day in days]
    path = write_csv(tmp_path / "s.csv", ("name", "lon", "lat", "date", "swe_cm"), *rows)
    with caplog.at_level(logging.WARNING):
        matches = match_stations(make_maps(VALUES), read_stations(path))
    assert matches["observed"].tolist() == [21, 2, 14]
    assert "another one of the same station is nearer" in caplog.text


def test_rows_that_cannot_be_used_are_named(tmp_path, caplog):
    path = write_csv(
        tmp_path / "s.csv",
        ("name", "lon", "lat", "date", "swe_cm"),
        station("a", 2, 3, "2021-01-21", 20),  # line 2
        station("a", 2, 3, "21/01/2021", 20),
        station("a", 2, 3, "2021-01-21", 21),
        station("b", 2, 3, "2021-01-21", ""),
        station("c", 2, 3, "2021-01-21", "broken"),
        ("d", 10.3, 146.4, "2021-01-21", 20),
        ("e", "east", 46.4, "2021-01-21", 20),
        station("f", 100, 100, "2021-01-21", 20),
        station("g", 0, 0, "2021-01-21", 20),
        station("h", 2, 3, "2021-01-21", -999),
        station("i", 2, 3, "2021-01-21", "1e300"),
        ("j", "1e300", 46.4, "2021-01-21", 20),
    )
    values = VALUES.copy()
    values[:, 0, 0] = np.nan
    with caplog.at_level(logging.WARNING):
        matches = match_stations(make_maps(values), read_stations(path))
    assert matches[["station", "observed"]].values.tolist() == [["a", 20]]
    for words in (
        "lon and lat in degrees: line 7 (d), line 8 (e), line 13 (j)",
        "an unreadable date, expected e.g. 2021-01-21: line 3 (a)",
        "no value of swe: line 5 (b), line 6 (c)",
        "a station and date that stood before: line 4 (a)",
        "left out 2 of 4 observations, no plausible value of swe (0 … 600 cm): line 11 (h), line 12 (i)",
        "outside the maps: line 9 (f)",
        "no value there: line 10 (g)",
    ):
        assert words in caplog.text


def test_named_missing_values_and_stations_at_another_height_are_left_out_and_counted(tmp_path, caplog):
    cube = make_cube(windows=3)
    maps = cube[["start", "end"]].assign(swe=cube["swe"].fillna(30).where(cube["mask"]))
    path = write_predictions(maps, cube, [0, 1, 2], tmp_path / "predictions.nc", {})
    row, column = 5, 6
    place = [float(cube["x"][column]), float(cube["y"][row])]
    height = float(cube["features"].sel(band="elevation")[0, row, column].fillna(1000))
    truth = maps["swe"].values[:, row, column]
    rows = [
        ("at", *place, "2021-01-21", truth[0], height + 199),
        ("at", *place, "2021-02-02", 99.9, height + 199),
        ("at", *place, "2021-02-14", -9999, height + 199),
        ("above", *place, "2021-01-21", 500, height + 201),
        ("unknown", *place, "2021-02-02", truth[1], ""),
    ]
    table = write_csv(tmp_path / "s.csv", ("name", "lon", "lat", "date", "swe_cm", "Elevation [m]"), *rows)
    arguments = ["compare", str(path), str(table), "--out", str(tmp_path / "out"), "--missing", "-9999", "99.9"]
    assert main(arguments) == 0
    said = caplog.text
    assert "left out 1 of 4 observations, 99.9 of swe: no value: line 3 (at)" in said
    assert "more than 200 m higher or lower than its pixel: line 5 (above)" in said
    scored = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("station")
    assert scored["matches"].to_dict() == {"all": 2, "at": 1, "unknown": 1}
    assert scored.loc["all", "rmse"] == pytest.approx(0, abs=1e-4)
    left = pd.read_csv(tmp_path / "out" / "left_out.csv")
    assert left[["line", "station"]].values.tolist() == [[4, "at"], [3, "at"], [5, "above"]]
    assert main([*arguments, "--height-difference", "300"]) == 0
    scored = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("station")
    assert scored.loc["all", "matches"] == 3


def test_both_quantities_and_one_that_the_maps_lack(tmp_path, caplog):
    path = write_csv(
        tmp_path / "s.csv",
        ("name", "lon", "lat", "date", "hs_cm", "swe_mm"),
        station("a", 2, 3, "2021-01-21", 70, 230),
        station("b", 3, 3, "2021-01-21", "", 330),
    )
    both = make_maps(VALUES).assign(hs=make_maps(3 * VALUES, "hs")["hs"])
    matches = match_stations(both, read_stations(path))
    assert matches[["quantity", "station", "difference"]].values.tolist() == [
        ["hs", "a", -1],
        ["swe", "a", 0],
        ["swe", "b", 0],
    ]
    with caplog.at_level(logging.WARNING):
        alone = match_stations(make_maps(VALUES), read_stations(path))
    assert alone["quantity"].tolist() == ["swe", "swe"]
    assert "the maps have no such quantity: line 2 (a)" in caplog.text


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (("name", "lon", "date", "swe"), "no line with the heads of columns for place .*name,lon,date,swe"),
        (("name", "lon", "lat", "date", "density"), "no column hs or swe"),
        (("name", "lon", "lat", "date", "hs [furlong]"), "'furlong' of hs is unknown"),
        (("name", "lon", "lat", "date", "hs_cm", "HS [m]"), "has the columns hs twice"),
    ],
)
def test_heads_that_cannot_be_used(tmp_path, head, says):
    path = write_csv(tmp_path / "s.csv", head, ["1"] * len(head))
    with pytest.raises(SnowmapError, match=says):
        read_stations(path)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(SnowmapError, match="does not exist"):
        read_stations(tmp_path / "nowhere.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(SnowmapError, match="no line with the heads of columns"):
        read_stations(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(SnowmapError, match="cannot be read as a table"):
        read_stations(tmp_path / "binary.csv")
    nothing = write_csv(tmp_path / "n.csv", ("name", "lon", "lat", "date", "swe"), ("a", 10, 46, "never", 1))
    with pytest.raises(SnowmapError, match="no usable row"):
        read_stations(nothing)


def test_nothing_that_matches(tmp_path):
    path = write_csv(tmp_path / "s.csv", ("name", "lon", "lat", "date", "swe"), ("a", 80.0, 10.0, "2021-01-21", 1))
    with pytest.raises(SnowmapError, match="no station matches the maps: they hold swe over"):
        match_stations(make_maps(VALUES), read_stations(path))
    late = write_csv(tmp_path / "l.csv", ("name", "lon", "lat", "date", "swe"), station("a", 2, 3, "2031-01-21", 1))
    with pytest.raises(SnowmapError, match="2021-01-21, 2021-02-02, 2021-02-14"):
        match_stations(make_maps(VALUES), read_stations(late))
    depth = write_csv(tmp_path / "d.csv", ("name", "lon", "lat", "date", "hs"), station("a", 2, 3, "2021-01-21", 1))
    with pytest.raises(SnowmapError, match="they hold swe"):
        match_stations(make_maps(VALUES), read_stations(depth))


def test_scores_pooled_and_by_station(tmp_path):
    matches = match_stations(make_maps(VALUES), read_stations(three(tmp_path / "s.csv")))
    table = score_matches(matches).set_index("station")
    assert table.index.tolist() == ["all", "Alta", "Bassa"]
    assert table["matches"].tolist() == [3, 2, 1]
    pooled = scores(np.array([23.0, 123, 178]), np.array([20.0, 125, 180.5]))
    for name in ("rmse", "mae", "bias", "r2", "pearson_r"):
        assert table.loc["all", name] == pytest.approx(pooled[name])
    assert table.loc["Alta", "bias"] == pytest.approx(0.5)
    assert np.isnan(table.loc["Bassa", "r2"])


def test_intervals_from_quantiles_and_from_sigma(tmp_path):
    observations = read_stations(three(tmp_path / "s.csv"))  # map − observed: 3, −2, −2.5
    given = match_stations(make_maps(VALUES, sigma=np.full_like(VALUES, 1.7)), observations)
    assert given["sigma"].tolist() == pytest.approx([1.7] * 3)
    assert given["inside_50"].tolist() == [False, False, False]  # ± 1.15
    assert given["inside_90"].tolist() == [False, True, True]  # ± 2.80
    layers = {"q05": VALUES - 1, "q25": VALUES - 0.5, "q75": VALUES + 2.2, "q95": VALUES + 2.4}
    given = match_stations(make_maps(VALUES, sigma=np.full_like(VALUES, 1.7), **layers), observations)
    assert given["inside_50"].tolist() == [False, True, False]
    assert given["inside_90"].tolist() == [False, True, False]
    assert score_matches(given)["inside_90"].tolist() == pytest.approx([1 / 3, 0.5, 0])


@pytest.mark.parametrize("stations", [1, 2, 3, 14])
def test_the_figure_has_a_series_for_each_station_up_to_a_dozen(tmp_path, stations):
    rows = [station(f"s{n}", n % 8, n % 9, day, n) for n in range(stations) for day in ("2021-01-21", "2021-02-02")]
    path = write_csv(
        tmp_path / "s.csv", ("name", "lon", "lat", "date", "hs_cm", "swe_cm"), *((*row, 1) for row in rows)
    )
    maps = make_maps(VALUES, sigma=np.ones_like(VALUES)).assign(hs=make_maps(VALUES, "hs")["hs"])
    figure = stations_figure(maps, match_stations(maps, read_stations(path)))
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert sorted(titles) == sorted(2 * [f"s{n}" for n in range(min(stations, 12))])
    assert "SYNTHETIC" in figure.get_suptitle()


def test_the_command_on_a_written_file(tmp_path, capsys):
    maps = make_maps(VALUES, sigma=np.full_like(VALUES, 1.7))
    path, out = write_maps(maps, tmp_path / "predictions.nc"), tmp_path / "out"
    assert main(["compare", str(path), str(three(tmp_path / "s.csv", "swe")), "--out", str(out), "--unit", "cm"]) == 0
    said = capsys.readouterr().out
    assert "SYNTHETIC" in said
    assert "Bassa" in said
    written = pd.read_csv(out / "matches.csv", parse_dates=["date"])
    expected = match_stations(read_maps(path), read_stations(tmp_path / "s.csv", "cm")).drop(columns=["row", "column"])
    pd.testing.assert_frame_equal(written, expected, check_dtype=False)
    assert pd.read_csv(out / "scores.csv")["station"].tolist() == ["all", "Alta", "Bassa"]
    with Image.open(out / "stations.png") as picture:
        assert min(picture.size) > 300
    assert sorted(file.name for file in out.iterdir()) == FILES


def test_names_with_markup_formulas_or_control_characters(tmp_path, capsys):
    path, names = write_maps(make_maps(VALUES), tmp_path / "p.nc"), ("[red]x[/bold]", "@SUM(A1)", "a\0b", "$^{$ [/x]")
    rows = [station(name, 2, 3, "2021-01-21", 20) for name in names]
    table = write_csv(tmp_path / "s.csv", ("name", "lon", "lat", "date", "swe_cm"), *rows)
    assert main(["compare", str(path), str(table), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("[red]x[/bold]", "@SUM(A1)", "a b", "$^{$ [/x]"))
    written = pd.read_csv(tmp_path / "out" / "scores.csv")["station"].tolist()
    assert written == ["all", "[red]x[/bold]", "'@SUM(A1)", "a b", "$^{$ [/x]"]


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    path = write_maps(make_maps(VALUES), tmp_path / "predictions.nc")
    assert main(["compare", str(path), str(three(tmp_path / "s.csv")), "--out", str(path / "out")]) == 1
    assert "cannot be written: Not a directory; name another place" in capsys.readouterr().err
