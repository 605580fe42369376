"""report.html: what it says, and that it needs nothing else; tests/maps/test_explorer.py opens it in a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, PackageLoader

from snowmap.baselines import baseline_maps
from snowmap.evaluation import evaluate_maps
from snowmap.evaluation.map_scores import ScoredMaps
from tests.cubes import make_cube


def scene_of(*targets: str, sigma: bool = True, windows: int = 7, **attributes) -> ScoredMaps:
    cube = make_cube(windows=30, shape=(20, 30)).assign_attrs(attributes)
    windows, train = list(range(23, 23 + windows)), list(range(23))
    maps = cube[["start", "end"]].isel(window=windows)
    for target in targets:
        own = cube[target].isel(window=windows).where(cube["mask"]) + 2
        maps[target] = own.assign_attrs(units="cm", long_name=target)
        if sigma:
            words = {"units": "cm", "lower_bound": 0.0, "long_name": "σ"}
            maps[f"{target}_sigma"] = (own * 0 + 3).assign_attrs(words)
            for name, z in (("q05", -1.645), ("q25", -0.674), ("q75", 0.674), ("q95", 1.645)):
                quantile = {"units": "cm", "long_name": name, "conformal_factor": 1.0}
                maps[f"{target}_{name}"] = (own + 3 * z).assign_attrs(quantile)
    baselines = baseline_maps(cube, train, windows, targets) if len(windows) > 1 else {}
    return ScoredMaps(maps, baselines, cube, windows)


def report(folder: Path, *targets: str, subset: str = "test", **options) -> tuple[str, dict]:
    """The page and metrics.json; of one window without baselines."""
    scene = scene_of(*targets, **options)
    cube = scene.cube
    scored = {key: str(cube.attrs[key]) for key in ("archive", "origin", "fingerprint")}
    provenance = {
        "checkpoint": "<run>/best.ckpt",
        "subset": subset,
        "archive": scored,
        "scored_archive": scored,
        "split": {"train": ["a"] * 23, "validation": [], "test": ["b"] * 7},
        "versions": {"snowmap": "1"},
        "git_revision": "abc",
        "command": "evaluate.py ckpt=a&b",
        "config": {"model": {"name": "unet"}, "split": {"name": "rolling", "test": 7}, "seed": 4},
    }
    result = evaluate_maps(scene, targets, folder, provenance)
    return (folder / "report.html").read_text(), result


class Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in ("src", "href", "xlink:href", "action") and value]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[str, dict, Path]:
    folder = tmp_path_factory.mktemp("report")
    return *report(folder, "hs", "swe"), folder


def test_the_page_holds_the_numbers_of_metrics_json(written):
    page, result, _ = written
    text = re.sub(r"<[^>]+>", " ", page)
    for entry in result["target"].values():
        for found in (entry["model"], *entry["baselines"].values()):
            assert f"{found['rmse']:.2f}" in text
        low, high = entry["intervals"]["model"]["rmse"]
        assert f"{low:.2f} … {high:.2f}" in text
    assert "bias 2.00 cm" in " ".join(text.split())
    assert "seed" in text
    assert "fingerprint" in text
    assert "needs a known past" in text.lower()


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-2.0, -0.5, "the model is better."),
        (0.5, 2.0, "<b>the baseline is better.</b>"),
        (-2.0, 0.1, "<b>the interval holds 0, so neither is shown to be better.</b>"),
        (None, None, "so few windows give no interval."),
    ],
)
def test_the_headline_says_better_only_where_the_interval_does(low, high, says):
    environment = Environment(loader=PackageLoader("snowmap.evaluation", "."), autoescape=True)
    environment.filters |= dict.fromkeys(("number", "share", "volume", "label"), str)
    template = environment.get_template("report.html.jinja")
    differences = {"elevation": {"rmse": {"difference": -0.7, "low": low, "high": high}}}
    entry = {
        "model": {"rmse": 4.0, "bias": 0.1, "pixels": 9},
        "baselines": {"elevation": {"rmse": 4.7}},
        "intervals": {"level": 0.9, "model": {"rmse": None}, "differences": differences},
    }
    target = {"words": "SWE", "unit": "cm", "best": "elevation", "entry": entry}
    headline = "".join(template.blocks["headline"](template.new_context({"targets": [target]})))
    assert says in headline
    assert headline.count("better") == (1 if low is not None else 0)


def test_it_needs_no_network_and_escapes_what_it_is_told(written):
    page, _, _ = written
    inside = [link for link in Links(page).found if not link.startswith(("#", "data:image/png;base64,"))]
    assert inside == []
    assert "@import" not in page
    assert "&lt;run&gt;/best.ckpt" in page
    assert "ckpt=a&amp;b" in page


def test_synthetic_data_is_named_at_the_top_and_real_data_is_not(written, tmp_path):
    page, _, _ = written
    assert page.index('class="synthetic"') < page.index("RMSE")
    assert "background: #b00020" in page
    real, _ = report(tmp_path, "swe", sigma=False, windows=1, origin="Dataset_icip2026")
    assert "ynthetic" not in re.sub(r"<(style|script).*?</\1>", "", real, flags=re.DOTALL)
    assert "Dataset_icip2026" in real
    assert "Uncertainty of the map" not in real
    assert "Uncertainty of the map" in page


def test_uncertainty_stands_there_as_in_metrics_json_and_where_it_was_calibrated(written, tmp_path):
    page, result, _ = written
    for entry in result["target"].values():
        for scores in (entry["uncertainty"], entry["uncertainty"]["snow"]):
            row = [scores["crps"], scores["nll"], scores["coverage_50"], scores["width_90"]]
            shown = [f"<td>{f'{value:.0%}' if value == row[2] else f'{value:.2f}'}</td>" for value in row]
            assert [cell for cell in shown if cell not in page] == []
    assert "none of which is scored here. An" in page
    of_validation, _ = report(tmp_path, "swe", windows=1, subset="validation")
    assert "the very windows that are scored here" in of_validation
