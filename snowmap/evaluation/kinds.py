"""What an evaluation does by the kind of its targets: quantities or classes. Nothing else asks which they are."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from snowmap.data.classes import is_class_map
from snowmap.data.cube import window_names
from snowmap.evaluation.figures import map_pictures, stacked
from snowmap.evaluation.map_scores import ScoredMaps, score_maps, score_together
from snowmap.evaluation.report import write_report
from snowmap.evaluation.segmentation.figures import class_pictures
from snowmap.evaluation.segmentation.report import write_class_report
from snowmap.evaluation.segmentation.scoring import score_class_maps
from snowmap.files import write_whole
from snowmap.maps.class_files import write_rasters

Part = tuple[dict[str, str], Mapping[str, Any]]
"""A place in the table of all scores, and the scores there."""


class Column(NamedTuple):
    """Of the printed table: a score, its head, in which {} is the unit, and its digits."""

    score: str
    head: str
    digits: int = 2


class Kind(NamedTuple):
    """How maps of a kind are scored and shown.

    Attributes:
        score: Of one scene ``target`` and ``windows`` of ``metrics.json``.
        score_together: Of several scenes ``target``, each pixel weighing the same.
        parts: Of a target's scores those of parts of its pixels.
        columns: Of the printed table; the first is the score that has an interval, and that says how good a map is.
        write: Figures, report and further files of one scene, into a folder.
    """

    score: Callable[[ScoredMaps, Sequence[str], Mapping[str, Any]], dict[str, Any]]
    score_together: Callable[[Sequence[ScoredMaps], Sequence[str], Mapping[str, Any]], dict[str, Any]]
    parts: Callable[[Mapping[str, Any]], list[Part]]
    columns: tuple[Column, ...]
    write: Callable[[Mapping[str, Any], ScoredMaps, Path], None]


def kind_of(target: Mapping[str, Any]) -> Kind:
    """By the attributes of a target, or by its scores, which keep the values of its classes."""
    return CLASSES if is_class_map(target) else QUANTITIES


def _parts_of_quantities(entry: Mapping[str, Any]) -> list[Part]:
    kinds = ("snow-free", "snow-covered")
    snow = [({"grouping": "snow", "class": kind}, entry[kind.replace("-", "_")]) for kind in kinds]
    return snow + _groups(entry["classes"])


def _groups(groupings: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Part]:
    return [
        ({"grouping": grouping, "class": entry["class"]}, entry)
        for grouping, entries in groupings.items()
        for entry in entries
    ]


def _write_quantities(result: Mapping[str, Any], scene: ScoredMaps, folder: Path) -> None:
    maps, _, cube, windows = scene
    pictures = {target: map_pictures(maps, cube, windows, target) for target in result["target"]}
    write_whole(folder / "maps.png", stacked([*chain.from_iterable(pictures.values())]))
    write_report(result, scene, pictures, folder / "report.html")


def _parts_of_classes(entry: Mapping[str, Any]) -> list[Part]:
    of_classes = [({"grouping": "class", "class": name}, scores) for name, scores in entry["per_class"].items()]
    return [*of_classes, *_groups({**entry["groups"], "outline size": entry["outlines"]})]


def _write_classes(result: Mapping[str, Any], scene: ScoredMaps, folder: Path) -> None:
    pictures = {target: class_pictures(scene, target) for target in result["target"]}
    write_whole(folder / "maps.png", stacked([*chain.from_iterable(pictures.values())]))
    write_class_report(result, scene, pictures, folder / "report.html")
    for position, name in enumerate(window_names(scene.maps)):
        write_rasters(scene.maps.isel(window=[position]), scene.cube, folder, name, result["provenance"])


QUANTITIES = Kind(
    score_maps,
    lambda scenes, targets, options: score_together(scenes, targets),
    _parts_of_quantities,
    (
        Column("rmse", "RMSE {}"),
        Column("mae", "MAE {}"),
        Column("bias", "bias {}"),
        Column("r2", "R²"),
        Column("pearson_r", "Pearson r"),
    ),
    _write_quantities,
)
CLASSES = Kind(
    lambda scene, targets, options: score_class_maps([scene], targets, options),
    lambda scenes, targets, options: score_class_maps(scenes, targets, options)["target"],
    _parts_of_classes,
    (
        Column("iou", "IoU", 3),
        Column("f1", "F1", 3),
        Column("precision", "precision", 3),
        Column("recall", "recall", 3),
        Column("accuracy", "accuracy", 3),
    ),
    _write_classes,
)
