"""Maps of snow: each module reads one product, and `SNOW` names them."""

from snowmap.products.reader import Reader
from snowmap.products.snow import cf, geotiff, points, snodas
from snowmap.products.snow.maps import SnowMaps, points_to_grid

__all__ = ["SNOW", "SnowMaps", "points_to_grid"]

SNOW: dict[str, Reader] = {
    "cf": cf.READER,
    "itsnow": cf.READER,
    "ua": cf.READER,
    "geotiff": geotiff.READER,
    "ascii": geotiff.READER,
    "snodas": snodas.READER,
    "points": points.READER,
}
"""Readers under the word of ``targets.swe.source`` and ``targets.hs.source``."""
