"""Convolutions that do not see masked pixels, as in SparK (Tian et al. 2023, arXiv:2301.03580)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

Mask = Bool[Tensor, "batch 1 height width"]

Cells = Bool[Tensor, "batch 1 rows columns"]


def random_mask(count: int, height: int, width: int, patch: int, ratio: float, seed: int | None = None) -> Mask:
    """Masks that keep the same number of patches, at least one, and mask at least one.

    Args:
        count: Masks, each drawn by itself.
        height: A multiple of `patch`.
        width: A multiple of `patch`.
        patch: Pixels along a side of a patch.
        ratio: Share of the patches that is masked.
        seed: Of the draws; by default they are those of PyTorch's own generator.

    Returns:
        True where a pixel is kept, on the CPU.
    """
    patches = (height // patch) * (width // patch)
    kept = min(max(1, round((1 - ratio) * patches)), patches - 1)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    rank = torch.rand(count, patches, generator=generator).argsort(dim=1).argsort(dim=1)
    cells = (rank < kept).view(count, 1, height // patch, width // patch)
    return cells.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)


def random_bands(count: int, group_of_band: Sequence[int], ratio: float) -> Bool[Tensor, "item band 1 1"]:
    """Which bands are hidden from the encoder: of each item as many groups as chance has it, up to a share of them.

    Args:
        count: Items, each drawn by itself with PyTorch's own generator.
        group_of_band: The number of the group that each band is hidden with, from 0.
        ratio: The greatest share of the groups; one at least is never hidden.

    Returns:
        True where a band is hidden, on the CPU.
    """
    groups = max(group_of_band) + 1
    most = min(round(ratio * groups), groups - 1)
    hidden = torch.rand(count, groups).argsort(dim=1).argsort(dim=1) < torch.randint(most + 1, (count, 1))
    return hidden[:, list(group_of_band)][:, :, None, None]


def visible_cells(keep: Mask, cell: int) -> Cells:
    """True for the cells of `cell` × `cell` pixels that are kept whole; at the lower and right edge they may be cut."""
    return functional.max_pool2d((~keep).float(), cell, ceil_mode=True) < 0.5


def only_visible(maps: Tensor, cells: Cells) -> Tensor:
    """Maps that are 0 in masked cells.

    Args:
        maps: ``(image, channel, height, width)``, the images of a sequence behind one another, or with a dimension of
            time before or behind the channels; height and width are multiples of those of `cells`.
        cells: True where a cell is visible, of each sequence.
    """
    visible = functional.interpolate(cells.float(), size=maps.shape[-2:], mode="nearest") > 0.5
    visible = visible[:, None] if maps.ndim == 5 else visible.repeat_interleave(len(maps) // len(visible), dim=0)
    return maps.masked_fill(~visible, 0)


@contextmanager
def masked_convolutions(net: nn.Module, cells: Cells) -> Iterator[None]:
    """Within, every convolution of the net reads 0 in masked cells, as a sparse one would.

    This is exact where all else looks at each cell by itself, as `ChannelNorm`, pooling and attention over time do: the
    features of visible cells are those of an image that ends where the mask begins.
    """

    def hide(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (only_visible(arguments[0], cells), *arguments[1:])

    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d | nn.Conv3d)]
    hooks = [part.register_forward_pre_hook(hide) for part in convolutions]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def recomputed(parts: Iterable[nn.Module], net: nn.Module, cells: Cells) -> Iterator[None]:
    """Within, these parts keep their inputs alone; the backward pass computes what is between anew, for less memory.

    Args:
        parts: Of the net.
        net: Whose convolutions see no masked cells, in the backward pass as well.
        cells: True where a cell is visible, of each sequence.
    """
    patched = [*chain.from_iterable(map(_called, parts))]
    for part in patched:
        part.forward = partial(  # an attribute of the instance, which hides the method
            checkpoint,
            part.forward,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), masked_convolutions(net, cells)),
        )
    try:
        yield
    finally:
        for part in patched:
            del part.forward


def _called(part: nn.Module) -> Iterator[nn.Module]:
    """A part, or those in a list: a list is never called itself."""
    if isinstance(part, nn.ModuleList):
        yield from chain.from_iterable(map(_called, part))
    elif any(True for _ in part.parameters()):
        yield part
