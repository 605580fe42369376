"""What is ours of model=mae, on timm where it is installed, else on a stand-in: its layers are its own to test."""

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch import nn

from snowmap.errors import SnowmapError
from snowmap.models import Specification, build_net
from snowmap.models.mae import MAE, positions
from snowmap.models.masking import random_mask
from tests.models.inputs import CHANNELS, SMALL, make_inputs
from tests.tasks.test_pretraining import make_patches, make_task

MODEL = {"name": "mae", "patch": 8, "width": 16, "depth": 2, "heads": 2}
SIZE = 32


class PatchEmbed(nn.Module):
    def __init__(self, patch: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.proj(images).permute(0, 2, 3, 1)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.project = heads, nn.Linear(width, 3 * width)

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        parts = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(x).chunk(3, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(*parts, attn_mask=attn_mask)
        return x + mixed.transpose(1, 2).flatten(2)


class VisionTransformer(nn.Module):
    def __init__(
        self,
        *,
        img_size: int,
        patch_size: int,
        in_chans: int,
        num_classes: int,
        global_pool: str,
        embed_dim: int,
        depth: int,
        num_heads: int,
        class_token: bool,
        pos_embed: str,
        dynamic_img_size: bool,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim)
        self.blocks = nn.Sequential(*(Block(embed_dim, num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(embed_dim)


@pytest.fixture(autouse=True)
def library(monkeypatch):
    if find_spec("timm") is None:
        for name in ("timm", "timm.models", "timm.models.vision_transformer"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        sys.modules["timm.models.vision_transformer"].VisionTransformer = VisionTransformer


@pytest.fixture
def net(library) -> MAE:
    torch.manual_seed(1)
    return build_net(MODEL, Specification(CHANNELS, (), {"swe": "cm"}, 2)).eval()


def test_any_size_is_mapped_and_every_part_is_in_a_stage(net):
    assert net(make_inputs(time=3, height=33, width=70)).shape == (2, 1, 2, 33, 70)
    assert list(net.stages) == ["encoder 1", "encoder 2", "encoder 3", "decoder", "head"]
    assert net.encoding_stages == ["encoder 1", "encoder 2", "encoder 3"]
    in_stages = [p for parts in net.stages.values() for part in parts for p in part.parameters()]
    assert {*map(id, in_stages)} == {*map(id, net.parameters())}
    assert len(in_stages) == len(list(net.parameters()))
    net(make_inputs(height=16, width=24)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in in_stages)
    modules, channels = dict(net.named_modules()), [f"channel {i}" for i in range(CHANNELS)]
    reads = net.reads(channels)
    assert all(modules[name].weight.shape[1] == len(names) for name, names in reads.items())
    with torch.no_grad():
        for name in reads:
            modules[name].weight.zero_()
    assert torch.equal(net(make_inputs()), net(make_inputs(seed=1)))


def test_only_visible_tokens_enter_the_transformer(net):
    entered = []
    net.blocks[0].register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0].shape))
    inputs = make_inputs(height=SIZE, width=SIZE)
    keep = random_mask(2, SIZE, SIZE, 8, 0.75, seed=1)
    (tokens,) = net.encode(inputs, keep)
    assert entered == [(2, 4, 16)]
    assert tokens.shape == (2, 1, 16, 4, 4)
    shown = keep[:, :, ::8, ::8]
    assert torch.equal(tokens[:, 0].abs().amax(dim=1, keepdim=True) > 0, shown)
    hidden = inputs._replace(x=inputs.x.masked_fill(~keep[:, None], torch.nan))
    assert torch.equal(net.encode(hidden, keep)[0], tokens)
    assert not torch.allclose(net.encode(inputs)[0] * shown[:, None], tokens, atol=1e-3)


def test_a_masked_image_is_as_one_that_ends_there(net):
    inputs = make_inputs(height=SIZE, width=SIZE)
    keep = torch.ones(2, 1, SIZE, SIZE, dtype=torch.bool)
    keep[..., 16:] = False
    (cut,) = net.encode(inputs._replace(x=inputs.x[..., :16]))
    torch.testing.assert_close(net.encode(inputs, keep)[0][..., :2], cut, rtol=1e-5, atol=1e-5)
    # an item with more visible tokens beside it changes nothing
    keep[1] = True
    keep[1, :, :8, :8] = False
    torch.testing.assert_close(net.encode(inputs, keep)[0][:1, ..., :2], cut[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_it_is_pre_trained_as_other_nets_are(monkeypatch):
    monkeypatch.setitem(SMALL, "mae", {key: value for key, value in MODEL.items() if key != "name"})
    task, batch = make_task("mae"), make_patches()
    task.training_step(batch, 0).backward()
    learning = {name for name, p in task.net.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning == {name for name, p in task.net.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in learning} == {"patch_embed", "blocks", "norm"}
    keep = task.draw_mask(batch)
    hidden = batch._replace(x=batch.x.masked_fill(~keep[:, None], torch.nan))
    assert torch.equal(task.reconstruct(batch, keep), task.reconstruct(hidden, keep))


def test_positions_differ_and_do_not_depend_on_the_size_of_the_image():
    large, small = positions(20, 30, 16), positions(4, 7, 16)
    assert torch.equal(large[:4, :7], small)
    flat = large.flatten(0, 1)
    assert torch.cdist(flat, flat).fill_diagonal_(1).min() > 1e-2
    assert torch.equal(small[0, 0], torch.tensor([0.0] * 4 + [1.0] * 4).repeat(2))


def test_a_width_that_cannot_be_divided_and_a_missing_library_are_one_line(monkeypatch):
    specification = Specification(CHANNELS, (), {"swe": "cm"})
    with pytest.raises(SnowmapError, match=r"model=mae cannot be built .* width=16 is no multiple of heads=3 and 4"):
        build_net({**MODEL, "heads": 3}, specification)
    monkeypatch.setitem(sys.modules, "timm.models.vision_transformer", None)
    with pytest.raises(SnowmapError, match=r'model=mae: .*; pip install "snowmap\[mae\]"'):
        build_net(MODEL, specification)
