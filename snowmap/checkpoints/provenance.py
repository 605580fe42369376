"""What a run was made of, kept in its checkpoint, and whether an archive fits it."""

import pickle
import platform
import subprocess
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from snowmap.data.cube import units_of, window_names
from snowmap.data.splits.split import Area, Split
from snowmap.errors import SnowmapError

FORMAT = 9
"""Of the checkpoints that are written, and the only one that is read. It grows when weights or keys change."""

UNREADABLE = (
    *(RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError),
    *(LookupError, TypeError, ValueError, AttributeError, SnowmapError),
)
"""What is raised by files that are cut short, and by those that hold something else."""


def metadata_of(cubes: Sequence[xr.Dataset], splits: Sequence[Split], config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a checkpoint has to remember beside its weights, in plain containers.

    Args:
        cubes: The Cubes that are trained on, which have the same bands.
        splits: Their windows.
        config: The composed configuration.
    """
    bands = cubes[0]["band"].values.tolist()
    return {
        "units": units_of(cubes[0]),
        "long_names": dict(zip(bands, cubes[0]["long_name"].values.tolist(), strict=True)),
        "archives": [
            {
                **archive_of(cube.attrs),
                "grid": grid_of(cube),
                "split": split.named(cube["start"].values, cube["end"].values),
                "split_note": split.note,
                "areas": {subset: None if area is None else _packed(area) for subset, area in split.areas.items()},
            }
            for cube, split in zip(cubes, splits, strict=True)
        ],
        **made_by(config),
    }


def made_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What every checkpoint remembers, whatever it was trained on: format, versions, commit and configuration."""
    return {"format": FORMAT, "versions": versions(), "git_revision": git_revision(), "config": dict(config)}


def archive_of(*archives: Mapping[str, Any]) -> dict[str, str]:
    """Path (``archive``), ``origin`` and ``fingerprint`` of one archive, or those of several in one text.

    Synthetic ones come first: with one of them the whole is no measure of snow.

    Args:
        archives: Attributes of Cubes, or entries ``archives`` of a checkpoint's metadata.
    """
    ordered = sorted(archives, key=lambda archive: not str(archive.get("origin", "")).startswith("synthetic"))
    keys = ("archive", "origin", "fingerprint")
    return {key: ", ".join(dict.fromkeys(str(archive.get(key, "")) for archive in ordered)) for key in keys}


def entry_of(metadata: Mapping[str, Any], cube: xr.Dataset) -> Mapping[str, Any]:
    """Of the archives of a checkpoint the one that a Cube is most like: by content, else by path, else by grid."""

    def alike(entry: Mapping[str, Any]) -> tuple[bool, ...]:
        archive = archive_of(cube.attrs)
        return (*(entry[key] == archive[key] for key in ("fingerprint", "archive")), entry["grid"] == grid_of(cube))

    return max(metadata["archives"], key=alike)


def grid_of(cube: xr.Dataset) -> dict[str, Any]:
    """Shape (height, width), CRS and transform of the Cube's grid."""
    return {
        "shape": [cube.sizes["y"], cube.sizes["x"]],
        "crs": cube.rio.crs.to_string(),
        "transform": [float(value) for value in cube.rio.transform()[:6]],
    }


def versions() -> dict[str, str]:
    """Version of each package that can change a result, and of Python."""
    packages = {name: version(name) for name in ("snowmap", "torch", "pytorch-lightning", "scikit-learn")}
    return packages | {"python": platform.python_version()}


def environment() -> dict[str, Any]:
    """What a run worked with: `versions`, platform and commit of the code, and whether it was changed since."""
    revision, _, dirty = git_revision().partition("-")
    return {**versions(), "platform": platform.platform(), "git_revision": revision, "git_dirty": bool(dirty)}


def git_revision() -> str:
    """Commit of the code, with ``-dirty`` where it was changed since; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return described.stdout.strip()


@contextmanager
def reading(checkpoint: Path) -> Iterator[None]:
    """Explain what goes wrong while a checkpoint is read.

    Raises:
        SnowmapError: When the file is missing, cut short, or no checkpoint of snowmap.
    """
    if not checkpoint.is_file():
        raise SnowmapError(f"checkpoint {checkpoint} does not exist; give the path of a best.ckpt or last.ckpt")
    try:
        yield
    except UNREADABLE as error:
        reason = str(error).splitlines()[0].partition(". ")[0] if str(error) else type(error).__name__
        raise SnowmapError(
            f"{checkpoint} is cut short, no snowmap checkpoint, or one of another version ({reason}); use the other of "
            "best.ckpt and last.ckpt, or move it away and train anew"
        ) from error


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint, of a net or a baseline, on the CPU.

    The tensors are read from the file when they are looked at.

    Raises:
        SnowmapError: When the file is missing, cut short, no checkpoint of snowmap, or of another format.
    """
    with reading(checkpoint):
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        metadata = (content if "baseline" in content else content["hyper_parameters"])["metadata"]
    if metadata.get("format") != FORMAT:
        raise SnowmapError(
            f"{checkpoint} has the format {metadata.get('format')!r}; this snowmap ({version('snowmap')}) reads format "
            f"{FORMAT}: train anew, or use the version that wrote it"
        )
    return content


def is_pretraining(content: Mapping[str, Any]) -> bool:
    """Whether the content of a checkpoint is of ``task=pretraining``."""
    return content.get("hyper_parameters", {}).get("metadata", {}).get("task") == "pretraining"


def refuse_pretraining(content: Mapping[str, Any], checkpoint: Path) -> None:
    """Refuse the encoder of a pre-training where something has to map.

    Raises:
        SnowmapError: When the content is of ``task=pretraining``.
    """
    if is_pretraining(content):
        raise SnowmapError(
            f"{checkpoint} holds a pre-training, whose encoder maps nothing yet; begin a run with it: "
            f"train.py init_from={checkpoint}"
        )


def check_bands(bands: Sequence[str], cube: xr.Dataset, metadata: Mapping[str, Any]) -> None:
    """Refuse a Cube that lacks a band, or has it in another unit than that of the training.

    Args:
        bands: Names of the bands.
        cube: The Cube.
        metadata: Of the checkpoint; none of a baseline that was fitted on this very Cube.

    Raises:
        SnowmapError: Naming every band that does not fit.
    """
    _raise_if(_band_faults(bands, cube, metadata))


def check_grid(grid: Mapping[str, Any], cube: xr.Dataset) -> None:
    """Refuse a Cube of another grid, for what remembers maps.

    Raises:
        SnowmapError: Naming everything that does not fit.
    """
    _raise_if(_grid_faults(grid, cube))


def check_fit(metadata: Mapping[str, Any], bands: Sequence[str], targets: Mapping[str, str], cube: xr.Dataset) -> None:
    """Refuse to score a checkpoint on a Cube of other bands, units or grid than it was trained on.

    Args:
        metadata: Of the checkpoint, as `metadata_of` makes them.
        bands: Bands of the checkpoint.
        targets: Unit of each target of the checkpoint; that of a class map is empty.
        cube: The Cube to score on.

    Raises:
        SnowmapError: Naming everything that does not fit.
    """
    faults = _band_faults(bands, cube, metadata)
    for name, unit in targets.items():
        if name not in cube:
            faults.append(f"target '{name}' is missing")
        elif (other := cube[name].attrs.get("units", "")) != unit:
            faults.append(f"target '{name}' is in {other}; the checkpoint was trained on {unit}")
    _raise_if(faults + _grid_faults(entry_of(metadata, cube)["grid"], cube))


def windows_of(metadata: Mapping[str, Any], subset: str, cube: xr.Dataset) -> list[int]:
    """Indices in the Cube of the windows of a subset (``train``, ``validation``, ``test``) of the checkpoint's split.

    Raises:
        SnowmapError: When the Cube lacks one of them.
    """
    position = {name: index for index, name in enumerate(window_names(cube))}
    names = entry_of(metadata, cube)["split"][subset]
    if missing := [name for name in names if name not in position]:
        raise SnowmapError(f"the archive lacks {len(missing)} {subset} windows of the checkpoint: {', '.join(missing)}")
    return [position[name] for name in names]


def area_of(metadata: Mapping[str, Any], subset: str, cube: xr.Dataset) -> Area | None:
    """The area of a subset of the checkpoint's split on the grid of a Cube; None is the study area."""
    packed = entry_of(metadata, cube)["areas"][subset]
    if packed is None:
        return None
    bits = np.frombuffer(zlib.decompress(packed), np.uint8)
    return np.unpackbits(bits, count=cube["mask"].size).astype(bool).reshape(cube["mask"].shape)


def _packed(area: Area) -> bytes:
    return zlib.compress(np.packbits(area).tobytes())


def _band_faults(bands: Sequence[str], cube: xr.Dataset, metadata: Mapping[str, Any]) -> list[str]:
    units, trained = units_of(cube), metadata.get("units", {})
    faults = [f"band '{name}' is missing; the archive has {', '.join(units)}" for name in bands if name not in units]
    return faults + [
        f"band '{name}' is in {units[name]}; the checkpoint was trained on {trained[name]}"
        for name in bands
        if name in units and units[name] != trained.get(name, units[name])
    ]


def _grid_faults(trained: Mapping[str, Any], cube: xr.Dataset) -> list[str]:
    grid = grid_of(cube)
    same = {key: grid[key] == trained[key] for key in ("shape", "crs")}
    same["transform"] = np.allclose(grid["transform"], trained["transform"], rtol=1e-9)
    differing = [key for key, agrees in same.items() if not agrees]
    return [f"{key} of the grid is {grid[key]}; the checkpoint was trained on {trained[key]}" for key in differing]


def _raise_if(faults: list[str]) -> None:
    if faults:
        raise SnowmapError("the checkpoint does not fit the archive:\n" + "\n".join(f"  - {line}" for line in faults))
