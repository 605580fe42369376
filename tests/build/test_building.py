"""`snowmap build` over products whose truth is known: values, dates, signs, units and grid of the archive."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import snowmap
from snowmap.build import building
from snowmap.build.building import build
from snowmap.build.preparing import prepare
from snowmap.cli import main
from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR
from snowmap.sources.zarr import open_zarr
from tests.build.region import CORNER, Region, write_region
from tests.products.writers import Scene, write_hyp3


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return write_region(tmp_path_factory.mktemp("region"))


@pytest.fixture(scope="module")
def archive(region: Region, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "archive"
    build(region.recipe, out)
    return out


def test_the_archive_holds_the_truth(region: Region, archive: Path) -> None:
    cube = snowmap.open_archive(archive, targets=["swe"])
    assert [str(day)[:10] for day in cube["start"].values] == [start for start, _ in region.pairs]
    assert [str(day)[:10] for day in cube["end"].values] == [end for _, end in region.pairs]
    assert cube.rio.crs == "EPSG:32632"
    assert tuple(cube.rio.transform())[:6] == (400, 0, 600_000, 0, -400, 5_200_000)
    assert cube.attrs["phase_sign"] == 1
    assert cube.attrs["origin"] == "synthetic region"
    for number, truth in enumerate(region.fine):
        bands = {name: cube["features"].values[number, i] for i, name in enumerate(cube["band"].values)}
        phase = region.mean(truth["unwrapped_phase"])
        np.testing.assert_allclose(bands["coherence"], region.mean(truth["coherence"]), atol=1e-5)
        np.testing.assert_allclose(bands["elevation"], region.mean(truth["elevation"]), atol=1e-2)
        np.testing.assert_allclose(bands["unwrapped_phase"], phase, atol=1e-4)
        np.testing.assert_allclose(bands["displacement"], -0.05547 / (4 * np.pi) * phase, atol=1e-5)
        np.testing.assert_allclose(bands["incidence"], region.mean(truth["incidence"]), atol=0.02)
        np.testing.assert_allclose(bands["intensity"], 10 * np.log10(region.mean(truth["intensity"])), atol=1e-4)
        weighted = region.mean(truth["coherence"] * np.exp(1j * truth["wrapped_phase"]))
        assert np.abs(np.angle(np.exp(1j * bands["phase"]) / weighted)).max() < 1e-4
        temperature, degree_days = region.weather(number, bands["elevation"])
        np.testing.assert_allclose(bands["mean_temperature"], temperature, atol=1e-2)
        np.testing.assert_allclose(bands["pdd"], degree_days, atol=0.05)
        np.testing.assert_allclose(bands["precipitation"], 12 * 2.4, rtol=1e-3)
        np.testing.assert_allclose(cube["swe"].values[number], region.mean(region.swe[number]) / 10, rtol=1e-5)
    assert not cube["mask"].values[0, 0]  # water
    assert cube["mask"].values.sum() == cube["mask"].size - 1


def test_snowmap_check_passes_and_says_what_was_built(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(archive)]) == 1  # four windows are too few to train on
    lines = [line for line in capsys.readouterr().out.splitlines() if "FAULT" in line]
    assert [line for line in lines if "split=rolling needs" not in line] == []


def test_a_finished_build_does_nothing_and_an_interrupted_one_goes_on(
    region: Region, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    build(region.recipe, archive)
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before
    built, whole = [], building._window

    def window(common: tuple[Path, Path, str], name: str) -> tuple:
        if len(built) == 2:
            raise KeyboardInterrupt
        built.append(name)
        return whole(common, name)

    monkeypatch.setattr(building, "_window", window)
    with pytest.raises(KeyboardInterrupt):
        build(region.recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "master_mask.tif").exists()
    (left := tmp_path / "out" / "INSAR" / ".x.0123456789ab.snowmap-part").touch()  # of a process that was killed
    monkeypatch.setattr(building, "_window", lambda common, name: built.append(name) or whole(common, name))
    build(region.recipe, tmp_path / "out")
    assert built == [f"{start}_to_{end}" for start, end in region.pairs]
    assert not left.exists()
    assert snowmap.open_archive(tmp_path / "out", targets=["swe"]).identical(
        snowmap.open_archive(archive, targets=["swe"]).assign_attrs(archive=str(tmp_path / "out"))
    )


@pytest.mark.slow
def test_processes_and_zarr_give_the_same_to_the_bit(region: Region, archive: Path, tmp_path: Path) -> None:
    build(region.recipe, tmp_path / "out", workers=2)
    for path in archive.rglob("*.tif"):
        assert (tmp_path / "out" / path.relative_to(archive)).read_bytes() == path.read_bytes()
    build(region.recipe, tmp_path / "out.zarr")
    expected, cube = snowmap.open_archive(archive, targets=["swe"]), open_zarr(tmp_path / "out.zarr")
    known = [list(cube["band"].values).index(name) for name in expected["band"].values]
    np.testing.assert_array_equal(cube["features"].values[:, known], expected["features"].values)
    for name in ("swe", "mask", "start", "end"):
        np.testing.assert_array_equal(cube[name].values, expected[name].values)
    assert cube.attrs["phase_sign"] == 1
    assert main(["view", str(tmp_path / "out.zarr"), "--out", str(tmp_path / "view.html")]) == 0


def test_new_pairs_are_added(tmp_path: Path) -> None:
    region = write_region(tmp_path, pairs=3, last="2022-11-25")
    build(region.recipe, tmp_path / "out")
    keys = yaml.safe_load(region.recipe.read_text())
    region.recipe.write_text(yaml.safe_dump({key: value for key, value in keys.items() if key != "last"}))
    record = build(region.recipe, tmp_path / "out")
    assert len(record["windows"]) == 3
    assert snowmap.open_archive(tmp_path / "out", targets=["swe"]).sizes["window"] == 3


def change(region: Region, tmp_path: Path, **keys: object) -> Path:
    """The recipe with other keys, beside the same products."""
    recipe = region.recipe.with_name(f"{tmp_path.name}.yaml")
    recipe.write_text(yaml.safe_dump(yaml.safe_load(region.recipe.read_text()) | keys))
    return recipe


GRID = {"bounds": [600_000, 5_196_000, 605_600, 5_200_000], "crs": "EPSG:32632", "resolution": 400}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"insar": {"source": "hyp4", "path": "downloads/*.zip"}}, ["insar.source=hyp4", "did you mean 'hyp3'"]),
        ({"insar": {"source": "hyp3", "path": "nowhere/*.zip"}}, ["insar.path=nowhere/*.zip", "no such file"]),
        ({"insar": {"source": "hyp3", "pth": "x"}}, ["'insar.pth'", "did you mean 'insar.path'"]),
        ({"insar": {"source": "hyp3", "path": "downloads/*.zip", "track": "117"}}, ["insar.track=117", "4 pairs"]),
        ({"grid": GRID | {"template": "some.tif"}}, ["grid: found bounds, crs, resolution, template"]),
        ({"grid": GRID | {"bounds": [605_600, 5_196_000, 600_000, 5_200_000]}}, ["west < east"]),
        ({"grid": GRID | {"crs": "EPSG:0"}}, ["grid.crs=EPSG:0"]),
        ({"grid": GRID | {"resolution": 1e5}}, ["wider than grid.bounds"]),
        ({"tragets": {}}, ["'tragets'", "did you mean 'targets'"]),
        ({"targets": {"snow": {"source": "cf"}}}, ["expected swe or hs"]),
        ({"first": "2024-01-01"}, ["first=2024-01-01", "none of the 4 pairs"]),
        ({"first": "soon"}, ["first=soon", "expected a day"]),
        ({"grid": GRID | {"bounds": [800_000, 5_196_000, 805_600, 5_200_000]}}, ["targets.swe", "do not meet"]),
        ({"insar": None}, ["insar", "expected insar.source=hyp3"]),
    ],
)
def test_a_recipe_that_is_wrong_gets_one_clear_line(
    region: Region, tmp_path: Path, keys: dict, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(change(region, tmp_path, **keys)), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(region: Region, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(SnowmapError, match=r"was not built by `snowmap build`"):
        build(region.recipe, tmp_path / "out")
    with pytest.raises(SnowmapError, match="was built from other coverage"):
        build(change(region, tmp_path, coverage=0.9), archive)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_pair_twice_and_two_tracks_are_refused_by_name(tmp_path: Path) -> None:
    region = write_region(tmp_path, pairs=2)
    start, end = region.pairs[0]
    scene = Scene(start, end, region.fine[0], CORNER, "EPSG:32632")
    write_hyp3(tmp_path / "downloads", scene, identifier="BEEF")
    with pytest.raises(SnowmapError, match=f"pair {start} to {end} is there 2 times: .*0000.*BEEF"):
        prepare(region.recipe)
    next((tmp_path / "downloads").glob("*BEEF.zip")).unlink()
    write_hyp3(tmp_path / "downloads", scene, orbit=47_050, identifier="CAFE")
    with pytest.raises(SnowmapError, match=r"several tracks of '.*' \(2 pairs\), '.*' \(1 pairs\)"):
        prepare(region.recipe)


def test_missing_days_of_the_weather_are_named(tmp_path: Path) -> None:
    region = write_region(tmp_path, pairs=2)
    late = Scene("2022-12-01", "2022-12-13", region.fine[0], CORNER, "EPSG:32632")
    write_hyp3(tmp_path / "downloads", late, orbit=47_000 + 350, identifier="0009")
    with pytest.raises(SnowmapError, match=r"lacks 12 days of the windows: 2022-12-02, "):
        prepare(region.recipe)


def test_the_grid_may_be_that_of_a_raster(region: Region, archive: Path, tmp_path: Path) -> None:
    recipe = change(region, tmp_path, grid={"template": str(archive / "master_mask.tif")})
    assert prepare(recipe).plan.grid.same(prepare(region.recipe).plan.grid)


def test_the_record_says_what_became_of_each_window(archive: Path) -> None:
    record = json.loads((archive / "build.json").read_text())
    assert record["finished"]
    window = record["windows"]["2022-11-01_to_2022-11-13"]
    assert window["covered"] == 1
    assert window["targets"] == {"swe": ["2022-11-13"]}
    assert window["product"].startswith("S1AA_20221101T")


@pytest.mark.parametrize("source", [*INSAR])
def test_an_example_is_a_recipe_with_comments(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--example", source]) == 0
    given = yaml.safe_load(capsys.readouterr().out)
    assert given["insar"]["source"] == source
    assert given["insar"]["path"]
    assert given["grid"]["crs"] == "EPSG:4326"
