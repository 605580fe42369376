"""What is ours of model=smp, on a stand-in for the library: its networks are its own to test."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from snowmap.errors import SnowmapError
from snowmap.models import NETS, Specification, build_net
from tests.models.inputs import CHANNELS, make_inputs

SPECIFICATION = Specification(CHANNELS, (), {"glacier": ""}, 2)


class Encoder(nn.Module):
    """One layer, which takes other numbers of channels as the library's do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)

    def set_in_channels(self, channels: int, pretrained: bool) -> None:
        weight = self.conv.weight.detach()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.conv.weight.data = weight[:, :1].expand(-1, channels, -1, -1).clone() / channels


class Network(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels), nn.Conv2d(4, 4, 1)
        self.segmentation_head = nn.Sequential(nn.Conv2d(4, classes, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not any(size % 32 for size in images.shape[-2:])
        return self.segmentation_head(self.decoder(self.encoder.conv(images)))


@pytest.fixture
def library(monkeypatch):
    module = ModuleType("segmentation_models_pytorch")

    def create_model(
        arch: str, encoder_name: str, *, encoder_weights: None, in_channels: int, classes: int
    ) -> nn.Module:
        if arch != "unet":
            raise KeyError(f"Wrong architecture type `{arch}`. Available options are: ['unet']")
        return Network(in_channels, classes)

    module.create_model = create_model
    module.encoders = ModuleType("encoders")
    module.encoders.get_encoder = lambda name, *, in_channels, weights: Encoder(in_channels)
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("options", [{}, {"time": "stack", "steps": 5}])
def test_any_size_is_padded_and_the_target_window_mapped(library, options):
    net = build_net({"name": "smp", **options}, SPECIFICATION)
    assert net(make_inputs(time=4, height=33, width=70)).shape == (2, 1, 2, 33, 70)
    assert list(net.stages) == ["encoder", "decoder", "head"]
    assert net.frozen_stages("encoder") == ["encoder"]
    assert {module for name, module in net.named_modules() if name in net.output_layers} == {
        net.model.segmentation_head[0]
    }
    assert NETS["smp"].fixed_time({"name": "smp", **options}) == options.get("steps")
    ((layer, names),) = net.reads([f"channel {i}" for i in range(CHANNELS)]).items()
    assert net.get_submodule(layer).weight.shape[1] == len(set(names)) == len(names)


def test_weights_from_a_file_of_three_channels_are_those_of_the_encoder(library, tmp_path):
    file = tmp_path / "encoder.pt"
    torch.save(Encoder(3).state_dict(), file)
    net = build_net({"name": "smp", "weights": str(file)}, SPECIFICATION, members=2)
    before = net.members[0].model.encoder.conv.weight.clone()
    net.take_pretrained()
    first, second = (member.model.encoder.conv.weight for member in net.members)
    assert torch.equal(first, second)
    assert not torch.equal(first, before)
    torch.testing.assert_close(first.sum(dim=1), torch.load(file)["conv.weight"][:, 0])
    for wrong in ({"other": torch.zeros(4, 3, 3, 3)}, {}):
        torch.save(wrong, file)
        with pytest.raises(SnowmapError, match=r"encoder\.pt are no weights of the encoder resnet34"):
            net.take_pretrained()
    file.unlink()
    with pytest.raises(SnowmapError, match=r"encoder\.pt are no weights .*No such file"):
        net.take_pretrained()


def test_an_unknown_word_and_a_missing_library_are_one_line(library, monkeypatch):
    with pytest.raises(SnowmapError, match=r"model=smp cannot be built .* Wrong architecture type `unett`"):
        build_net({"name": "smp", "architecture": "unett"}, SPECIFICATION)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(SnowmapError, match=r'model=smp: .*; pip install "snowmap\[smp\]"'):
        build_net({"name": "smp"}, SPECIFICATION)
