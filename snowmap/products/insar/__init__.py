"""InSAR products: each module reads one as pairs, and `INSAR` names them."""

from snowmap.products.insar import aria, geotiffs, hyp3, licsar, mintpy, nisar, uavsar
from snowmap.products.reader import Reader

INSAR: dict[str, Reader] = {
    "hyp3": hyp3.READER,
    "mintpy": mintpy.READER,
    "licsar": licsar.READER,
    "geotiffs": geotiffs.READER,
    "nisar": nisar.READER,
    "aria": aria.READER,
    "uavsar": uavsar.READER,
}
"""Readers under the word of ``insar.source``."""
