import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_calibration_error

from snowmap.data.threshold import BestThreshold
from snowmap.maps.class_calibration import temperature_of


def drawn(temperature: float, seed: int, pixels: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and classes that are drawn from their softmax at a temperature."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((pixels, 3), generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_truth_is_found_and_mends_other_pixels(temperature):
    found = temperature_of(drawn(temperature, 0)[0].log_softmax(dim=1).T, drawn(temperature, 0)[1])
    assert found == pytest.approx(temperature, rel=0.05)
    if temperature == 1:
        return
    logits, truth = drawn(temperature, 1)
    errors = [multiclass_calibration_error((logits / t).softmax(dim=1), truth, 3).item() for t in (1, found)]
    nll = [functional.cross_entropy(logits / t, truth).item() for t in (1, found)]
    assert errors[1] < 0.02 < errors[0]
    assert nll[1] < nll[0]


@given(seed=st.integers(0, 200), shift=st.floats(-3, 3))
def test_no_other_threshold_has_a_greater_iou(seed, shift):
    generator = np.random.default_rng(seed)
    truth = generator.random(300) < 0.3
    truth[0] = True
    probability = 1 / (1 + np.exp(-generator.normal(2 * truth - 1 + shift, 1.5)))
    probability = probability.astype(np.float32)

    def iou(threshold: float) -> float:
        mapped = probability >= threshold
        return (mapped & truth).sum() / (mapped | truth).sum()

    best = BestThreshold()
    best.update(torch.from_numpy(probability), torch.from_numpy(truth))
    found = best.threshold()
    assert 0 < found <= 1
    assert iou(found) == max(iou(step / 1000) for step in range(1, 1001)) == pytest.approx(best.compute().item())


def test_the_threshold_is_the_middle_one_where_no_pixel_is_of_the_class():
    best = BestThreshold()
    best.update(torch.tensor([0.1, 0.4]), torch.tensor([False, False]))
    assert best.threshold() == pytest.approx(0.5, abs=0.002)
    assert best.compute().isnan()
