"""SNODAS of the NSIDC (G02158): daily ``.tar`` of flat binary grids, masked to the contiguous United States or not."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine

from snowmap.errors import SnowmapError
from snowmap.products.names import day_of
from snowmap.products.rasters import Raster, as_raster
from snowmap.products.reader import Reader, Snow
from snowmap.products.snow.maps import Opener, SnowMaps, maps_by_day

PRODUCTS = {"swe": "1034", "hs": "1036"}
"""Codes of the products in the names of their files; both in mm, at 06 UTC of the day in the name."""

NAME = r"(?:us|zz)_ssmv1{code}tS__T0001TTNATS(\d{{8}})\d{{2}}HP001\.{kind}(?:\.gz)?"
DAT = "dat"
HEADERS = "(?:txt|Hdr|hdr)"
DAMAGED = (OSError, tarfile.TarError, EOFError, zlib.error)


def read_snodas(paths: list[Path], options: Mapping[str, Any]) -> SnowMaps:
    """A map for each archive of a day.

    The grid is that of each header: on 1 October 2013 it moved by 0.05 of a cell.

    Args:
        paths: ``SNODAS_20210109.tar``, ….
        options: As `Snow`, and ``target``.

    Raises:
        SnowmapError: When an archive is damaged, or none holds the target.
    """
    maps, left_out = dict[np.datetime64, Opener](), []
    for path in paths:
        names = _names(path)
        form = NAME.format(code=PRODUCTS[options["target"]], kind=DAT)
        member = next((match for name in names if (match := re.fullmatch(form, Path(name).name))), None)
        if member is None:
            left_out.append(f"{path.name}: it holds no product {PRODUCTS[options['target']]}")
            continue
        day = day_of(member[1])
        maps.setdefault(day, partial(_open, path, PRODUCTS[options["target"]]))
    return maps_by_day(maps, paths, left_out, "of SNODAS")


def _names(path: Path) -> list[str]:
    try:
        with tarfile.open(path) as archive:
            return archive.getnames()
    except DAMAGED as error:
        raise SnowmapError(f"{path}: not readable as a tar archive ({error}); fetch it again") from error


def _open(path: Path, code: str) -> Raster:
    header = _header(_bytes(path, NAME.format(code=code, kind=HEADERS)).decode("latin-1"), path)
    values = np.frombuffer(_bytes(path, NAME.format(code=code, kind=DAT)), dtype=">i2")
    height, width = int(header["number of rows"]), int(header["number of columns"])
    if values.size != height * width:
        raise SnowmapError(
            f"{path}: product {code} holds {values.size} values, expected {height} × {width}; fetch it again"
        )
    west, east = header["minimum x-axis coordinate"], header["maximum x-axis coordinate"]
    south, north = header["minimum y-axis coordinate"], header["maximum y-axis coordinate"]
    grid = Affine((east - west) / width, 0, west, 0, (south - north) / height, north)
    metres = values.reshape(height, width).astype(np.float32)
    metres = np.where(metres == header["no data value"], np.float32(np.nan), metres * np.float32(1e-3))
    return as_raster(metres, grid, CRS.from_epsg(4326))


def _bytes(path: Path, form: str) -> bytes:
    """A file of an archive, unpacked; its name is as the pattern has it."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if re.fullmatch(form, Path(member.name).name) and (file := archive.extractfile(member)):
                    data = file.read()
                    return gzip.decompress(data) if member.name.endswith(".gz") else data
    except DAMAGED as error:
        raise SnowmapError(f"{path}: not readable as an archive of SNODAS ({error}); fetch it again") from error
    raise SnowmapError(f"{path} holds no file like {form}; expected each grid with its header, as the NSIDC packs them")


def _header(text: str, path: Path) -> dict[str, float]:
    """The numbers of a header by their names in small letters."""
    lines = re.findall(r"^\s*([^:\n]+?)\s*:\s*([-+.\deE]+)\s*$", text, flags=re.MULTILINE)
    header = {name.lower(): float(number) for name, number in lines}
    edges = [f"{end} {axis}-axis coordinate" for end in ("minimum", "maximum") for axis in "xy"]
    if lacking := [
        name for name in ("number of rows", "number of columns", "no data value", *edges) if name not in header
    ]:
        raise SnowmapError(f"{path}: the header lacks {', '.join(lacking)}; fetch it again")
    if header.get("data bytes per pixel", 2) != 2:
        raise SnowmapError(f"{path}: {header['data bytes per pixel']:g} bytes per pixel; expected 2")
    return header


READER = Reader(Snow, read_snodas)
