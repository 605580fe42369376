"""InSAR products: each module reads one as pairs, and `INSAR` names them."""

from snowmap.products.insar.geotiffs import GEOTIFFS
from snowmap.products.insar.hyp3 import HYP3
from snowmap.products.insar.licsar import LICSAR
from snowmap.products.insar.mintpy import MINTPY
from snowmap.products.reader import Reader

INSAR: dict[str, Reader] = {"geotiffs": GEOTIFFS, "hyp3": HYP3, "licsar": LICSAR, "mintpy": MINTPY}
"""Readers under the word of ``insar.source``."""
