"""Augmentation of whole Batches, on their device. The values of the bands stay as they are."""

from collections.abc import Callable

import torch

from snowmap.data.batch import Batch

MAPS = ("x", "x_valid", "y", "y_valid")
"""What lies on the grid."""


def flip(batch: Batch) -> Batch:
    """Mirror each sequence left to right, and top to bottom, each with probability ½.

    The look direction does not turn with the scene: local incidence of a mirrored scene fits its terrain only as if the
    satellite looked from the other side, and aspect no longer points to where the ground faces. A net that reads the
    angle is safe; one that infers the look direction from the terrain, or reads aspect, is not.
    """
    for axis in (-1, -2):
        chosen = (torch.rand(len(batch.window)) < 0.5).to(batch.x.device)
        batch = batch._replace(
            **{
                name: torch.where(chosen.view(-1, *[1] * (tensor.ndim - 1)), tensor.flip(axis), tensor)
                for name, tensor in batch._asdict().items()
                if name in MAPS
            }
        )
    return batch


def turn(batch: Batch) -> Batch:
    """One of the eight flips and right-angle turns of each sequence, all of them alike.

    Maps that are no squares exchange rows and columns all together, or not at all. What `flip` says of the look
    direction holds here, too.
    """
    drawn = torch.rand(len(batch.window), 3) < 0.5
    if batch.x.shape[-2] != batch.x.shape[-1]:
        drawn[:, 2] = drawn[0, 2]
    turns = [([-1] * across + [-2] * along, exchanged) for across, along, exchanged in drawn.tolist()]

    def turned(maps: torch.Tensor) -> torch.Tensor:
        pairs = zip(maps, turns, strict=True)
        return torch.stack([(each.mT if exchanged else each).flip(axes) for each, (axes, exchanged) in pairs])

    return batch._replace(**{name: turned(getattr(batch, name)) for name in MAPS})


AUGMENTATIONS: dict[str, Callable[[Batch], Batch] | None] = {"none": None, "flip": flip, "turn": turn}
"""Every augmentation under the name that users type (``data.augment=flip``)."""
