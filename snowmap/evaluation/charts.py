"""Charts of the report: each a figure small enough for a phone, from what ``metrics.json`` holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from snowmap.evaluation.printing import label_of

COLOURS = {
    "model": "#0072B2",
    "climatology": "#E69F00",
    "elevation": "#009E73",
    "persistence": "#CC79A7",
    "degree_day": "#D55E00",
    "insar_swe": "#56B4E9",
    "boosted_trees": "#8C6D31",
}
"""One colour for each map in every chart, told apart by colour-blind eyes too (Okabe & Ito 2008)."""

SIZE = (4.8, 3.4)
MOST_POINTS = 400_000
"""Pixels in a density plot; more of them change nothing but the time."""


def density_chart(predicted: Float[np.ndarray, "*dims"], observed: Float[np.ndarray, "*dims"], label: str) -> Figure:
    """How many pixels lie where between observed and predicted, on a logarithmic scale.

    Args:
        predicted: Maps; NaN = no prediction.
        observed: Maps in the same unit; NaN = no observation.
        label: Name and unit of the target.
    """
    both = np.isfinite(predicted) & np.isfinite(observed)
    p, o = predicted[both], observed[both]
    if len(p) > MOST_POINTS:
        chosen = np.random.default_rng(0).permutation(len(p))[:MOST_POINTS]
        p, o = p[chosen], o[chosen]
    top = max(float(np.percentile(np.concatenate([p, o]), 99.9)), 1e-3) if len(p) else 1.0
    figure, axis = _blank()
    count, _, _ = np.histogram2d(o, p, bins=70, range=[[0, top], [0, top]])
    place = {"origin": "lower", "extent": (0, top, 0, top), "interpolation": "none"}
    drawn = axis.imshow(count.T, norm=LogNorm(), cmap="viridis", **place)  # one image, where a mesh is 4900 shapes
    figure.colorbar(drawn, label="pixels")
    axis.plot([0, top], [0, top], color="0.3", linewidth=1, linestyle="--")
    axis.set(xlabel=f"observed {label}", ylabel=f"predicted {label}", aspect="equal")
    axis.grid(visible=False)
    return figure


def class_chart(entries: Sequence[Mapping[str, Any]], score: str, label: str, names: Sequence[str]) -> Figure:
    """A score by class, of the model and some baselines.

    Args:
        entries: Classes of one grouping, as in ``metrics.json``.
        score: A key of the scores.
        label: Of the score's axis.
        names: Maps to show, ``model`` among them.
    """
    figure, axis = _blank()
    places = np.arange(len(entries))
    for shift, name in zip(np.linspace(-0.2, 0.2, len(names)), names, strict=True):
        values = [_of(entry, name).get(score) for entry in entries]
        size, colour = (7 if name == "model" else 5), COLOURS.get(name, "0.5")
        axis.plot(places + shift, _numbers(values), "o", color=colour, label=label_of(name), markersize=size)
    if score == "bias":
        axis.axhline(0, color="0.3", linewidth=1)
    rotated = max(len(entry["class"]) for entry in entries) * len(entries) > 45
    axis.set_xticks(places, [entry["class"] for entry in entries], rotation=45 if rotated else 0,
                    ha="right" if rotated else "center")  # fmt: skip
    axis.set_ylabel(label)
    _legend(axis)
    return figure


def series_chart(area: Sequence[Mapping[str, Any]], quantity: str, label: str, names: Sequence[str]) -> Figure:
    """The study area's mean or volume over time: observed, model and some baselines.

    Args:
        area: The series of ``metrics.json``.
        quantity: ``mean`` or ``volume_m3``.
        label: Of the vertical axis.
        names: Maps to show, ``model`` among them.
    """
    figure, axis = _blank()
    scale = 1e-6 if quantity == "volume_m3" else 1.0
    dates = np.array([entry["end"] for entry in area], "datetime64[D]")
    for name in [name for name in names if name != "model"]:
        values = [entry["baselines"].get(name, {}).get(quantity) for entry in area]
        axis.plot(
            dates, scale * _numbers(values), "-", color=COLOURS.get(name, "0.5"), linewidth=1, label=label_of(name)
        )
    for name, colour in (("observed", "black"), ("model", COLOURS["model"])):
        values = scale * _numbers([entry[f"{name}_{quantity}"] for entry in area])
        axis.plot(dates, values, "o-", color=colour, linewidth=1.8, markersize=4, label=name)
    locator = AutoDateLocator(maxticks=7)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.set_ylim(bottom=0)
    axis.set_ylabel(label)
    _legend(axis)
    return figure


def reliability_chart(points: Sequence[Mapping[str, float]], calibrated: Mapping[int, float | None]) -> Figure:
    """Share of the truth inside central intervals against the share that they promise.

    Args:
        points: ``nominal`` and ``observed`` of the uncalibrated intervals.
        calibrated: Observed share of the calibrated interval, by its nominal share in per cent.
    """
    figure, axis = _blank()
    axis.plot([0, 1], [0, 1], color="0.3", linewidth=1, linestyle="--", label="perfect")
    nominal, observed = ([point[key] for point in points] for key in ("nominal", "observed"))
    axis.plot(nominal, observed, "o-", color=COLOURS["model"], markersize=5, label="as predicted")
    known = {share / 100: found for share, found in calibrated.items() if found is not None}
    axis.plot(list(known), list(known.values()), "s", color=COLOURS["degree_day"], label="calibrated on validation")
    axis.set(xlabel="share promised", ylabel="share observed", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    _legend(axis)
    return figure


def difference_chart(differences: Mapping[str, Mapping[str, Any]], label: str) -> Figure:
    """RMSE of the model minus that of each baseline, with its interval; left of 0 the model is better.

    Args:
        differences: By baseline ``{"rmse": {"difference", "low", "high"}}``.
        label: Of the horizontal axis.
    """
    names = [name for name, found in differences.items() if found.get("rmse", {}).get("difference") is not None]
    figure, axis = _blank(height=0.9 + 0.38 * len(names))
    axis.axvline(0, color="0.3", linewidth=1)
    for place, name in enumerate(reversed(names)):
        found = differences[name]["rmse"]
        if found["low"] is not None:
            axis.plot([found["low"], found["high"]], [place, place], color=COLOURS.get(name, "0.5"), linewidth=3)
        axis.plot(found["difference"], place, "o", color=COLOURS.get(name, "0.5"), markersize=7)
    axis.set_yticks(range(len(names)), [label_of(name) for name in reversed(names)])
    axis.set(xlabel=label, ylim=(-0.6, len(names) - 0.4))
    return figure


def _blank(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    axis = figure.subplots()
    axis.grid(color="0.9", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    return figure, axis


def _legend(axis: Axes) -> None:
    axis.legend(fontsize=7.5, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)


def _of(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return entry["model"] if name == "model" else entry["baselines"].get(name, {})


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)
