"""The Cube: what a source reads becomes one `xarray.Dataset` in physical units.

dims ``window, band, y, x``; variables

- ``features (window, band, y, x)`` float32, NaN = missing,
- ``mask (y, x)`` bool, True inside the study area,
- every other one is a target ``(window, y, x)`` float32, NaN = missing, with the attributes of `Quantity.attributes`:
  a quantity, or a class map, whose values are ``flag_values`` as in CF;

coordinates ``start (window)``, ``end (window)`` datetime64, equal for a single acquisition; the windows are in
`date_order`;
``band`` and beside it ``unit``, ``valid_min``, ``valid_max``, ``long_name`` and ``group`` ``(band)``, which
`band_coordinates` makes; ``x``, ``y``, and ``spatial_ref`` with CRS and transform as rioxarray keeps them; attributes
``origin`` (where the data came from; begins with "synthetic" for synthetic data), ``fingerprint`` (of the content) and,
where there is a phase, ``wavelength`` (of the radar, m; Sentinel-1's where it is missing) and, if it is known,
``phase_sign`` (+1 where the phase grows with snow, −1 where it falls).

Names, units and words of bands and targets are the source's own: what comes after takes them from the Cube.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rioxarray  # noqa: F401  registers the .rio accessor
import xarray as xr
from jaxtyping import Bool

from snowmap.data.grid import fault_of_grid
from snowmap.errors import SnowmapError


class Quantity(NamedTuple):
    """A band or a target.

    Attributes:
        unit: Physical unit as UDUNITS spells it.
        valid_min: Least plausible value, in `unit`; a map of a target goes no lower.
        valid_max: Greatest plausible value, in `unit`.
        long_name: Words for axes and tables.
        group: What the band is of, for ``ablation=``: ``sar``, ``weather``, or any other word.
        standard_name: CF's name of a target, where there is one.
        flag_values: The classes of a class map, which has no unit; empty for a quantity.
        flag_meanings: A word for each of them, with blanks in between.
        ignore_index: A further value of a class map, of pixels that are not to be looked at.
    """

    unit: str
    valid_min: float
    valid_max: float
    long_name: str
    group: str = ""
    standard_name: str = ""
    flag_values: tuple[int, ...] = ()
    flag_meanings: str = ""
    ignore_index: int | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> "Quantity":
        """The quantity with these attributes of a variable of a Cube; the inverse of `attributes`."""
        fields = {key: attributes[key] for key in cls._fields if key in attributes}
        if "flag_values" in fields:
            flags = tuple(np.atleast_1d(fields["flag_values"]).tolist())
            known = {*flags, fields.get("ignore_index")} - {None}
            fields |= {"flag_values": flags, "valid_min": min(known, default=0), "valid_max": max(known, default=0)}
        return cls(attributes.get("units", ""), **fields)

    @property
    def wrapped(self) -> bool:
        """Whether it is a phase within one cycle, whose ends are neighbours."""
        return self.unit == "rad" and self.valid_max - self.valid_min < 1.01 * 2 * np.pi

    @property
    def attributes(self) -> dict[str, Any]:
        """Those of a target's variable in a Cube."""
        names = {"standard_name": self.standard_name} if self.standard_name else {}
        if self.flag_values:
            ignored = {} if self.ignore_index is None else {"ignore_index": self.ignore_index}
            flags = {"flag_values": list(self.flag_values), "flag_meanings": self.flag_meanings}
            return {"long_name": self.long_name, **flags, **ignored, **names}
        plausible = {"valid_min": self.valid_min, "valid_max": self.valid_max}
        return {"units": self.unit, "long_name": self.long_name, **plausible, **names}


BAND_COORDINATES = ("unit", "valid_min", "valid_max", "long_name", "group")
"""Coordinates ``(band)`` of a Cube, each a field of `Quantity`."""


def band_coordinates(bands: Mapping[str, Quantity]) -> dict[str, Any]:
    """``band`` and `BAND_COORDINATES`, as xarray takes coordinates."""
    columns = {name: [getattr(quantity, name) for quantity in bands.values()] for name in BAND_COORDINATES}
    kinds = {name: float if name.startswith("valid") else object for name in BAND_COORDINATES}
    arrays = {name: ("band", np.array(column, kinds[name])) for name, column in columns.items()}
    return {"band": np.array(list(bands), object), **arrays}


