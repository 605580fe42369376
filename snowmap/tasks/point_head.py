"""The head `point`: a value for each target, and what every other head shares with it.

A head reads `parameters_per_target` outputs for each target, normalised by the target's training statistics. The first
is the location (mean or median), the map itself; the others describe its uncertainty.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from snowmap.data.batch import Statistical
from snowmap.data.cube import refuse_class_maps
from snowmap.data.normalize import Moments
from snowmap.distribution import DEVIATES, LEVELS, NAMES, Distribution, widened
from snowmap.errors import SnowmapError
from snowmap.tasks.head import Head, Observed, Predicted, Valid
from snowmap.units import QUANTILES

Parameters = Float[Tensor, "*batch parameter height width"]
Targets = Float[Tensor, "*batch height width"]
Members = Float[Tensor, "member *batch height width"]
ParametersOfMembers = Float[Tensor, "member *batch parameter height width"]
Quantiles = Float[Tensor, "*batch level height width"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}
"""Every loss of a value alone under the name that users type (``loss=mse``).

`huber` turns linear beyond one standard deviation of the target.
"""

LEAST_SIGMA = 0.01
"""Least σ, in standard deviations of the target: no pixel without snow dominates the loss by its certainty."""


class Point(Head):
    """Regression by a value alone; the base of all regression heads.

    Attributes:
        monitor: RMSE ÷ standard deviation of the target in training, the mean over the targets.
        targets: Attributes of each target, by name: ``units``, ``long_name`` and, where it has a lower bound,
            ``valid_min``, below which no map goes.
        calibration: Of each target, by `snowmap.maps.calibration.calibrate`: how far its distribution is widened.
        mean: Mean of each target in training, in its unit. Shape (target,).
        std: Standard deviation of each target in training, in its unit. Shape (target,).
    """

    parameters_per_target = 1
    monitor: ClassVar[str] = "nrmse"
    mode: ClassVar[str] = "min"
    monitored: ClassVar[str] = "RMSE ÷ standard deviation of the targets"
    shown: ClassVar[str] = "_rmse_"

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        targets: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        *,
        members: int = 1,
        calibration: Mapping[str, Any] | None = None,
        loss: str = "mse",
    ) -> None:
        """Make it; `fit` must follow, or a state that is loaded.

        Args:
            targets: Attributes of each target, by name.
            members: Nets of the ensemble.
            calibration: What `snowmap.maps.calibration.calibrate` gives.
            loss: A key of `LOSSES`.

        Raises:
            SnowmapError: When a target is a class map.
        """
        super().__init__(targets, members, calibration)
        refuse_class_maps(targets, "a regression head", ", or task=segmentation")
        self.loss_of_value = self.chosen(loss, LOSSES)
        self.register_buffer("mean", torch.full((len(self.targets),), torch.nan))
        self.register_buffer("std", torch.full((len(self.targets),), torch.nan))
        self.metrics: Mapping[str, MetricCollection] = nn.ModuleDict(
            {
                name: MetricCollection({"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError()})
                for name in self.targets
            }
        )  # type: ignore[assignment]

    def fit(self, training: Sequence[tuple[Statistical, Sequence[int]]]) -> None:
        """Take the targets' statistics from the valid pixels of the training windows inside the study area.

        Args:
            training: Tensors of each Cube, with the targets of the head, and the indices of its training windows.

        Raises:
            SnowmapError: When a target has no valid pixel there, or is constant.
        """
        moments = [Moments() for _ in self.targets]
        for piece in (piece for tensors, train in training for piece in tensors.targets_alone().pieces(train)):
            for of_target, maps in zip(moments, piece.y, strict=True):
                of_target.add(maps[0].numpy()[piece.inside.numpy()])
        for position, name in enumerate(self.targets):
            mean, std = moments[position].mean_and_std(f"target '{name}'")
            if std == 0:
                raise SnowmapError(
                    f"target '{name}' is {mean:g} everywhere in the training windows; there is nothing to learn"
                )
            self.mean[position], self.std[position] = mean, std

    def encode(self, y: Float[Tensor, "*batch target height width"]) -> Float[Tensor, "*batch target height width"]:
        """Targets in their units, normalised."""
        return (y - self.mean[:, None, None]) / self.std[:, None, None]

    def decode(self, y: Float[Tensor, "*batch target height width"]) -> Float[Tensor, "*batch target height width"]:
        """Normalised targets in their units, the inverse of `encode`."""
        return y * self.std[:, None, None] + self.mean[:, None, None]

    def parameters_of(
        self, outputs: Float[Tensor, "batch step output height width"], in_target_units: bool = False
    ) -> Predicted:
        """The same, normalised."""
        parameters = super().parameters_of(outputs)
        if not in_target_units:
            return parameters
        location = self.encode(parameters[..., 0, :, :])
        return torch.cat([location.unsqueeze(-3), parameters[..., 1:, :, :]], dim=-3)

    def location(
        self, parameters: Float[Tensor, "*members target parameter height width"]
    ) -> Float[Tensor, "*members target height width"]:
        """The map of each member in the targets' units, not below their lower bounds."""
        maps = self.decode(parameters[..., 0, :, :])
        return torch.maximum(maps, self._least(maps))

    def loss(self, parameters: Predicted, y: Observed, valid: Valid) -> Float[Tensor, ""]:
        """Mean loss over the valid pixels, and over the members; see `Head.loss`."""
        shape = (len(parameters), *y.shape)
        return self.masked_loss(parameters, self.encode(y).expand(shape), valid.expand(shape))

    def masked_loss(
        self, parameters: Parameters, observed: Targets, valid: Bool[Tensor, "*batch height width"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the valid pixels; 0, still attached to the graph, where there are none.

        The selection comes before the difference: NaN × 0 is NaN, and so is its gradient.

        Args:
            parameters: Normalised.
            observed: Normalised; any value, also NaN, where `valid` is false.
            valid: True where the target counts.
        """
        without_gap = torch.where(valid, observed, parameters.select(-3, 0).detach())
        return torch.where(valid, self.losses(parameters, without_gap), 0).sum() / valid.sum().clamp(min=1)

    def losses(self, parameters: Parameters, observed: Targets) -> Targets:
        """Pixel by pixel."""
        return self.loss_of_value(parameters.select(-3, 0), observed, reduction="none")

    def update(self, parameters: Predicted, y: Observed, valid: Valid) -> None:
        """Collect the errors of valid pixels; the arguments are those of `loss`."""
        maps = self.mapped(parameters)
        for index, metrics in enumerate(self.metrics.values()):
            counted = valid[:, :, index]
            if counted.any():
                metrics.update(maps[:, :, index][counted], y[:, :, index][counted])

    def scores(self) -> dict[str, Tensor]:
        """Scores of all that was collected, by name, `monitor` among them; then the collection is empty."""
        scores, normalised = {}, []
        for index, (name, metrics) in enumerate(self.metrics.items()):
            errors = metrics.compute()
            metrics.reset()
            scores |= {f"{name}_{score}_{self.targets[name]['units']}": value for score, value in errors.items()}
            normalised.append(errors["rmse"] / self.std[index])
        return {**scores, self.monitor: torch.stack(normalised).mean()}

    @staticmethod
    def merit(validation: Mapping[str, Mapping[str, Any]], std: Mapping[str, float]) -> float:
        """The mean over the targets of RMSE ÷ standard deviation; baselines have it, too."""
        if missing := [target for target in std if validation[target]["rmse"] is None]:
            raise SnowmapError(f"no validation RMSE of {', '.join(missing)}")
        return sum(validation[target]["rmse"] / std[target] for target in std) / len(std)

    def unusual(self, y: Float[Tensor, "*batch target height width"]) -> Float[Tensor, "*batch target height width"]:
        """How far each value is from the mean of the training, in standard deviations."""
        return self.encode(y).abs()

    def mapped(
        self, parameters: Float[Tensor, "member *batch target parameter height width"]
    ) -> Float[Tensor, "*batch target height width"]:
        """The mean of the members' locations, in the targets' units."""
        return self.location(parameters).mean(dim=0)

    @property
    def uncertain(self) -> bool:
        """Whether the maps have layers of uncertainty."""
        return self.parameters_per_target > 1 or self.members > 1

    @property
    def layers(self) -> dict[str, dict[str, Any]]:
        """Attributes of every layer of `maps`, by name."""
        layers: dict[str, dict[str, Any]] = {}
        for name, attributes in self.targets.items():
            unit, words = attributes["units"], attributes["long_name"]
            layers[name] = {key: value for key, value in attributes.items() if key != "valid_min"}
            if self.uncertain:
                sigma: dict[str, Any] = {"long_name": f"standard deviation of {words}"}
                if "valid_min" in attributes:
                    sigma["lower_bound"] = float(attributes["valid_min"])
                if length := self.calibration.get(name, {}).get("correlation_length_m"):
                    sigma["correlation_length_m"] = length
                layers[f"{name}_sigma"] = {"units": unit, **sigma}
                for key, level in QUANTILES.items():
                    quantile = {"long_name": f"{level:.0%} quantile of {words}"}
                    factor = {"conformal_factor": self._factor(name, key)}
                    layers[f"{name}_{key}"] = {"units": unit, **quantile, **factor}
        return layers

    def maps(
        self, parameters: Float[Tensor, "member step target parameter height width"]
    ) -> Float[Tensor, "step layer height width"]:
        """Every layer of one sequence, in physical units, in the order of `layers`."""
        location = self.location(parameters)
        maps = location.mean(dim=0)
        if not self.uncertain:
            return maps
        offsets = self.offsets(location, parameters, self.std[:, None, None])
        factors = maps.new_tensor([[[self._factor(target, name)] for target in self.targets] for name in NAMES])
        quantiles = widened(maps + offsets.movedim(-3, 0), factors[:, None, :, None])
        sigma = Distribution(quantiles, self._least(maps)).std()
        beside = [quantiles[NAMES.index(key)] for key in QUANTILES]
        return torch.stack([maps, sigma, *beside], dim=-3).flatten(1, 2)

    def variance(self, parameters: Parameters) -> Targets:
        """Of each member by itself, normalised; none here, so that only the members differ."""
        return torch.zeros_like(parameters.select(-3, 0))

    def offsets(self, location: Members, parameters: ParametersOfMembers, scale: Tensor) -> Quantiles:
        """Distance of the quantiles `snowmap.distribution.LEVELS` from the mean of the members' locations.

        The members together are a mixture, taken for normal with the mixture's variance (Lakshminarayanan et al. 2017,
        section 2.4).

        Args:
            location: Of each member, in the targets' units.
            parameters: Of each member, normalised.
            scale: Standard deviation of each target in its unit, ``(target, 1, 1)``.

        Returns:
            In the targets' units, not yet calibrated.
        """
        variance = (self.variance(parameters) * scale**2).mean(dim=0) + location.var(dim=0, correction=0)
        sigma = torch.maximum(variance.sqrt(), LEAST_SIGMA * scale)
        return sigma.new_tensor(DEVIATES)[:, None, None] * sigma.unsqueeze(-3)

    def _least(self, maps: Tensor) -> Tensor:
        """Lower bound of each target, ``(target, 1, 1)``."""
        least = [attributes.get("valid_min", -torch.inf) for attributes in self.targets.values()]
        return maps.new_tensor(least)[:, None, None]

    def _factor(self, target: str, quantile: str) -> float:
        """By how much calibration moves a quantile away from the median."""
        interval = round(100 * abs(1 - 2 * LEVELS[quantile]))
        return float(self.calibration.get(target, {}).get(f"factor_{interval}", 1.0))
