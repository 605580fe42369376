"""What every network is given and gives back.

``net(inputs) -> maps (batch, step, output, height, width)`` for any height and width; the last step is the target
window. Networks know no files, no Hydra, no Lightning.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snowmap.data.batch import Batch
from snowmap.models.masking import Cells, Mask, masked_convolutions, only_visible, recomputed, visible_cells


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

    @classmethod
    def of(cls, batch: Batch, x: Tensor, needed: Sequence[int] = ()) -> "Inputs":
        """Those of a Batch.

        Args:
            batch: The Batch.
            x: Its bands, as `Normalizer.encode` gives them.
            needed: Positions of the bands of `Net.physical`.
        """
        valid = batch.x_valid[:, :, list(needed)]
        bands = torch.where(valid, batch.x[:, :, list(needed)], 0)
        dates = {name: getattr(batch, name) for name in cls._fields if name not in ("x", "bands", "valid")}
        return cls(x=x, bands=bands, valid=valid, **dates)


Maps = Float[Tensor, "batch step output height width"]
"""`Specification.outputs_per_target` outputs for each target, and so for each member of an ensemble."""

Fluxes = Float[Tensor, "batch step flux height width"]

Features = Float[Tensor, "batch step _ _ _"]  # channel, rows, columns: of each resolution others

ENCODING = ("encoder", "memory", "attention")
"""How the names of the stages begin that `Net.encode` runs through."""


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
        encoded: Channels of each resolution that `encode` gives; none if the net has no such features.
        loops_over_steps: Whether a traced graph of it is for one number of steps only.
        stage_names: Of the submodules that are not a stage of their own name.
        checkpointing: Whether `encode` with a mask keeps few activations; the backward pass computes the others anew.
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
    encoded: Sequence[int] = ()
    loops_over_steps: bool = False
    stage_names: Mapping[str, str] = {}
    checkpointing: bool = False

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
    def cell(self) -> int:
        """Pixels along a side of the coarsest resolution."""
        return 2 ** (self.levels - 1)

    def encode(self, inputs: Inputs, keep: Mask | None = None) -> list[Features]:
        """What the net has encoded before it decodes: features at each resolution, from the finest to the coarsest.

        Args:
            inputs: Of any height and width.
            keep: False at masked pixels, of all steps of a sequence alike. Whatever lies there changes nothing, and the
                features are 0 there; a cell of the coarsest resolution is masked if one of its pixels is.

        Returns:
            Features of every step that is mapped, each resolution half as fine as the one before; height and width are
            filled up to a multiple of `cell`.
        """
        if keep is None:
            return self.features(inputs)
        cells = visible_cells(keep, self.cell)
        parts = [part for name in self.encoding_stages for part in self.stages[name]] if self.checkpointing else []
        with masked_convolutions(self, cells), recomputed(parts, self, cells):
            return [only_visible(level, cells) for level in self.visible_features(inputs, cells)]

    def features(self, inputs: Inputs) -> list[Features]:
        """`encode` without a mask, from which `forward` decodes; every net of this package that is trained has them."""
        raise NotImplementedError

    def visible_features(self, inputs: Inputs, cells: Cells) -> list[Features]:
        """`features` where no convolution sees a masked cell; what works on cells one by one can leave them out."""
        return self.features(inputs)

    @property
    def encoding_stages(self) -> list[str]:
        """Names of the `stages` that `encode` runs through."""
        return [name for name in self.stages if name.startswith(ENCODING)]

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
