"""Masked pre-training (He et al. 2022, arXiv:2111.06377): an encoder learns to foresee patches that it does not see."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchmetrics import MeanMetric

from snowmap.data.batch import Batch
from snowmap.data.preprocessing import Preprocessor
from snowmap.errors import SnowmapError
from snowmap.models import NETS, Inputs, Net, Specification, build_net
from snowmap.models.masking import Mask, random_bands, random_mask
from snowmap.models.reconstruction import Patterns, ReconstructionDecoder
from snowmap.tasks.reconstruction_loss import Reconstruction, Truth
from snowmap.tasks.task import Task

COHERENCE = "coherence"
"""The band by which the phase is weighted."""


class Pretraining(Task):
    """Reconstructs masked patches of the bands from those that are visible.

    Attributes:
        preprocessor: What the net sees of the bands; its normalisation must be fitted, set, or loaded.
        time: Steps of a sequence.
        net: The network, of which `Net.encode` alone is trained.
        decoder: What reconstructs, and is thrown away after the training.
        metadata: What the run was: data, split, versions, configuration.
    """

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        preprocessing: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        pretraining: Mapping[str, Any],
        groups: Sequence[Sequence[str]] = (),
        time: int = 1,
        metadata: Mapping[str, Any],
    ) -> None:
        """Build net and decoder.

        Args:
            model: ``name`` of the net and its arguments.
            preprocessing: Arguments of `snowmap.data.preprocessing.Preprocessor`.
            optimizer: What `snowmap.config.training.Optimizer` describes.
            pretraining: ``patch``, pixels along a side of a masked patch; ``mask_ratio``, the share of the patches that
                is masked; ``band_ratio``, the greatest share of the groups of bands that are hidden in training;
                ``whole_ratio``, the share of the items with hidden bands of which no patch is masked besides;
                ``width``, channels of the decoder.
            groups: Bands that are hidden together; any other is hidden by itself.
            time: Steps of a sequence.
            metadata: What the checkpoint has to remember beside the weights.

        Raises:
            SnowmapError: When the net cannot be built, has no features to train, or looks at cells that are no part of
                a patch.
        """
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.metadata, self.optimizer_options, self.time = dict(metadata), dict(optimizer), time
        self.preprocessor = Preprocessor(**preprocessing)
        normalizer = self.preprocessor.normalizer
        # the bands that a net reads in physical units serve its maps, not its encoder
        needs = NETS[model["name"]].needs if model["name"] in NETS else ()
        # the shape of the transferred net: its map of SWE is neither trained nor transferred
        specification = Specification(normalizer.channels, (*normalizer.bands, *needs), {"swe": "cm"})
        self.net = build_net(model, specification)
        self.patch, self.mask_ratio = pretraining["patch"], pretraining["mask_ratio"]
        self.band_ratio, self.whole_ratio = pretraining["band_ratio"], pretraining["whole_ratio"]
        group_of = {name: group[0] for group in groups for name in group}
        first = [group_of.get(name, name) for name in normalizer.bands]
        self.group_of_band = [[*dict.fromkeys(first)].index(name) for name in first]
        if not self.net.encoded:
            able = ", ".join(name for name, net in NETS.items() if net.features is not Net.features)
            raise SnowmapError(f"model={model['name']} has no features that can be pre-trained; choose one of {able}")
        if self.patch % self.net.cell:
            raise SnowmapError(
                f"pretraining.patch={self.patch} does not hold whole cells of {self.net.cell} px, the coarsest of "
                f"model={model['name']}: choose a multiple of it, or fewer resolutions (model.channels)"
            )
        trained = {id(part) for name in self.net.encoding_stages for part in self.net.stages[name]}
        for part in (part for parts in self.net.stages.values() for part in parts if id(part) not in trained):
            part.requires_grad_(False)
        self.reconstruction = Reconstruction(normalizer.bands, normalizer.wrapped, self.patch)
        self.decoder = ReconstructionDecoder(
            self.net.encoded,
            self.net.cell,
            self.reconstruction.channels,
            patch=self.patch,
            width=pretraining["width"],
        )
        scores = {name: MeanMetric() for name in ("loss", *normalizer.bands)}
        self.scores: Mapping[str, MeanMetric] = nn.ModuleDict(scores)  # type: ignore[assignment]

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """The stages that are pre-trained, then the decoder."""
        return {**{name: self.net.stages[name] for name in self.net.encoding_stages}, "reconstruction": [self.decoder]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a run on other data.

        Raises:
            SnowmapError: When bands, dates, split or the content of the shards differ from those of the checkpoint.
        """
        stored = checkpoint["hyper_parameters"]
        before, now = stored["metadata"], self.metadata
        same = {
            "bands": stored["preprocessing"]["bands"] == self.preprocessor.bands,
            "data.time": stored["time"] == self.time,
            "options of the split": before["config"]["split"] == now["config"]["split"],
            "content of the shards": before["archives"][0]["fingerprint"] == now["archives"][0]["fingerprint"],
        }
        if other := [key for key, agrees in same.items() if not agrees]:
            raise SnowmapError(
                f"the run cannot be resumed: {', '.join(other)} changed since the checkpoint was written"
            )

    def draw_mask(self, batch: Batch, seed: int | None = None) -> Mask:
        """A mask for each item; what a training step draws is seeded by the data module.

        Args:
            batch: The Batch.
            seed: Of draws that are always the same, as in validation.

        Raises:
            SnowmapError: When the height or the width is no multiple of the patch.
        """
        height, width = batch.x.shape[-2:]
        if height % self.patch or width % self.patch:
            raise SnowmapError(
                f"pretraining.patch={self.patch} does not divide {height} × {width} px; choose a patch that does"
            )
        return random_mask(len(batch.x), height, width, self.patch, self.mask_ratio, seed).to(batch.x.device)

    def forward(self, batch: Batch, keep: Mask, hidden: Bool[Tensor, "item band 1 1"] | None = None) -> Patterns:
        """The prediction for every step that the net encodes, from what is neither masked nor hidden."""
        if hidden is None:
            hidden = torch.zeros_like(batch.x_valid[:, 0, :, :1, :1])
        x = self.preprocessor.normalizer.encode(batch.x, batch.x_valid & (keep & ~hidden)[:, None])
        of_channels = torch.cat([hidden, hidden[:, self.reconstruction.wrapped]], dim=1)
        return self.decoder(self.net.encode(Inputs.of(batch, x), keep), keep, of_channels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of masks and hidden bands that are drawn anew in each step."""
        loss = self.drawn_loss(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.window))
        return loss

    def drawn_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss of a mask and hidden bands that are drawn for each item; of a band hidden, all steps are."""
        hidden = random_bands(len(batch.x), self.group_of_band, self.band_ratio)
        whole = hidden.any(dim=1, keepdim=True) & (torch.rand(hidden[:, :1].shape) < self.whole_ratio)
        keep, hidden = self.draw_mask(batch) | whole.to(batch.x.device), hidden.to(batch.x.device)
        patterns = self(batch, keep, hidden)
        return self.reconstruction.loss(patterns, self._truth(batch, keep, patterns, hidden))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect loss and errors of the masked pixels; the masks are the same in each epoch."""
        keep = self.draw_mask(batch, seed=batch_idx)
        patterns = self(batch, keep)
        truth = self._truth(batch, keep, patterns)
        masked = truth.valid & ~truth.keep
        self.scores["loss"].update(self.reconstruction.loss(patterns, truth), masked.sum())
        bands = self.preprocessor.normalizer.decode(
            self.reconstruction.predicted(patterns, self.reconstruction.visible(truth))
        )
        steps = len(bands) // len(batch.x)
        errors = bands - batch.x[:, -steps:].flatten(0, 1)
        for position, name in enumerate(self.preprocessor.bands):
            error, weight = errors[:, position], masked[:, position].float()
            wrapped = position in self.reconstruction.wrapped
            score = 1 - error.cos() if wrapped else error.square()
            weight = weight * truth.coherence[:, 0] if wrapped else weight
            self.scores[name].update(torch.where(masked[:, position], score, 0), weight)

    def on_validation_epoch_end(self) -> None:
        """Log the loss, and for each band that has a masked pixel its error in the units of the Cube.

        That is ``rmse_<band>``, and of wrapped phase ``cosine_distance_<band>``, the mean of 1 − cos of the error,
        weighted by coherence.

        Raises:
            SnowmapError: When no pixel can be scored.
        """
        for name, mean in self.scores.items():
            value, some = mean.compute(), mean.weight > 0  # type: ignore[operator]
            mean.reset()
            if name == "loss" and not (some or value.isfinite()):
                raise SnowmapError(
                    "no pixel of the patches that are to be scored has a value, as `snowmap check` shows; mend the "
                    "shards, or give another split.seed or larger shares of the split"
                )
            if name == "loss" or value.isfinite():
                wrapped = name in self.preprocessor.normalizer.wrapped
                key = name if name == "loss" else f"{'cosine_distance' if wrapped else 'rmse'}_{name}"
                self.log(
                    f"validation/{key}", value if wrapped or name == "loss" else value.sqrt(), prog_bar=name == "loss"
                )

    @torch.no_grad()
    def reconstruct(self, batch: Batch, keep: Mask) -> Float[Tensor, "item step band height width"]:
        """The bands in the units of the Cube: as they are where they are visible, elsewhere as they are predicted.

        Args:
            batch: The Batch; what is masked is not looked at.
            keep: False at masked pixels, which are whole patches.

        Returns:
            The steps that the net encodes: all, or the last.
        """
        shown = batch._replace(x_valid=batch.x_valid & keep[:, None])
        was_training, _ = self.training, self.eval()
        patterns = self(shown, keep)
        self.train(was_training)
        truth = self._truth(shown, keep, patterns)
        predicted = self.reconstruction.predicted(patterns, self.reconstruction.visible(truth))
        bands = self.preprocessor.normalizer.decode(predicted).unflatten(0, (len(batch.x), -1))
        steps = bands.shape[1]
        return torch.where(shown.x_valid[:, -steps:], batch.x[:, -steps:], bands)

    def _truth(self, batch: Batch, keep: Mask, patterns: Patterns, hidden: Tensor | None = None) -> Truth:
        """What the prediction is held against: the last steps of all items, one behind the other."""
        steps, bands = len(patterns.pattern) // len(batch.x), self.preprocessor.bands
        x, valid = batch.x[:, -steps:].flatten(0, 1), batch.x_valid[:, -steps:].flatten(0, 1)
        scaled = self.preprocessor.normalizer.encode(x, valid)[:, : self.reconstruction.channels]
        coherence = torch.ones_like(x[:, :1])
        if COHERENCE in bands:
            position = slice(bands.index(COHERENCE), bands.index(COHERENCE) + 1)
            coherence = torch.where(valid[:, position], x[:, position], 0).clamp(0, 1)
        hidden = torch.zeros_like(valid[:, :, :1, :1]) if hidden is None else hidden.repeat_interleave(steps, dim=0)
        return Truth(scaled, valid, keep.repeat_interleave(steps, dim=0), hidden, coherence)
