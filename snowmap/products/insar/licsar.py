"""Products of COMET's LiCSAR: a frame's folder, with GeoTIFFs of each pair and of the frame.

Sign: an interferogram ``date1_date2`` is the phase of date2 with reference to date1, and LiCSBAS turns it into
displacement towards the satellite by −λ / 4π (``coef_r2m``; LiCSBAS's issues 44 and 294): it grows with the path, as in
`snowmap.products.pairs`. E, N, U is the unit vector from the ground to the satellite: E > 0 is "observed from East"
(``LiCSBAS_decomposeLOS.py``). 0 is nodata (``LiCSBAS02_ml_prep.py``).
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from snowmap.errors import SnowmapError
from snowmap.physics import SENTINEL_1_WAVELENGTH
from snowmap.products.names import day_of
from snowmap.products.pairs import InsarPairs, Opener, Pair
from snowmap.products.rasters import Raster, open_raster
from snowmap.products.reader import Insar, Reader

FRAME = re.compile(r"(?P<orbit>\d{3})(?P<direction>[AD])_\d{5}_\d{6}")
"""E.g. ``022D_05000_131313``."""
_PAIR = re.compile(r"(\d{8})_(\d{8})\.geo\.unw\.tif")
_OF_FRAMES = {"elevation": "hgt", "look_east": "E", "look_north": "N", "look_up": "U"}
_LEVELS = 3
"""Folders above a pair's in which those files are looked for: ``GEOC`` of LiCSBAS, ``metadata`` of the portal."""


def read(paths: list[Path], options: Mapping[str, Any]) -> InsarPairs:
    """The pairs of frames, each a folder as the portal or LiCSBAS has it.

    Raises:
        SnowmapError: When nothing tells the frame of a pair.
    """
    result = InsarPairs([], [])
    for path in paths:
        files = sorted(path.rglob("*.geo.unw.tif")) if path.is_dir() else [path]
        pairs = [(file, name) for file in files if (name := _PAIR.fullmatch(file.name))]
        if not pairs:
            result.left_out.append(f"{path}: no unwrapped phase of LiCSAR there, such as 20230103_20230115.geo.unw.tif")
        for file, name in pairs:
            coherence = file.with_name(file.name.replace(".unw.", ".cc."))
            if not coherence.exists():
                result.left_out.append(f"{file}: no {coherence.name} beside it; fetch it")
                continue
            result.pairs.append(_pair(file, coherence, *name.groups()))
    return result


READER = Reader(Insar, read, "path: 022D_05000_131313                # the folder of a frame")


def _pair(unwrapped: Path, coherence: Path, first: str, second: str) -> Pair:
    start, end = map(day_of, sorted((first, second)))
    frame, layers = _frame(unwrapped)
    direction = {"A": "ascending", "D": "descending"}[frame["direction"]]
    return Pair(
        start=start,
        end=end,
        name=f"{frame[0]} {first}_{second}",
        track=f"relative orbit {int(frame['orbit'])}, {direction}, frame {frame[0]}",
        wavelength_m=SENTINEL_1_WAVELENGTH,
        layers={
            "coherence": partial(_coherence, coherence),
            "unwrapped_phase": partial(
                open_raster, unwrapped, nodata=0, convert=np.negative if first > second else None
            ),
            **layers,
        },
    )


def _frame(pair: Path) -> tuple[re.Match[str], dict[str, Opener]]:
    """A pair's frame, and the layers of the frame, from the nearest folder above that has them."""
    for folder in pair.parents[:_LEVELS]:
        for beside in (folder, folder / "metadata"):
            layers: dict[str, Opener] = {}
            name = None
            for layer, ending in _OF_FRAMES.items():
                for file in sorted(beside.glob(f"*.geo.{ending}.tif")):
                    layers[layer] = partial(open_raster, file, nodata=0)
                    name = name or FRAME.match(file.name)
            if name:
                return name, layers
    if name := FRAME.search(str(pair.resolve())):
        return name, {}
    raise SnowmapError(
        f"{pair}: no frame; expected files such as 022D_05000_131313.geo.U.tif in a folder above, or its metadata/"
    )


def _coherence(path: Path) -> Raster:
    """Stored as 0 … 255, until 2019 as 0 … 1."""
    with rasterio.open(path) as raster:
        greatest = np.float32(255 if raster.dtypes[0] == "uint8" else 1)
    return open_raster(path, nodata=0, convert=lambda stored: stored / greatest)
