"""InSAR products: each module reads one as pairs, and `INSAR` names them."""

from snowmap.products.insar import aria, nisar
from snowmap.products.reader import Reader

INSAR: dict[str, Reader] = {
    "nisar": nisar.READER,
    "aria": aria.READER,
}
"""Readers under the word of ``insar.source``."""
