import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from snowmap.data.batch import CubeTensors
from snowmap.data.cube import target_attributes
from snowmap.distribution import LEVELS
from snowmap.errors import SnowmapError
from snowmap.tasks.heads import Gaussian, Quantile, build_head
from snowmap.tasks.point_head import LOSSES, Point
from tests.cubes import make_cube


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@pytest.mark.parametrize("name", LOSSES)
def test_equals_numpy_over_the_valid_pixels_and_no_gradient_is_nan(name, seed, share):
    generator = np.random.default_rng(seed)
    predicted = torch.tensor(generator.normal(size=(2, 2, 1, 3, 4)), dtype=torch.float32, requires_grad=True)
    observed = generator.normal(size=(2, 2, 3, 4)).astype(np.float32)
    valid = generator.random(observed.shape) < share
    observed[~valid] = np.nan

    loss = Point(loss=name).masked_loss(predicted, torch.from_numpy(observed), torch.from_numpy(valid))
    loss.backward()

    error = (predicted.detach().numpy()[:, :, 0] - observed)[valid].astype(np.float64)
    size = np.abs(error)
    known = {"mse": error**2, "mae": size, "huber": np.where(size < 1, error**2 / 2, size - 0.5)}[name]
    assert loss.item() == pytest.approx(known.mean() if valid.any() else 0, rel=1e-5, abs=1e-7)
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[:, :, 0][torch.from_numpy(~valid)] == 0).all()


def random_parameters(size: int, members: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).normal(size=(members, 2, size, 3, 4)).astype(np.float32))


def test_gaussian_without_weight_is_the_negative_log_likelihood_of_scipy():
    parameters, observed = random_parameters(2), random_parameters(1)[:, :, 0]
    head = Gaussian(beta=0.0)
    sigma = head.variance(parameters).sqrt().numpy()
    known = -stats.norm(parameters[:, :, 0].numpy(), sigma).logpdf(observed.numpy()) - 0.5 * np.log(2 * np.pi)
    assert head.losses(parameters, observed).numpy() == pytest.approx(known, rel=1e-4, abs=1e-5)


def test_beta_1_gives_the_mean_the_gradient_of_half_the_squared_error():
    parameters, observed = random_parameters(2).requires_grad_(), random_parameters(1)[:, :, 0]
    Gaussian(beta=1.0).losses(parameters, observed).sum().backward()
    assert parameters.grad is not None
    error = (parameters[:, :, 0] - observed).detach().numpy()
    assert parameters.grad[:, :, 0].numpy() == pytest.approx(error, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    "head", [Gaussian(beta=0.0), Gaussian(beta=0.5), Quantile()], ids=["nll", "beta-nll", "pinball"]
)
def test_the_loss_finds_the_distribution_that_the_data_has(head):
    generator = np.random.default_rng(0)
    observed = torch.from_numpy(generator.normal(0.7, 0.4, (1, 200, 200)).astype(np.float32))
    parameters = nn.Parameter(torch.zeros(1, head.parameters_per_target, 1, 1))
    optimizer = torch.optim.Adam([parameters], lr=0.03)
    for _ in range(400):
        optimizer.zero_grad()
        head.masked_loss(parameters.expand(1, -1, 200, 200), observed, torch.ones_like(observed).bool()).backward()
        optimizer.step()
    found = parameters.detach()[None]
    offsets = head.offsets(found[:, :, 0], found, torch.ones(1, 1, 1))
    assert found[0, 0, 0].item() == pytest.approx(0.7, abs=0.02)
    quantiles = stats.norm(0, 0.4).ppf(list(LEVELS.values()))
    assert offsets.flatten().numpy() == pytest.approx(quantiles, abs=0.04)


@given(seed=st.integers(0, 1000))
def test_quantiles_never_cross(seed):
    parameters = torch.randn((1, 2, 5, 3, 4), generator=torch.Generator().manual_seed(seed)) * 20
    offsets = Quantile().offsets(parameters[:, :, 0], parameters, torch.ones(2, 1, 1))
    assert (offsets.diff(dim=-3) > 0).all()
    assert (offsets[:, 2] == 0).all()


def test_members_together_have_the_variance_of_their_mixture_in_the_targets_unit():
    parameters = random_parameters(2, members=3)
    head, scale = Gaussian(), torch.tensor([2.0, 5.0])[:, None, None]
    location = parameters[:, :, 0] * scale
    offsets = head.offsets(location, parameters, scale)
    own = head.variance(parameters).sqrt() * scale
    draws = stats.norm(location.numpy(), own.numpy()).rvs((40_000, *location.shape), random_state=0)
    assert (offsets[:, 4] / 1.6449).numpy() == pytest.approx(draws.std(axis=(0, 1)), rel=0.02)


def test_targets_are_scaled_by_their_training_statistics_and_come_back():
    cube = make_cube()
    head = build_head({"name": "point"}, target_attributes(cube, ["hs", "swe"]))
    head.fit([(CubeTensors.of(cube, [], ["hs", "swe"]), [0, 1, 2])])
    values = cube["swe"].values[:3][:, cube["mask"].values].astype(np.float64)
    assert head.mean[1].item() == pytest.approx(np.nanmean(values), rel=1e-5)
    assert head.std[1].item() == pytest.approx(np.nanstd(values), rel=1e-5)
    y = torch.rand(3, 2, 4, 5) * 100
    torch.testing.assert_close(head.decode(head.encode(y)), y)


def test_a_constant_target_is_refused():
    cube = make_cube()
    cube["swe"].values[:] = 3
    with pytest.raises(SnowmapError, match="target 'swe' is 3 everywhere"):
        build_head({"name": "point"}, target_attributes(cube, ["swe"])).fit(
            [(CubeTensors.of(cube, [], ["swe"]), [0, 1, 2])]
        )
