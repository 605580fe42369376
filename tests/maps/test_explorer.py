"""Pages to explore: what `snowmap view` writes, what it refuses, and what a user does to a page in a real browser."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import from_origin

from snowmap.baselines import label_of
from snowmap.cli import main
from snowmap.evaluation import evaluate_maps
from snowmap.maps import explorer, pixels
from snowmap.maps.view import cube_explorer
from snowmap.sources.trentino import open_archive
from tests.cubes import make_cube
from tests.evaluation.test_report import scene_of
from tests.map_files import make_maps, write_maps

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WIDTHS = [400, 1400]


class Page:
    """A page in headless Chromium, which a test handles as a user does: by mouse and keys."""

    def __init__(self) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(BROWSER)
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))

    def run(self, script: str, *arguments: Any) -> Any:
        """JavaScript that knows `named(name)`, a model of Bokeh."""
        named = "const named = name => Bokeh.documents.map(d => d.get_model_by_name(name)).find(m => m != null);"
        return self.driver.execute_script(named + script, *arguments)

    def open(self, path: Path, width: int) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(path.as_uri())
        done = "return Bokeh.documents.length > 0 && Bokeh.documents.every(d => d.is_idle)"
        WebDriverWait(self.driver, 30).until(lambda _: self.run(done))

    def image(self, name: str) -> np.ndarray:
        """What a map shows, the first row in the north."""
        script = (
            "const a = named(arguments[0]).renderers[0].data_source.data[arguments[0]][0]; return [a.shape, [...a]]"
        )
        shape, values = self.run(script, name)
        return np.array(values, float).reshape(shape)[::-1]  # NaN comes as None

    def series(self, chart: str, name: str) -> np.ndarray:
        script = "return [...named(arguments[0]).renderers[0].data_source.data[arguments[1]]]"
        return np.array(self.run(script, chart, name), float)

    def at(self, name: str, x: float, y: float) -> Any:
        """The mouse moved to a place of a map."""
        from selenium.webdriver import ActionChains

        script = """
            const [name, x, y] = arguments, view = Bokeh.index.find_one(named(name))
            view.el.scrollIntoView({block: 'center'})
            const {left, top} = view.canvas_view.el.getBoundingClientRect()
            return [left + view.frame.x_scale.compute(x), top + view.frame.y_scale.compute(y)]
        """
        left, top = self.run(script, name, x, y)
        mouse = ActionChains(self.driver, duration=20)
        mouse.w3c_actions.pointer_action.move_to_location(round(left), round(top))
        return mouse

    def find(self, selector: str) -> Any:
        """The first element, in whatever shadow."""
        script = """
            const inside = root => root.querySelector(arguments[0]) ??
                [...root.querySelectorAll('*')].filter(e => e.shadowRoot).map(e => inside(e.shadowRoot)).find(e => e)
            return inside(document)
        """
        return self.run(script.replace("arguments[0]", json.dumps(selector)))

    def press(self, key: str) -> None:
        """A key on the slider."""
        self.find(".noUi-handle").send_keys(key)

    def text(self) -> str:
        """All that is written on it, in tooltips too."""
        script = """
            const words = root => [...root.childNodes].map(n => n.nodeType === 3 ? n.textContent :
                ['SCRIPT', 'STYLE'].includes(n.nodeName) ? '' : words(n.shadowRoot ?? n)).join(' ')
            return words(document.body)
        """
        return " ".join(self.run(script).split())


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if not (BROWSER and DRIVER):
        pytest.skip("no chromium or no chromedriver on this machine's PATH")
    opened = Page()
    yield opened
    opened.driver.quit()


@pytest.fixture
def quiet(page: Page) -> Iterator[Page]:
    """The browser, for a test during which it must neither complain nor ask a network for anything."""
    yield page
    assert [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def assert_fits(page: Page) -> None:
    """No scrolling sideways; the maps wrap."""
    assert page.run("return document.documentElement.scrollWidth - innerWidth") <= 0
    script = (
        "return [...document.querySelectorAll('.explorer-panels:not(.explorer-charts) > div')].map(e => e.offsetTop)"
    )
    beside = page.run(script)
    row = beside.count(beside[0])
    assert row == 1 if page.run("return innerWidth") < 500 else row >= 3


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A report with fluxes, and what was scored."""
    scene = scene_of("swe")
    for name, factor in (("accumulation", 3), ("melt", 2)):
        flux = (scene.maps["swe"] * factor).assign_attrs(units="mm", long_name=name, cell_methods="time: sum")
        scene.maps[name] = flux
    folder = tmp_path_factory.mktemp("evaluated")
    scored = {key: str(scene.cube.attrs[key]) for key in ("archive", "origin", "fingerprint")}
    evaluate_maps(scene, ["swe"], folder, {"subset": "test", "scored_archive": scored})
    return scene, folder


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_is_explored(evaluated, quiet, width):
    scene, folder = evaluated
    observed = scene.cube["swe"].where(scene.cube["mask"]).values[scene.windows]
    predicted = scene.maps["swe"].values
    quiet.open(folder / "report.html", width)
    assert_fits(quiet)
    for window in (0, 1, 2):
        if window:
            quiet.press("\ue014")  # arrow to the right
        assert f"(window {window + 1} of 7)" in quiet.text()
        np.testing.assert_allclose(quiet.image("observed"), observed[window], atol=2e-3)
        np.testing.assert_allclose(quiet.image("predicted"), predicted[window], atol=2e-3)
        difference = quiet.image("predicted − observed")
        np.testing.assert_allclose(difference[np.isfinite(difference)], 2, atol=1e-4)
        assert np.nanmax(abs(quiet.image("melt") - 2 * predicted[window])) < 5e-3
    row, column = 7, 11
    place = float(scene.cube["x"][column]), float(scene.cube["y"][row])
    quiet.at("predicted", *place).click().perform()
    assert f"{place[0]:.4f}, {place[1]:.4f} · SYNTHETIC" in quiet.text()
    chart = "SWE, cm (50 and 90 % intervals)"
    known = {"observed": observed, "predicted": predicted}
    known |= {f"{level} %": scene.maps[f"swe_q{level:02}"].values.clip(0) for level in (5, 25, 75, 95)}
    known |= {label_of(name): maps["swe"].values for name, maps in scene.baselines.items()}
    assert len(known) == 2 + 4 + 7
    for name, maps in known.items():
        np.testing.assert_allclose(quiet.series(chart, name), maps[:, row, column], atol=5e-3, err_msg=name)
    np.testing.assert_allclose(quiet.series("accumulation, melt, mm", "melt"), 2 * predicted[:, row, column], atol=5e-3)
    quiet.at("observed", *place).perform()
    assert f"predicted: {float(f'{predicted[2, row, column]:.4g}'):g} cm" in quiet.text()
    quiet.at("observed", float(scene.cube["x"][0]), place[1]).click().perform()  # outside the study area
    np.testing.assert_allclose(quiet.series(chart, "observed"), observed[:, row, column], atol=5e-3)
    before = [quiet.run("return named(arguments[0]).x_range.start", name) for name in ("observed", "σ")]
    quiet.find(".bk-OnOffButton").click()  # the first tool, which moves the maps
    quiet.at("observed", *place).click_and_hold().move_by_offset(40, 0).release().perform()
    after = [quiet.run("return named(arguments[0]).x_range.start", name) for name in ("observed", "σ")]
    assert after[0] == after[1] < before[0] == before[1]


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_an_archive_is_explored(foreign_archive, tmp_path, quiet, width):
    root, out = foreign_archive(13, (24, 32)), tmp_path / "page.html"
    layers = ["coherence", "unwrapped_phase", "hs", "swe"]
    words = ["--layers", ",".join(layers), "--windows", "2021-01-09..2021-03-22"]
    assert main(["view", str(root), "--out", str(out), *words]) == 0
    cube = open_archive(root).isel(window=slice(0, 5))
    inside = cube["mask"].values
    quiet.open(out, width)
    assert_fits(quiet)
    quiet.press("\ue010")  # the end of the slider
    assert "2021-03-10 to 2021-03-22 (window 5 of 5)" in quiet.text()
    for name in layers:
        stack = (cube[name] if name in cube else cube["features"].sel(band=name)).values
        least = np.ptp(stack[np.isfinite(stack)]) / 65_000
        known = np.where(inside, stack[4], np.nan)
        np.testing.assert_allclose(quiet.image(name.replace("_", " ")), known, atol=least, err_msg=name)
    row, column = (int(each[len(each) // 3]) for each in np.nonzero(inside))
    quiet.at("coherence", float(cube["x"][column]), float(cube["y"][row])).click().perform()
    known = cube["hs"].values[:, row, column]
    np.testing.assert_allclose(quiet.series("hs, cm", "hs"), known, atol=0.01)


def test_of_large_scenes_blocks_become_pixels(monkeypatch, caplog):
    cube = make_cube(windows=2, shape=(5, 7), bands=["coherence", "phase"])
    inside = cube.where(cube["mask"])
    monkeypatch.setattr(pixels, "MOST_VALUES", 2 * 5 * 7 * 3 / 4)
    made = cube_explorer(cube, ["coherence", "phase", "swe"])
    assert made.block == 2
    assert "2 × 2 pixels" in caplog.text
    _, bodies = explorer.embedded({"archive": made})
    assert "made of 2 × 2 pixels" in bodies["archive"]
    drawn = made.maps[0].renderers[0].data_source.data
    of_block = inside["swe"].values[0, 2:4, 4:6]
    assert drawn["swe"][0].shape == (3, 4)
    assert drawn["swe"][0][1, 2] == pytest.approx(np.nanmean(of_block), rel=1e-6)  # rows from the south
    angles = inside["features"].values[0, 1, 2:4, 4:6]
    mean = np.nanmean(np.exp(1j * angles.astype(complex)))
    assert drawn["phase"][0][1, 2] == pytest.approx(np.angle(mean), rel=1e-5)
    image = made.maps[0].renderers[0].glyph
    assert {id(each.x_range) for each in made.maps} == {id(made.maps[0].x_range)}
    assert image.y == pytest.approx(46.4 - 6 * 0.005)  # the southern blocks reach beyond the grid
    assert (image.dw, image.dh) == (pytest.approx(8 * 0.005), pytest.approx(6 * 0.005))


def test_a_grid_that_begins_in_the_south_is_drawn_upright(tmp_path):
    values = np.arange(12.0).reshape(1, 3, 4)
    turned = make_maps(values, transform=from_origin(0, 0, 500, -500))
    made = explorer.explorer(
        {"swe": pixels.Layer(turned["swe"], "cm")}, {"swe": explorer.Colours("viridis")}, [], False
    )
    image = made.maps[0].renderers[0]
    np.testing.assert_array_equal(image.data_source.data["swe"][0], values[0])
    assert (image.glyph.y, image.glyph.dh) == (0, 1500)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_maps(make_maps(np.full((1, 4, 5), 3.0)), tmp_path / "maps" / "2021-01-09_to_2021-01-21.nc")
    return tmp_path


def test_view_names_the_page_and_replaces_only_its_own(here, capsys):
    for _ in range(2):
        assert main(["view", "maps"]) == 0
        assert "view-maps.html" in capsys.readouterr().out
    page = (here / "view-maps.html").read_text()
    assert "SYNTHETIC data: nothing on this page was measured" in page
    (here / "thesis.html").write_text("years of work")
    assert main(["view", "maps", "--out", "thesis.html"]) == 1
    assert "thesis.html exists and was not written by this command" in capsys.readouterr().err
    assert (here / "thesis.html").read_text() == "years of work"
    assert sorted(path.name for path in here.iterdir()) == ["maps", "thesis.html", "view-maps.html"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["empty"], "empty holds neither maps"),
        (["nowhere"], "nowhere: no such folder"),
        (["maps", "--layers", "sew"], "--layers sew: maps has no such layer; expected some of swe"),
        (["maps", "--windows", "2020-01-01"], "--windows 2020-01-01: no such window"),
        (["notes.txt"], "notes.txt cannot be read as NetCDF"),
    ],
)
def test_what_cannot_be_viewed_is_one_line(here, capsys, words, error):
    (here / "empty").mkdir()
    (here / "notes.txt").write_text("nothing")
    assert main(["view", *words]) == 1
    said = capsys.readouterr().err
    assert error in said
    assert said.count("\n") == 1
    assert not list(here.glob("*.html"))
