"""Weights of another run for a new one: what fits is taken, and a table says what does not and why.

The other run may have had other bands, targets, sequences, members of an ensemble, and another archive on another
grid. Bands are matched by name, and so are the windows of a stack, by their place before the target window. What is
never taken are the statistics of the Normalizer: they are those of the new training windows, and the layers that read
the bands are rescaled to them, so that the same physical value has the same effect.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_only

from snowmap.baselines import Baseline
from snowmap.checkpoints.provenance import archive_of, read_checkpoint
from snowmap.errors import SnowmapError
from snowmap.models import Net
from snowmap.models.ensemble import Ensemble
from snowmap.tables import print_table
from snowmap.tasks.load import load_source
from snowmap.tasks.matching import Match, Row
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.pretraining import Pretraining

Source = SnowRegression | Pretraining
"""Whose weights are taken."""


def starting_point(config: Mapping[str, Any], metadata: dict[str, Any]) -> Source | None:
    """The task whose weights a new run begins with, if the configuration names one; `metadata` then say so.

    Args:
        config: The checked configuration. A resumed run has its weights already, and remembers where from.
        metadata: Of the new run; gets ``weights_from``: checkpoint, model, targets, archive and git revision of the
            other, and where its own weights came from.

    Raises:
        SnowmapError: When ``init_from`` is no checkpoint of a net.
    """
    metadata["weights_from"] = None
    if config["ckpt"]:
        stored = read_checkpoint(Path(config["ckpt"]))["hyper_parameters"]["metadata"]
        metadata["weights_from"] = stored.get("weights_from")
        return None
    if not config["init_from"]:
        return None
    source = load_source(config["init_from"])
    if isinstance(source, Baseline):
        raise SnowmapError(
            f"init_from={config['init_from']} holds the baseline {source.name}, which has no weights; name a net's"
        )
    metadata["weights_from"] = {
        "checkpoint": config["init_from"],
        "model": dict(source.hparams["model"]),
        "targets": getattr(source, "targets", {}),
        "archive": archive_of(*source.metadata["archives"]),
        **{key: source.metadata.get(key) for key in ("git_revision", "weights_from")},
    }
    return source


@torch.no_grad()
def transfer(source: Source, task: SnowRegression) -> list[Row]:
    """Give a new task the weights of another one, as far as they fit.

    A layer is taken if the other net has one of the same name and shape. Of a layer that reads the bands, the channels
    that both know are taken by name and rescaled to the new statistics, and those that only the new net knows begin at
    zero: on what they have in common the nets map alike, gaps and borders included. Of a layer that gives the targets,
    those that both know are taken by name, if the head is the same. Of an ensemble the members are taken one by one;
    where the new one has more, they are taken again, but without the head, so that no two members are the same.

    Args:
        source: The other task.
        task: The new one, with its first weights; they are changed in place.

    Returns:
        A row for each stage of the new net, from the input to the head, then one for what the checkpoint holds further.

    Raises:
        SnowmapError: When nothing fits, or weights that are to be frozen were not taken.
    """
    sources, nets = _members(source.net), _members(task.net)
    layers: dict[str, list[Row]] = {stage: [] for stage in nets[0].stages}
    for number, net in enumerate(nets):
        match = Match(source, task, sources[number % len(sources)], net, repeated=number >= len(sources))
        for layer in match.layers():
            layers[layer.part].append(layer)
    rows = [_sum(stage, of_stage) for stage, of_stage in layers.items()]
    if not any(row.taken for row in rows):
        raise SnowmapError(
            f"init_from=…: nothing fits; the checkpoint holds {dict(source.hparams['model'])}, this run has "
            f"{dict(task.hparams['model'])}; give the model and the channels of the checkpoint, or leave init_from out"
        )
    frozen = task.net.frozen_stages(task.hparams["freeze"])
    if random := [row for row in rows if row.part in frozen and row.new]:
        missing = ", ".join(f"{row.part} ({'; '.join(row.notes)})" for row in random)
        raise SnowmapError(
            f"freeze={task.hparams['freeze']} would hold weights that the checkpoint does not have: {missing}; "
            "choose freeze=none, or a model like the checkpoint's"
        )
    for index, row in enumerate(rows):
        if row.part in frozen:
            note = "frozen: what begins at zero stays without influence" if row.zero else "frozen"
            rows[index] = row._replace(notes=(*row.notes, note))
    known = sources[0].encoding_stages if isinstance(source, Pretraining) else sources[0].stages
    left = [f"left out: {stage}" for stage in known if stage not in layers]
    left += [
        f"left out: the target {target}" for target in getattr(source, "targets", {}) if target not in task.targets
    ]
    if len(sources) > len(nets):
        left.append(f"left out: {len(sources) - len(nets)} of {len(sources)} members")
    before, after = (model.preprocessor.phase.sign for model in (source, task))
    if before and after and before != after:
        left.append(
            f"phase_sign={before} in the checkpoint, {after} here: derived features have the sign right, the bands of "
            "the phase do not"
        )
    return [*rows, Row("the checkpoint", notes=tuple(left))] if left else rows


@rank_zero_only
def say_transfer(rows: Sequence[Row], weights_from: Mapping[str, Any]) -> None:
    """Print what was taken."""
    statistics = ("statistics", "0", "", "", "new: those of this run's training windows; weights are rescaled to them")
    cells = [(row.part, f"{row.taken:,}", f"{row.zero:,}", f"{row.new:,}", "; ".join(row.notes)) for row in rows]
    heads = ["part", "taken", "from zero", "new", "remarks"]
    columns = dict(zip(heads, zip(*cells, statistics, strict=True), strict=True))
    print_table(f"weights from {weights_from['checkpoint']}", columns, folded=heads[-1:])


def _members(net: Net) -> list[Net]:
    return list(net.members) if isinstance(net, Ensemble) else [net]


def _sum(stage: str, layers: Sequence[Row]) -> Row:
    numbers = {name: sum(getattr(layer, name) for layer in layers) for name in ("parameters", "taken", "zero")}
    return Row(stage, **numbers, notes=tuple(dict.fromkeys(note for layer in layers for note in layer.notes)))
