"""The archive on disk ⇄ the Cube. Nothing outside of this package knows the files of an archive.

Step by step: `layout` finds and matches the files by name, `reading` reads them, one by one through `raster`; `cache`
keeps the result for the next time, `swe_unit` decides the unit of SWE and `opening` puts the Cube together. `writing`
is the way back, and `card` has the dataset card's own functions.
"""

from snowmap.sources.trentino.card import load_mask, match_insar_to_targets, stack_insar_bands, stack_weather_bands
from snowmap.sources.trentino.layout import MASK_NAME
from snowmap.sources.trentino.opening import open_archive, open_lazily, open_source, survey
from snowmap.sources.trentino.writing import write_archive

__all__ = [
    "MASK_NAME",
    "load_mask",
    "match_insar_to_targets",
    "open_archive",
    "open_lazily",
    "open_source",
    "stack_insar_bands",
    "stack_weather_bands",
    "survey",
    "write_archive",
]
