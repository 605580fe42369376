"""What is masked does not exist: for the features of every net, and for the draws of masks."""

import pytest
import torch

from snowmap.models.masking import random_bands, random_mask, visible_cells
from tests.models.inputs import SMALL, make_inputs, make_net

PATCH, SIZE = 8, 32


def features(form: str, time: int, keep: torch.Tensor | None, seed: int = 0, width: int = SIZE) -> list[torch.Tensor]:
    inputs = make_inputs(form, time=time, height=SIZE, width=SIZE, seed=seed)
    return make_net(form).encode(inputs._replace(x=inputs.x[..., :width]), keep)


@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.parametrize("form", SMALL)
class TestEncode:
    def test_forward_decodes_what_it_gives(self, form, time):
        net, inputs = make_net(form), make_inputs(form, time=time, height=SIZE - 1, width=SIZE - 1)
        levels = net.encode(inputs)
        steps = time if net.maps_every_step else 1
        sizes = [SIZE >> level for level in range(net.levels)]
        expected = [(2, steps, channels, size, size) for channels, size in zip(net.encoded, sizes, strict=True)]
        assert [tuple(level.shape) for level in levels] == expected
        maps = net(inputs)
        net.encode = lambda inputs: [level + 1 for level in levels]
        assert not torch.equal(maps, net(inputs))

    def test_the_mask_is_as_the_border_of_an_image(self, form, time):
        keep = torch.ones(2, 1, SIZE, SIZE, dtype=torch.bool)
        keep[..., 16:] = False
        masked, cut = features(form, time, keep), features(form, time, None, width=16)
        for level, expected in zip(masked, cut, strict=True):
            half = level.shape[-1] // 2
            torch.testing.assert_close(level[..., :half], expected, rtol=1e-5, atol=1e-5)
            assert not level[..., half:].any()

    def test_masked_values_change_nothing_not_even_as_nan(self, form, time):
        keep = random_mask(2, SIZE, SIZE, PATCH, 0.75, seed=1)
        inputs = make_inputs(form, time=time, height=SIZE, width=SIZE)
        changed = inputs._replace(x=inputs.x.masked_fill(~keep[:, None], torch.nan))
        net = make_net(form)
        first, second = net.encode(inputs, keep), net.encode(changed, keep)
        assert all(map(torch.equal, first, second))
        assert all(level.any() for level in first)
        # nothing of it stays with the net
        torch.testing.assert_close(net.encode(inputs), make_net(form).encode(inputs), rtol=0, atol=0)


def test_masks_are_drawn_anew_for_each_item_and_keep_as_many_patches():
    keep = random_mask(500, 32, 48, 8, 0.75, seed=3)
    cells = visible_cells(keep, 8)
    assert (cells.sum(dim=(1, 2, 3)) == 6).all()
    assert keep.sum() == 64 * cells.sum()
    assert len({tuple(mask.flatten().tolist()) for mask in cells}) > 490
    assert (cells.float().mean(dim=0) - 0.25).abs().max() < 0.08
    torch.manual_seed(5)
    first = random_mask(2, 32, 32, 16, 0.99)
    assert (visible_cells(first, 16).sum(dim=(1, 2, 3)) == 1).all()
    torch.manual_seed(5)
    assert torch.equal(first, random_mask(2, 32, 32, 16, 0.99))


def test_from_no_band_to_a_share_of_them_is_hidden_in_each_item():
    torch.manual_seed(0)
    hidden = random_bands(3000, range(8), 0.75)[:, :, 0, 0]
    counts = hidden.sum(dim=1).bincount(minlength=9) / 3000
    assert not counts[7:].any()
    assert (counts[:7] - 1 / 7).abs().max() < 0.03
    assert (hidden.float().mean(dim=0) - 3 / 8).abs().max() < 0.05
    assert not random_bands(9, range(8), 0.0).any()
    together = random_bands(99, [0, 1, 0, 1], 1.0)[:, :, 0, 0]
    assert torch.equal(together[:, :2], together[:, 2:])
    assert (together[:, :2].sum(dim=1) <= 1).all()
    assert together.any(dim=0).all()


def test_a_cell_is_visible_if_all_of_it_is():
    keep = torch.ones(1, 1, 5, 8, dtype=torch.bool)
    keep[..., 0, 7] = False
    assert visible_cells(keep, 4).tolist() == [[[[True, False], [True, True]]]]


@pytest.mark.parametrize("form", SMALL)
def test_activations_that_are_computed_anew_give_the_same_gradients_and_keep_less(form):
    keep = random_mask(2, SIZE, SIZE, PATCH, 0.75, seed=1)
    gradients, kept = [], []
    for checkpointing in (False, True):
        net, inputs, saved = make_net(form), make_inputs(form, time=2, height=SIZE, width=SIZE), []
        net.checkpointing = checkpointing

        def pack(tensor, saved=saved):
            saved.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = sum((level**2).sum() for level in net.encode(inputs, keep))
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in saved}
        kept.append(sum(storages.values()))
        loss.backward()
        gradients.append([weight.grad for weight in net.parameters() if weight.grad is not None])
    assert gradients[0]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert kept[1] < 0.6 * kept[0]
