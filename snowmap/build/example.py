"""A recipe with comments, for each InSAR product: what `snowmap build --example` prints."""

from snowmap.config.checking import nearest
from snowmap.errors import SnowmapError
from snowmap.products.insar import INSAR

_EXAMPLE = """\
# A recipe of `snowmap build`: which products make the archive of a region. Paths are relative to this file's folder.
grid:
  bounds: [9.80, 45.93, 10.87, 46.40]    # west, south, east, north, in the unit of the CRS
  crs: EPSG:4326
  resolution: 0.005                      # side of a pixel, in the same unit
  # template: some.tif                   # the grid of a raster, instead of the three lines above
insar:
  source: {source}
{insar}
  # track: relative orbit 117            # where a folder holds pairs of several tracks: a part of the name of one
  # components: all                      # keep the unwrapped phase of all connected components, not of the largest
weather:
  source: era5                           # era5 | cf | stations
  path: era5/*.nc
  # lapse_rate: 6.5                      # K per km; by default the field's own, each day
targets:                                 # none to map with a model that was trained elsewhere
  swe: {{source: cf, path: itsnow/*.nc, variable: SWE}}
  # hs: {{source: geotiff, path: aso/*.tif, days: 6}}   # days that a map may differ from the end of a window
# dem: {{path: dem.tif}}                   # elevation in m, instead of that of the InSAR product
# study_area: {{path: catchment.gpkg}}     # default: where there are values
# water: {{path: lakes.gpkg}}              # is taken out of the study area
# glaciers: {{path: rgi.shp}}              # becomes the band `glacier`
# first: 2022-09-01                      # pairs of a period only
# last: 2023-06-30
# coverage: 0.5                          # share of a pixel that has to have a value, else it has none
"""


def example(source: str) -> str:
    """A recipe with comments.

    Args:
        source: A key of `snowmap.products.insar.INSAR`.

    Raises:
        SnowmapError: When there is no such product.
    """
    if source not in INSAR:
        raise SnowmapError(f"--example {source}: expected {' | '.join(INSAR)}{nearest(source, INSAR)}")
    lines = "\n".join(f"  {line}" for line in INSAR[source].example.splitlines())
    return _EXAMPLE.format(source=source, insar=lines)
