"""report.html: the evaluation on one page that opens without a network, on a phone and on paper."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from snowmap.baselines import label_of
from snowmap.data.cube import is_synthetic
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
from snowmap.files import write_whole
from snowmap.tables import number
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
    result: Mapping[str, Any],
    scene: ScoredMaps,
    pictures: Mapping[str, Sequence[bytes]],
    path: Path,
) -> Path:
    """Write the report.

    Args:
        result: What ``metrics.json`` holds, with its provenance.
        scene: The maps, those of the baselines, and the Cube that was mapped.
        pictures: Of each target, what `map_pictures` gives.
        path: The file; replaced whole or not at all.

    Returns:
        `path`.
    """
    maps, _, cube, windows = scene
    environment = Environment(
        loader=PackageLoader("snowmap.evaluation", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "share": _share, "volume": _volume, "label": label_of}
    provenance = result["provenance"]
    head, explorers = _explorers(scene, [*result["target"]])
    page = environment.get_template("report.html.jinja").render(
        explorer_head=head,
        origin=cube.attrs.get("origin", ""),
        synthetic=is_synthetic(cube),
        subset=provenance["subset"],
        windows=len(windows),
        first=np.datetime_as_string(maps["start"].values[0], "D"),
        last=np.datetime_as_string(maps["end"].values[-1], "D"),
        targets=[
            {
                **_section(name, entry, maps, cube, windows),
                "explorer": explorers[name],
                "maps": [_png(picture) for picture in pictures[name]],
            }
            for name, entry in result["target"].items()
        ],
        provenance=_provenance_rows(provenance),
        model=_configured(provenance, "model").get("name", "model"),
        split=_configured(provenance, "split").get("name", ""),
        split_note=provenance.get("split_note", ""),
        chosen_by=provenance.get("chosen_by", ""),
    )
    return write_whole(path, page)


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
        "charts": [(caption, _svg(figure, caption)) for caption, figure in charts],
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


def _configured(provenance: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    return provenance.get("config", {}).get(group, {})


def _provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the maps were made of, in words; what is not known is left out."""
    scored, subsets = provenance["scored_archive"], provenance.get("split", {}).items()
    split = " ".join(f"{key}={value}" for key, value in _configured(provenance, "split").items())
    metadata = {
        "checkpoint": provenance.get("checkpoint"),
        "archive": scored.get("archive"),
        "origin": scored.get("origin"),
        "fingerprint of its content": scored.get("fingerprint"),
        "trained on the fingerprint": provenance.get("archive", {}).get("fingerprint"),
        "split": f"{split}: " + ", ".join(f"{len(names)} {subset}" for subset, names in subsets) + " windows"
        if split
        else "",
        "epoch chosen by": provenance.get("chosen_by"),
        "model": json.dumps(_configured(provenance, "model")) if _configured(provenance, "model") else "",
        "seed": provenance.get("config", {}).get("seed"),
        "command": provenance.get("command"),
        "versions": ", ".join(f"{name} {number}" for name, number in provenance.get("versions", {}).items()),
        "git revision": provenance.get("git_revision"),
    }
    return [(key, str(value)) for key, value in metadata.items() if value not in (None, "")]


def _svg(figure: Figure, words: str) -> Markup:
    """The figure as part of the page, with its text as text."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Title": words})  # as `as_png`: drawn once
    drawn = file.getvalue()
    return Markup(drawn[drawn.index("<svg") :])


def _png(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _volume(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:+.1f}"
