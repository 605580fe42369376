"""Maps of snow: each module reads one product, and `SNOW` names them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from snowmap.products.reader import Reader


class SnowMaps(NamedTuple):
    """Maps of snow depth or SWE, on the product's own grid.

    Attributes:
        maps: For each day (datetime64[D]) what opens its map ``(y, x)`` in m of snow or water, NaN = missing, with CRS
            and transform.
        name: Of the product, for messages.
        left_out: One sentence for each file that was not taken.
    """

    maps: Mapping[np.datetime64, Callable[[], xr.DataArray]]
    name: str
    left_out: list[str]


SNOW: dict[str, Reader] = {}
"""Readers under the word of ``targets.swe.source`` and ``targets.hs.source``."""
