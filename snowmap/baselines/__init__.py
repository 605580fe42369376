"""The maps to beat: baselines that are fitted, saved and scored as the nets are; see `snowmap.baselines.base`."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from snowmap.baselines.base import Baseline, Training
from snowmap.baselines.checkpoint import restore, save_baseline
from snowmap.baselines.class_ground import LastInventory, Terrain
from snowmap.baselines.class_series import Otsu, RandomForest
from snowmap.baselines.degree_day import DegreeDay
from snowmap.baselines.insar_swe import InsarSwe
from snowmap.baselines.regressions import BoostedTrees, BoostedTreesWithoutSar, Elevation
from snowmap.baselines.remembered import Climatology, Persistence
from snowmap.data.classes import is_class_map
from snowmap.data.radar.phase import DEFAULT_PHASE, Phase
from snowmap.errors import SnowmapError

__all__ = ["BASELINES", "Baseline", "baseline_maps", "build_baseline", "label_of", "restore_baseline", "save_baseline"]

BASELINES: dict[str, type[Baseline]] = {
    kind.name: kind
    for kind in (
        *(Climatology, Persistence, Elevation, DegreeDay, InsarSwe, BoostedTreesWithoutSar, BoostedTrees),
        *(Otsu, RandomForest, Terrain, LastInventory),
    )
}
"""Every baseline under the name that users type (``model=climatology``)."""

LABELS = {
    "persistence": "last-seen map",
    "insar_swe": "summed InSAR ΔSWE",
    "degree_day": "degree-day model",
    "boosted_trees_no_sar": "boosted trees, no SAR",
    "otsu": "Otsu's threshold",
    "terrain": "terrain alone",
}
"""What a map is called where its own name says too little."""

logger = logging.getLogger(__name__)


def build_baseline(model: Mapping[str, Any]) -> Baseline:
    """The baseline that `model` describes, not yet fitted.

    Args:
        model: ``name`` and the keyword arguments of that baseline.

    Raises:
        SnowmapError: When no baseline has that name, or it does not take these arguments.
    """
    options = dict(model)
    name = options.pop("name", None)
    if name not in BASELINES:
        raise SnowmapError(f"model.name={name} is no baseline; known are {', '.join(BASELINES)}")
    try:
        return BASELINES[name](**options)
    except (TypeError, ValueError) as error:
        raise SnowmapError(f"model={name} cannot be built from {options}: {error}") from error


def restore_baseline(content: Mapping[str, Any]) -> Baseline:
    """The fitted baseline that `save_baseline` wrote, from the content of the file."""
    return restore(build_baseline(content["baseline"]), content)


def label_of(name: str) -> str:
    """What the map called `name` is called in tables and charts."""
    return LABELS.get(name, name.replace("_", " "))


def baseline_maps(
    cube: xr.Dataset,
    train: Sequence[int],
    windows: Sequence[int],
    targets: Sequence[str],
    phase: Phase = DEFAULT_PHASE,
    scene: xr.Dataset | None = None,
    others: Training = (),
) -> dict[str, xr.Dataset]:
    """Maps of every baseline of the targets' kind with its default options.

    One that cannot be fitted is left out, with a warning.

    Args:
        cube: The Cube to fit them on.
        train: Indices of the training windows.
        windows: Indices of the windows to map.
        targets: Names of the targets.
        phase: How phase becomes a change of SWE.
        scene: The Cube to map; that of the training by default. What remembers maps cannot map another one.
        others: Further Cubes to learn from, as `Baseline.fit` takes them.

    Returns:
        What `Baseline.predict` gives, by name.
    """
    maps, classes = {}, {is_class_map(cube[target].attrs) for target in targets}
    for name, kind in BASELINES.items():
        if not kind.stands_beside or {kind.maps_classes} != classes:
            continue
        if scene is not None and kind.keeps_grid:
            continue
        try:
            fitted = kind().fit(cube, train, targets, phase, others)
            maps[name] = fitted.predict(cube if scene is None else scene, windows)
        except SnowmapError as error:
            logger.warning("no baseline %s: %s", name, error)
    return maps
