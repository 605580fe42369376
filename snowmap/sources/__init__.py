"""Where Cubes come from: each source reads one layout of files, and nothing else knows that layout."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from snowmap.data.cube import check, fingerprint, targets_of, window_names
from snowmap.errors import SnowmapError
from snowmap.sources import trentino

Source = Callable[[Mapping[str, Any], Sequence[str]], xr.Dataset]
"""``(data, targets) -> Cube``: the ``data`` group of the configuration, and the targets that every window must have.

Without targets the Cube is to be mapped and may be larger than the memory: `features` may then be a dask array.
"""

SOURCES: dict[str, Source] = {
    "archive": trentino.open_source,
}
"""Every source under the name that users type (``data=archive``); its keys stand in `snowmap.config.schema.DATA`."""


def open_cube(data: Mapping[str, Any], targets: Sequence[str] = ()) -> xr.Dataset:
    """The Cube that the configuration's ``data`` group describes.

    Args:
        data: The group, as one of `snowmap.config.schema.DATA` describes it.
        targets: Targets that every window must have; none to map with a checkpoint.

    Returns:
        The Cube; `attrs` has ``archive`` (where it was read from), ``origin`` and, with targets, ``fingerprint``.

    Raises:
        SnowmapError: When the source cannot read it, or gives no valid Cube with these targets.
    """
    cube = SOURCES[data["name"]](data, targets)
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
