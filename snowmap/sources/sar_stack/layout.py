"""Which rasters a scene has: date and band from the names of files, scene from the folder or the name."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snowmap.errors import SnowmapError
from snowmap.products.names import Name

SUFFIXES = (".tif", ".tiff", ".img")
EXAMPLE = "ROOT/<scene>/2020-07-03_HH.tif"

_DAY = r"(?:19|20)\d\d-?[01]\d-?[0-3]\d(?!\d)"
_DAYS = re.compile(rf"(?<!\d){_DAY}")
_PLAIN = re.compile(rf"(?:{_DAY}_)+(?P<band>(?:VV|VH|HH|HV|coh)\w*?)(?:_db)?", re.IGNORECASE)
"""``2020-07-03_HH.tif``: what follows the date is the band's name."""
_POLARISATION = re.compile(r"(?:^|[_.-])(VV|VH|HH|HV)(?=$|[_.-])", re.IGNORECASE)
_COHERENCE = re.compile(r"(?:^|[_.-])(coh|coherence|corr|cc)(?=$|[_.-])", re.IGNORECASE)
_BURST = re.compile(r"(?:^|_)(T\d{3}-\d{6}-[A-Z]{2}\d)_")
"""Of OPERA's names: each burst is a scene."""


class Raster(NamedTuple):
    """One band of one date.

    Attributes:
        path: The file.
        scene: That its name states; empty where it states none.
        date: datetime64[D]; of an interferometric pair the second one.
        band: ``HH``, ``VV_grd``, ``coherence``, …
    """

    path: Path
    scene: str
    date: np.datetime64
    band: str


def scene_roots(data: Mapping[str, Any], root: str) -> list[str]:
    """The scenes below a folder, each as what `rasters_of` takes: a folder, or ``folder/<scene>`` for one of several
    scenes whose rasters lie together.

    Args:
        data: As `snowmap.config.sources.SarStack` describes it.
        root: The folder.

    Raises:
        SnowmapError: When there is no raster of a scene.
    """
    folder, pattern = Path(root), data.get("pattern")
    if not folder.is_dir():
        rasters_of(root, pattern)  # a scene of the folder above, or an error
        return [root]
    places = [folder] if pattern else [folder, *sorted(path for path in folder.iterdir() if _is_scene(path))]
    roots = []
    for place in places:
        names = sorted({raster.scene for raster in _rasters(place, pattern)})
        roots += [str(place / name) if len(names) > 1 or pattern else str(place) for name in names]
    if not roots:
        rasters_of(root, pattern)  # the same, by the folder above
        return [root]
    return roots


def rasters_of(root: str | Path, pattern: str | None = None) -> list[Raster]:
    """The rasters of one scene, by date and band.

    Args:
        root: The folder of the scene; or ``folder/<scene>``, which need not exist, for the rasters in ``folder`` whose
            names state the scene.
        pattern: Of the names below the folder: ``{scene}``, ``{date:%Y%m%d}``, ``{band}``, and ``*`` for anything.

    Raises:
        SnowmapError: When there is none, there are several scenes, or two rasters of one date and band.
    """
    root = Path(root)
    rasters = _rasters(root, pattern)
    if not rasters:
        rasters = [raster for raster in _rasters(root.parent, pattern) if raster.scene == root.name]
    if not rasters:
        below = [path.name for path in sorted(root.iterdir()) if _is_scene(path)] if root.is_dir() else []
        expected = f"names that fit data.pattern={pattern}" if pattern else f"{EXAMPLE}, or a data.pattern"
        words = f"no raster of a scene, but the scenes {', '.join(below)}: name one" if below else "no raster of a SAR "
        raise SnowmapError(f"{root}: {words}" if below else f"{root}: {words}scene there; expected {expected}")
    if len(names := sorted({raster.scene for raster in rasters})) > 1:
        raise SnowmapError(
            f"{root} holds the rasters of the scenes {', '.join(names)}; name one, e.g. {root / names[0]}"
        )
    rasters.sort(key=lambda raster: (raster.date, raster.band, raster.path))
    for first, second in pairwise(rasters):
        if (first.date, first.band) == (second.date, second.band):
            raise SnowmapError(
                f"{root}: {first.path.name} and {second.path.name} are both {first.band} of {first.date}; keep one "
                "track and one calibration in a scene, or choose by data.pattern"
            )
    return rasters


def dated_classes(root: str | Path) -> dict[np.datetime64, Path]:
    """Class rasters of single dates, ``<date>_classes.tif``, in the folder of a scene."""
    paths = [path for path in sorted(Path(root).glob("*_classes.tif")) if path.is_file()]
    return {day: path for path in paths for day in _days(path.name)[:1]}


def _is_scene(path: Path) -> bool:
    return path.is_dir() and not _days(path.name) and bool(_rasters(path, None))


def _rasters(folder: Path, pattern: str | None) -> list[Raster]:
    """Those in a folder and in folders of single products below it, whose names hold a date."""
    if not folder.is_dir():
        return []
    if pattern:
        return list(_of_pattern(folder, pattern))
    files = [path for path in folder.iterdir() if path.is_file()]
    for product in folder.iterdir():
        if product.is_dir() and _days(product.name):
            files += [path for path in product.iterdir() if path.is_file()]
    return [raster for path in files if path.suffix.lower() in SUFFIXES and (raster := _of_name(path))]


def _of_name(path: Path) -> Raster | None:
    """What a name says, or None where it is no backscatter and no coherence of a date."""
    days = _days(path.stem) or _days(path.parent.name)
    burst, coherence, polarisation = (word.search(path.stem) for word in (_BURST, _COHERENCE, _POLARISATION))
    if not days or not (coherence or polarisation):
        return None
    plain = _PLAIN.fullmatch(path.stem)
    if plain:
        band = _POLARISATION.sub(lambda match: match[0].upper(), plain["band"])
    else:
        band = "coherence" if coherence or polarisation is None else polarisation[1].upper()
    return Raster(path, burst[1] if burst else "", max(days[:2]) if coherence else days[0], band)


def _of_pattern(folder: Path, pattern: str) -> Iterator[Raster]:
    try:
        name = Name(pattern)
    except ValueError as error:
        raise SnowmapError(f"data.pattern={pattern}: {error}") from error
    if name.dates != {"date"} or not name.words <= {"scene", "band"}:
        raise SnowmapError(
            f"data.pattern={pattern}: expected one {{date:…}}, and {{band}} or {{scene}} besides, e.g. "
            "'{scene}/{date:%Y%m%d}_{band}.tif'"
        )
    for path in sorted(folder.glob(re.sub(r"\{[^}]*\}", "*", pattern))):
        relative = path.relative_to(folder).as_posix()
        if dates := name.match(relative):
            words = name.match_words(relative)
            other = _of_name(path)
            band = words.get("band") or (other.band if other else "")
            if not band:
                raise SnowmapError(f"data.pattern={pattern}: {relative} states no polarisation; put {{band}} into it")
            yield Raster(path, words.get("scene", ""), dates["date"], band)


def _days(text: str) -> list[np.datetime64]:
    days = []
    for match in _DAYS.findall(text):
        digits = match.replace("-", "")
        try:
            days.append(np.datetime64(date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))))
        except ValueError:  # digits that are no day
            continue
    return days
