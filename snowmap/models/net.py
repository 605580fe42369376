"""What every network is given and gives back.

``net(inputs) -> maps (batch, step, target, height, width)`` for any height and width; the last step is the target
window. Networks know no files, no Hydra, no Lightning.
"""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn


class Inputs(NamedTuple):
    """A Batch without its targets, as a network sees it.

    Attributes:
        x: Scaled channels of `Normalizer.encode`; 0 where missing.
        bands: The bands that the net names in `needs`, in the units of the Cube; 0 where missing.
        valid: True where these bands have a value.
        step_valid: True where the step is a window, false where it is padding (at the beginning).
        days: Days from the end of each step to the end of the target window.
        gap_days: Days before each step that no window covers.
        season_start: True where the step begins a season on bare ground.
        day_of_year: Day of the year of the end of each step, 1 … 366.
    """

    x: Float[Tensor, "batch time channel height width"]
    bands: Float[Tensor, "batch time needed height width"]
    valid: Bool[Tensor, "batch time needed height width"]
    step_valid: Bool[Tensor, "batch time"]
    days: Float[Tensor, "batch time"]
    gap_days: Float[Tensor, "batch time"]
    season_start: Bool[Tensor, "batch time"]
    day_of_year: Float[Tensor, "batch time"]


Maps = Float[Tensor, "batch step target height width"]
Fluxes = Float[Tensor, "batch step flux height width"]


class Frame(NamedTuple):
    """What a network is built for.

    Attributes:
        channels: Channels of each step in `Inputs.x`.
        bands: Names of the bands that the data has.
        targets: Unit of each map to produce, by name, in order.
    """

    channels: int
    bands: tuple[str, ...]
    targets: Mapping[str, str]


class Net(nn.Module):
    """A network; what it needs stands in attributes, so that the data module asks the net and not the user.

    Attributes:
        time: Windows that it sees unless told otherwise: a number, or ``season``.
        fixed_time: Whether its weights are for sequences of `time` windows and no others.
        minimum_time: Windows that it needs at least.
        every_step: Whether it maps every step, each from the past alone, or the target window only.
        physical: Whether its maps are in the targets' units rather than in network units.
        derived: Derived inputs that it reads unless told otherwise.
        needs: Bands and derived inputs that it cannot do without, and reads in physical units.
        ignores: Bands that it does not want to see: an arbitrary constant in each window tells one window from another,
            which a net can learn by heart.
        fluxes: Further maps that it can give, in mm of water.
    """

    time: int | str = 1
    fixed_time: bool = False
    minimum_time: int = 1
    every_step: bool = False
    physical: ClassVar[bool] = False
    derived: ClassVar[tuple[str, ...]] = ("day_of_year",)
    needs: ClassVar[tuple[str, ...]] = ()
    ignores: ClassVar[tuple[str, ...]] = ()
    fluxes: ClassVar[tuple[str, ...]] = ()

    def with_fluxes(self, inputs: Inputs) -> tuple[Maps, Fluxes]:
        """The maps of the targets and those of `fluxes`."""
        maps = self(inputs)
        return maps, maps[:, :, :0]
