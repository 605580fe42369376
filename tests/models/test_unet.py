import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmap.errors import SnowmapError
from snowmap.models import build_net


def inputs(height: int, width: int, time: int = 1, channels: int = 5):
    torch.manual_seed(0)
    shape = (2, time, channels, height, width)
    return torch.randn(shape), torch.zeros(2, time), torch.full((2, time), 40.0), torch.ones(2, time, dtype=torch.bool)


def net(**options):
    torch.manual_seed(1)
    return build_net({"name": "unet", "channels": [8, 16, 24], **options}, inputs=5, outputs=2).eval()


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_height_and_width(height, width):
    assert net()(*inputs(height, width)).shape == (2, 2, height, width)


def test_only_the_last_step_counts():
    x, _, _, _ = inputs(12, 9, time=3)
    days, day_of_year, valid = torch.zeros(2, 3), torch.full((2, 3), 40.0), torch.ones(2, 3, dtype=torch.bool)
    changed = x.clone()
    changed[:, :2] = 99
    unet = net()
    assert torch.equal(unet(x, days, day_of_year, valid), unet(changed, days, day_of_year, valid))


def test_the_season_is_seen_and_can_be_left_out():
    x, days, day_of_year, valid = inputs(12, 9)
    seeing, blind = net(), net(season=False)
    assert not torch.allclose(seeing(x, days, day_of_year, valid), seeing(x, days, day_of_year + 180, valid))
    assert torch.equal(blind(x, days, day_of_year, valid), blind(x, days, day_of_year + 180, valid))


def test_every_parameter_learns():
    unet = net().train()
    unet(*inputs(16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in unet.parameters())


def test_a_far_pixel_is_within_reach_of_the_coarsest_level():
    x, *rest = inputs(32, 32)
    changed = x.clone()
    changed[..., 31, 31] += 10
    unet = net()
    assert not torch.equal(unet(x, *rest)[..., 16, 16], unet(changed, *rest)[..., 16, 16])


def test_a_wrong_name_or_argument_is_named():
    with pytest.raises(SnowmapError, match=r"model\.name=unett is unknown; known are unet"):
        build_net({"name": "unett"}, 5, 1)
    with pytest.raises(SnowmapError, match="chanels"):
        build_net({"name": "unet", "chanels": [8]}, 5, 1)
