"""The figure of an ablation."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure


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
