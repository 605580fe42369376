"""InSAR products: each module reads one as pairs, and `INSAR` names them."""

from snowmap.products.reader import Reader

INSAR: dict[str, Reader] = {}
"""Readers under the word of ``insar.source``."""
