"""The loss of a masked pre-training against a NumPy version, pixel by pixel."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, maximum_filter
from skimage.restoration import inpaint_biharmonic
from torch.nn.functional import interpolate

from snowmap.models.interpolation import CELL, KERNELS, kriged
from snowmap.models.masking import random_mask
from snowmap.models.reconstruction import Patterns
from snowmap.sources.synthetic.terrain import TERRAIN_EXPONENT, power_law_field
from snowmap.tasks.reconstruction_loss import EPSILON, FLATTEST, SHORTEST, USUAL, Reconstruction, Truth, Visible

BANDS, WRAPPED, PATCH, SIZE = ("co_pol", "phase", "coherence", "cross_pol"), ("phase",), 4, 16
IMAGES, CHANNELS = 3, 5
COS, SIN = 1, 4


def drawn(seed: int = 0) -> tuple[Patterns, Truth]:
    """Everything at random; the second image lacks a band, all lack another; of the third two are hidden."""
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
    hidden = torch.zeros(IMAGES, len(BANDS), 1, 1, dtype=torch.bool)
    hidden[2, 1:3] = True
    return patterns, Truth(x, valid, keep, hidden, torch.rand(IMAGES, 1, SIZE, SIZE, generator=random))


def huber(error: np.ndarray) -> np.ndarray:
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def expected_interpolation(patterns: Patterns, visible: Visible) -> np.ndarray:
    """Each kernel's map, by its share in each patch."""
    shares = patterns.shares.numpy().repeat(PATCH, axis=3).repeat(PATCH, axis=4)
    return (shares * visible.interpolated.numpy()).sum(axis=0).astype(float)


def expected_loss(patterns: Patterns, truth: Truth) -> float:
    pattern, mean, log_std = (part.double().numpy() for part in patterns[:3])
    base = expected_interpolation(patterns, Reconstruction(BANDS, WRAPPED, PATCH).visible(truth))
    x, valid, keep, hidden, coherence = (part.numpy() for part in truth)
    x, keep = x.astype(float), keep & ~hidden
    costs = {name: [] for name in ("co_pol", "coherence", "cross_pol")}
    for image, (band, name) in ((i, b) for i in range(IMAGES) for b in enumerate(BANDS) if b[1] in costs):
        visible = x[image, band][valid[image, band] & keep[image, band]]
        center, spread = (visible.mean(), np.sqrt(visible.var() + EPSILON)) if visible.size else (0, USUAL)
        for row in range(0, SIZE, PATCH):
            for column in range(0, SIZE, PATCH):
                part = (image, band, slice(row, row + PATCH), slice(column, column + PATCH))
                known = valid[part] & ~keep[part]
                if not known.any():
                    continue
                values, cell = x[part][known], (image, band, row // PATCH, column // PATCH)
                std = max(values.std(), FLATTEST * spread)
                guess = base[part][known] / spread
                of_patch = huber(mean[cell] + guess.mean() - (values.mean() - center) / spread)
                of_patch += huber(log_std[cell] - np.log(std / spread))
                shape = pattern[part][known] + (guess - guess.mean()) / np.exp(log_std[cell])
                around = np.exp(log_std[cell]) * shape - (values - values.mean()) / spread
                costs[name] += list((shape - (values - values.mean()) / std) ** 2 + around**2 + of_patch)
    above = below = 0.0
    for image in range(IMAGES):
        shown, masked = valid[image, 1] & keep[image, 1], valid[image, 1] & ~keep[image, 1]
        weight, vector = coherence[image, 0], x[image, [COS, SIN]]
        center = [np.average(part[shown], weights=weight[shown]) if shown.any() else 0 for part in vector]
        direction = np.stack(center)[:, None, None] + base[image, [COS, SIN]] + pattern[image, [COS, SIN]]
        cosine = (direction * vector).sum(0) / np.maximum(np.hypot(*direction), SHORTEST)
        above += (weight * (1 - cosine))[masked].sum()
        below += weight[masked].sum()
    return np.mean([*(np.mean(cost) for cost in costs.values() if cost), above / below])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_that_of_numpy_and_looks_at_no_band_that_is_absent(seed):
    patterns, truth = drawn(seed)
    truth.x[:, 0, :PATCH, :PATCH] = 0.3
    loss = Reconstruction(BANDS, WRAPPED, PATCH).loss(patterns, truth)
    assert loss.item() == pytest.approx(expected_loss(patterns, truth), rel=1e-5)
    x, pattern = truth.x.clone(), patterns.pattern.clone()
    x[:, 3], pattern[:, 3] = 7.0, -9.0
    absent = patterns._replace(pattern=pattern), truth._replace(x=x)
    assert Reconstruction(BANDS, WRAPPED, PATCH).loss(*absent) == loss


def test_the_perfect_prediction_costs_nothing_and_is_the_truth():
    """As far as patches are whole; one is level, whose standard deviation has a floor."""
    _, truth = drawn()
    truth.x[0, 0, :PATCH, :PATCH] = 0.3
    truth = truth._replace(valid=torch.ones_like(truth.valid))
    kind = Reconstruction(BANDS, WRAPPED, PATCH)
    visible = kind.visible(truth)
    cells = truth.x.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).flatten(4)
    mean, std = cells.mean(dim=-1), cells.std(dim=-1, correction=0).maximum(FLATTEST * visible.std)
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
    hidden = torch.cat([truth.hidden, truth.hidden[:, [COS]]], dim=1)
    other = kind.visible(truth._replace(x=torch.where(truth.keep & ~hidden, truth.x, 5.0)))
    assert all(map(torch.equal, visible, other))
    assert not other.mean[2, 1:3].any()


