"""From which probability on a pixel is of a class, for the greatest IoU."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

THRESHOLDS = 1000
"""Steps of probability, from which the threshold is chosen."""


class BestThreshold(Metric):
    """The greatest IoU that a threshold reaches: pixels are counted by their probability and by whether they are of it.

    Attributes:
        counts: Pixels that are not, and that are of the class, by step of their probability. Shape (2, step).
    """

    full_state_update = False

    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(2, THRESHOLDS + 1, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, probability: Float[Tensor, " pixel"], truth: Bool[Tensor, " pixel"]) -> None:
        """Some more pixels: the probability of the class, and whether they are of it."""
        steps = (probability.double() * THRESHOLDS).floor().long().clamp(0, THRESHOLDS)
        ones = torch.ones_like(steps)
        self.counts += torch.zeros_like(self.counts).index_put((truth.long(), steps), ones, accumulate=True)

    def compute(self) -> Float[Tensor, ""]:
        """The greatest IoU; NaN where no pixel is of the class."""
        best = self.iou().max()
        return best if self.counts[1].any() else torch.full_like(best, torch.nan)

    def iou(self) -> Float[Tensor, " threshold"]:
        """Of each threshold from the first step on; 0 where no pixel is of the class, nor reaches it."""
        reach = self.counts.flip(1).cumsum(1).flip(1)[:, 1:].double()
        return reach[1] / (self.counts[1].sum() + reach[0]).clamp(min=1)

    def threshold(self) -> float:
        """That of the greatest IoU; of several the middle."""
        iou = self.iou()
        best = (iou == iou.max()).nonzero().flatten()
        return float(best[len(best) // 2] + 1) / THRESHOLDS
