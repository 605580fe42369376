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
from snowmap.cube import BANDS, TARGETS
from snowmap.derived import DERIVED, with_derived
from snowmap.errors import SnowmapError
from snowmap.losses import masked_loss
from snowmap.models import Frame, Inputs, build_net
from snowmap.normalize import Normalizer
from snowmap.provenance import check_bands
from snowmap.sequences import SEASON, samples

FLUXES = {
    "accumulation": "water that the window added to the snow pack",
    "melt": "water that left the snow pack in the window",
}
"""Further maps that a net may give, in mm, with words for axes and files."""


class SnowRegression(pl.LightningModule):
    """Maps each target, pixel by pixel.

    Every hyper-parameter is a plain dict, list or scalar, so that the checkpoint loads under ``weights_only=True``.

    Attributes:
        targets: Unit of each target, by name.
        bands: Names of the bands that the net reads, derived inputs included, in the order of the Cube.
        derived: Names of the derived inputs.
        phase_sign: +1 where the phase grows with snow, −1 where it falls.
        time: Windows in a sequence, or ``season``.
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
        derived: Sequence[str] = (),
        phase_sign: int = 1,
        time: int | str = 1,
        facts: Mapping[str, Any],
    ) -> None:
        """Build the net; `normalizer` must then be fitted, or loaded.

        Args:
            model: ``name`` of the net and its arguments.
            bands: Names of the bands, derived inputs included, in the order of the Cube.
            targets: Unit of each target, by name.
            optimizer: ``learning_rate``, ``weight_decay``, ``warmup_steps``, ``half_life_steps``.
            loss: A key of `snowmap.losses.LOSSES`.
            derived: Keys of `snowmap.derived.DERIVED`, from which `predict` makes those bands that no archive holds.
            phase_sign: +1 where the phase grows with snow, −1 where it falls.
            time: Windows in a sequence, or ``season``.
            facts: What `snowmap.provenance.facts_of` makes.
        """
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.bands, self.targets, self.facts = list(bands), dict(targets), dict(facts)
        self.optimizer_options, self.loss = dict(optimizer), loss
        self.normalizer = Normalizer(self.bands, list(self.targets))
        self.derived, self.phase_sign, self.time = list(derived), phase_sign, time
        self.net = build_net(model, Frame(self.normalizer.channels, tuple(self.bands), self.targets))
        self.needed = [self.bands.index(name) for name in self.net.needs]
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
            raise SnowmapError(
                f"{path} is cut short, no snowmap checkpoint, or one of another version: {reason}"
            ) from error

    @property
    def archive_bands(self) -> list[str]:
        """The bands that an archive has to hold."""
        read = {*self.bands, *(band for name in self.derived for band in DERIVED[name].needs)}
        return [band for band in BANDS if band in read]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with a run on other data.

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
        stored = checkpoint["hyper_parameters"]["facts"]
        same = {key: stored[key] == self.facts[key] for key in ("grid", "split", "units")}
        same["content of the archive"] = stored["archive"]["fingerprint"] == self.facts["archive"]["fingerprint"]
        if other := [key for key, agrees in same.items() if not agrees]:
            raise SnowmapError(f"the run cannot go on: {', '.join(other)} changed since the checkpoint was written")

    def forward(self, batch: Batch) -> Float[Tensor, "batch step target height width"]:
        """Targets of the last steps in network units; the last one is the target window."""
        maps = self.net(self._inputs(batch)).float()
        return self.normalizer.scale_targets(maps) if self.net.physical else maps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Masked loss in network units, over the steps that are supervised."""
        predicted = self(batch)[:, -batch.y.shape[1] :]
        observed = self.normalizer.scale_targets(batch.y)
        loss = masked_loss(self.loss, predicted, observed, batch.y_valid)
        self.log("train/loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch.window))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect errors in physical units, pixel by pixel."""
        maps = self.maps(batch)[:, -batch.y.shape[1] :]
        for index, name in enumerate(self.targets):
            valid = batch.y_valid[:, :, index]
            predicted, observed = maps[:, :, index][valid], batch.y[:, :, index][valid]
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

    def maps(self, batch: Batch) -> Float[Tensor, "batch step target height width"]:
        """Targets of the last steps in physical units; there is no negative snow."""
        maps = self.net(self._inputs(batch)).float()
        return (maps if self.net.physical else self.normalizer.unscale_targets(maps)).clamp(min=0)

    @torch.inference_mode()
    def predict(self, cube: xr.Dataset, windows: Sequence[int] | None = None) -> xr.Dataset:
        """Map windows of a Cube, of any height and width.

        Args:
            cube: The Cube; its targets are not looked at. Sequence models read the windows before those that are
                mapped, too.
            windows: Indices of the windows to map; all by default.

        Returns:
            One variable ``(window, y, x)`` float32 for each target, with its unit, NaN outside the study area; dates,
            CRS and grid of the Cube. Beside them what the net knows of the water that comes and goes (`FLUXES`), in mm.

        Raises:
            SnowmapError: When bands or units do not fit.
        """
        check_bands(self.archive_bands, cube)
        chosen = list(range(cube.sizes["window"]) if windows is None else windows)
        held = Windows.of(with_derived(cube, self.derived, self.phase_sign), self.bands, [])
        every_step = self.net.every_step and self.time == SEASON
        was_training, _ = self.training, self.eval()
        found: dict[int, np.ndarray] = {}
        for sample in samples(cube["end"].values, chosen, self.time, every_step=every_step):
            maps = self._all_maps(held.gather([sample]).to(self.device)).cpu().numpy()
            kept = len(sample.supervised)
            steps = zip(sample.steps[-kept:], sample.supervised, maps[-kept:], strict=True)
            found |= {step: of_step for step, wanted, of_step in steps if wanted}
        self.train(was_training)
        values = np.where(cube["mask"].values, np.stack([found[window] for window in chosen]), np.float32(np.nan))
        maps = cube[["start", "end", "mask"]].isel(window=chosen).drop_vars("mask")
        named = {name: (unit, TARGETS[name].long_name) for name, unit in self.targets.items()}
        named |= {name: ("mm", FLUXES[name]) for name in self.net.fluxes}
        return maps.assign(
            {
                name: (("window", "y", "x"), values[:, index], {"units": unit, "long_name": words})
                for index, (name, (unit, words)) in enumerate(named.items())
            }
        )

    def _inputs(self, batch: Batch) -> Inputs:
        valid = batch.x_valid[:, :, self.needed]
        return Inputs(
            x=self.normalizer.encode(batch.x, batch.x_valid),
            bands=torch.where(valid, batch.x[:, :, self.needed], 0),
            valid=valid,
            step_valid=batch.step_valid,
            days=batch.days,
            gap_days=batch.gap_days,
            season_start=batch.season_start,
            day_of_year=batch.day_of_year,
        )

    def _all_maps(self, batch: Batch) -> Float[Tensor, "step map height width"]:
        """Targets and fluxes of one sequence, in physical units."""
        if not self.net.fluxes:
            return self.maps(batch)[0]
        targets, fluxes = self.net.with_fluxes(self._inputs(batch))
        return torch.cat([targets[0], fluxes[0]], dim=1).float()
