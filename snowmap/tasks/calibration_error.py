"""The calibration error of probabilities of classes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

BINS = 15
"""Of confidence, in the calibration error (Guo et al. 2017, arXiv:1706.04599)."""


class CalibrationError(Metric):
    """Expected calibration error of the likeliest class, by `BINS` equal bins of its probability.

    torchmetrics has the same score, but keeps every pixel.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("count", "confidence", "correct"):
            self.add_state(name, torch.zeros(BINS, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, confidence: Float[Tensor, " pixel"], correct: Bool[Tensor, " pixel"]) -> None:
        """Some more pixels: the probability of the likeliest class, and whether it is the true one."""
        bins = (confidence * BINS).long().clamp(max=BINS - 1)
        confidence = confidence.double()
        for total, of_pixel in (
            (self.count, torch.ones_like(confidence)),
            (self.confidence, confidence),
            (self.correct, correct.double()),
        ):
            total += torch.zeros_like(total).index_put((bins,), of_pixel, accumulate=True)  # type: ignore[operator]

    def compute(self) -> Float[Tensor, ""]:
        """Mean over the pixels of how far the share of true ones is from the mean probability of their bin."""
        return (self.correct - self.confidence).abs().sum() / self.count.sum()  # type: ignore[operator]
