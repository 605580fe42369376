"""`snowmap predict`: from a checkpoint and an archive to files that others open, one or two for each window."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from rich.progress import Progress

from snowmap.baselines import Baseline
from snowmap.checkpoints.provenance import archive_of
from snowmap.cluster import connect
from snowmap.data.classes import is_class_map
from snowmap.data.cube import window_names
from snowmap.data.pieces import OVERLAP, TILE
from snowmap.data.plausibility import unlike_training
from snowmap.errors import SnowmapError
from snowmap.files import WriteError, refuse_inputs, remove_unfinished, write_whole
from snowmap.maps.basins import basin_table
from snowmap.maps.class_files import write_rasters
from snowmap.maps.netcdf import write_predictions
from snowmap.maps.tiles import ALIGNMENT, Scene
from snowmap.products.outlines import read_outlines
from snowmap.sources import open_cube
from snowmap.tables import as_csv
from snowmap.tasks.load import load_model, pick_device
from snowmap.tasks.pixel import SnowRegression

logger = logging.getLogger(__name__)

SMALLEST_TILE = 64
"""Pixels. A smaller tile is little but edge, and its statistics those of a single slope."""


def predict_archive(
    checkpoint: str | Path,
    archive: str | Path,
    out: str | Path,
    *,
    windows: Sequence[str] = (),
    tile: int = TILE,
    overlap: int = OVERLAP,
    device: str = "cpu",
    form: str = "both",
    basins: str | Path | None = None,
    name: str | None = None,
    basin_options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> list[Path]:
    """Map windows of an archive, on whatever grid it has, and write each as soon as it is mapped.

    The archive needs no targets. What of it is not plausible, or unlike what the model was trained on, is a warning. A
    file is whole or not there, and one of the same name is replaced.

    Args:
        checkpoint: Path of the checkpoint.
        archive: Folder in the layout of the archive; `ITSNOW/` is not looked at.
        out: Folder for the files, e.g. ``2021-01-09_to_2021-01-21.nc`` and ``.tif``.
        windows: Which to map, as `choose_windows` takes them; all by default.
        tile: Height and width of a tile in pixels; a scene that is not larger is mapped whole.
        overlap: Pixels that neighbouring tiles share.
        device: Torch device that predicts.
        form: ``netcdf``, ``geotiff`` or ``both``.
        basins: Outlines, in any vector file; ``basins.csv`` is then written beside the maps.
        name: Column with the basins' names, as `snowmap.products.outlines.read_outlines` takes it.
        basin_options: Keyword arguments of `snowmap.maps.basins.basin_table`.
        workers: Processes of this machine that the tiles are dealt to, as `snowmap.cluster.connect` takes them.
        scheduler: Address of a cluster that they are dealt to.

    Returns:
        The files written.

    Raises:
        SnowmapError: When checkpoint and archive do not fit each other, or something cannot be read or written.
    """
    if tile < SMALLEST_TILE or not 0 <= overlap <= tile // 2 or tile % ALIGNMENT or overlap % ALIGNMENT:
        raise SnowmapError(
            f"--tile {tile} --overlap {overlap}; expected a tile of at least {SMALLEST_TILE} pixels and an overlap "
            f"from 0 to half of it, both multiples of {ALIGNMENT}"
        )
    out = Path(out)
    refuse_inputs(out / "basins.csv", basins)
    outlines = None if basins is None else read_outlines(basins, name)
    picked = pick_device(device)
    model = load_model(checkpoint).to(picked)
    if outlines is not None:
        _refuse_classes(model)
    bands = model.archive_bands or None  # a baseline that reads no band still needs the windows' dates
    cube = open_cube({**model.metadata["config"]["data"], "root": str(archive), "bands": bands})
    chosen = choose_windows(cube, windows)
    for doubt in unlike_training(cube, chosen, model.preprocessor):
        logger.warning("%s: %s", archive, doubt)
    scene = Scene(model, cube, chosen, tile, overlap)
    provenance = _provenance(checkpoint, model, cube, scene)
    written, tables = list[Path](), []
    remove_unfinished(out)
    with one_thread(), connect(workers, scheduler) as client, Progress() as progress:
        bar = progress.add_task(_words(cube, scene.passes[0]), total=scene.steps)
        for some, maps in scene.maps(client, lambda steps: progress.advance(bar, steps)):
            progress.update(bar, description=_words(cube, some))
            for position, window in enumerate(some):
                map_of_window = maps.isel(window=[position])
                written += _write(map_of_window, cube, window, out, form, provenance)
                if outlines is not None:
                    tables.append(basin_table(map_of_window, outlines, **(basin_options or {})))
                    outlines = outlines.loc[tables[0]["basin"].unique()]  # those outside the map were named once
    if tables:
        written.append(write_whole(out / "basins.csv", as_csv(pd.concat(tables, ignore_index=True))))
    return written


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread: with several it rounds sums by their number, and maps depend on the machine.

    Several cores are for several workers.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def choose_windows(cube: xr.Dataset, wanted: Sequence[str]) -> list[int]:
    """Indices of windows by name or date; where none is named all, or those at which sequences end.

    Args:
        cube: The Cube.
        wanted: Names of windows (``2021-01-09_to_2021-01-21``) and spans ``FIRST..LAST``, with a window's name or a
            date on either side: the windows that begin on FIRST or later and end on LAST or earlier.

    Raises:
        SnowmapError: When a name is no window of the archive, or a span holds none.
    """
    names, chosen = window_names(cube), set[int]()
    for words in wanted:
        first, span, last = words.partition("..")
        known = _between(cube, first, last) if span else [names.index(words)] if words in names else []
        if not known:
            raise SnowmapError(
                f"--windows {words}: no such window in the archive, which has {len(names)}, from {names[0]} to "
                f"{names[-1]}; name one, or a span such as {names[0]}..{names[-1]} (or two dates)"
            )
        chosen.update(known)
    if wanted:
        return sorted(chosen)
    return (
        list(range(len(names))) if "sequence_end" not in cube.coords else np.flatnonzero(cube["sequence_end"]).tolist()
    )


def _between(cube: xr.Dataset, first: str, last: str) -> list[int]:
    """Windows between two dates or windows' names; none if one of them is neither."""
    try:
        days = first.partition("_to_")[0], last.rpartition("_to_")[2]
        low, high = (np.datetime64(date.fromisoformat(day), "ns") for day in days)
    except ValueError:
        return []
    return np.flatnonzero((cube["start"].values >= low) & (cube["end"].values <= high)).tolist()


