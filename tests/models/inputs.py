"""Inputs for networks, made without a Cube."""

import torch

from snowmap.models import NETS, Inputs, Net, Specification, build_net

BANDS = ("phase_swe", "coherence", "mean_temperature", "pdd", "elevation")
CHANNELS = 7
SMALL = {
    "unet": {"channels": [8, 16, 24]},
    "unet-stack": {"channels": [8, 16, 24], "time": "stack", "steps": 5},
    "convlstm": {"channels": [8, 16], "hidden": [8, 8]},
    "convlstm-bidirectional": {"channels": [8, 16], "hidden": [8, 8], "bidirectional": True},
    "convlstm-weights": {"channels": [8, 16], "hidden": [8], "bidirectional": True, "collapse": "last_and_weights"},
    "transformer": {"channels": [8, 16], "heads": 2},
    "unet3d": {"channels": [8, 16]},
    "unet3d-weights": {"channels": [8, 16], "collapse": "weights"},
    "unet3d-max": {"channels": [8, 16], "collapse": "max"},
    "massbalance": {"channels": [8, 16], "hidden": 8},
}
"""Every net, and every form of it, at a size that a test can wait for."""


def make_net(form: str, seed: int = 1, targets: tuple[str, ...] = ("swe", "hs"), **options) -> Net:
    """The net with every weight random, also those that begin at zero."""
    torch.manual_seed(seed)
    name = form.partition("-")[0]
    net = build_net(
        {"name": name, **SMALL[form], **options}, Specification(CHANNELS, BANDS, dict.fromkeys(targets, "cm"))
    )
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def make_inputs(
    form: str = "unet", time: int = 5, height: int = 12, width: int = 9, batch: int = 2, seed: int = 0
) -> Inputs:
    """Random values in the bands' plausible ranges; all steps are windows."""
    random = torch.Generator().manual_seed(seed)
    needs = NETS[form.partition("-")[0]].needs
    low = torch.tensor([{"phase_swe": -40.0, "mean_temperature": -12.0}.get(name, 0.0) for name in needs])
    high = torch.tensor([{"coherence": 1.0, "mean_temperature": 8.0}.get(name, 60.0) for name in needs])
    uniform = torch.rand((batch, time, len(needs), height, width), generator=random)
    valid = torch.rand(uniform.shape, generator=random) > 0.1
    bands = low[:, None, None] + (high - low)[:, None, None] * uniform
    days = torch.arange(time - 1, -1, -1).float().expand(batch, time) * 12
    return Inputs(
        x=torch.randn((batch, time, CHANNELS, height, width), generator=random),
        bands=torch.where(valid, bands, 0),
        valid=valid,
        step_valid=torch.ones(batch, time, dtype=torch.bool),
        days=days,
        gap_days=torch.zeros(batch, time),
        length_days=torch.full((batch, time), 12.0),
        added_days=torch.full((batch, time), 12.0),
        season_start=torch.zeros(batch, time, dtype=torch.bool),
        day_of_year=(300 - days) % 365 + 1,
    )


def last_steps(inputs: Inputs, count: int) -> Inputs:
    """The last `count` steps."""
    return Inputs(*(tensor[:, -count:] for tensor in inputs))
