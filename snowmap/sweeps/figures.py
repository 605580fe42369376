"""Figures of sweeps."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snowmap.sweeps.comparison import BEST, Comparison, Row
from snowmap.sweeps.jobs import PART
from snowmap.sweeps.sheet import label, short, short_key

if TYPE_CHECKING:
    import optuna

VALIDATION, TEST = "#0072B2", "#A9C9E0"
"""Colours of the parts; the test is the pale one, for nothing is chosen by it."""

MOST_ROWS = 40
"""Configurations in the figure; of more, the best."""


def ablation_figure(result: Mapping[str, Any]) -> Figure:
    """What each ablation adds to the RMSE, with its interval, and the permutation importance of each band beside it.

    Args:
        result: What `snowmap.sweeps.sar_ablation.compare_ablations` makes.
    """
    targets = result["target"]
    most = max(len(entry["cases"]) for entry in targets.values())
    figure = Figure(figsize=(12, 1.2 + len(targets) * (0.8 + 0.28 * most)), layout="constrained")
    synthetic = "SYNTHETIC data: proves the pipeline, not skill · " if result["origin"].startswith("synthetic") else ""
    figure.suptitle(f"{synthetic}{result['part']} windows; the test windows were not touched", fontsize=10)
    axes = figure.subplots(len(targets), 2, squeeze=False)
    for (left, right), (target, entry) in zip(axes, targets.items(), strict=True):
        cases = {name: found for name, found in entry["cases"].items() if name != "all"}
        centre = [found["difference"] for found in cases.values()]
        away = [
            [0 if found[side] is None else abs(found[side] - found["difference"]) for found in cases.values()]
            for side in ("low", "high")
        ]
        left.barh(list(cases), centre, xerr=away, color="tab:blue", ecolor="0.2", capsize=3)
        left.set_title(f"{target.upper()}: seen by the net, with {result['level']:.0%} intervals", fontsize=9)
        left.set_xlabel(f"RMSE less that of all bands, {entry['unit']}", fontsize=9)
        importance = entry["importance"]
        right.barh(
            list(importance),
            [found["mean"] for found in importance.values()],
            xerr=[found["spread"] for found in importance.values()],
            color="tab:orange",
            ecolor="0.2",
            capsize=3,
        )
        right.set_title(f"{target.upper()}: all bands, one permuted between windows", fontsize=9)
        right.set_xlabel(f"increase of the RMSE, {entry['unit']}", fontsize=9)
        for axis in (left, right):
            axis.axvline(0, color="0.2", linewidth=0.8)
            axis.invert_yaxis()
            axis.tick_params(labelsize=8)
    return figure


def runs_figure(found: Comparison) -> Figure:
    """The validation score of each configuration, the best on top: every run a point, their mean a bar.

    The test score lies below it in a paler tone. Configurations that are judged by another target have their own axis.

    Args:
        found: What `snowmap.sweeps.comparison.compare` makes.
    """
    rows = found.rows[:MOST_ROWS]
    targets = list(dict.fromkeys(row.target for row in rows)) or [found.target]
    of_target = [[row for row in rows if row.target == target] for target in targets]
    counts = [max(1, len(own)) for own in of_target]
    figure = Figure(figsize=(8.5, len(targets) * 1.4 + 0.42 * sum(counts)), layout="constrained")
    axes = figure.subplots(len(targets), squeeze=False, height_ratios=counts)[:, 0]
    for axis, target, own in zip(axes, targets, of_target, strict=True):
        _draw_rows(axis, found, target, own)
    title = [f"the best {MOST_ROWS} of {len(found.rows)} configurations"] if len(found.rows) > MOST_ROWS else []
    title += ["SYNTHETIC data: proves the pipeline, not skill"] if found.synthetic else []
    axes[0].set_title(" · ".join(title), fontsize=9, loc="left")
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return figure


def _draw_rows(axis: Axes, found: Comparison, target: str, rows: Sequence[Row]) -> None:
    unit = found.units.get(target, "")
    parts = {PART: (VALIDATION, -0.12, 30, 3), "test": (TEST, 0.2, 18, 2)}
    for part, (colour, shift, size, order) in parts.items():
        said = f"{part}, each run" if part == PART else f"{part}, for information"
        for place, row in enumerate(rows):
            values = [run.value(part, target, found.score, unit) for run in row.runs]
            known = [value for value in values if value is not None]
            if not known:
                continue
            height = place + shift
            axis.scatter(known, [height] * len(known), size, color=colour, zorder=order, label=said, linewidth=0)
            mean, reach = sum(known) / len(known), [height - 0.16, height + 0.16]
            axis.plot([mean, mean], reach, color=colour, linewidth=2, zorder=order)
            said = "_"  # one entry of the legend is enough
    axis.set_yticks(range(len(rows)), [_name(found, row) for row in rows], fontsize=8)
    axis.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axis.set_xlabel(f"{label(target, found.score, unit).strip()} ({BEST[found.score]} is best; the bar is the mean)")
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _name(found: Comparison, row: Row) -> str:
    """The settings of a row; the name of its folder where they are too many and it has but one run."""
    words = [
        short(value) if key.endswith((".name", ".names")) else f"{short_key(key, found.keys)} {short(value)}"
        for key, value in row.settings.items()
        if value is not None and key in found.keys[: found.told]
    ]
    lines = wrap(", ".join(words) or "all runs", 44)
    if len(lines) > 2 and len(row.runs) == 1:
        return row.runs[0].job.folder.name
    return "\n".join([*lines[:2], "…"] if len(lines) > 2 else lines)


def study_figure(study: "optuna.Study", importances: Mapping[str, float], synthetic: bool) -> Figure:
    """The score of each trial with the best so far, and beside it what the searched keys matter.

    Args:
        study: The study; at least one trial came to its end.
        importances: Share of the variance by key, the largest first.
        synthetic: Whether the archive is.
    """
    from optuna.trial import TrialState

    figure = Figure(figsize=(10, max(3.6, 1.6 + 0.32 * len(importances))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    ended = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    values = [trial.value for trial in ended if trial.value is not None]
    left.plot([t.number for t in pruned], [t.intermediate_values[t.last_step or 0] for t in pruned], "x", color="0.65",
              label="pruned, last score")  # fmt: skip
    left.plot([trial.number for trial in ended], values, "o", color=VALIDATION, label="trial")
    left.step([trial.number for trial in ended], np.minimum.accumulate(values), where="post", color="0.2", linewidth=1,
              label="best so far")  # fmt: skip
    left.set_xlabel("trial")
    left.set_ylabel("validation RMSE ÷ spread of the targets", fontsize=9)
    left.set_ylim(top=min(left.get_ylim()[1], 3 * float(np.median(values))))  # one that diverged would hide the others
    left.legend(fontsize=8, frameon=False)
    right.barh(list(importances), list(importances.values()), color=VALIDATION)
    right.invert_yaxis()
    right.set_xlabel("share of the score's variance (fANOVA)", fontsize=9)
    if not importances:
        right.set_axis_off()
    for axis in (left, right):
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    if synthetic:
        figure.suptitle("SYNTHETIC data: proves the pipeline, not skill", fontsize=9)
    return figure
