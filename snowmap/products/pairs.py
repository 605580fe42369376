"""What every InSAR product becomes: pairs of acquisitions with layers of fixed names, units and sign."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from snowmap.products.rasters import Raster

Opener = Callable[[], Raster]
"""Opens one raster; its values are read when they are looked at."""

MEAN, POWER, WRAPPED, UNWRAPPED, ANGLE, CLASS = "mean", "power", "wrapped", "unwrapped", "angle", "class"
"""How pixels become one: as a mean; as a mean of linear power, which becomes dB; as a mean of complex numbers, weighted
by coherence; as a mean within one connected component; as a mean of unit vectors; by majority."""

LAYERS: Mapping[str, str] = {
    "coherence": MEAN,  # 0 … 1
    "unwrapped_phase": UNWRAPPED,  # rad, grows where the path gets longer from the first date to the second, as by snow
    "wrapped_phase": WRAPPED,  # rad, the same sign
    "intensity": POWER,  # linear, at any calibration
    "delay": MEAN,  # m, change of the atmosphere's one-way delay along the line of sight, positive for a longer path
    "elevation": MEAN,  # m
    "incidence": ANGLE,  # degrees, from the normal of the ground
    "look_east": MEAN,  # the unit vector from the ground to the radar; used where a product has no local incidence
    "look_north": MEAN,
    "look_up": MEAN,
    "component": CLASS,  # connected components of the unwrapping, 0 = not reliable
    "layover_shadow": CLASS,  # 1 in layover or shadow, else 0
    "water": CLASS,  # 1 on water, else 0
}
"""Every layer that a pair may have, and how it is averaged. Each reader gives what its product has."""


@dataclass(frozen=True)
class Pair:
    """One interferogram.

    Attributes:
        start: Day of the earlier acquisition, datetime64[D].
        end: Day of the later one.
        name: Of the product, for messages: a file or folder name.
        track: What tells it from pairs of another geometry, e.g. ``"relative orbit 117, descending"``.
        wavelength_m: Of the radar.
        layers: By keys of `LAYERS`.
        processing: What tells two processings of the same pair apart.
        scenes: Neighbouring scenes of the same pass, from south to north, where it is more than one.
    """

    start: np.datetime64
    end: np.datetime64
    name: str
    track: str
    wavelength_m: float
    layers: Mapping[str, Opener]
    processing: str = ""
    scenes: "tuple[Pair, ...]" = ()


class InsarPairs(NamedTuple):
    """What a reader found.

    Attributes:
        pairs: In any order; two of the same dates and track are neighbouring scenes, or refused by the build.
        left_out: One sentence for each product that was not taken: its name, and why.
    """

    pairs: list[Pair]
    left_out: list[str]
