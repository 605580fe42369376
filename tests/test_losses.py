import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snowmap.losses import LOSSES, masked_loss


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@pytest.mark.parametrize("name", LOSSES)
def test_equals_numpy_over_the_valid_pixels_and_no_gradient_is_nan(name, seed, share):
    generator = np.random.default_rng(seed)
    predicted = torch.tensor(generator.normal(size=(2, 2, 3, 4)), dtype=torch.float32, requires_grad=True)
    observed = generator.normal(size=(2, 2, 3, 4)).astype(np.float32)
    valid = generator.random(observed.shape) < share
    observed[~valid] = np.nan

    loss = masked_loss(name, predicted, torch.from_numpy(observed), torch.from_numpy(valid))
    loss.backward()

    error = (predicted.detach().numpy() - observed)[valid].astype(np.float64)
    size = np.abs(error)
    known = {"mse": error**2, "mae": size, "huber": np.where(size < 1, error**2 / 2, size - 0.5)}[name]
    assert loss.item() == pytest.approx(known.mean() if valid.any() else 0, rel=1e-5, abs=1e-7)
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[torch.from_numpy(~valid)] == 0).all()
