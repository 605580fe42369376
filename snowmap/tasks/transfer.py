"""Weights of another run for a new one: what fits is taken, and a table says what does not and why.

The other run may have had other bands, targets, sequences, members of an ensemble, and another archive on another
grid. Bands are matched by name, and so are the windows of a stack, by their place before the target window. What is
never taken are the statistics of the Normalizer: they are those of the new training windows, and the layers that read
the bands are rescaled to them, so that the same physical value has the same effect.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from snowmap.checkpoints.provenance import archive_of, read_checkpoint
from snowmap.data.features import DERIVED_BANDS
from snowmap.errors import SnowmapError
from snowmap.models import Net
from snowmap.models.ensemble import Ensemble
from snowmap.tables import print_table
from snowmap.tasks.load import load_model
from snowmap.tasks.pixel import SnowRegression

HEAD = "head"
"""The last stage of every net."""


class Row(NamedTuple):
    """What became of one part of the net, or of the checkpoint.

    Attributes:
        part: A stage of the net (`Net.stages`), or the checkpoint.
        parameters: Numbers in it.
        taken: How many of them are those of the checkpoint.
        zero: How many begin at zero: the weights of channels that the checkpoint did not know.
        notes: What was rescaled, and what was not taken and why.
    """

    part: str
    parameters: int = 0
    taken: int = 0
    zero: int = 0
    notes: tuple[str, ...] = ()

    @property
    def new(self) -> int:
        """How many begin as in a run of its own."""
        return self.parameters - self.taken - self.zero


def starting_point(config: Mapping[str, Any], metadata: dict[str, Any]) -> SnowRegression | None:
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
    source = load_model(config["init_from"])
    if not isinstance(source, SnowRegression):
        raise SnowmapError(
            f"init_from={config['init_from']} holds the baseline {source.name}, which has no weights; name a net's"
        )
    metadata["weights_from"] = {
        "checkpoint": config["init_from"],
        "model": dict(source.hparams["model"]),
        "targets": source.targets,
        "archive": archive_of(*source.metadata["archives"]),
        **{key: source.metadata.get(key) for key in ("git_revision", "weights_from")},
    }
    return source


@torch.no_grad()
def transfer(source: SnowRegression, task: SnowRegression) -> list[Row]:
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
        match = _Match(source, task, sources[number % len(sources)], net, repeated=number >= len(sources))
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
    left = [f"left out: {stage}" for stage in sources[0].stages if stage not in layers]
    left += [f"left out: the target {target}" for target in source.targets if target not in task.targets]
    if len(sources) > len(nets):
        left.append(f"left out: {len(sources) - len(nets)} of {len(sources)} members")
    before, after = (model.preprocessor.phase.sign for model in (source, task))
    if before != after:
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
    heads = ["part", "taken", "from zero", "new", "what was not taken"]
    columns = dict(zip(heads, zip(*cells, statistics, strict=True), strict=True))
    print_table(f"weights from {weights_from['checkpoint']}", columns, folded=heads[-1:])


class _Match:
    """One net that takes the weights of another."""

    def __init__(self, source: SnowRegression, task: SnowRegression, old: Net, new: Net, repeated: bool) -> None:
        self.source, self.task, self.old, self.new, self.repeated = source, task, old, new, repeated
        self.reads = new.reads(task.preprocessor.normalizer.channel_names)
        self.read = old.reads(source.preprocessor.normalizer.channel_names)
        self.layers_of_old = dict(old.named_modules())
        self.units = self._other_units()

    def layers(self) -> Iterator[Row]:
        """What became of each layer, under the name of its stage."""
        names = {module: name for name, module in self.new.named_modules()}
        for stage, parts in self.new.stages.items():
            for module in (module for part in parts for module in part.modules()):
                if weights := _tensors(module):
                    yield self._layer(stage, names[module], weights)

    def _layer(self, stage: str, name: str, new: Mapping[str, Tensor]) -> Row:
        row = Row(stage, sum(weight.numel() for weight in new.values()))
        layer = self.layers_of_old.get(name)
        old = _tensors(layer) if layer is not None else {}
        if self.repeated and stage == HEAD:
            return row._replace(notes=("new in repeated members, so that they differ",))
        if old.keys() != new.keys():
            return row._replace(notes=("not in the checkpoint",))
        if name in self.new.output_layers:
            return self._outputs(row, old, new)
        if name in self.reads and name in self.read:
            return self._channels(row, name, old, new)
        if any(old[kind].shape != new[kind].shape for kind in new):
            return row._replace(notes=(_shapes(old, new),))
        for kind, weight in new.items():
            weight.copy_(old[kind])
        return row._replace(taken=row.parameters)

    def _channels(self, row: Row, name: str, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Row:
        """A layer that reads the bands: its input channels by name, for the same physical values."""
        reads, read = self.reads[name], self.read[name]
        common = [channel for channel in reads if channel in read and _band(channel) not in self.units]
        if any(old[kind].shape[:1] + old[kind].shape[2:] != new[kind].shape[:1] + new[kind].shape[2:] for kind in new):
            return row._replace(notes=(_shapes(old, new),))
        if not common:
            return row._replace(notes=("no band in common",))
        to, by = (torch.tensor([names.index(channel) for channel in common]) for names in (reads, read))
        for kind, weight in new.items():
            if kind == "bias":
                weight.copy_(old[kind])
            else:
                weight.zero_()[:, to] = old[kind][:, by]
        zero = (len(reads) - len(common)) * new["weight"][:, 0].numel()
        notes = (*_unmatched("new, from zero", reads, read), *_unmatched("left out", read, reads), *self.units.values())
        return row._replace(taken=row.parameters - zero, zero=zero, notes=(*self._rescale(common, reads, new), *notes))

    def _rescale(self, channels: Sequence[str], reads: Sequence[str], new: Mapping[str, Tensor]) -> list[str]:
        """Make the layer map physical values as it did under the statistics of the checkpoint; say of which bands.

        With mean m and deviation s here, m′ and s′ there, (x − m′) / s′ = s / s′ · (x − m) / s + (m − m′) / s′. The
        constant goes to the channel that says where the band is known, and so holds at borders and gaps, too.
        """
        here, there = (task.preprocessor.normalizer for task in (self.task, self.source))
        rescaled, constant = [], []
        for channel in channels:
            band, comma, step = channel.partition(", ")
            if band not in here.bands or band in here.wrapped:  # of which cos and sin are read, by other names
                continue
            a, b = here.bands.index(band), there.bands.index(band)
            mean, std = here.band_mean[a].item(), here.band_std[a].item()
            before, spread = there.band_mean[b].item(), there.band_std[b].item()
            value, known = (new["weight"][:, reads.index(name)] for name in (channel, f"{band} (known){comma}{step}"))
            if there.band_least[b] == there.band_greatest[b]:
                value.zero_()  # multiplied zero there, so that it has learnt nothing
                constant.append(band)
            elif (mean, std) != (before, spread):
                known += value * ((mean - before) / spread)
                value *= std / spread
                rescaled.append(band)
        says = {"rescaled": rescaled, "constant in the checkpoint, so its values begin at zero": constant}
        return [f"{what}: {', '.join(dict.fromkeys(bands))}" for what, bands in says.items() if bands]

    def _other_units(self) -> dict[str, str]:
        """What is to be said of each band that is in another unit than in the checkpoint."""
        here, there = (
            {name: quantity.unit for name, quantity in DERIVED_BANDS.items()} | task.metadata["units"]
            for task in (self.task, self.source)
        )
        return {
            band: f"from zero: {band}, which is in {there[band]} in the checkpoint, in {here[band]} here"
            for band in self.task.preprocessor.bands
            if here[band] != there.get(band, here[band])
        }

    def _outputs(self, row: Row, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Row:
        """A layer that gives the targets: those that both know, by name."""
        before, after = (task.hparams["head"]["name"] for task in (self.source, self.task))
        if before != after:
            return row._replace(notes=(f"built anew: head={before} in the checkpoint, {after} here",))
        targets, known = list(self.task.targets), list(self.source.targets)
        classes, others = (_classes(task) for task in (self.task, self.source))
        if classes != others:
            return row._replace(notes=(f"built anew: classes {others} in the checkpoint, {classes} here",))
        if any(old[kind].shape[1:] != new[kind].shape[1:] for kind in new):
            return row._replace(notes=(_shapes(old, new),))
        common = [target for target in targets if target in known]
        for kind, weight in new.items():
            of_new, of_old = weight.unflatten(0, (len(targets), -1)), old[kind].unflatten(0, (len(known), -1))
            for target in common:
                of_new[targets.index(target)] = of_old[known.index(target)]
        notes = tuple(f"built anew: {target}" for target in targets if target not in known)
        return row._replace(taken=row.parameters * len(common) // len(targets), notes=notes)


def _classes(task: SnowRegression) -> str:
    """The words of the classes, in order, whatever their target is called; none of a regression."""
    return ", ".join(str(attributes.get("flag_meanings", "")) for attributes in task.head.targets.values()).strip(", ")


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    """Its own weights, and beside them what it has counted, such as the moments of a normalisation over batches."""
    return dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))


def _members(net: Net) -> list[Net]:
    return list(net.members) if isinstance(net, Ensemble) else [net]


def _sum(stage: str, layers: Sequence[Row]) -> Row:
    numbers = {name: sum(getattr(layer, name) for layer in layers) for name in ("parameters", "taken", "zero")}
    return Row(stage, **numbers, notes=tuple(dict.fromkeys(note for layer in layers for note in layer.notes)))


def _shapes(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> str:
    before, after = (" × ".join(map(str, weights["weight"].shape)) for weights in (old, new))
    return f"other shape: {before} in the checkpoint, {after} here"


def _unmatched(what: str, channels: Sequence[str], others: Sequence[str]) -> list[str]:
    """What `channels` have and `others` have not, in words: bands, or windows of bands that both have."""
    bands, known = ([_band(channel) for channel in names] for names in (channels, others))
    alone = dict.fromkeys(band for band in bands if band not in known)
    notes = [f"{what}: {', '.join(alone)}"] if alone else []
    missing = [channel for channel in channels if channel not in others and _band(channel) in known]
    steps = {channel.partition(", ")[2] for channel in missing}
    return [*notes, *([f"{what}: {len(steps)} of the earlier windows"] if steps else [])]


def _band(channel: str) -> str:
    return channel.partition(" (")[0].partition(", ")[0]
