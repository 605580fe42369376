"""InSAR products of ASF's HyP3: zip files or folders, of whole scenes (GAMMA) or of bursts (ISCE2).

Sign: "positive values indicate movement away from the sensor" (README of the products, both processors), the first date
of the name being the reference: as in `snowmap.products.pairs`. Look vectors are elevation above the horizon and angle
from east towards north, in rad, from the ground to the radar. Water masks are 1 on land and 0 on water.
Source: https://hyp3-docs.asf.alaska.edu/guides/insar_product_guide and …/burst_insar_product_guide.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np

from snowmap.errors import SnowmapError
from snowmap.physics import SENTINEL_1_WAVELENGTH
from snowmap.products.insar.sentinel1 import relative_orbit, relative_orbit_of_burst
from snowmap.products.names import day_of
from snowmap.products.pairs import InsarPairs, Opener, Pair
from snowmap.products.rasters import Raster, open_raster
from snowmap.products.reader import Insar, Reader

NAME = re.compile(
    r"(?P<product>S1(?P<satellite>[A-Z])?[A-Z]?_(?:(?P<geometry>[\w-]+?)_)??(?P<first>\d{8})(T\d{6})?_(?P<second>\d{8})(T\d{6})?"
    r"_[VH]{2}\w*_INT(?P<spacing>\d+)(?P<gamma>_G_(?P<mask>[uw])\w\w)?_[0-9A-F]{4})(?P<rest>\.txt|_[a-z_]+\.tif)"
)
"""Names of the files of a product, e.g. ``S1AA_20230103T…_20230115T…_VVP012_INT80_G_ueF_1A2B_corr.tif``,
``S1_136231_IW2_20200604_20200616_VV_INT80_663F_corr.tif`` and
``S1_064_000000s1n00-136231s2n02-000000s3n00_IW_20200604_20200616_VV_INT80_77F1_corr.tif``."""


class _Layer(NamedTuple):
    """How a layer lies in a product; 0 is its nodata, whether or not the raster says so, unless `zero` is a value."""

    ending: str
    convert: Callable[[np.ndarray], np.ndarray] | None = None
    zero: bool = False
    flips: bool = False


_LAYERS: Mapping[str, _Layer] = {
    "coherence": _Layer("_corr.tif"),
    "unwrapped_phase": _Layer("_unw_phase.tif", flips=True),
    "wrapped_phase": _Layer("_wrapped_phase.tif", flips=True),
    "intensity": _Layer("_amp.tif"),  # σ⁰ in linear power despite its name
    "elevation": _Layer("_dem.tif"),
    "incidence": _Layer("_inc_map.tif", np.degrees),
    "component": _Layer("_conncomp.tif", np.nan_to_num, zero=True),
    "water": _Layer("_water_mask.tif", lambda land: 1 - land, zero=True),
}


@dataclass
class _Product:
    """The files of a product by the ending of their names: where each lies, and its path for GDAL."""

    container: Path
    name: re.Match[str]
    files: dict[str, str]

    @property
    def gdal(self) -> str:
        """What stands before the files' paths."""
        return f"/vsizip/{self.container.resolve()}/" if self.container.is_file() else f"{self.container}/"

    def text(self) -> str:
        """The parameter file."""
        if self.container.is_file():
            with ZipFile(self.container) as archive:
                return archive.read(self.files[".txt"]).decode(errors="replace")
        return (self.container / self.files[".txt"]).read_text(errors="replace")


def read(paths: list[Path], options: Mapping[str, Any]) -> InsarPairs:
    """The pairs of HyP3 products, each a zip file or a folder; folders are searched with what lies in them."""
    pairs: dict[str, Pair] = {}
    left_out: list[str] = []
    for product in _products(paths, left_out):
        name = product.name["product"]
        if name in pairs:
            left_out.append(f"{product.container}: holds {name} once more")
            continue
        try:
            pairs[name] = _pair(product)
        except (SnowmapError, OSError, BadZipFile) as error:
            left_out.append(f"{product.container}: {error}")
    return InsarPairs(list(pairs.values()), left_out)


READER = Reader(Insar, read, "path: downloads/*.zip                # zip files as they are, or folders")


def _products(paths: Iterable[Path], left_out: list[str]) -> Iterator[_Product]:
    products: dict[tuple[Path, str], _Product] = {}
    for path in paths:
        before = len(products), len(left_out)
        for container, file in _files(path, left_out):
            if name := NAME.fullmatch(Path(file).name):
                product = products.setdefault((container, name["product"]), _Product(container, name, {}))
                product.files[name["rest"]] = file
        if (len(products), len(left_out)) == before:
            left_out.append(f"{path}: no file of a HyP3 InSAR product in it, such as S1…_INT80_…_unw_phase.tif")
    yield from products.values()


