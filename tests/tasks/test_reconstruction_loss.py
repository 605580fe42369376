"""The loss of a masked pre-training against a NumPy version, pixel by pixel."""

import numpy as np
import pytest
import torch

from snowmap.models.interpolation import KERNELS, kriged
from snowmap.models.masking import random_mask
from snowmap.models.reconstruction import Patterns
from snowmap.tasks.reconstruction_loss import EPSILON, SHORTEST, Reconstruction, Truth, Visible

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
    shares = torch.rand(len(KERNELS), IMAGES, CHANNELS, cells, cells, **normal)
    patterns = Patterns(torch.randn(IMAGES, CHANNELS, SIZE, SIZE, **normal), *statistics, shares)
    keep = random_mask(IMAGES, SIZE, SIZE, PATCH, 0.75, seed=seed)
    return patterns, Truth(x, valid, keep, torch.rand(IMAGES, 1, SIZE, SIZE, generator=random))


def huber(error: np.ndarray) -> np.ndarray:
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def expected_interpolation(patterns: Patterns, visible: Visible) -> np.ndarray:
    """Each kernel's map, by its share in each patch."""
    shares = patterns.shares.numpy().repeat(PATCH, axis=3).repeat(PATCH, axis=4)
    return (shares * visible.interpolated.numpy()).sum(axis=0).astype(float)


def expected_loss(patterns: Patterns, truth: Truth) -> float:
    pattern, mean, log_std = (part.double().numpy() for part in patterns[:3])
    base = expected_interpolation(patterns, Reconstruction(BANDS, WRAPPED, PATCH).visible(truth))
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
                guess = base[part][known] / spread
                of_patch = huber(mean[cell] + guess.mean() - (values.mean() - center) / spread)
                of_patch += huber(log_std[cell] - np.log(std / spread))
                shape = pattern[part][known] + (guess - guess.mean()) / np.exp(log_std[cell])
                costs[name] += list((shape - (values - values.mean()) / std) ** 2 + of_patch)
    above = below = 0.0
    for image in range(IMAGES):
        shown, masked = valid[image, 1] & keep[image, 0], valid[image, 1] & ~keep[image, 0]
        weight, vector = coherence[image, 0], x[image, [COS, SIN]]
        center = [np.average(part[shown], weights=weight[shown]) for part in vector]
        direction = np.stack(center)[:, None, None] + base[image, [COS, SIN]] + pattern[image, [COS, SIN]]
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
    none = torch.zeros(len(KERNELS), *mean.shape)
    perfect = Patterns(pattern, (mean - visible.mean) / visible.std, (std / visible.std).log(), none)
    assert kind.loss(perfect, truth).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(kind.predicted(perfect, visible), truth.x, rtol=1e-4, atol=1e-4)


def test_without_a_prediction_it_is_the_interpolation_of_the_visible_pixels():
    patterns, truth = drawn()
    kind = Reconstruction(BANDS, WRAPPED, PATCH)
    visible = kind.visible(truth)
    nothing = Patterns(*map(torch.zeros_like, patterns))
    expected = truth.x[0, 0][truth.valid[0, 0] & truth.keep[0, 0]].mean()
    torch.testing.assert_close(kind.predicted(nothing, visible)[0, 0], expected.expand(SIZE, SIZE))
    whole = kind.predicted(nothing._replace(shares=torch.ones_like(patterns.shares)), visible)
    torch.testing.assert_close(whole, visible.mean + visible.interpolated.sum(dim=0))
    assert not whole[:, 3].any()
    other = kind.visible(truth._replace(x=torch.where(truth.keep, truth.x, 5.0)))
    assert all(map(torch.equal, visible, other))


def test_kriging_is_that_of_numpy_whatever_the_number_of_visible_cells():
    random = np.random.default_rng(0)
    values, visible = random.normal(size=(2, 3, 4, 6)), random.random((2, 1, 4, 6)) < 0.4
    visible[1, 0, 2] = True
    assert visible[0].sum() != visible[1].sum()
    found = kriged(torch.from_numpy(values).float(), torch.from_numpy(visible), 4)
    places = 4.0 * np.stack(np.indices((4, 6)), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    for kernel, (ranges, nugget) in enumerate(KERNELS):
        scaled = [np.sqrt(3) * distance / extent for extent in ranges]
        covariance = np.mean([(1 + each) * np.exp(-each) for each in scaled], axis=0)
        for image in range(2):
            shown = visible[image].ravel()
            among = covariance[np.ix_(shown, shown)] + nugget * np.eye(shown.sum())
            expected = covariance[:, shown] @ np.linalg.solve(among, values[image].reshape(3, -1).T[shown])
            np.testing.assert_allclose(found[kernel, image].reshape(3, -1).T, expected, rtol=1e-3, atol=1e-3)
    assert not kriged(torch.ones(1, 1, 4, 6), torch.zeros(1, 1, 4, 6, dtype=torch.bool), 4).any()


def test_where_nothing_can_be_scored_the_loss_is_zero_with_gradients_that_are_finite():
    patterns, truth = drawn()
    leaves = Patterns(*(part.requires_grad_() for part in patterns))
    loss = Reconstruction(BANDS, WRAPPED, PATCH).loss(leaves, truth._replace(valid=torch.zeros_like(truth.valid)))
    loss.backward()
    assert loss == 0
    assert all(part.grad is not None and not part.grad.any() for part in leaves)