def test_kriging_is_that_of_numpy_whatever_the_number_of_visible_cells():
    random = np.random.default_rng(0)
    keep = (random.random((2, 1, 6, 7)) < 0.4).repeat(4, axis=2).repeat(4, axis=3)
    keep[1, :, 12:] = True
    values, weights = random.normal(size=(2, 3, *keep.shape[2:])), random.random((2, 3, *keep.shape[2:]))
    found = kriged(*map(torch.from_numpy, (values, weights, keep)))

    def centres(cell):
        return cell * (0.5 + np.stack(np.indices([size // cell for size in keep.shape[2:]]), axis=-1).reshape(-1, 2))

    def cells(maps, cell):
        return maps.reshape(*maps.shape[:-2], maps.shape[-2] // cell, cell, -1, cell).mean(axis=(-3, -1))

    for (ranges, nugget, cell, rim), maps in zip(KERNELS, found, strict=True):
        for image in range(2):
            visible = cells(keep[image, 0], cell) == 1
            near = True if rim is None else maximum_filter(~visible, 2 * rim + 1)
            shown = (visible & near).ravel()
            known = (cells(weights[image] * values[image], cell) / cells(weights[image], cell)).reshape(3, -1).T[shown]

            def covariance(targets, sources, ranges=ranges):
                distance = np.linalg.norm(targets[:, None] - sources, axis=-1)
                scaled = [np.sqrt(3) * distance / extent for extent in ranges]
                return np.mean([(1 + each) * np.exp(-each) for each in scaled], axis=0)

            places = centres(cell)[shown]
            among = covariance(places, places) + nugget * np.eye(shown.sum())
            expected = covariance(centres(CELL), places) @ np.linalg.solve(among, known)
            of_cells = torch.from_numpy(expected.T.reshape(1, 3, 6, 7))
            pixels = interpolate(of_cells, scale_factor=CELL, mode="bilinear")[0]
            tolerance = max(1e-3, 1e-6 / nugget)  # of float32, whose digits a small nugget costs
            np.testing.assert_allclose(maps[image], pixels, rtol=tolerance, atol=tolerance)
    for nothing in (torch.zeros(1, 1, 16, 24, dtype=torch.bool), torch.ones(1, 1, 16, 24, dtype=torch.bool)):
        assert not kriged(torch.ones(1, 1, 16, 24), torch.ones(1, 1, 16, 24), nothing).any()  # visible, or asked for


def test_a_gap_in_smooth_ground_is_filled_about_as_well_as_by_biharmonic_inpainting():
    """Terrain as of the synthetic patches; from cells of 4 px alone the error is 1.6 times as large."""
    random = np.random.default_rng(3)
    fields = (power_law_field((128, 128), (30.0, 30.0), TERRAIN_EXPONENT, random, 8_000.0) for _ in range(4))
    ground = np.stack([gaussian_filter(field, 2.7)[:64, :64] for field in fields])
    keep = np.ones((64, 64), dtype=bool)
    keep[16:32, 16:32] = keep[32:48, 32:48] = False
    seen = torch.from_numpy(keep).expand(4, 1, 64, 64)
    values = torch.from_numpy(ground - ground[:, keep].mean(axis=1)[:, None, None])[:, None]
    error = (kriged(values, torch.ones_like(values), seen)[0] - values)[~seen].square().mean().sqrt()
    inpainted = [inpaint_biharmonic(np.where(keep, each, 0), ~keep) for each in ground]
    assert error < 1.35 * np.sqrt(((inpainted - ground)[:, ~keep] ** 2).mean())


def test_where_nothing_can_be_scored_the_loss_is_zero_with_gradients_that_are_finite():
    patterns, truth = drawn()
    leaves = Patterns(*(part.requires_grad_() for part in patterns))
    loss = Reconstruction(BANDS, WRAPPED, PATCH).loss(leaves, truth._replace(valid=torch.zeros_like(truth.valid)))
    loss.backward()
    assert loss == 0
    assert all(part.grad is not None and not part.grad.any() for part in leaves)
