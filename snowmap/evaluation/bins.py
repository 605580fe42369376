"""Pixels in classes by a value of theirs, for tables."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

UNKNOWN = "unknown"
"""The class of pixels whose class variable is missing."""

SLOPE_EDGES_DEGREE = (5.0, 15.0, 25.0, 35.0)


def binned(
    values: Float[np.ndarray, " pixel"], edges: Sequence[float], unit: str = "", below: str = ""
) -> pd.Categorical:
    """Class i reaches from edge i − 1 to below edge i."""
    inner = [f"{low:g}–{high:g}{unit}" for low, high in pairwise(edges)]
    labels = [below or f"< {edges[0]:g}{unit}", *inner, f"≥ {edges[-1]:g}{unit}"]
    return labelled(np.where(np.isfinite(values), np.digitize(values, np.asarray(edges, float)), -1), labels)


def labelled(code: Int[np.ndarray, " pixel"], labels: Sequence[str]) -> pd.Categorical:
    """The class of each pixel by its place in `labels`; any other place is `UNKNOWN`."""
    known = (code >= 0) & (code < len(labels))
    return pd.Categorical.from_codes(np.where(known, code, len(labels)), [*labels, UNKNOWN])
