"""SnowRegression: a net with its normalisation, loss and optimiser, whole in its checkpoint."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from snowmap.batch import Batch, Windows
from snowmap.cube import TARGETS
from snowmap.errors import SnowmapError
from snowmap.losses import masked_loss
from snowmap.models import build_net
from snowmap.normalize import Normalizer
from snowmap.provenance import check_bands


class SnowRegression(pl.LightningModule):
    """Maps each target, pixel by pixel.

    Every hyper-parameter is a plain dict, list or scalar, so that the checkpoint loads under ``weights_only=True``.

    Attributes:
        targets: Unit of each target, by name.
        bands: Names of the bands that the net reads, in the order of the Cube.
        normalizer: Between physical and network units.
        net: The network.
        facts: What the run was: grid, split, archive, versions, configuration.
    """

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        bands: Sequence[str],
        targets: Mapping[str, str],
        optimizer: Mapping[str, Any],
        loss: str = "mse",
        facts: Mapping[str, Any],
    ) -> None:
        """Build the net; `normalizer` must then be fitted, or loaded.

        Args:
            model: ``name`` of the net and its arguments.
            bands: Names of the bands, in the order of the Cube.
            targets: Unit of each target, by name.
            optimizer: ``learning_rate``, ``weight_decay``, ``warmup_steps``, ``half_life_steps``.
            loss: A key of `snowmap.losses.LOSSES`.
            facts: What `snowmap.provenance.facts_of` makes.
        """
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.bands, self.targets, self.facts = list(bands), dict(targets), dict(facts)
        self.optimizer_options, self.loss = dict(optimizer), loss
        self.normalizer = Normalizer(self.bands, list(self.targets))
        self.net = build_net(model, self.normalizer.channels, len(self.targets))
        self.rmse: Mapping[str, Metric] = torch.nn.ModuleDict(
            {name: MeanSquaredError(squared=False) for name in self.targets}
        )  # type: ignore[assignment]
        self.mae: Mapping[str, Metric] = torch.nn.ModuleDict({name: MeanAbsoluteError() for name in self.targets})  # type: ignore[assignment]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **options: Any) -> "SnowRegression":  # type: ignore[override]
        """The task as it was trained, from its checkpoint alone.

        Raises:
            SnowmapError: When the file is missing, cut short, or no checkpoint of snowmap.
        """
        path = Path(checkpoint_path)
        if not path.is_file():
            raise SnowmapError(f"checkpoint {path} does not exist; give the path of a best.ckpt or last.ckpt")
        try:
            return super().load_from_checkpoint(path, **{"map_location": "cpu", "weights_only": True, **options})
        except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SnowmapError(f"{path} is cut short or no snowmap checkpoint: {reason}") from error

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with a run on other data.

        Raises:
            SnowmapError: When grid, split, units or the archive's content differ from those of the checkpoint.
        """
        stored = checkpoint["hyper_parameters"]["facts"]
        same = {key: stored[key] == self.facts[key] for key in ("grid", "split", "units")}
        same["content of the archive"] = stored["archive"]["fingerprint"] == self.facts["archive"]["fingerprint"]
        if other := [key for key, agrees in same.items() if not agrees]:
            raise SnowmapError(f"the run cannot go on: {', '.join(other)} changed since the checkpoint was written")

    def forward(self, batch: Batch) -> Float[Tensor, "batch target height width"]:
        """Targets in network units."""
        x = self.normalizer.encode(batch.x, batch.x_valid)
        return self.net(x, batch.days, batch.day_of_year, batch.step_valid).float()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Masked loss in network units."""
        loss = masked_loss(self.loss, self(batch), self.normalizer.scale_targets(batch.y), batch.y_valid)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.window))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect errors in physical units, pixel by pixel."""
        maps = self.maps(batch)
        for index, name in enumerate(self.targets):
            valid = batch.y_valid[:, index]
            predicted, observed = maps[:, index][valid], batch.y[:, index][valid]
            if len(observed):
                self.rmse[name].update(predicted, observed)
                self.mae[name].update(predicted, observed)

    def on_validation_epoch_end(self) -> None:
        """Log RMSE and MAE in physical units, and RMSE ÷ the target's spread, which chooses the checkpoint."""
        relative = []
        for index, (name, unit) in enumerate(self.targets.items()):
            rmse = self.rmse[name].compute()
            self.log(f"validation/{name}_rmse_{unit}", rmse, prog_bar=True, sync_dist=True)
            self.log(f"validation/{name}_mae_{unit}", self.mae[name].compute(), sync_dist=True)
            relative.append(rmse / self.normalizer.target_std[index])
            self.rmse[name].reset()
            self.mae[name].reset()
        self.log("validation/relative_rmse", torch.stack(relative).mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW whose learning rate rises linearly, then halves every `half_life_steps`."""
        options = self.optimizer_options
        optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
        )

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / max(1, options["warmup_steps"])) * 0.5 ** (step / options["half_life_steps"])

        return [optimizer], [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]

    def maps(self, batch: Batch) -> Float[Tensor, "batch target height width"]:
        """Targets in physical units; there is no negative snow."""
        return self.normalizer.unscale_targets(self(batch)).clamp(min=0)

    @torch.inference_mode()
    def predict(self, cube: xr.Dataset, windows: Sequence[int] | None = None, batch_size: int = 4) -> xr.Dataset:
        """Map windows of a Cube, of any height and width.

        Args:
            cube: The Cube; its targets are not looked at.
            windows: Indices of the windows to map; all by default.
            batch_size: Windows at a time.

        Returns:
            One variable ``(window, y, x)`` float32 for each target, with its unit, NaN outside the study area; dates,
            CRS and grid of the Cube.

        Raises:
            SnowmapError: When bands or units do not fit.
        """
        check_bands(self.bands, cube)
        chosen = list(range(cube.sizes["window"]) if windows is None else windows)
        held = Windows.of(cube.isel(window=chosen), self.bands, list(self.targets))
        was_training, _ = self.training, self.eval()
        parts = [
            self.maps(held.gather(range(first, min(first + batch_size, len(chosen)))).to(self.device)).cpu().numpy()
            for first in range(0, len(chosen), batch_size)
        ]
        self.train(was_training)
        values = np.where(cube["mask"].values, np.concatenate(parts), np.float32(np.nan))
        maps = cube[["start", "end", "mask"]].isel(window=chosen).drop_vars("mask")
        return maps.assign(
            {
                name: (("window", "y", "x"), values[:, index], {"units": unit, "long_name": TARGETS[name].long_name})
                for index, (name, unit) in enumerate(self.targets.items())
            }
        )