def quantities_of(cube: xr.Dataset) -> dict[str, Quantity]:
    """Every band and every target of the Cube by name, bands first."""
    columns = (cube[name].values.tolist() for name in ("band", *BAND_COORDINATES))
    quantities = {name: Quantity(*fields) for name, *fields in zip(*columns, strict=True)}
    return quantities | {name: Quantity.of(cube[name].attrs) for name in targets_of(cube)}


def units_of(cube: xr.Dataset) -> dict[str, str]:
    """The unit of each band of the Cube."""
    return dict(zip(cube["band"].values.tolist(), cube["unit"].values.tolist(), strict=True))


def is_synthetic(data: xr.Dataset) -> bool:
    """Whether a Cube or maps come from synthetic data, so that they are no measure of snow."""
    return str(data.attrs.get("origin", "")).startswith("synthetic")


def window_name(start: np.datetime64 | np.ndarray, end: np.datetime64 | np.ndarray) -> str:
    """The window's name in files and tables, e.g. ``2021-01-09_to_2021-01-21``."""
    return f"{np.datetime_as_string(start, 'D')}_to_{np.datetime_as_string(end, 'D')}"


def date_order(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The order of windows: by the date that they map, their end, and of the same end the shortest first.

    None then looks ahead of what its predecessors cover, and a day of several windows counts in the shortest of them.
    """
    return np.lexsort((-start.astype(np.int64), end))


def window_names(cube: xr.Dataset) -> list[str]:
    """The name of each window of the Cube, in order."""
    return [window_name(start, end) for start, end in zip(cube["start"].values, cube["end"].values, strict=True)]


def archive_names(archives: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short name for each of several Cubes, the end of its path as far as they differ; none for a single one.

    Args:
        archives: Attributes of the Cubes, of which ``archive`` is the path.
    """
    if len(archives) == 1:
        return [""]
    paths = [Path(str(archive.get("archive", ""))).absolute() for archive in archives]
    common = os.path.commonpath([path.parent for path in paths])
    return [str(path.relative_to(common)) for path in paths]


def targets_of(cube: xr.Dataset) -> list[str]:
    """The targets that the Cube holds, in its order."""
    return [str(name) for name in cube.data_vars if name not in ("features", "mask")]


def target_attributes(cube: xr.Dataset, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`Quantity.attributes` of targets without their upper bound, in plain containers."""
    attributes = {name: Quantity.of(cube[name].attrs).attributes for name in names}
    for of_target in attributes.values():
        of_target.pop("valid_max", None)
    return attributes


def refuse_class_maps(targets: Mapping[str, Mapping[str, Any]], what: str, mend: str = "") -> None:
    """Refuse targets that are class maps, for `what` maps quantities.

    Args:
        targets: Attributes of each target, by name.
        what: It is, for the error.
        mend: What else could be done than to choose another target.

    Raises:
        SnowmapError: Naming the first of them.
    """
    for name, attributes in targets.items():
        if "flag_values" in attributes:
            classes = attributes["flag_meanings"]
            raise SnowmapError(
                f"target '{name}' is a class map ({classes}), but {what} maps quantities; choose another target={mend}"
            )


def distinct(values: np.ndarray) -> np.ndarray:
    """The maps of all windows, or the one that stands for all without being copied."""
    return values[:1] if values.strides[0] == 0 else values


def fingerprint(names: object, arrays: Iterable[np.ndarray]) -> str:
    """A digest of names and values: of the content, not of how files hold it.

    SHA-256 over a CRC-32 of each window's values, four times as fast as over the values: it tells contents apart, and
    need not withstand forgery.
    """
    sums = [zlib.crc32(np.ascontiguousarray(block).data) for values in arrays for block in values]
    return hashlib.sha256(repr((names, sums)).encode()).hexdigest()


def narrowed(cube: xr.Dataset, area: Bool[np.ndarray, "y x"] | None) -> xr.Dataset:
    """The Cube with the part of its study area that lies in `area`, whatever its bands and targets hold outside."""
    return cube if area is None else cube.assign(mask=cube["mask"] & area)


def with_targets_inside(cube: xr.Dataset, area: Bool[np.ndarray, "y x"] | None) -> xr.Dataset:
    """The Cube, whose targets are missing outside `area`; bands and study area stay."""
    if area is None:
        return cube
    kept = xr.DataArray(area, dims=("y", "x"))
    return cube.assign({name: cube[name].where(kept) for name in targets_of(cube)})


def check(cube: xr.Dataset) -> None:
    """State every broken promise of a Cube in one error.

    Args:
        cube: What claims to be a Cube.

    Raises:
        SnowmapError: With one line for each promise that does not hold.
    """
    broken = _broken_structure(cube)
    if not broken:  # the values can only be looked at in a Cube of the right form
        broken = _broken_values(cube)
    if broken:
        raise SnowmapError("not a valid Cube:\n" + "\n".join(f"  - {line}" for line in broken))


def _broken_structure(cube: xr.Dataset) -> list[str]:
    expected = {"features": ("window", "band", "y", "x"), "mask": ("y", "x")}
    expected |= dict.fromkeys(targets_of(cube), ("window", "y", "x"))
    expected |= {name: (name,) for name in ("band", "y", "x")} | dict.fromkeys(("start", "end"), ("window",))
    expected |= dict.fromkeys(BAND_COORDINATES, ("band",))
    broken = []
    for name, dims in expected.items():
        if name not in cube.variables:
            broken.append(f"'{name}' is missing; expected dims {dims}")
        elif cube[name].dims != dims:
            broken.append(f"'{name}' has dims {cube[name].dims}; expected {dims}")
    broken += [
        f"'{name}' is {cube[name].dtype}; expected float32"
        for name in ("features", *targets_of(cube))
        if name in cube and cube[name].dtype != np.float32
    ]
    broken += [
        f"'{name}' has no attribute {', '.join(missing)}"
        for name in targets_of(cube)
        if (missing := [key for key in _attributes_of(cube[name]) if key not in cube[name].attrs])
    ]
    if "mask" in cube and cube["mask"].dtype != np.bool_:
        broken.append(f"'mask' is {cube['mask'].dtype}; expected bool")
    if cube.rio.crs is None:
        broken.append("no CRS; write one with cube.rio.write_crs(...)")
    elif {"y", "x"} <= cube.sizes.keys():
        fault = fault_of_grid((cube.sizes["y"], cube.sizes["x"]), cube.rio.transform(), cube.rio.crs)
        broken += [fault] if fault else []
    return broken


def _attributes_of(target: xr.DataArray) -> tuple[str, ...]:
    if "flag_values" in target.attrs:
        return ("flag_values", "flag_meanings", "long_name")
    return ("units", "long_name", "valid_min", "valid_max")


def _broken_values(cube: xr.Dataset) -> list[str]:
    broken = []
    names = cube["band"].values.tolist()
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        broken.append(f"bands {repeated} are repeated; expected a name of its own for each")
    for name, quantity in quantities_of(cube).items():
        if not ((quantity.unit or quantity.flag_values) and quantity.long_name):
            broken.append(f"'{name}' has the unit '{quantity.unit}' and the long name '{quantity.long_name}'")
        if quantity.flag_values:
            broken += _broken_classes(cube[name], quantity)
        elif not quantity.valid_min < quantity.valid_max:
            broken.append(f"'{name}' is plausible from {quantity.valid_min} to {quantity.valid_max}: no range")
    start, end = cube["start"].values, cube["end"].values
    if start.size and not ((date_order(start, end)[1:] > date_order(start, end)[:-1]).all() and np.all(end >= start)):
        broken.append("windows are not sorted by end (of one end, the shortest first), or one ends before it starts")
    if not cube["mask"].values.any():
        broken.append("'mask' has no pixel inside the study area")
    broken += [
        f"'{name}' holds infinite values; missing values are NaN"
        for name in ("features", *targets_of(cube))
        if not cube[name].chunks and any(np.isinf(window).any() for window in distinct(cube[name].values))
    ]
    return broken


def _broken_classes(target: xr.DataArray, quantity: Quantity) -> list[str]:
    values, words = quantity.flag_values, quantity.flag_meanings.split()
    if len(values) != len(words) or len({*values}) < len(values):
        return [f"'{target.name}' has the flag_values {[*values]} for the flag_meanings {words}; expected one for each"]
    allowed = [*values, *({quantity.ignore_index} - {None})]
    if target.chunks:
        return []
    codes = {code for window in distinct(target.values) for code in np.unique(window).tolist() if code == code}
    others = sorted(codes.difference(allowed))[:3]
    return [f"'{target.name}' holds {others}; expected its flag_values {[*values]}"] if others else []
