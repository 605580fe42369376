"""What every task that a Trainer runs has in common: its optimiser, and the way back from its checkpoint."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from snowmap.checkpoints.provenance import read_checkpoint, reading
from snowmap.errors import SnowmapError
from snowmap.tasks.schedules import learning_rate_factor

Kind = TypeVar("Kind", bound="Task")


class Task(pl.LightningModule):
    """A net in training, whole in its checkpoint.

    Every hyper-parameter is a plain dict, list or scalar, so that the checkpoint loads under ``weights_only=True``.

    Attributes:
        optimizer_options: What `snowmap.config.training.Optimizer` describes.
    """

    optimizer_options: dict[str, Any]

    @property
    def stages(self) -> dict[str, list[nn.Module]]:
        """The parts that learn by name, from the input to the output."""
        raise NotImplementedError

    @classmethod
    def load_from_checkpoint(cls: type[Kind], checkpoint_path: str | Path, **options: Any) -> Kind:  # type: ignore[override]
        """The task as it was trained, from its checkpoint alone, on the CPU.

        Args:
            checkpoint_path: The file.
            options: Arguments of its class that differ from those in the checkpoint.

        Raises:
            SnowmapError: When the file is missing, cut short, no checkpoint of a net, or of a newer version, or holds
                weights that are no numbers.
        """
        path = Path(checkpoint_path)
        return cls.restore(read_checkpoint(path), path, **options)

    @classmethod
    def restore(cls: type[Kind], content: Mapping[str, Any], path: Path, **options: Any) -> Kind:
        """The same from the content of the file."""
        with reading(path):
            task = cls(**{**content["hyper_parameters"], **options})
            task.load_state_dict(content["state_dict"])
        if broken := [name for name, values in task.state_dict().items() if not values.isfinite().all()]:
            raise SnowmapError(
                f"{path}: {len(broken)} of its tensors hold NaN or infinity, the first is {broken[0]}; take an earlier "
                "checkpoint, or train anew"
            )
        return task

    def configure_optimizers(self) -> Any:
        """Adam or AdamW, whose learning rate rises linearly and falls by `snowmap.tasks.schedules`.

        With ``layer_decay`` each stage before the last learns by this factor slower than the one behind it (Howard &
        Ruder 2018, arXiv:1801.06146, section 3.2). With ``reference_batch`` the rate is proportional to the items of a
        step, of all processes and all batches whose gradients are summed (Goyal et al. 2017, arXiv:1706.02677).
        The optimiser passes over what is frozen; it is in its list, so that a run can be resumed unfrozen.
        """
        options = self.optimizer_options
        rate, groups = options["learning_rate"] * self._batches_in_reference(), [{"params": self.parameters()}]
        if options["layer_decay"] != 1:
            groups = [
                {"name": name, "params": [p for part in parts for p in part.parameters()]}
                | {"lr": rate * options["layer_decay"] ** depth}
                for depth, (name, parts) in enumerate(reversed(self.stages.items()))
            ]
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[options["name"]]
        optimizer = kind(groups, lr=rate, weight_decay=options["weight_decay"])

        def factor(step: int) -> float:
            # before the training begins there are infinitely many batches in an epoch, and step is 0
            steps = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches) if step else 1
            return learning_rate_factor(step, steps, options)

        return [optimizer], [{"scheduler": LambdaLR(optimizer, factor), "interval": "step"}]

    def _batches_in_reference(self) -> float:
        """Items of a step ÷ those that the learning rate is for."""
        reference = self.optimizer_options.get("reference_batch")  # which older checkpoints lack
        if not reference:
            return 1.0
        batch = self.trainer.datamodule.batch_size  # type: ignore[attr-defined]
        return batch * self.trainer.world_size * self.trainer.accumulate_grad_batches / reference
