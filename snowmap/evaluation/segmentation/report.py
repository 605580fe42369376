"""report.html of class maps; see `snowmap.evaluation.page`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snowmap.data.classes import SCORES
from snowmap.evaluation.charts import class_chart, difference_chart
from snowmap.evaluation.map_scores import ScoredMaps, by_map
from snowmap.evaluation.page import png, svg, write_page
from snowmap.evaluation.segmentation.figures import confusion_chart, reliability_of_classes


def write_class_report(
    result: Mapping[str, Any], scene: ScoredMaps, pictures: Mapping[str, Sequence[bytes]], path: Path
) -> Path:
    """Write the report; the arguments are those of `snowmap.evaluation.report.write_report`."""
    sections = [
        _section(entry, scene.cube[name].attrs["long_name"], pictures[name]) for name, entry in result["target"].items()
    ]
    return write_page("segmentation/report.html.jinja", result, scene, path, targets=sections, scores=SCORES)


def _section(entry: Mapping[str, Any], words: str, pictures: Sequence[bytes]) -> dict[str, Any]:
    best = _best(entry)
    shown, calibration = ["model", *best[:2]], by_map(entry["calibration"])
    stated = {name: calibration[name] for name in shown if calibration[name]["reliability"]}
    matrix = confusion_chart(entry["confusion"]["model"], entry["classes"])
    charts = [
        ("Reliability: the probability stated, and the share observed", reliability_of_classes(stated)),
        ("Pixels of the model by observed and mapped class", matrix),
    ]
    if entry["intervals"]["differences"]:
        differences = entry["intervals"]["differences"]
        caption = "IoU of the model minus that of each baseline, with its interval: right of 0 the model is better"
        charts.append((caption, difference_chart(differences, "difference of IoU", "iou")))
    charts += [
        (f"IoU by {grouping}", class_chart(entries, "iou", "IoU", shown))
        for grouping, entries in entry["groups"].items()
        if len(entries) > 1
    ]
    if len(entry["outlines"]) > 1:
        charts.append(("Share of the observed area that is found, by size of the outline",
                       class_chart(entry["outlines"], "recall", "recall", shown)))  # fmt: skip
    return {
        "words": words,
        "entry": entry,
        "best": best[0] if best else None,
        "ece": {name: of_map["ece"] for name, of_map in calibration.items()},
        "charts": [(caption, svg(figure, caption)) for caption, figure in charts],
        "maps": [png(picture) for picture in pictures],
    }


def _best(entry: Mapping[str, Any]) -> list[str]:
    """Names of the baselines of greatest IoU, the best first."""
    iou = {name: scores["iou"] for name, scores in entry["baselines"].items() if scores["iou"] is not None}
    return sorted(iou, key=lambda name: -iou[name])
