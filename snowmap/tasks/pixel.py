"""SnowRegression: a net with its normalisation, head and optimiser, whole in its checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor, nn

from snowmap.checkpoints.provenance import check_bands, refuse_pretraining
from snowmap.data.batch import Batch
from snowmap.data.cube import window_names
from snowmap.data.preprocessing import Preprocessor, as_maps
from snowmap.data.sequences import SEASON, samples
from snowmap.errors import SnowmapError
from snowmap.models import Inputs, Specification, build_net
from snowmap.tasks.head import Predicted
from snowmap.tasks.heads import build_head
from snowmap.tasks.task import Task


class SnowRegression(Task):
    """Maps each target, pixel by pixel.

    Attributes:
        targets: Unit of each target, by name; that of a class map is empty.
        head: What the net's outputs mean: loss, scores and map layers.
        preprocessor: What the net sees of a Cube: ablation, derived features, choice of bands, normalisation.
        time: Windows in a sequence, or ``season``.
        net: The network.
        metadata: What the run was: grid, split, archive, versions, configuration.
        maps_pieces: Whether a piece of a scene can be mapped by itself.
    """

    maps_pieces = True

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        preprocessing: Mapping[str, Any],
        targets: Mapping[str, Mapping[str, Any]],
        optimizer: Mapping[str, Any],
        freeze: str = "none",
        loss: str = "mse",
        head: Mapping[str, Any] = MappingProxyType({"name": "point"}),
        ensemble: int = 1,
        time: int | str = 1,
        calibration: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any],
    ) -> None:
        """Build the net; `preprocessor` and `head` must then be fitted, or loaded.

        Args:
            model: ``name`` of the net and its arguments.
            preprocessing: Arguments of `snowmap.data.preprocessing.Preprocessor`.
            targets: Attributes of each target, by name, as `snowmap.data.cube.target_attributes` gives them.
            optimizer: What `snowmap.config.training.Optimizer` describes.
            freeze: ``none``, ``encoder`` or ``all_but_head``: the stages of the net that do not learn.
            loss: A key of `snowmap.tasks.point_head.LOSSES` or `snowmap.tasks.class_losses.LOSSES`, as the head takes.
            head: ``name`` of the head and its arguments.
            ensemble: Nets that are trained side by side and map as one.
            time: Windows in a sequence, or ``season``.
            calibration: What `snowmap.maps.calibration.calibrate` found.
            metadata: What `snowmap.checkpoints.provenance.metadata_of` makes.
        """
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.metadata, self.optimizer_options, self.time = dict(metadata), dict(optimizer), time
        self.head = build_head(head, targets, members=ensemble, calibration=calibration, loss=loss)
        self.targets = {name: str(attributes.get("units", "")) for name, attributes in targets.items()}
        self.preprocessor = Preprocessor(**preprocessing)
        bands, channels = self.preprocessor.bands, self.preprocessor.normalizer.channels
        specification = Specification(channels, tuple(bands), self.targets, self.head.parameters_per_target)
        self.net = build_net(model, specification, ensemble)
        self.frozen = [part for name in self.net.frozen_stages(freeze) for part in self.net.stages[name]]
        for part in self.frozen:
            part.requires_grad_(False).eval()
        self.needed = [bands.index(name) for name in self.net.physical(bands)]

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """Those of the net."""
        return self.net.stages

    @classmethod
    def restore(cls, content: Mapping[str, Any], path: Path, **options: Any) -> "SnowRegression":
        """The same from the content of the file; a pre-training, which maps nothing, is refused."""
        refuse_pretraining(content, path)
        return super().restore(content, path, **options)

    @property
    def archive_bands(self) -> list[str]:
        """The bands that an archive has to hold."""
        return self.preprocessor.archive_bands

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a run on other data.

        Raises:
            SnowmapError: When length of the sequences, grid, split, units or the archive's content differ from those
                of the checkpoint.
        """
        time = checkpoint["hyper_parameters"]["time"]
        if time != self.time:
            raise SnowmapError(
                f"data.time={self.time}, but the checkpoint was trained with data.time={time}; leave data.time as it "
                "was, or train anew"
            )
        stored = checkpoint["hyper_parameters"]["metadata"]
        config = stored["config"]
        same = {"units": stored["units"] == self.metadata["units"]}
        for key, words in {"grid": "grid", "split": "split", "fingerprint": "content of the archive"}.items():
            before, now = ([entry[key] for entry in metadata["archives"]] for metadata in (stored, self.metadata))
            same[words] = before == now
        same["options of the split"] = config["split"] == self.metadata["config"]["split"]
        same["optimizer.layer_decay"] = config["optimizer"]["layer_decay"] == self.optimizer_options["layer_decay"]
        preprocessing = checkpoint["hyper_parameters"]["preprocessing"]
        same |= {key: preprocessing[key] == value for key, value in self.preprocessor.options.items()}
        if other := [key for key, agrees in same.items() if not agrees]:
            raise SnowmapError(
                f"the run cannot be resumed: {', '.join(other)} changed since the checkpoint was written"
            )

    def forward(self, batch: Batch) -> Predicted:
        """What the head reads of the last steps, normalised; the last one is the target window."""
        return self.head.parameters_of(self.net(self._inputs(batch)), self.net.in_target_units)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The head's loss over the steps that are supervised."""
        loss = self.head.loss(self(batch)[:, :, -batch.y.shape[1] :], batch.y, batch.y_valid)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.window))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect errors in physical units, pixel by pixel."""
        self.head.update(self(batch)[:, :, -batch.y.shape[1] :], batch.y, batch.y_valid)

    def on_validation_epoch_end(self) -> None:
        """Log the head's scores; its `monitor` chooses the checkpoint."""
        for name, value in self.head.scores().items():
            self.log(f"validation/{name}", value, prog_bar=self.head.shown in name, sync_dist=True)

    def train(self, mode: bool = True) -> "SnowRegression":
        """The usual switch, but what is frozen stays in evaluation mode: it draws no dropout."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def maps(self, batch: Batch) -> Float[Tensor, "batch step target height width"]:
        """Targets of the last steps in their units."""
        return self.head.mapped(self(batch))

    def predict(self, cube: xr.Dataset, windows: Sequence[int] | None = None) -> xr.Dataset:
        """Map windows of a Cube, of any height and width.

        Args:
            cube: The Cube; its targets are not looked at. Sequence models read the windows before those that are
                mapped, too. A model that was trained with ``ablation=…`` sees it altered in the same way.
            windows: Indices of the windows to map; all by default.

        Returns:
            One variable ``(window, y, x)`` float32 for each target, with its unit, NaN outside the study area; dates,
            CRS and grid of the Cube. A net with uncertainty gives the quantiles ``…_q05``, ``…_q25``, ``…_q75``,
            ``…_q95`` and ``…_sigma`` in the target's unit, too; `snowmap.distribution` says what they state together.
            Beside them the net's own `fluxes`.

        Raises:
            SnowmapError: When bands or units do not fit, or a map is not finite inside the study area.
        """
        check_bands(self.archive_bands, cube, self.metadata)
        chosen = list(range(cube.sizes["window"]) if windows is None else windows)
        return self.predict_piece(self.preprocessor.scene(cube), chosen)

    @torch.inference_mode()
    def predict_piece(self, cube: xr.Dataset, windows: Sequence[int]) -> xr.Dataset:
        """As `predict`, of a piece of a scene.

        Args:
            cube: A piece of what ``preprocessor.scene`` gives.
            windows: Indices of the windows to map.
        """
        tensors, chosen = self.preprocessor.tensors(cube), list(windows)
        was_training, _ = self.training, self.eval()
        mapped: dict[int, np.ndarray] = {}
        for sample in samples(cube["end"].values, chosen, self.time, maps_every_step=self.maps_every_step):
            maps = self._all_maps(tensors.collate([sample]).to(self.device)).cpu().numpy()
            kept = len(sample.supervised)
            steps = zip(sample.steps[-kept:], sample.supervised, maps[-kept:], strict=True)
            mapped |= {step: of_step for step, wanted, of_step in steps if wanted}
        self.train(was_training)
        inside = cube["mask"].values
        values = np.stack([mapped[window] for window in chosen])
        _refuse_not_finite(cube, chosen, np.isfinite(values).all(axis=1) | ~inside)
        values = np.where(inside, values, np.float32(np.nan))
        return as_maps(cube, chosen, values.swapaxes(0, 1), self.layers)

    @property
    def maps_every_step(self) -> bool:
        """Whether one pass over a season maps all its windows."""
        return self.net.maps_every_step and self.time == SEASON

    @property
    def layers(self) -> dict[str, dict[str, Any]]:
        """Attributes of every map that `predict` gives, by name."""
        return self.head.layers | {name: dict(attributes) for name, attributes in self.net.fluxes.items()}

    def _inputs(self, batch: Batch) -> Inputs:
        return Inputs.of(batch, self.preprocessor.normalizer.encode(batch.x, batch.x_valid), self.needed)

    def _all_maps(self, batch: Batch) -> Float[Tensor, "step map height width"]:
        """`layers` of one sequence, in physical units."""
        # contiguous: channels-last strides would tie a traced graph to one width
        outputs, fluxes = (maps.contiguous() for maps in self.net.with_fluxes(self._inputs(batch)))
        maps = self.head.maps(self.head.parameters_of(outputs, self.net.in_target_units)[:, 0])
        return torch.cat([maps, fluxes[0]], dim=1).float()


def _refuse_not_finite(cube: xr.Dataset, windows: Sequence[int], finite: Bool[np.ndarray, "window y x"]) -> None:
    for window, pixels in zip(windows, finite, strict=True):
        if not pixels.all():
            name = window_names(cube.isel(window=[window]))[0]
            raise SnowmapError(
                f"the net's map of window {name} is NaN or infinite at {(~pixels).sum():,} pixels inside the study "
                "area; `snowmap check` says whether the bands are plausible; if they are, take another checkpoint, "
                "or train with a lower optimizer.learning_rate"
            )
