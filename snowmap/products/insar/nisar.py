"""NISAR L2 GUNW: geocoded unwrapped interferograms at L band, HDF5.

Layout: NISAR NASA SDS product specification L2 GUNW (JPL D-102272) as isce3 writes it. Of several frequencies and
polarisations the first of A, B and of HH, VV is read.

Sign: an interferogram is reference × conj(secondary), the reference being the earlier acquisition, so that the phase
grows as the path does (MintPy's ``prep_nisar`` takes it as it is). ``losUnitVector`` points from the ground to the
radar (isce3). Water is the hundreds of ``mask``. The phase screens of the troposphere are not read: sources disagree
about their sign.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snowmap.errors import SnowmapError
from snowmap.products.insar.gunw import (
    Gunw,
    at_ground,
    open_file,
    open_layer,
    open_phase,
    sign_of,
    text,
    variable,
)
from snowmap.products.pairs import InsarPairs, Opener, Pair
from snowmap.products.rasters import Raster, open_raster
from snowmap.products.reader import Reader

_IDENTIFICATION = "/science/LSAR/identification"
_GRIDS = "/science/LSAR/GUNW/grids"
_CUBES = "/science/LSAR/GUNW/metadata/radarGrid"
_SPEED_OF_LIGHT = 299_792_458.0
_LOOK = {
    "look_east": lambda x, y: x,
    "look_north": lambda x, y: y,
    "look_up": lambda x, y: np.sqrt(np.clip(1 - x**2 - y**2, 0, 1)),
}


def read(paths: list[Path], options: Mapping[str, Any]) -> InsarPairs:
    """Pairs of NISAR GUNW files (``.h5``); see `snowmap.products.reader.Reader`."""
    result = InsarPairs([], [])
    for path in paths:
        with open_file(path) as file:
            kind = text(variable(file, f"{_IDENTIFICATION}/productType")[()])
            if kind == "GUNW":
                result.pairs.append(_pair(path, file, options))
            else:
                result.left_out.append(f"{path.name}: a product {kind}, no GUNW")
    return result


def _pair(path: Path, file: h5py.File, options: Mapping[str, Any]) -> Pair:
    def stated(name: str) -> str:
        return text(variable(file, f"{_IDENTIFICATION}/{name}")[()])

    times = (stated(f"{which}ZeroDopplerStartTime") for which in ("reference", "secondary"))
    reference, secondary = (np.datetime64(time[:10]) for time in times)
    frequency, polarisation = _choose(file)
    grids = f"{_GRIDS}/{frequency}"
    unwrapped = f"{grids}/unwrappedInterferogram/{polarisation}"
    wrapped = f"{grids}/wrappedInterferogram/{polarisation}/wrappedInterferogram"
    for name in ("unwrappedPhase", "coherenceMagnitude", "connectedComponents"):
        variable(file, f"{unwrapped}/{name}")
    for name in ("losUnitVectorX", "losUnitVectorY"):
        variable(file, f"{_CUBES}/{name}")
    sign = sign_of(reference, secondary)
    screen = f"{unwrapped}/ionospherePhaseScreen"
    screen = screen if options["ionosphere"] == "subtract" and screen in file else ""
    layers: dict[str, Opener] = {
        "coherence": partial(open_layer, path, f"{unwrapped}/coherenceMagnitude"),
        "component": partial(open_layer, path, f"{unwrapped}/connectedComponents"),
        "unwrapped_phase": partial(open_phase, path, f"{unwrapped}/unwrappedPhase", sign, screen),
        "elevation": partial(open_raster, options["dem"]),
    }
    for layer, component in _LOOK.items():
        layers[layer] = partial(_look, path, component, f"{unwrapped}/coherenceMagnitude", options["dem"])
    if wrapped in file:
        layers["wrapped_phase"] = partial(open_layer, path, wrapped, convert=lambda values: sign * np.angle(values))
        layers["intensity"] = partial(open_layer, path, wrapped, convert=np.abs)
    if (mask := f"{grids}/unwrappedInterferogram/mask") in file:
        layers["water"] = partial(open_layer, path, mask, convert=_is_water)
    frequency_hz = float(variable(file, f"{grids}/centerFrequency")[()])
    return Pair(
        start=min(reference, secondary),
        end=max(reference, secondary),
        name=path.name,
        track=f"track {stated('trackNumber')}, frame {stated('frameNumber')}, {stated('orbitPassDirection').lower()}",
        wavelength_m=_SPEED_OF_LIGHT / frequency_hz,
        layers=layers,
        processing=f"{frequency} {polarisation}, product version {stated('productVersion')}",
    )


def _choose(file: h5py.File) -> tuple[str, str]:
    for frequency in ("frequencyA", "frequencyB"):
        for polarisation in ("HH", "VV"):
            if f"{_GRIDS}/{frequency}/unwrappedInterferogram/{polarisation}" in file:
                return frequency, polarisation
    raise SnowmapError(f"{file.filename}: no unwrapped interferogram of HH or VV in {_GRIDS}; fetch it again")


def _look(path: Path, component: Any, like: str, dem: str) -> Raster:
    names = [f"{_CUBES}/losUnitVector{axis}" for axis in "XY"]
    return at_ground(path, names, component, open_layer(path, like).grid, dem)


def _is_water(mask: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(mask), np.nan, mask // 100 == 1)


_EXAMPLE = """\
path: gunw/NISAR_L2_*GUNW*.h5
dem: dem.tif                           # elevation in m: the product has none"""

READER = Reader(Gunw, read, _EXAMPLE)
