"""Scenes of a SAR time series: GeoTIFFs by date and polarisation, with outlines or class rasters as labels.

``docs/sar-stack.md`` says how they lie there.
"""

from snowmap.sources.sar_stack.layout import scene_roots
from snowmap.sources.sar_stack.opening import open_source

__all__ = ["open_source", "scene_roots"]
