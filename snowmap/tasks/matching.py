"""One net takes the weights of another, layer by layer: what fits, rescaled, and in words what does not.

Units and statistics of both runs decide what a channel means; see `snowmap.tasks.transfer`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snowmap.data.features import DERIVED_BANDS
from snowmap.models import Net
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.pretraining import Pretraining

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


class Match:
    """One net that takes the weights of another.

    Attributes:
        source: The other task; of a pre-training only the stages that it trained are taken.
        task: The new one.
        old: The other net, or one member of it.
        new: The net that takes its weights.
        repeated: Whether a member before it has taken them already.
    """

    def __init__(
        self, source: SnowRegression | Pretraining, task: SnowRegression, old: Net, new: Net, repeated: bool
    ) -> None:
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
        if isinstance(self.source, Pretraining) and stage not in self.new.encoding_stages:
            return row._replace(notes=("not pre-trained",))
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
        ours, theirs = (task.preprocessor.normalizer for task in (self.task, self.source))
        rescaled, constant = [], []
        for channel in channels:
            band, comma, step = channel.partition(", ")
            if band not in ours.bands or band in ours.wrapped:  # of which cos and sin are read, by other names
                continue
            a, b = ours.bands.index(band), theirs.bands.index(band)
            mean, std = ours.band_mean[a].item(), ours.band_std[a].item()
            before, spread = theirs.band_mean[b].item(), theirs.band_std[b].item()
            value, known = (new["weight"][:, reads.index(name)] for name in (channel, f"{band} (known){comma}{step}"))
            if theirs.band_least[b] == theirs.band_greatest[b]:
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
        ours, theirs = (
            {name: quantity.unit for name, quantity in DERIVED_BANDS.items()} | task.metadata["units"]
            for task in (self.task, self.source)
        )
        return {
            band: f"from zero: {band}, which is in {theirs[band]} in the checkpoint, in {ours[band]} here"
            for band in self.task.preprocessor.bands
            if ours[band] != theirs.get(band, ours[band])
        }

    def _outputs(self, row: Row, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Row:
        """A layer that gives the targets: those that both know, by name."""
        assert isinstance(self.source, SnowRegression)  # encoders have no outputs
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
