"""What every network promises, whichever it is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmap.errors import SnowmapError
from snowmap.models import NETS, build_net
from snowmap.models.blocks import TimeCollapse
from tests.models.inputs import BANDS, SMALL, Specification, last_steps, make_inputs, make_net

FORMS = list(SMALL)
SEQUENCES = [form for form in FORMS if form != "unet"]
EVERY_STEP = [form for form in FORMS if make_net(form).maps_every_step]


def test_what_a_net_needs_is_known_without_building_one():
    stack = {"name": "unet", "time": "stack"}
    assert NETS["unet"].fixed_time(stack) == build_net(stack, Specification(2, (), {"swe": "cm"})).steps
    assert NETS["unet"].fixed_time(stack | {"steps": 3}) == 3
    assert not any(net.fixed_time({"name": name}) for name, net in NETS.items())


def test_every_net_is_tested():
    assert {form.partition("-")[0] for form in FORMS} == set(NETS) - {"smp", "mae"}  # which are of optional libraries
    assert set(EVERY_STEP) >= {"convlstm", "transformer", "massbalance"}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 21), width=st.integers(1, 21), time=st.integers(1, 5))
def test_any_height_width_and_time(form, height, width, time):
    net = make_net(form)
    maps = net(make_inputs(form, time, height, width))
    assert maps.shape == (2, time if net.maps_every_step else 1, 2, height, width)
    assert maps.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_learns(form):
    net = make_net(form).train()
    inputs = make_inputs(form, height=16, width=16)
    inputs.season_start[1, 0] = True
    net(inputs).square().sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("form", SEQUENCES)
def test_the_past_is_seen(form):
    net, inputs = make_net(form), make_inputs(form)
    changed = make_inputs(form, seed=5)
    for before, after in zip(inputs, changed, strict=True):
        after[:, 2:] = before[:, 2:]
    assert not torch.allclose(net(inputs)[:, -1], net(changed)[:, -1], atol=1e-4)


def test_the_single_window_net_sees_the_last_step_only():
    net, inputs = make_net("unet"), make_inputs()
    assert torch.equal(net(inputs), net(last_steps(inputs, 1)))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None)
@given(padding=st.integers(1, 3), noise=st.integers(0, 1000))
def test_what_lies_under_padding_changes_nothing(form, padding, noise):
    net = make_net(form)
    clean, other = make_inputs(form), make_inputs(form, seed=noise)
    for inputs, scale in ((clean, 1), (other, 1e3)):
        inputs.step_valid[:, :padding] = False
        inputs.season_start[:, :padding] = False
        if inputs is other:
            for before, after in zip(clean, other, strict=True):
                after[:, padding:] = before[:, padding:]
            other.x[:, :padding] *= scale
            other.days[:, :padding] *= 2
    torch.testing.assert_close(net(clean)[:, -1], net(other)[:, -1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_padding_is_as_if_it_were_not_there(form):
    net, inputs = make_net(form), make_inputs(form)
    inputs.step_valid[:, :2] = False
    torch.testing.assert_close(net(inputs)[:, -1], net(last_steps(inputs, 3))[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", EVERY_STEP)
@settings(max_examples=10, deadline=None)
@given(step=st.integers(0, 3), noise=st.integers(1, 1000))
def test_no_step_sees_a_later_one(form, step, noise):
    net, inputs, changed = make_net(form), make_inputs(form), make_inputs(form, seed=noise)
    for before, after in zip(inputs, changed, strict=True):
        after[:, : step + 1] = before[:, : step + 1]
    torch.testing.assert_close(net(inputs)[:, : step + 1], net(changed)[:, : step + 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", EVERY_STEP)
def test_a_step_is_mapped_as_if_the_sequence_ended_there(form):
    net, inputs = make_net(form), make_inputs(form)
    shorter = type(inputs)(*(tensor[:, :3] for tensor in inputs))._replace(days=last_steps(inputs, 3).days)
    torch.testing.assert_close(net(inputs)[:, 2], net(shorter)[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_is_its_sequences_one_by_one(form):
    net, inputs = make_net(form), make_inputs(form)
    alone = [net(type(inputs)(*(tensor[i : i + 1] for tensor in inputs))) for i in range(2)]
    torch.testing.assert_close(net(inputs), torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_map_depends_on_the_pixels_within_reach(form):
    """How far depends on where a pixel lies in the cells that are averaged; a pixel without snow depends on nothing."""
    net, time = make_net(form), 5 if form == "unet-stack" else 1
    inputs = make_inputs(form, time=time, height=80, width=1, batch=1)
    furthest = 0
    for row in range(36, 44):
        x = inputs.x.clone().requires_grad_()
        net(inputs._replace(x=x))[0, -1, 0, row, 0].backward()
        rows = x.grad.abs().sum(dim=(0, 1, 2, 4)).nonzero()
        furthest = max([furthest, *(rows - row).abs().flatten().tolist()])
    assert furthest == net.reach if net.levels > 1 else furthest <= net.reach


def test_a_wrong_name_argument_or_band_is_named():
    specification = Specification(5, BANDS, {"swe": "cm"})
    with pytest.raises(SnowmapError, match=r"model\.name=unett is unknown; known are unet"):
        build_net({"name": "unett"}, specification)
    with pytest.raises(SnowmapError, match="chanels"):
        build_net({"name": "unet", "chanels": [8]}, specification)
    with pytest.raises(SnowmapError, match=r"time=both: expected single \| stack"):
        build_net({"name": "unet", "time": "both"}, specification)
    with pytest.raises(SnowmapError, match="no multiple of 2 × heads=5"):
        build_net({"name": "transformer", "heads": 5}, specification)
    with pytest.raises(SnowmapError, match=r"model\.collapse=max .* give model\.bidirectional=true"):
        build_net({"name": "convlstm", "collapse": "max"}, specification)
    with pytest.raises(SnowmapError, match="model=massbalance needs the band coherence, pdd; it has phase_swe"):
        build_net({"name": "massbalance"}, Specification(5, ("phase_swe", "mean_temperature"), {"swe": "cm"}))


@pytest.mark.parametrize("collapse", ["max", "weights"])
def test_the_3d_net_of_the_published_size_has_4_4_to_4_7_million_parameters(collapse):
    model = {"name": "unet3d", "channels": [40, 80, 128, 256], "collapse": collapse}
    for channels in (4, 6):  # two polarisations without terrain and with it
        net = build_net(model, Specification(channels, (), {"glacier": ""}, 2))
        assert 4.4e6 < sum(parameter.numel() for parameter in net.parameters()) < 4.7e6


def test_time_is_collapsed_by_the_greatest_feature_of_the_windows_that_there_are():
    features = torch.randn(2, 8, 3, 4, 5)
    known = torch.tensor([[True, True, True], [False, True, True]])[:, None, :, None, None]
    expected = torch.stack([features[0].amax(dim=1), features[1, :, 1:].amax(dim=1)])
    assert torch.equal(TimeCollapse(8, "max")(features, known), expected)
