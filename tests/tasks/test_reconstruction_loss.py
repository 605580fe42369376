"""The loss of a masked pre-training against a NumPy version, pixel by pixel."""

import numpy as np
import pytest
import torch

from snowmap.models.masking import random_mask
from snowmap.models.reconstruction import Patterns
from snowmap.tasks.reconstruction_loss import EPSILON, SHORTEST, Reconstruction, Truth

BANDS, WRAPPED, PATCH, SIZE = ("co_pol", "phase", "coherence", "cross_pol"), ("phase",), 4, 16
IMAGES, CHANNELS = 3, 5
COS, SIN = 1, 4


def drawn(seed: int = 0) -> tuple[Patterns, Truth]:
    """Everything at random; the second image lacks a band, all lack another."""
    random = torch.Generator().manual_seed(seed)
    normal = {"generator": random}
    x = torch.randn(IMAGES, CHANNELS, SIZE, SIZE, **normal)
    x[:, [COS, SIN]] /= x[:, [COS, SIN]].norm(dim=1, keepdim=True)
    valid = torch.rand(IMAGES, len(BANDS), SIZE, SIZE, generator=random) > 0.2
    valid[1, 0] = valid[:, 3] = False
    cells = SIZE // PATCH
    statistics = (0.3 * torch.randn(IMAGES, CHANNELS, cells, cells, **normal) for _ in range(2))
    patterns = Patterns(torch.randn(IMAGES, CHANNELS, SIZE, SIZE, **normal), *statistics)
    keep = random_mask(IMAGES, SIZE, SIZE, PATCH, 0.75, seed=seed)
    return patterns, Truth(x, valid, keep, torch.rand(IMAGES, 1, SIZE, SIZE, generator=random))


def huber(error: np.ndarray) -> np.ndarray:
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def expected_loss(patterns: Patterns, truth: Truth) -> float:
    pattern, mean, log_std = (part.detach().double().numpy() for part in patterns)
    x, valid, keep, coherence = (part.numpy() for part in truth)
    x = x.astype(float)
    costs = {name: [] for name in ("co_pol", "coherence", "cross_pol")}
    for image, (band, name) in ((i, b) for i in range(IMAGES) for b in enumerate(BANDS) if b[1] in costs):
        visible = x[image, band][valid[image, band] & keep[image, 0]]
        center, spread = (visible.mean(), np.sqrt(visible.var() + EPSILON)) if visible.size else (0, 1)
        for row in range(0, SIZE, PATCH):
            for column in range(0, SIZE, PATCH):
                part = (image, band, slice(row, row + PATCH), slice(column, column + PATCH))
                known = valid[part] & ~keep[(image, 0, *part[2:])]
                if not known.any():
                    continue
                values, cell = x[part][known], (image, band, row // PATCH, column // PATCH)
                std = np.sqrt(values.var() + EPSILON)
                of_patch = huber(mean[cell] - (values.mean() - center) / spread)
                of_patch += huber(log_std[cell] - np.log(std / spread))
                costs[name] += list((pattern[part][known] - (values - values.mean()) / std) ** 2 + of_patch)
    above = below = 0.0
    for image in range(IMAGES):
        shown, masked = valid[image, 1] & keep[image, 0], valid[image, 1] & ~keep[image, 0]
        weight, vector = coherence[image, 0], x[image, [COS, SIN]]
        center = [np.average(part[shown], weights=weight[shown]) for part in vector]
        direction = np.stack(center)[:, None, None] + pattern[image, [COS, SIN]]
        cosine = (direction * vector).sum(0) / np.maximum(np.hypot(*direction), SHORTEST)
        above += (weight * (1 - cosine))[masked].sum()
        below += weight[masked].sum()
    return np.mean([*(np.mean(cost) for cost in costs.values() if cost), above / below])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_that_of_numpy_and_looks_at_no_band_that_is_absent(seed):
    patterns, truth = drawn(seed)
    loss = Reconstruction(BANDS, WRAPPED, PATCH).loss(patterns, truth)
    assert loss.item() == pytest.approx(expected_loss(patterns, truth), rel=1e-5)
    x, pattern = truth.x.clone(), patterns.pattern.clone()
    x[:, 3], pattern[:, 3] = 7.0, -9.0
    absent = patterns._replace(pattern=pattern), truth._replace(x=x)
    assert Reconstruction(BANDS, WRAPPED, PATCH).loss(*absent) == loss


def test_the_perfect_prediction_costs_nothing_and_is_the_truth():
    """As far as patches are whole, and the floor of the standard deviation allows."""
    _, truth = drawn()
    truth = truth._replace(valid=torch.ones_like(truth.valid))
    kind = Reconstruction(BANDS, WRAPPED, PATCH)
    visible = kind.visible(truth)
    cells = truth.x.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).flatten(4)
    mean, std = cells.mean(dim=-1), (cells.var(dim=-1, correction=0) + EPSILON).sqrt()
    pattern = (truth.x - kind._spread(mean)) / kind._spread(std)
    pattern[:, [COS, SIN]] = (truth.x - visible.mean)[:, [COS, SIN]]
    perfect = Patterns(pattern, (mean - visible.mean) / visible.std, (std / visible.std).log())
    assert kind.loss(perfect, truth).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(kind.predicted(perfect, visible), truth.x, rtol=1e-4, atol=1e-4)


def test_a_prediction_of_zero_is_the_mean_of_the_visible_pixels():
    patterns, truth = drawn()
    kind = Reconstruction(BANDS, WRAPPED, PATCH)
    visible = kind.visible(truth)
    zero = kind.predicted(Patterns(*map(torch.zeros_like, patterns)), visible)
    expected = truth.x[0, 0][truth.valid[0, 0] & truth.keep[0, 0]].mean()
    torch.testing.assert_close(zero[0, 0], expected.expand(SIZE, SIZE))
    assert not zero[:, 3].any()
    other = kind.visible(truth._replace(x=torch.where(truth.keep, truth.x, 5.0)))
    assert all(map(torch.equal, visible, other))


def test_where_nothing_can_be_scored_the_loss_is_zero_with_gradients_that_are_finite():
    patterns, truth = drawn()
    leaves = Patterns(*(part.requires_grad_() for part in patterns))
    loss = Reconstruction(BANDS, WRAPPED, PATCH).loss(leaves, truth._replace(valid=torch.zeros_like(truth.valid)))
    loss.backward()
    assert loss == 0
    assert all(part.grad is not None and not part.grad.any() for part in leaves)
