"""Several nets of one kind as one (Lakshminarayanan et al. 2017, arXiv:1612.01474)."""

from collections.abc import Sequence

import torch
from torch import nn

from snowmap.models.net import Fluxes, Inputs, Maps, Net

COMMON = (
    "maps_every_step", "in_target_units", "derived", "needs", "uses", "ignores", "fluxes", "output_layers", "levels",
    "loops_over_steps",
)  # fmt: skip
"""What an ensemble needs and gives is what each member does."""


class Ensemble(Net):
    """The members' outputs side by side, and the mean of their fluxes; they differ by their first weights."""

    def __init__(self, members: Sequence[Net]) -> None:
        super().__init__()
        self.members: Sequence[Net] = nn.ModuleList(members)  # type: ignore[assignment]
        first = members[0]
        for name in COMMON:
            setattr(self, name, getattr(first, name))

    @property
    def reach(self) -> int:
        """That of each member."""
        return self.members[0].reach

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """Each stage of all members."""
        of_members = [net.stages for net in self.members]
        return {name: [part for stages in of_members for part in stages[name]] for name in of_members[0]}

    def take_pretrained(self) -> None:
        """Each member by itself: the head is what they differ in."""
        for net in self.members:
            net.take_pretrained()

    def forward(self, inputs: Inputs) -> Maps:
        """Outputs of all members, one member behind the other."""
        return torch.cat([net(inputs) for net in self.members], dim=2)

    def with_fluxes(self, inputs: Inputs) -> tuple[Maps, Fluxes]:
        """The same, and the mean of the members' fluxes."""
        outputs, fluxes = zip(*(net.with_fluxes(inputs) for net in self.members), strict=True)
        return torch.cat(outputs, dim=2), torch.stack(fluxes).mean(dim=0)
