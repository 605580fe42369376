"""The head `classes`: a probability for each class of a target that is a class map."""

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from snowmap.data.batch import Statistical
from snowmap.data.classes import Classes, class_layers, class_scores, refuse_quantities
from snowmap.data.threshold import BestThreshold
from snowmap.errors import SnowmapError
from snowmap.tasks.calibration_error import CalibrationError
from snowmap.tasks.class_losses import LOSSES
from snowmap.tasks.head import Head, Observed, Predicted, Valid

logger = logging.getLogger(__name__)


class ClassHead(Head):
    """Logits of each class. The map is decided from the members' mean probability, sharpened by a temperature.

    Attributes:
        classes: Of the target.
        weights: Of each class in the loss. Shape (class,).
    """

    monitor: ClassVar[str] = "iou"
    mode: ClassVar[str] = "max"
    monitored: ClassVar[str] = "IoU"
    shown: ClassVar[str] = "iou"

    weights: Tensor

    def __init__(
        self,
        targets: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        *,
        members: int = 1,
        calibration: Mapping[str, Any] | None = None,
        loss: str = "cross_entropy",
        gamma: float = 2.0,
        class_weights: str | Sequence[float] = "none",
        label_smoothing: float = 0.0,
    ) -> None:
        """Make it; `fit` must follow, or a state that is loaded.

        Args:
            targets: Attributes of the target, by its name.
            members: Nets of the ensemble.
            calibration: ``temperature`` and ``threshold`` of the target, as `snowmap.maps.calibration.calibrate` gives
                them.
            loss: A key of `snowmap.tasks.class_losses.LOSSES`.
            gamma: Of the loss ``focal``.
            class_weights: ``none``; ``balanced``, the inverse of each class's share of the training pixels; or one for
                each class.
            label_smoothing: Share of the labels that is dealt out evenly to all classes.

        Raises:
            SnowmapError: When there are several targets, or one is no class map, the weights are not one for each
                class, or the loss is none of classes or takes no smoothing.
        """
        super().__init__(targets, members, calibration)
        self.classes = _only(self.targets)
        self.parameters_per_target = count = len(self.classes.values)
        self.loss_of_classes, self.gamma, self.smoothing = self.chosen(loss, LOSSES), gamma, label_smoothing
        if loss == "lovasz" and label_smoothing:
            raise SnowmapError("loss=lovasz takes labels as they are; give head.label_smoothing=0, or another loss=")
        self.balanced = class_weights == "balanced"
        given = [1.0] * count if isinstance(class_weights, str) else list(class_weights)
        if len(given) != count:
            raise SnowmapError(
                f"head.class_weights={given} are {len(given)}, but target '{self.classes.target}' has {count} classes: "
                f"{', '.join(self.classes.meanings)}; give one for each, or balanced"
            )
        self.register_buffer("weights", torch.tensor(given))
        self.confusion = MulticlassConfusionMatrix(count)
        self.calibration_error, self.best_threshold = CalibrationError(), BestThreshold()

    def fit(self, training: Sequence[tuple[Statistical, Sequence[int]]]) -> None:
        """Count the pixels of each class, which weigh it if the weights are balanced.

        Args:
            training: As for every head.

        Raises:
            SnowmapError: When a class has no training pixel.
        """
        counts = torch.zeros(len(self.classes.values), dtype=torch.float64)
        for piece in (piece for tensors, windows in training for piece in tensors.targets_alone().pieces(windows)):
            known = piece.y[0][0][piece.inside]
            counts += torch.stack([(known == value).sum() for value in self.classes.values])
        if not counts.all():
            missing = self.classes.meanings[int(counts.argmin())]
            counted = ", ".join(f"{word} {int(n):,}" for word, n in zip(self.classes.meanings, counts, strict=True))
            raise SnowmapError(
                f"no training pixel is of the class '{missing}' of target '{self.classes.target}' (found: {counted}); "
                "choose another split=, more scenes, or labels without that class"
            )
        if self.balanced:
            self.weights.copy_(counts.sum() / (len(counts) * counts))

    def loss(self, parameters: Predicted, y: Observed, valid: Valid) -> Float[Tensor, ""]:
        """The loss that was chosen, the mean over the members; see `Head.loss`."""
        truth = self.indices(y)
        losses = [
            self.loss_of_classes(of_member, truth, valid, self.weights, self.smoothing, self.gamma)
            for of_member in parameters
        ]
        return torch.stack(losses).mean()

    def indices(self, y: Float[Tensor, "*pixels"]) -> Int[Tensor, "*pixels"]:
        """The index of each pixel's class; 0 for what is none."""
        index = torch.zeros_like(y, dtype=torch.long)
        for position, value in enumerate(self.classes.values):
            index = torch.where(y == value, position, index)
        return index

    def update(self, parameters: Predicted, y: Observed, valid: Valid) -> None:
        """Count observed and predicted classes of the valid pixels; see `Head.update`."""
        if valid.any():
            probability = self.probability(parameters).movedim(-3, -1)[valid]
            confidence, likeliest = probability.max(dim=-1)
            truth = self.indices(y)[valid]
            self.confusion.update(likeliest, truth)
            self.calibration_error.update(confidence, likeliest == truth)
            if self.classes.named is not None:
                self.best_threshold.update(probability[..., self.classes.named], truth == self.classes.named)

    def scores(self) -> dict[str, Tensor]:
        """``<target>_<score>`` of the class that the target names, or the mean over the classes, and of each class.

        Scores of `snowmap.data.classes.class_scores` and ``<target>_ece``. `monitor` is the IoU of the class that the
        target names at its best threshold, since that is chosen on the same pixels once the training is over: at 0.5 a
        rare class may have no pixel in any epoch. Of more than two classes it is their mean IoU.
        """
        confusion, target = self.confusion.compute(), self.classes.target
        of_classes = {score: torch.from_numpy(v) for score, v in class_scores(confusion.cpu().numpy()).items()}
        pooled = {score: self._pooled(values) for score, values in of_classes.items()}
        monitored = pooled["iou"] if self.classes.named is None else self.best_threshold.compute()
        if not monitored.isfinite():
            logger.warning("no validation pixel is of a class that is scored: IoU is taken for 0")
        scores = {f"{target}_{score}": value for score, value in pooled.items()}
        for score, values in of_classes.items():
            scores |= {
                f"{target}_{score}_{meaning}": value
                for meaning, value in zip(self.classes.meanings, values, strict=True)
            }
        scores[f"{target}_ece"] = self.calibration_error.compute()
        self.confusion.reset()
        self.calibration_error.reset()
        self.best_threshold.reset()
        scores[self.monitor] = monitored.nan_to_num(0)
        return {name: value.float().to(confusion.device) for name, value in scores.items()}

    def _pooled(self, values: Float[Tensor, " class"]) -> Float[Tensor, ""]:
        return values.nanmean() if self.classes.named is None else values[self.classes.named]

    @staticmethod
    def merit(validation: Mapping[str, Mapping[str, Any]], std: Mapping[str, float]) -> float:
        """IoU, as `scores` pools it; baselines have it, too."""
        ((target, scored),) = validation.items()
        if scored["iou"] is None:
            raise SnowmapError(f"no validation IoU of {target}")
        return float(scored["iou"])

    def unusual(self, y: Float[Tensor, "*batch target height width"]) -> Float[Tensor, "*batch target height width"]:
        """A class is never unusual."""
        return torch.zeros_like(y)

    def probability(
        self, parameters: Float[Tensor, "member *batch class height width"]
    ) -> Float[Tensor, "*batch class height width"]:
        """The mean of the members' probabilities to the power of 1 ÷ temperature, normalised.

        Of one member that is its softmax at this temperature (Guo et al. 2017); of several the mean comes first, since
        that of calibrated members is not calibrated (Rahaman & Thiery 2021, arXiv:2007.08792).
        """
        probability = parameters.softmax(dim=-3).mean(dim=0)
        temperature = self.calibration.get(self.classes.target, {}).get("temperature", 1.0)
        if temperature == 1:
            return probability
        least = torch.finfo(probability.dtype).tiny
        return (probability.clamp(min=least).log() / temperature).softmax(dim=-3)

    @property
    def threshold(self) -> float | None:
        """Of the probability of the class that the target names; None before it was chosen, or with more classes."""
        return self.calibration.get(self.classes.target, {}).get("threshold")

    @property
    def layers(self) -> dict[str, dict[str, Any]]:
        """The class map, whose attribute ``threshold`` is what decided it, and the probability of each class."""
        return class_layers(self.classes.target, self.targets[self.classes.target], self.threshold)

    def maps(
        self, parameters: Float[Tensor, "member step target class height width"]
    ) -> Float[Tensor, "step layer height width"]:
        """See `layers`."""
        probability = self.probability(parameters)[:, 0]
        decided = self.classes.decided(probability.movedim(-3, 0), self.threshold)
        return torch.cat([decided.unsqueeze(-3), probability], dim=-3)

    def mapped(
        self, parameters: Float[Tensor, "member *batch target class height width"]
    ) -> Float[Tensor, "*batch target height width"]:
        """The class map."""
        return self.classes.decided(self.probability(parameters).movedim(-3, 0), self.threshold)


def _only(targets: Mapping[str, Mapping[str, Any]]) -> Classes:
    """The classes of the one target."""
    if len(targets) != 1:
        raise SnowmapError(f"task=segmentation maps one target, found {', '.join(targets)}; give target.names=[one]")
    refuse_quantities(targets, "task=segmentation", "task=regression, or another target=")
    ((name, attributes),) = targets.items()
    return Classes.of(name, attributes)
