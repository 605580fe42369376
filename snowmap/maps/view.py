"""What `snowmap view` writes: an archive, or predicted maps, as one page to explore."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from snowmap.data.cube import is_synthetic, quantities_of, targets_of
from snowmap.errors import SnowmapError
from snowmap.files import WriteError, refuse_inputs, write_whole
from snowmap.maps.explorer import Chart, Colours, Explorer, about_zero, embedded, explorer, range_of
from snowmap.maps.netcdf import SUM
from snowmap.maps.pixels import Layer, angle_of_blocks, pixel_of_blocks
from snowmap.maps.read import WINDOW_FILE, interval_of, read_maps, snow_targets
from snowmap.sources.trentino import open_archive
from snowmap.sources.trentino.layout import files_of
from snowmap.sources.trentino.quantities import BANDS, STANDARD_BANDS, TARGETS
from snowmap.sources.zarr import is_store, open_zarr
from snowmap.units import INTERVALS

OURS = '<meta name="generator" content="snowmap view">'
OBSERVED, PREDICTED, ACCUMULATION, MELT = "#000000", "#0072b2", "#56b4e9", "#d55e00"


def view(
    path: str | Path, out: str | Path | None = None, layers: Sequence[str] = (), windows: Sequence[str] = ()
) -> Path:
    """Write a page on which an archive or predicted maps can be explored without a network.

    Args:
        path: An archive, a ``predictions.nc``, a folder that holds one, or a folder with one file for each window.
        out: The file; by default ``view-<name of path>.html`` in the current folder. One that this command wrote is
            replaced.
        layers: Bands and targets of an archive, by default the bands of the public one and all targets; or targets of
            maps, all by default.
        windows: As `snowmap.maps.predict.choose_windows` takes them; all by default.

    Returns:
        The file.

    Raises:
        SnowmapError: When there is nothing to view, a name is unknown, or `out` holds something else.
    """
    path = Path(path)
    out = Path(out or f"view-{path.resolve().stem}.html")
    refuse_inputs(out, path)
    if out.is_file() and not _is_ours(out):
        raise SnowmapError(f"{out} exists and was not written by this command; name another file with --out")
    if maps := _file_of_maps(path):
        data = _chosen(read_maps(maps), windows)
        known = _known(layers, snow_targets(data), path)
        explorers = {name: target_explorer(data, name) for name in known}
        words = {name: str(data[name].attrs["long_name"]) for name in known}
    else:
        data = _chosen(_open(path, layers), windows)
        names = _known(layers, [*quantities_of(data)], path)
        explorers, words = {"archive": cube_explorer(data, names)}, {"archive": "Bands and targets"}
    environment = Environment(loader=PackageLoader("snowmap.maps", "."), autoescape=True, undefined=StrictUndefined)
    head, bodies = embedded(explorers)
    page = environment.get_template("view.html.jinja").render(
        ours=OURS,
        name=path.resolve().name,
        head=head,
        sections=[(words[name], bodies[name]) for name in explorers],
        synthetic=is_synthetic(data),
        origin=data.attrs.get("origin", ""),
        windows=data.sizes["window"],
        shape=(data.sizes["y"], data.sizes["x"]),
        first=np.datetime_as_string(data["start"].values[0], "D"),
        last=np.datetime_as_string(data["end"].values[-1], "D"),
    )
    return write_whole(out, page)


def target_explorer(
    maps: xr.Dataset, target: str, baselines: Mapping[str, tuple[str, xr.Dataset]] | None = None
) -> Explorer:
    """Predicted maps of a target beside what was observed, where that is known.

    Args:
        maps: As `snowmap.maps.read.read_maps` gives them, with ``<target>_observed`` and fluxes where there are any.
        target: Its name.
        baselines: Colour and maps of each, by the words for it.
    """
    unit, observed = maps[target].attrs["units"], maps.get(f"{target}_observed")
    layers = {} if observed is None else {"observed": Layer(observed, unit)}
    layers["predicted"] = Layer(maps[target], unit)
    colours = {name: Colours("viridis", alike=[*layers]) for name in layers}
    lines = {name: OBSERVED if name == "observed" else PREDICTED for name in layers}
    if observed is not None:
        layers["predicted − observed"] = Layer(maps[target] - observed, unit)
        colours["predicted − observed"] = Colours("RdBu", about_zero)
    least = None  # snow is censored at zero
    if f"{target}_sigma" in maps:
        least = maps[f"{target}_sigma"].attrs.get("lower_bound")
        layers["σ"] = Layer(maps[f"{target}_sigma"], unit)
        colours["σ"] = Colours("magma")
    intervals = []
    for share in INTERVALS:
        if ends := interval_of(maps, target, share):
            intervals.append((f"{50 - share / 2:g} %", f"{50 + share / 2:g} %"))
            layers |= {name: Layer(end.clip(min=least), unit) for name, end in zip(intervals[-1], ends, strict=True)}
    for words, (colour, other) in (baselines or {}).items():
        if target in other:
            layers[words], lines[words] = Layer(other[target], unit), colour
    shaded = f" ({' and '.join(map(str, INTERVALS))} % intervals)" if intervals else ""
    charts = [Chart(f"{target.upper()}, {unit}{shaded}", lines, intervals)]
    fluxes = [str(name) for name, values in maps.items() if values.attrs.get("cell_methods") == SUM]
    for name in fluxes:
        layers[name] = Layer(maps[name], maps[name].attrs["units"])
        colours[name] = Colours("viridis")
    if fluxes:
        of_fluxes = dict(zip(fluxes, (ACCUMULATION, MELT), strict=False))
        charts.append(Chart(f"{', '.join(fluxes)}, {layers[fluxes[0]].unit}", of_fluxes))
    return explorer(layers, colours, charts, is_synthetic(maps))


def cube_explorer(cube: xr.Dataset, names: Sequence[str]) -> Explorer:
    """Bands and targets of a Cube inside its study area.

    Args:
        cube: The Cube.
        names: Of the bands and targets.
    """
    layers, colours, charts = {}, {}, []
    for name in names:
        quantity, words = quantities_of(cube)[name], name.replace("_", " ")
        values = (cube[name] if name in targets_of(cube) else cube["features"].sel(band=name)).where(cube["mask"])
        layers[words], colours[words] = Layer(values, quantity.unit), Colours("viridis", range_of)
        if quantity.wrapped:
            layers[words] = Layer(values, quantity.unit, angle_of_blocks)
            colours[words] = Colours("twilight", lambda _: (-np.pi, np.pi))
        elif quantity.flag_values:
            layers[words] = Layer(values, quantity.flag_meanings, pixel_of_blocks)
        charts.append(Chart(f"{words}, {layers[words].unit}", {words: PREDICTED}))
    return explorer(layers, colours, charts, is_synthetic(cube))


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as file:
            return OURS.encode() in file.read(1000)
    except OSError as error:
        raise WriteError(page, error) from error


def _file_of_maps(path: Path) -> Path | None:
    """What `read_maps` takes; None for an archive."""
    if path.is_file() or (path.is_dir() and any(WINDOW_FILE.fullmatch(each.name) for each in path.iterdir())):
        return path
    return path / "predictions.nc" if (path / "predictions.nc").is_file() else None


def _open(path: Path, layers: Sequence[str]) -> xr.Dataset:
    """The archive with the bands that are wanted, or with those of the public archive that lie there."""
    if is_store(path):
        return open_zarr(path)
    present = {file.name for file in files_of(path, [*BANDS, *TARGETS])} if path.is_dir() else set()
    if path.is_dir() and not present:
        raise SnowmapError(
            f"{path} holds neither maps (predictions.nc, or files like 2021-01-09_to_2021-01-21.nc) nor an archive "
            "(INSAR/, ITSNOW/, S3/, master_mask.tif); expected one of these"
        )
    wanted = [name for name in BANDS if name in present and name in (layers or STANDARD_BANDS)]
    return open_archive(path, bands=wanted or None, targets=())


def _known(wanted: Sequence[str], names: Sequence[str], path: Path) -> list[str]:
    if unknown := [name for name in wanted if name not in names]:
        raise SnowmapError(
            f"--layers {','.join(unknown)}: {path} has no such layer; expected some of {', '.join(names)}"
        )
    return [name for name in names if not wanted or name in wanted]


def _chosen(data: xr.Dataset, windows: Sequence[str]) -> xr.Dataset:
    if not windows:
        return data
    from snowmap.maps.predict import choose_windows  # with torch, which takes seconds

    return data.isel(window=choose_windows(data, windows))
