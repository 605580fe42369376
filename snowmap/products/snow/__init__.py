"""Maps of snow: each module reads one product, and `SNOW` names them."""

from snowmap.products.reader import Reader
from snowmap.products.snow import cf
from snowmap.products.snow.maps import SnowMaps, check_overlap, points_to_grid

__all__ = ["SNOW", "SnowMaps", "check_overlap", "points_to_grid"]

SNOW: dict[str, Reader] = {"cf": cf.READER, "itsnow": cf.READER, "ua": cf.READER}
"""Readers under the word of ``targets.swe.source`` and ``targets.hs.source``."""