def _refuse_classes(model: SnowRegression | Baseline) -> None:
    for name, layer in model.layers.items():
        if is_class_map(layer):
            raise SnowmapError(
                f"--basin: '{name}' is a class map ({layer['flag_meanings']}), and tables of basins are of swe and hs; "
                "leave it out: the areas of the outlines stand in the .gpkg"
            )


def _words(cube: xr.Dataset, windows: Sequence[int]) -> str:
    name = window_names(cube.isel(window=list(windows)))[0]
    return name if len(windows) == 1 else f"{name} and {len(windows) - 1} more"


def _write(
    maps: xr.Dataset, cube: xr.Dataset, window: int, out: Path, form: str, provenance: dict[str, Any]
) -> list[Path]:
    name, written = window_names(maps)[0], []
    try:
        if form in ("netcdf", "both"):
            written.append(write_predictions(maps, cube, [window], out / f"{name}.nc", provenance))
        if form in ("geotiff", "both"):
            written += write_rasters(maps, cube, out, name, provenance)
    except WriteError as error:
        raise SnowmapError(
            f"{error}; the files that are there are whole; resume from this window with --windows "
            f"{name}..{window_names(cube)[-1]}"
        ) from error
    return written


def _provenance(
    checkpoint: str | Path, model: SnowRegression | Baseline, cube: xr.Dataset, scene: Scene
) -> dict[str, Any]:
    kept = {"archive": archive_of(*model.metadata["archives"])}
    kept |= {key: model.metadata[key] for key in ("versions", "git_revision", "config")}
    tiles = {} if scene.whole else {"tile": scene.tile, "overlap": scene.overlap}
    mapped = {key: str(cube.attrs[key]) for key in ("archive", "origin")}
    return {"checkpoint": str(checkpoint), **kept, "mapped_archive": mapped, **tiles}
