"""Where Cubes come from: each source reads one layout of files, and nothing else knows that layout."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from snowmap.data.cube import check, fingerprint, quantities_of, targets_of, window_names
from snowmap.errors import SnowmapError
from snowmap.sources import sar_stack, snowsar, trentino, zarr

Source = Callable[[Mapping[str, Any], Sequence[str]], xr.Dataset]
"""``(data, targets) -> Cube``: the ``data`` group of the configuration, and the targets that every window must have.

Without targets the Cube is to be mapped and may be larger than the memory: `features` may then be a dask array.
"""

SOURCES: dict[str, Source] = {
    "archive": trentino.open_source,
    "zarr": zarr.open_source,
    "sar_stack": sar_stack.open_source,
    "snowsar": snowsar.open_flights,
}
"""Every source under the name that users type (``data=archive``); its keys stand in `snowmap.config.sources.DATA`."""

ROOTS: dict[str, Callable[[Mapping[str, Any], str], list[str]]] = {"sar_stack": sar_stack.scene_roots}
"""What of a root is a Cube each, for sources whose folders hold several."""


def open_cubes(data: Mapping[str, Any], targets: Sequence[str] = ()) -> list[xr.Dataset]:
    """The Cube of each archive or scene that ``data.root`` names; the arguments are those of `open_cube`.

    Raises:
        SnowmapError: When one cannot be read, two hold the same data, or bands, targets or their units differ.
    """
    roots = data["root"] if isinstance(data["root"], list) else [data["root"]]
    if parts := ROOTS.get(data["name"]):
        roots = [part for root in roots for part in parts(data, root)]
    cubes = [open_cube({**data, "root": root}, targets) for root in roots]
    if len({cube.attrs.get("fingerprint", index) for index, cube in enumerate(cubes)}) < len(cubes):
        raise SnowmapError(f"data.root: two of {', '.join(roots)} hold the same data; name each archive once")
    units = [
        {name: quantity.unit or quantity.flag_meanings for name, quantity in quantities_of(cube).items()}
        for cube in cubes
    ]
    for name in dict.fromkeys(name for known in units for name in known):
        words = [f"in '{known[name]}'" if name in known else "missing" for known in units]
        if len(set(words)) > 1:
            places = ", ".join(f"{word} in {root}" for word, root in zip(words, roots, strict=True))
            hint = "; data.swe_unit=… sets a unit that was found wrongly" if name == "swe" else ""
            raise SnowmapError(
                f"data.root: '{name}' is {places}; archives of one run need the same bands and targets in the same "
                f"units: leave an archive out, or write it again{hint}"
            )
    return cubes


def open_cube(data: Mapping[str, Any], targets: Sequence[str] = ()) -> xr.Dataset:
    """The Cube that the configuration's ``data`` group describes.

    Args:
        data: The group, as one of `snowmap.config.sources.DATA` describes it, with one archive as ``root``. Where that
            is a Zarr store instead of an archive, or the other way round, it is read as what it is: a model that was
            trained on the one maps the other.
        targets: Targets that every window must have; none to map with a checkpoint.

    Returns:
        The Cube; `attrs` has ``archive`` (where it was read from), ``origin`` and, with targets, ``fingerprint``.

    Raises:
        SnowmapError: When the source cannot read it, or gives no valid Cube with these targets.
    """
    cube = SOURCES[_name_of(data)](data, targets)
    check(cube)
    if missing := [name for name in targets if name not in cube]:
        raise SnowmapError(f"data={data['name']} gives no target {', '.join(missing)}; choose another target=")
    path = Path(data["root"])
    attributes = {"archive": str(path.absolute()), "origin": path.resolve().name, **cube.attrs}
    if targets and "fingerprint" not in attributes:
        names = (cube["band"].values.tolist(), targets_of(cube), window_names(cube))
        values = (cube[name].values for name in ("mask", "features", *targets_of(cube)))
        attributes["fingerprint"] = fingerprint(names, values)
    return cube.assign_attrs(attributes)


def _name_of(data: Mapping[str, Any]) -> str:
    if data["name"] in ("archive", "zarr"):
        if zarr.is_store(data["root"]):
            return "zarr"
        with contextlib.suppress(PermissionError):  # the source says so
            if (Path(data["root"]) / trentino.MASK_NAME).is_file():
                return "archive"
    return data["name"]
