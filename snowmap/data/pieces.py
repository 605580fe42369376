"""Pieces of maps: random ones to train on, and tiles that cover a scene."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from snowmap.data.sequences import Sample

TILE, OVERLAP = 512, 64
"""Pixels. A U-Net of four levels reaches 58 px: in the middle of an overlap of 64 px a tile has over half of it."""

SMALLEST_TILE = 128
"""Pixels: half of each side of it is overlap."""

MOST_CENTRES = 2**16
"""Pixels of a class in a map, evenly among them, around which pieces are drawn."""

VALIDATION_PIXELS = 2**20
"""Pixels × windows of a sequence that are validated at once where a scene is larger than a tile: they keep the nets of
`conf/model/` within about 1 GiB."""


def random_pieces(
    samples: Sequence[Sample], size: Sequence[int], extent: Sequence[int], chunk: Sequence[int] | None = None
) -> list[Sample]:
    """A random piece of `size` (height, width) of each sequence on a grid of `extent`, the same for all its windows.

    Safe for every band. A side that is shorter than the piece stays whole. With `chunk`, the height and width of a
    store's chunks, a piece lies within one of them, or begins with one if it is larger: no other chunk is read for it
    but for the pixels around it.
    """
    lengths = [min(wanted, whole) for wanted, whole in zip(size, extent, strict=True)]
    firsts = [
        (torch.rand(len(samples)) * (whole - length + 1)).long() for whole, length in zip(extent, lengths, strict=True)
    ]
    if chunk is not None:
        for first, side, whole, length in zip(firsts, chunk, extent, lengths, strict=True):
            drawn = first * whole // (whole - length + 1)  # a pixel of the map, whose chunk is the one
            begin = drawn // side * side
            room = ((whole - begin).clamp(max=side) - length).clamp(min=0)
            first[:] = (begin + (drawn - begin) * (room + 1) // side).clamp(max=whole - length)
    firsts = [first.tolist() for first in firsts]
    return [
        sample._replace(rows=slice(row, row + lengths[0]), columns=slice(column, column + lengths[1]))
        for sample, row, column in zip(samples, *firsts, strict=True)
    ]


def around(piece: Sample, pixels: Int[Tensor, " pixel"], extent: Sequence[int]) -> Sample:
    """A piece of the same size that holds one of some pixels, at a random place in it.

    Args:
        piece: From `random_pieces`.
        pixels: Places in the flattened map.
        extent: Height and width of the map.
    """
    if not len(pixels):
        return piece
    pixel = divmod(int(pixels[torch.randint(len(pixels), ())]), extent[1])
    moved = []
    for place, at, whole in zip((piece.rows, piece.columns), pixel, extent, strict=True):
        length = place.stop - place.start
        first = min(max(0, at - int(torch.randint(length, ()))), whole - length)
        moved.append(slice(first, first + length))
    return piece._replace(rows=moved[0], columns=moved[1])


def class_centres(maps: Mapping[Any, Float[Tensor, "height width"]]) -> dict[Any, Int[Tensor, " pixel"]]:
    """Places in each flattened map of the value that fewest pixels of all maps have, at most `MOST_CENTRES`.

    Args:
        maps: Class maps; NaN is no class.
    """
    counts = Counter[float]()
    for values in maps.values():
        classes, numbers = values[values.isfinite()].unique(return_counts=True)
        counts.update(dict(zip(classes.tolist(), numbers.tolist(), strict=True)))
    rarest = min(counts, key=lambda value: counts[value])
    places = {key: (values == rarest).flatten().nonzero().flatten() for key, values in maps.items()}
    return {key: pixels[:: max(1, -(-len(pixels) // MOST_CENTRES))].clone() for key, pixels in places.items()}


def tiles(size: Sequence[int], tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the tiles that cover a scene of a height and width; the last ones end with the scene."""
    of_axes = [range(0, max(1, length - overlap), tile - overlap) for length in size]
    return [
        (slice(row, min(row + tile, size[0])), slice(column, min(column + tile, size[1])))
        for row, column in product(*of_axes)
    ]


def tiled(sample: Sample, size: Sequence[int]) -> list[Sample]:
    """A sequence as tiles, none of which has more than `VALIDATION_PIXELS`; each target pixel is looked at in one.

    A scene that is not larger than a tile stays whole.
    """
    if max(size) <= TILE:
        return [sample]
    tile = TILE
    while tile > SMALLEST_TILE and tile**2 * len(sample.steps) > VALIDATION_PIXELS:
        tile //= 2
    places = tiles(size, tile, OVERLAP)
    return [sample._replace(rows=rows, columns=columns, margin=OVERLAP // 2) for rows, columns in places]
