"""InSAR products: each module reads one as pairs, and `INSAR` names them."""

from snowmap.products.insar import aria, nisar, uavsar
from snowmap.products.reader import Reader

INSAR: dict[str, Reader] = {
    "nisar": nisar.READER,
    "aria": aria.READER,
    "uavsar": uavsar.READER,
}
"""Readers under the word of ``insar.source``."""
