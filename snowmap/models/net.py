"""What every network is given and gives back.

``net(inputs) -> maps (batch, step, output, height, width)`` for any height and width; the last step is the target
window. Networks know no files, no Hydra, no Lightning.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn


class Inputs(NamedTuple):
    """A Batch without its targets, as a network sees it.

    Attributes:
        x: Scaled channels of `Normalizer.encode`; 0 where missing.
        bands: Those of `Net.physical`, in the units of the Cube; 0 where missing.
        valid: True where these bands have a value.
        step_valid: True where the step is a window, false where it is padding (at the beginning).
        days: Days from the end of each step to the end of the target window.
        gap_days: Days before each step that no window covers.
        length_days: Days of each step, at least 1.
        added_days: Those of them that no earlier step covers.
        season_start: True where the step begins a season on bare ground.
        day_of_year: Day of the year of the end of each step, 1 … 366.
    """

    x: Float[Tensor, "batch time channel height width"]
    bands: Float[Tensor, "batch time needed height width"]
    valid: Bool[Tensor, "batch time needed height width"]
    step_valid: Bool[Tensor, "batch time"]
    days: Float[Tensor, "batch time"]
    gap_days: Float[Tensor, "batch time"]
    length_days: Float[Tensor, "batch time"]
    added_days: Float[Tensor, "batch time"]
    season_start: Bool[Tensor, "batch time"]
    day_of_year: Float[Tensor, "batch time"]


Maps = Float[Tensor, "batch step output height width"]
"""`Specification.outputs_per_target` outputs for each target, and so for each member of an ensemble."""

Fluxes = Float[Tensor, "batch step flux height width"]


class Specification(NamedTuple):
    """What a network is built for.

    Attributes:
        channels: Channels of each step in `Inputs.x`.
        bands: Names of the bands that the data has.
        targets: Unit of each target, by name, in order.
        size: Outputs for each target: the map itself, then what a head reads beside it, in normalised units.
    """

    channels: int
    bands: tuple[str, ...]
    targets: Mapping[str, str]
    size: int = 1

    @property
    def outputs(self) -> int:
        """Outputs of the net; those of one target lie side by side."""
        return len(self.targets) * self.size


class Net(nn.Module):
    """A network; what it needs stands in class attributes, so that it is known before its inputs are.

    Attributes:
        time: Windows that it sees by default: a number, or ``season``.
        minimum_time: Windows that it needs at least.
        maps_every_step: Whether it maps every step, each from the past alone, or the target window only.
        in_target_units: Whether its maps are in the targets' units rather than in normalised units.
        derived: Derived features that it reads by default.
        needs: Bands and derived features that it cannot do without, and reads in physical units.
        uses: Bands and derived features that it reads in physical units where they are there.
        ignores: Bands that it does not want to see: an arbitrary constant in each window tells one window from another,
            which a net can memorise.
        fluxes: Further maps that it can give: their attributes by name, ``units``, ``long_name`` and ``cell_methods``.
        output_layers: Names of its layers that give `Specification.outputs`, or a share of them for each target.
        levels: Resolutions at which it looks.
        loops_over_steps: Whether a traced graph of it is for one number of steps only.
        stage_names: Of the submodules that are not a stage of their own name.
    """

    time: int | str = 1
    minimum_time: int = 1
    maps_every_step: bool = False
    in_target_units: bool = False
    derived: tuple[str, ...] = (
        "day_of_year",
        *("cumulative_pdd", "cumulative_phase_swe", "cumulative_coherent_phase_swe"),  # a window alone shows changes
    )
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    fluxes: Mapping[str, Mapping[str, str]] = {}
    output_layers: tuple[str, ...] = ("head",)
    levels: int = 1
    loops_over_steps: bool = False
    stage_names: Mapping[str, str] = {}

    def physical(self, bands: Sequence[str]) -> list[str]:
        """The bands that it reads in physical units: what it `needs`, then what it `uses` of those that there are."""
        return [*self.needs, *(name for name in self.uses if name in bands)]

    @classmethod
    def fixed_time(cls, model: Mapping[str, Any]) -> int | None:
        """Windows in each sequence, if with these options its weights are for so many and no others.

        Args:
            model: Name and options of the net, as for `build_net`.
        """
        return None

    @property
    def reach(self) -> int:
        """How far from a pixel, in rows and columns, the bands of one window still affect its map, in pixels.

        Two convolutions of 3 × 3 at each resolution of encoder and decoder, 3 · 2ⁿ − 4 pixels for n resolutions, and
        2ⁿ − 2 of what is averaged from one to the next.
        """
        return 2 ** (self.levels + 2) - 6

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """All its parts from the input to the ``head``, each once; what belongs to the encoder is called so.

        Unless a net says otherwise, its submodules in the order in which they were made, under their own names or those
        of `stage_names`; encoder and decoder are a stage for each resolution.
        """
        stages: dict[str, list[nn.Module]] = {}
        for name, part in self.named_children():
            for stage, parts in getattr(part, "stages", {self.stage_names.get(name, name): [part]}).items():
                stages.setdefault(stage, []).extend(parts)
        return stages

    def reads(self, channels: Sequence[str]) -> dict[str, list[str]]:
        """What each input channel of its first layers is.

        Args:
            channels: Names of the channels of one step.

        Returns:
            For the name of each layer that reads them, a name for each of its input channels.
        """
        return {"encoder.blocks.0.0": list(channels)} if hasattr(self, "encoder") else {}

    def frozen_stages(self, freeze: str) -> list[str]:
        """Names of the `stages` that do not learn.

        Args:
            freeze: ``none``, ``encoder`` or ``all_but_head``.
        """
        *before, _ = self.stages
        return {"none": [], "encoder": [name for name in before if name.startswith("encoder")], "all_but_head": before}[
            freeze
        ]

    def take_pretrained(self) -> None:
        """Take weights from a file that its options name, before it is trained; most nets know none."""

    def with_fluxes(self, inputs: Inputs) -> tuple[Maps, Fluxes]:
        """The outputs and the maps of `fluxes`."""
        maps = self(inputs)
        return maps, maps[:, :, :0]
