"""ARIA S1-GUNW: geocoded unwrapped Sentinel-1 interferograms by ISCE2, NetCDF 4.

Layout: ``nc_packaging_template_gunw.json`` of ACCESS-Cloud-Based-InSAR/DockerizedTopsApp. The name of a file tells
relative orbit and dates, ``S1-GUNW-A-R-064-tops-20210723_20210711-…``, the later one first.

Sign: an interferogram is reference × conj(secondary), the reference being the later acquisition, so that the phase
falls where the path gets longer, and is turned round here (as in MintPy's ``prep_aria``, also the ionosphere). The
azimuth of the look vector counts from the east counterclockwise, from the ground to the radar (the same). The
troposphere is a phase of each acquisition, −4π/λ of a delay (RAiDER); as a delay is positive, its size is enough.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snowmap.errors import SnowmapError
from snowmap.products.insar.gunw import (
    DEGREES,
    RADIANS,
    Gunw,
    at_ground,
    open_file,
    open_layer,
    open_phase,
    sign_of,
    text,
    variable,
)
from snowmap.products.names import day_of
from snowmap.products.pairs import InsarPairs, Opener, Pair
from snowmap.products.rasters import Raster, open_raster
from snowmap.products.reader import Reader

_NAME = re.compile(
    r"S1-GUNW-(?P<direction>[AD])-[RL]-(?P<orbit>\d{3})-tops-(?P<reference>\d{8})_(?P<secondary>\d{8})-\d{6}-"
    r"(?P<place>[^-]+)-.*?(?P<version>v\d\w*)?(\.nc)?"
)
_DIRECTIONS = {"A": "ascending", "D": "descending"}
_DATA = "/science/grids/data"
_GEOMETRY = "/science/grids/imagingGeometry"
_GRANULES = "/science/radarMetaData/inputSLC"
_IONOSPHERE = "/science/grids/corrections/derived/ionosphere/ionosphere"
_TROPOSPHERE = "/science/grids/corrections/external/troposphere"
_LOOK = {
    "look_east": lambda incidence, azimuth: np.sin(np.radians(incidence)) * np.cos(np.radians(azimuth)),
    "look_north": lambda incidence, azimuth: np.sin(np.radians(incidence)) * np.sin(np.radians(azimuth)),
    "look_up": lambda incidence, azimuth: np.cos(np.radians(incidence)),
}


def read(paths: list[Path], options: Mapping[str, Any]) -> InsarPairs:
    """Pairs of ARIA files (``.nc``); see `snowmap.products.reader.Reader`."""
    return InsarPairs([_pair(path, options) for path in paths], [])


def _pair(path: Path, options: Mapping[str, Any]) -> Pair:
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise SnowmapError(f"{path}: its name tells no dates; expected S1-GUNW-A-R-064-tops-20210723_20210711-….nc")
    with open_file(path) as file:
        reference, secondary = (_date(file, which, named[which]) for which in ("reference", "secondary"))
        for name in ("unwrappedPhase", "coherence", "connectedComponents"):
            variable(file, f"{_DATA}/{name}")
        for name in ("incidenceAngle", "azimuthAngle"):
            variable(file, f"{_GEOMETRY}/{name}", DEGREES)
        wavelength = float(np.asarray(variable(file, "/science/radarMetaData/wavelength")[()]).reshape(-1)[0])
        screen = _IONOSPHERE if options["ionosphere"] == "subtract" and _IONOSPHERE in file else ""
        troposphere: Any = file.get(_TROPOSPHERE, ())
        models = sorted(troposphere)
        has_amplitude = f"{_DATA}/amplitude" in file
    phase, sign = f"{_DATA}/unwrappedPhase", sign_of(reference, secondary)
    layers: dict[str, Opener] = {
        "coherence": partial(open_layer, path, f"{_DATA}/coherence"),
        "component": partial(open_layer, path, f"{_DATA}/connectedComponents"),
        "unwrapped_phase": partial(open_phase, path, phase, sign, screen),
        "elevation": partial(open_raster, options["dem"]),
    }
    for layer, component in _LOOK.items():
        layers[layer] = partial(_look, path, component, options["dem"])
    if has_amplitude:  # of the interferogram, in watt: a power already
        layers["intensity"] = partial(open_layer, path, f"{_DATA}/amplitude")
    if models:
        layers["delay"] = partial(_delay, path, models[0], sign * wavelength / (4 * np.pi), options["dem"])
    return Pair(
        start=min(reference, secondary),
        end=max(reference, secondary),
        name=path.name,
        track=f"relative orbit {int(named['orbit'])}, {_DIRECTIONS[named['direction']]}",
        wavelength_m=wavelength,
        layers=layers,
        processing=named["version"] or "",
    )


def _date(file: h5py.File, which: str, day: str) -> np.datetime64:
    """The day in the name, which those of the acquisition's own files have to confirm where they are listed."""
    granules = file.get(f"{_GRANULES}/{which}/L1InputGranules")
    if isinstance(granules, h5py.Dataset):
        names = [text(name) for name in np.asarray(granules[()]).reshape(-1)]
        days = {stamp for name in names for stamp in re.findall(r"_(\d{8})T\d{6}", name)}
        if days and day not in days:
            listed = ", ".join(sorted(days))
            raise SnowmapError(
                f"{file.filename}: the name says {day} for the {which} acquisition, the file {listed}; "
                "give the file its own name back"
            )
    return day_of(day)


def _look(path: Path, component: Any, dem: str) -> Raster:
    names = [f"{_GEOMETRY}/{name}" for name in ("incidenceAngle", "azimuthAngle")]
    return at_ground(path, names, component, open_layer(path, f"{_DATA}/coherence").grid, dem)


def _delay(path: Path, model: str, metres_per_radian: float, dem: str) -> Raster:
    """Change of the delay along the line of sight, by one weather model of the product."""
    parts = [
        f"{_TROPOSPHERE}/{model}/{which}/{name}"
        for which in ("secondary", "reference")
        for name in ("troposphereWet", "troposphereHydrostatic")
    ]
    with open_file(path) as file:
        for name in parts:
            variable(file, name, RADIANS)

    def change(*phases: np.ndarray) -> np.ndarray:
        wet, dry, wet_of_reference, dry_of_reference = map(np.abs, phases)
        return metres_per_radian * (wet + dry - wet_of_reference - dry_of_reference)

    return at_ground(path, parts, change, open_layer(path, f"{_DATA}/coherence").grid, dem)


_EXAMPLE = """\
path: gunw/S1-GUNW-*.nc
dem: dem.tif                           # elevation in m: the product has none"""

READER = Reader(Gunw, read, _EXAMPLE)
