"""What every head is: the meaning of a net's outputs, how they are trained, scored and turned into maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from snowmap.data.batch import Statistical
from snowmap.errors import SnowmapError

Predicted = Float[Tensor, "member batch step target parameter height width"]
"""A net's outputs as `Head.parameters_of` gives them."""
Observed = Float[Tensor, "batch step target height width"]
Valid = Bool[Tensor, "batch step target height width"]


class Head(nn.Module, ABC):
    """The base of all heads.

    Attributes:
        parameters_per_target: Outputs of the net that it reads for each target.
        monitor: The score that chooses the checkpoint.
        mode: Whether `monitor` is to be minimised (``min``) or maximised (``max``).
        monitored: What it is, in words.
        shown: Part of the names of the scores that the progress bar shows.
        targets: Attributes of each target, by name, as `snowmap.data.cube.target_attributes` gives them.
        members: Nets of the ensemble whose outputs it reads, one behind the other.
        calibration: Of each target, what `snowmap.maps.calibration.calibrate` found.
        uncertain: Whether the maps state their uncertainty, which calibration then mends.
    """

    parameters_per_target: int
    monitor: ClassVar[str]
    mode: ClassVar[str]
    monitored: ClassVar[str]
    shown: ClassVar[str]

    def __init__(
        self, targets: Mapping[str, Mapping[str, Any]], members: int, calibration: Mapping[str, Any] | None
    ) -> None:
        super().__init__()
        self.targets = {name: dict(attributes) for name, attributes in targets.items()}
        self.members, self.calibration = members, dict(calibration or {})

    @staticmethod
    def chosen(loss: str, losses: Mapping[str, Callable[..., Tensor]]) -> Callable[..., Tensor]:
        """The loss of this name.

        Raises:
            SnowmapError: When the head has none of it.
        """
        if loss not in losses:
            raise SnowmapError(f"loss={loss} is not for this head=: expected {' | '.join(losses)}; task= chooses both")
        return losses[loss]

    @property
    def uncertain(self) -> bool:
        """See above."""
        return True

    @abstractmethod
    def fit(self, training: Sequence[tuple[Statistical, Sequence[int]]]) -> None:
        """Take what it needs of the targets from the valid pixels of the training windows inside the study area.

        Args:
            training: Tensors of each Cube, with the targets of the head, and the indices of its training windows.
        """

    def parameters_of(
        self, outputs: Float[Tensor, "batch step output height width"], in_target_units: bool = False
    ) -> Predicted:
        """A net's outputs by member, target and parameter.

        Args:
            outputs: Of the net.
            in_target_units: Whether the net gives the first parameter of each target in the target's unit.
        """
        shape = (self.members, len(self.targets), self.parameters_per_target)
        return outputs.float().unflatten(2, shape).movedim(2, 0)

    @abstractmethod
    def loss(self, parameters: Predicted, y: Observed, valid: Valid) -> Float[Tensor, ""]:
        """Loss over the valid pixels, the mean over the members; 0, still attached to the graph, where there are none.

        Args:
            parameters: From `parameters_of`.
            y: Targets as in the Cube; any value, also NaN, where `valid` is false.
            valid: True where the target counts.
        """

    @abstractmethod
    def update(self, parameters: Predicted, y: Observed, valid: Valid) -> None:
        """Collect what `scores` needs of the valid pixels; the arguments are those of `loss`."""

    @abstractmethod
    def scores(self) -> dict[str, Tensor]:
        """Scores of all that was collected, by name, `monitor` among them; then the collection is empty."""

    @staticmethod
    @abstractmethod
    def merit(validation: Mapping[str, Mapping[str, Any]], std: Mapping[str, float]) -> float:
        """What a study of trials optimises: `monitor` of the best checkpoint, from the scores in ``run.json``.

        Args:
            validation: Scores of each target.
            std: Standard deviation of each quantity in training, in its unit.

        Raises:
            SnowmapError: When a target has no such score.
        """

    @abstractmethod
    def unusual(self, y: Float[Tensor, "*batch target height width"]) -> Float[Tensor, "*batch target height width"]:
        """How far each value of the targets is from what the training has, in standard deviations."""

    @property
    @abstractmethod
    def layers(self) -> dict[str, dict[str, Any]]:
        """Attributes of every layer of `maps`, by name."""

    @abstractmethod
    def maps(
        self, parameters: Float[Tensor, "member step target parameter height width"]
    ) -> Float[Tensor, "step layer height width"]:
        """Every layer of one sequence, in physical units, in the order of `layers`."""

    @abstractmethod
    def mapped(
        self, parameters: Float[Tensor, "member *batch target parameter height width"]
    ) -> Float[Tensor, "*batch target height width"]:
        """The map of each target by itself, in its unit."""
