"""report.html of quantities; see `snowmap.evaluation.page`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup

from snowmap.baselines import label_of
from snowmap.evaluation.charts import (
    class_chart,
    colour_of,
    density_chart,
    difference_chart,
    reliability_chart,
    series_chart,
)
from snowmap.evaluation.figures import spaced
from snowmap.evaluation.map_scores import ScoredMaps, by_map
from snowmap.evaluation.metrics import REQUIREMENT_BORDER_MM
from snowmap.evaluation.page import png, svg, write_page
from snowmap.units import METRES, unit_factor

GROUPINGS = {
    "elevation": ("rmse", "bias"),
    "month": ("rmse", "bias"),
    "depth": ("rmse", "bias"),
    "winter": ("rmse", "bias"),
    "slope": ("rmse",),
    "aspect": ("rmse",),
    "coherence": ("rmse",),
    "wetness": ("rmse",),
}
"""The scores that are drawn by each grouping: by the first four a map may also be biased to one side."""

SCORE_LABELS = {"rmse": "RMSE", "bias": "Bias"}


def write_report(
    result: Mapping[str, Any], scene: ScoredMaps, pictures: Mapping[str, Sequence[bytes]], path: Path
) -> Path:
    """Write the report.

    Args:
        result: What ``metrics.json`` holds, with its provenance.
        scene: The maps, those of the baselines, and the Cube that was mapped.
        pictures: Of each target, the PNG files of its maps.
        path: The file; replaced whole or not at all.

    Returns:
        `path`.
    """
    maps, _, cube, windows = scene
    head, explorers = _explorers(scene, [*result["target"]])
    sections = [
        {
            **_section(name, entry, maps, cube, windows),
            "explorer": explorers[name],
            "maps": [png(picture) for picture in pictures[name]],
        }
        for name, entry in result["target"].items()
    ]
    return write_page("report.html.jinja", result, scene, path, explorer_head=head, targets=sections)


def _explorers(scene: ScoredMaps, targets: Sequence[str]) -> tuple[Markup, dict[str, Markup]]:
    """What the page needs in its head, and the explorer of each target."""
    from snowmap.maps.explorer import embedded  # with Bokeh, which what imports this module seldom needs
    from snowmap.maps.view import target_explorer

    part = scene.cube.isel(window=list(scene.windows))
    observed = {f"{name}_observed": part[name].where(part["mask"]) for name in targets}
    maps = scene.maps.assign(observed).assign_attrs(origin=part.attrs.get("origin", ""))
    baselines = {label_of(name): (colour_of(name), others) for name, others in scene.baselines.items()}
    return embedded({name: target_explorer(maps, name, baselines) for name in targets})


def _section(name: str, entry: Mapping[str, Any], maps: xr.Dataset, cube: xr.Dataset, windows: Sequence[int]) -> dict:
    """What the page shows of one target beside its maps."""
    unit = entry["unit"]
    label = f"{name.upper()} {unit}"
    shown = ["model", *_best(entry, 2)]
    observed = np.where(cube["mask"].values, cube[name].values[list(windows)], np.nan)
    charts = [
        ("Predicted against observed, pixel by pixel", density_chart(maps[name].values, observed, label)),
        ("RMSE of the model minus that of each baseline, with its interval: left of 0 the model is better",
         difference_chart(entry["intervals"]["differences"], f"difference of RMSE in {unit}")),
        ("Mean over the study area", series_chart(entry["area"], "mean", f"mean {label}", shown)),
    ]  # fmt: skip
    if unit in METRES:
        charts.append(
            (f"Volume of {'water' if name == 'swe' else 'snow'} in the study area",
             series_chart(entry["area"], "volume_m3", "million m³", shown))
        )  # fmt: skip
    for grouping, scores in GROUPINGS.items():
        classes = entry["classes"].get(grouping, [])
        words = "observed depth" if grouping == "depth" else grouping
        for score in scores if len(classes) > 1 else ():
            title = SCORE_LABELS[score]
            charts.append((f"{title} by {words}", class_chart(classes, score, f"{title} {unit}", shown)))
    if uncertainty := entry["uncertainty"]:
        charts.append(("Reliability of the intervals", reliability_chart(uncertainty["reliability"])))
    return {
        "name": name,
        "words": cube[name].attrs["long_name"],
        "entry": entry,
        "unit": unit,
        "requirement": f"{REQUIREMENT_BORDER_MM * unit_factor('mm', unit):g} {unit}" if name == "swe" else "",
        "uses": _use_rows(entry),
        "best": next(iter(_best(entry, 1)), None),
        "charts": [(caption, svg(figure, caption)) for caption, figure in charts],
        "left_out": len(windows) - len(spaced(len(windows))),
    }


def _use_rows(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each map is good for: a row of the table for each map."""
    kinds = [kind for kind in ("presence", "snow_covered", "snow_free", "requirement", "area_bias") if entry[kind]]
    return [{"name": name, **{kind: by_map(entry[kind])[name] for kind in kinds}} for name in by_map(entry)]


def _best(entry: Mapping[str, Any], count: int) -> list[str]:
    """Names of the baselines of least RMSE, the best first."""
    rmse = {name: scores["rmse"] for name, scores in entry["baselines"].items() if scores["rmse"] is not None}
    return sorted(rmse, key=lambda name: rmse[name])[:count]
