"""A score is one number: in metrics.json, metrics.csv, report.html, the printed table and from the maps themselves."""

import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rich.console import Console

from snowmap.baselines import label_of
from snowmap.distribution import distribution_of
from snowmap.evaluation import evaluate_maps, print_table
from snowmap.evaluation.map_scores import ScoredMaps, by_map
from snowmap.evaluation.metrics import SCORES
from tests.cubes import make_cube
from tests.tasks.test_uncertainty import scores_are_those_of_the_file

TARGETS = ("hs", "swe")
PROVENANCE = {"subset": "test", "scored_archive": {"origin": "synthetic: a test"}}


class Tables(HTMLParser):
    """The text of each cell of each table of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
        self.inside = self.inside or tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1][-1][-1] += data.strip()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> tuple[Path, dict]:
    """Maps with a skewed uncertainty, some of them bare, beside two other maps."""
    cube, out, windows = make_cube(shape=(16, 24)), tmp_path_factory.mktemp("evaluation") / "out", list(range(8))
    truth = cube[["start", "end", "mask"]].isel(window=windows).drop_vars("mask")
    for target in TARGETS:
        cube[target] = (cube[target] - 20).clip(min=0).assign_attrs(cube[target].attrs)
        truth[target] = cube[target].isel(window=windows).fillna(3)
    noise = np.random.default_rng(0).normal(0, 3, truth["swe"].shape).astype(np.float32)
    maps = (truth[list(TARGETS)] + noise).clip(min=0).assign_coords(truth.coords).where(cube["mask"])
    for target in TARGETS:
        maps[target].attrs = truth[target].attrs
        for name, reach in (("sigma", 1.0), ("q05", -5.0), ("q25", -2.0), ("q75", 3.0), ("q95", 8.0)):
            attributes = {"units": "cm", "long_name": name}
            attributes |= {"lower_bound": 0.0} if name == "sigma" else {"conformal_factor": 1.25}
            maps[f"{target}_{name}"] = (maps[target] + reach).assign_attrs(attributes)
        inside = np.isfinite(maps[target].values)
        maps[f"{target}_sigma"].values[inside] = distribution_of(maps, target, inside).std()
    snow = truth[list(TARGETS)]
    baselines = {"elevation": snow * 1.1, "climatology": snow * 0 + 5}
    return out, evaluate_maps(ScoredMaps(maps, baselines, cube, windows), TARGETS, out, PROVENANCE)


def two(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def test_the_tables_of_the_report_hold_the_numbers_of_metrics_json(evaluated):
    out, result = evaluated
    assert json.loads((out / "metrics.json").read_text()) == result
    tables = Tables((out / "report.html").read_text()).found
    assert len(tables) == 4 * len(TARGETS) + 1  # the last one is the provenance
    for number, target in enumerate(TARGETS):
        pixels, intervals, uses, uncertainty = tables[4 * number : 4 * number + 4]
        entry = result["target"][target]
        shown = {name: [label_of(name) if name != "model" else "model"] for name in by_map(entry)}
        keys = [key for key in SCORES if key not in ("nse",)]
        assert pixels[1:] == [
            [*shown[name], *(two(of_map[key]) for key in keys)] for name, of_map in by_map(entry).items()
        ]
        for row, (name, of_map) in zip(intervals[1:], by_map(entry["intervals"]).items(), strict=True):
            low, high = of_map["bias"]
            assert row[0] == label_of(name)
            assert row[2] == f"{two(low)} … {two(high)}"
            if name != "model":
                difference = entry["intervals"]["differences"][name]["mae"]
                assert (
                    row[4] == f"{two(difference['difference'])} ({two(difference['low'])} … {two(difference['high'])})"
                )
        for row, name in zip(uses[1:], by_map(entry), strict=True):
            of = {key: by_map(entry[key])[name] for key in ("presence", "snow_covered", "snow_free", "area_bias")}
            numbers = [*(of["presence"][key] for key in ("pod", "far", "f1")), of["snow_covered"]["rmse"]]
            numbers += [of["snow_covered"]["bias"], of["snow_free"]["rmse"]]
            share = [f"{by_map(entry['requirement'])[name]:.0%}"] if target == "swe" else []
            area = [two(of["area_bias"]["mean"]), f"{of['area_bias']['volume_m3'] / 1e6:+.1f}"]
            assert row == [label_of(name), *map(two, numbers), *share, *area]
        for row, scores in zip(uncertainty[1:], (entry["uncertainty"], entry["uncertainty"]["snow"]), strict=True):
            cells = [two(scores[key]) for key in ("pixels", "crps", "nll")]
            for level in (50, 90):
                cells += [f"{scores[f'coverage_{level}{kind}']:.0%}" for kind in ("", "_uncalibrated")]
                cells.append(two(scores[f"width_{level}"]))
            assert row[1:] == cells


def test_every_row_of_metrics_csv_is_an_entry_of_metrics_json(evaluated):
    out, result = evaluated
    frame = pd.read_csv(out / "metrics.csv", keep_default_na=False, na_values=[""])
    for row in frame.to_dict("records"):
        entry = result["target"][row["target"]]
        if row["window"] != "all":
            (entry,) = (w for w in result["windows"] if (w["window"], w["target"]) == (row["window"], row["target"]))
        elif row["grouping"] == "snow":
            entry = entry[row["class"].replace("-", "_")]
        elif row["grouping"] != "all":
            (entry,) = (own for own in entry["classes"][row["grouping"]] if own["class"] == row["class"])
        known = {key: np.nan if value is None else value for key, value in by_map(entry)[row["map"]].items()}
        assert {key: row[key] for key in SCORES} == pytest.approx(known, nan_ok=True)


def test_the_printed_table_holds_the_same(evaluated):
    _, result = evaluated
    console = Console(file=io.StringIO(), width=120)
    print_table(result, console)
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines() if "│" in line
    ]
    expected = []
    for target in TARGETS:
        entry = result["target"][target]
        for name, scores in by_map(entry).items():
            low, high = by_map(entry["intervals"])[name]["rmse"]
            others = [two(scores[key]) for key in ("mae", "bias", "r2", "pearson_r", "pixels")]
            expected.append([label_of(name), two(scores["rmse"]), f"{two(low)}–{two(high)}", *others])
    assert rows == expected


def test_the_numbers_of_metrics_json_follow_from_the_maps_that_are_written(evaluated):
    out, result = evaluated
    with xr.open_dataset(out / "predictions.nc") as file:
        for target, threshold in (("hs", 5.0), ("swe", 1.0)):
            entry = result["target"][target]
            p, o = (file[name].values.astype(np.float64) for name in (target, f"{target}_observed"))
            p, o = p[both := np.isfinite(p) & np.isfinite(o)], o[both]
            error, snow, mapped = p - o, o >= threshold, p >= threshold
            known = {"rmse": np.sqrt(np.mean(error**2)), "mae": np.abs(error).mean(), "bias": error.mean()}
            known |= {"r2": 1 - np.mean(error**2) / o.var(), "pearson_r": np.corrcoef(p, o)[0, 1], "pixels": len(o)}
            assert {key: entry["model"][key] for key in known} == pytest.approx(known, rel=1e-6)
            assert entry["snow_covered"]["model"]["rmse"] == pytest.approx(np.sqrt(np.mean(error[snow] ** 2)))
            assert entry["presence"]["model"]["pod"] == pytest.approx((snow & mapped).sum() / snow.sum())
            if target == "swe":
                either = snow | mapped
                allowed = np.where(o <= 30, 3, 0.1 * o)[either]
                assert entry["requirement"]["model"] == pytest.approx(np.mean(np.abs(error[either]) <= allowed))
    scores_are_those_of_the_file(out, result["target"]["swe"]["uncertainty"])