def _files(path: Path, left_out: list[str]) -> Iterator[tuple[Path, str]]:
    """Zip file or folder, and path in it."""
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            yield from _files(entry, left_out)
    elif path.suffix.lower() == ".zip":
        try:
            with ZipFile(path) as archive:
                yield from ((path, member) for member in archive.namelist())
        except (BadZipFile, OSError) as error:
            left_out.append(f"{path}: not a whole zip file ({error}); download it again")
    else:
        yield path.parent, path.name


def _pair(product: _Product) -> Pair:
    name = product.name
    for ending in (_LAYERS["coherence"].ending, _LAYERS["unwrapped_phase"].ending, ".txt"):
        if ending not in product.files:
            raise SnowmapError(f"{name['product']}{ending} is missing; download the product again")
    facts = dict(line.split(": ", 1) for line in product.text().splitlines() if ": " in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    first, second = day_of(name["first"]), day_of(name["second"])
    return Pair(
        start=min(first, second),
        end=max(first, second),
        name=name["product"],
        track=_track(name, facts),
        wavelength_m=SENTINEL_1_WAVELENGTH,
        layers=_layers(product, backwards=bool(first > second)),
        processing=_processing(name, facts),
    )


def _layers(product: _Product, backwards: bool) -> dict[str, Opener]:
    layers: dict[str, Opener] = {}
    for key, layer in _LAYERS.items():
        if layer.ending not in product.files or (key == "intensity" and not product.name["gamma"]):
            continue  # what bursts' amplitudes are is not documented
        layers[key] = partial(
            open_raster,
            product.gdal + product.files[layer.ending],
            nodata=None if layer.zero else 0,
            convert=np.negative if layer.flips and backwards else layer.convert,
        )
    angles = [product.files.get(f"_lv_{angle}.tif") for angle in ("theta", "phi")]
    if all(angles):
        theta, phi = (partial(open_raster, f"{product.gdal}{file}", nodata=0) for file in angles)
        layers["look_east"] = partial(_joined, lambda up, around: np.cos(up) * np.cos(around), theta, phi)
        layers["look_north"] = partial(_joined, lambda up, around: np.cos(up) * np.sin(around), theta, phi)
        layers["look_up"] = partial(_joined, lambda up, around: np.sin(up), theta, phi)
    return layers


def _joined(function: Callable[[Any, Any], Any], *openers: Opener) -> Raster:
    """Values computed from two rasters of one grid."""
    one, other = (opener() for opener in openers)
    return Raster(one.grid, lambda rows, columns: function(one.read(rows, columns), other.read(rows, columns)))


def _track(name: re.Match[str], facts: Mapping[str, str]) -> str:
    """Relative orbit and direction, and the bursts, whose unwrapped phases have nothing in common."""
    geometry = name["geometry"] or ""
    if burst := re.fullmatch(r"(\d{6})_IW\d", geometry):
        orbit: int | str = relative_orbit_of_burst(int(burst[1]))
    elif bursts := re.match(r"(\d{3})[_-]", geometry):
        orbit = int(bursts[1])
    else:
        absolute = _fact(facts, "Reference Orbit Number", "Orbit Number")
        orbit = relative_orbit(f"S1{name['satellite']}", int(absolute), day_of(name["first"]))
    direction = _fact(facts, "Reference Pass Direction", "Pass Direction").lower()
    return ", ".join([f"relative orbit {orbit}", direction, *([f"bursts {geometry}"] if geometry else [])])


def _processing(name: re.Match[str], facts: Mapping[str, str]) -> str:
    masked = {"w": "yes", "u": "no"}.get(name["mask"] or "", facts.get("Water mask", "no"))
    looks = " × ".join(facts.get(f"{way} looks", "?") for way in ("Range", "Azimuth"))
    unwrapping, strength = facts.get("Unwrapping type", "?"), facts.get("Phase filter parameter", "?")
    return (
        f"{'GAMMA' if name['gamma'] else 'ISCE2'}, {name['spacing']} m, {looks} looks, unwrapped by {unwrapping}, "
        f"filter {strength}, water masked: {masked}"
    )


def _fact(facts: Mapping[str, str], *keys: str) -> str:
    """The value of the first of several names of a parameter."""
    for key in keys:
        if key in facts:
            return facts[key]
    raise SnowmapError(f"the parameter file has no line '{keys[0]}: …'; download the product again")
