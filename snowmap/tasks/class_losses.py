"""Losses of class probabilities, over the pixels that have a class.

Each is ``loss(logits, truth, valid, weights, smoothing, gamma)`` with the classes along the last axis but two of
`logits`. Pixels that are not valid touch neither value nor gradient. Weights are by class, as in
`torch.nn.functional.cross_entropy`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, "*batch class height width"]
Truth = Int[Tensor, "*batch height width"]
Valid = Bool[Tensor, "*batch height width"]
Weights = Float[Tensor, " class"]


def cross_entropy(
    logits: Logits, truth: Truth, valid: Valid, weights: Weights, smoothing: float, gamma: float
) -> Float[Tensor, ""]:
    """Weighted mean of −ln of the probability of the true class."""
    return _focal(logits, truth, valid, weights, smoothing, 0.0)


def focal(
    logits: Logits, truth: Truth, valid: Valid, weights: Weights, smoothing: float, gamma: float
) -> Float[Tensor, ""]:
    """The same, where each class counts by (1 − its probability)^γ: what is easy counts little.

    Lin et al. 2017, arXiv:1708.02002, eq. 4, for soft targets the sum over the classes.
    """
    return _focal(logits, truth, valid, weights, smoothing, gamma)


def dice(
    logits: Logits, truth: Truth, valid: Valid, weights: Weights, smoothing: float, gamma: float
) -> Float[Tensor, ""]:
    """1 − twice the overlap ÷ the sum of areas, the weighted mean over the classes (Milletari et al. 2016,
    arXiv:1606.04797).

    One pixel is added to both, so that a class that is neither there nor predicted costs nothing.
    """
    probability = torch.where(valid.unsqueeze(-3), logits.softmax(dim=-3), 0)
    observed = torch.where(valid.unsqueeze(-3), _soft(truth, logits.shape[-3], smoothing), 0)
    (probability, observed) = (values.movedim(-3, 0).flatten(1) for values in (probability, observed))
    overlap = 2 * (probability * observed).sum(dim=1) + 1
    areas = probability.sum(dim=1) + observed.sum(dim=1) + 1
    return ((1 - overlap / areas) * weights).sum() / weights.sum()


def lovasz(
    logits: Logits, truth: Truth, valid: Valid, weights: Weights, smoothing: float, gamma: float
) -> Float[Tensor, ""]:
    """The Lovász extension of 1 − IoU over all pixels of the batch, the weighted mean over the classes that it holds.

    Berman et al. 2018, arXiv:1705.08790, algorithm 1. It takes hard labels.
    """
    probability = logits.softmax(dim=-3).movedim(-3, 0).flatten(1)
    counted = valid.flatten()
    classes = torch.arange(len(weights), device=logits.device)[:, None]
    observed = ((truth.flatten() == classes) & counted).to(probability.dtype)
    # an error of 0 comes last and changes no step before it, so pixels without a class are as if they were not there
    errors, order = torch.where(counted, (observed - probability).abs(), 0).sort(dim=1, descending=True)
    observed = observed.gather(1, order)
    total = observed.sum(dim=1, keepdim=True)
    remaining = total - observed.cumsum(dim=1)
    union = total + (1 - observed).cumsum(dim=1)
    jaccard = 1 - remaining / union
    steps = torch.cat([jaccard[:, :1], jaccard.diff(dim=1)], dim=1)
    present = weights * (total[:, 0] > 0)
    return ((errors * steps).sum(dim=1) * present).sum() / present.sum().clamp(min=torch.finfo(weights.dtype).tiny)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "lovasz": lovasz,
}
"""Every loss of classes under the name that users type (``loss=focal``)."""


def _focal(logits: Tensor, truth: Tensor, valid: Tensor, weights: Tensor, smoothing: float, gamma: float) -> Tensor:
    log_probability = logits.log_softmax(dim=-3)
    terms = -_soft(truth, logits.shape[-3], smoothing) * weights[:, None, None] * log_probability
    if gamma:
        # the derivative of x^γ is infinite at 0 where γ < 1
        easy = (1 - log_probability.exp()).clamp(min=torch.finfo(logits.dtype).eps)
        terms = terms * easy**gamma
    counted = torch.where(valid, weights[truth], 0)
    losses = torch.where(valid, terms.sum(dim=-3), 0)
    return losses.sum() / counted.sum().clamp(min=torch.finfo(logits.dtype).tiny)


def _soft(truth: Tensor, classes: int, smoothing: float) -> Tensor:
    """1 for the true class and 0 for the others, drawn towards equal shares by `smoothing`."""
    hard = functional.one_hot(truth, classes).movedim(-1, -3).float()
    return hard * (1 - smoothing) + smoothing / classes
