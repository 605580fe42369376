"""A net as one file for use without this package: ``torch.export``, from bands in physical units to maps.

The normalisation is inside. Beside the program the file holds ``snowmap.json``, which says what goes in and comes out.
"""

import inspect
import io
import json
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from snowmap.checkpoints.provenance import archive_of
from snowmap.data.batch import Batch
from snowmap.data.features import DERIVED
from snowmap.data.sequences import SEASON, Sample, history
from snowmap.errors import SnowmapError
from snowmap.files import refuse_inputs, write_whole
from snowmap.tasks.load import load_model
from snowmap.tasks.pixel import SnowRegression

METADATA = "snowmap.json"
"""Name of the description among the program's ``extra_files``."""

INPUTS = {
    "bands": ("window, band, y, x", "float32", "bands in physical units; NaN = missing, and outside the study area"),
    "step_valid": ("window", "bool", "false where a window only fills up the beginning of a short sequence"),
    "days": ("window", "float32", "days from the end of each window to the end of the last one"),
    "gap_days": ("window", "float32", "days before each window that no window covers"),
    "length_days": ("window", "float32", "days of each window, at least 1"),
    "added_days": ("window", "float32", "days of each window that no window before it covers"),
    "season_start": ("window", "bool", "true for the first window since 1 September, if the ground was bare before it"),
    "day_of_year": ("window", "float32", "day of the year of the end of each window, 1 … 366"),
}
"""What the program takes, in this order: shape, type and meaning. The last window is the one that is mapped."""

FILL = {
    **{"bands": np.nan, "step_valid": False, "days": 0, "gap_days": 0, "length_days": 1, "added_days": 0},
    **{"season_start": False, "day_of_year": 1},
}
"""What stands in the windows that fill up a short sequence."""


class Program(nn.Module):
    """What is exported: one sequence of windows to its maps."""

    def __init__(self, task: SnowRegression) -> None:
        super().__init__()
        self.task = task.eval()
        self.multiple = 2 ** (task.net.levels - 1)

    def forward(
        self,
        bands: Tensor,
        step_valid: Tensor,
        days: Tensor,
        gap_days: Tensor,
        length_days: Tensor,
        added_days: Tensor,
        season_start: Tensor,
        day_of_year: Tensor,
    ) -> Tensor:
        """What `INPUTS` says to `SnowRegression.layers`, ``(step, map, y, x)``, of every step or the last alone."""
        height, width = bands.shape[-2:]
        # as `pad_to_multiple` pads, but for a height and width that are not yet known
        for axis in (-2, -1):
            size = bands.shape[axis]
            padded = (size + self.multiple - 1) // self.multiple * self.multiple
            bands = bands.index_select(axis, torch.arange(padded).clamp(max=size - 1))
        x = bands[None]
        batch = Batch(
            x=x,
            x_valid=(x.abs() < torch.inf) & step_valid[None, :, None, None, None],
            step_valid=step_valid[None],
            days=days[None],
            gap_days=gap_days[None],
            length_days=length_days[None],
            added_days=added_days[None],
            season_start=season_start[None],
            day_of_year=day_of_year[None],
            y=x[:, -1:, :0],
            y_valid=x[:, -1:, :0] > 0,
            window=step_valid.sum()[None],
        )
        maps = self.task._all_maps(batch)
        return maps.index_select(-2, torch.arange(height)).index_select(-1, torch.arange(width))


def export_program(checkpoint: str | Path, out: str | Path, *, windows: int | None = None) -> Path:
    """Write the net of a checkpoint as a program for ``torch.export.load``.

    Height and width are free, and so is the number of windows, unless the net goes through them one by one (then there
    are as many as a season has, or `windows`) or reads a stack. Shorter sequences are filled up at their beginning.

    Args:
        checkpoint: Path of the checkpoint.
        out: The file to write, ``….pt2``.
        windows: In a sequence, for nets that go through them one by one; by default as many as fit into a season.

    Returns:
        `out`.

    Raises:
        SnowmapError: When the checkpoint is none of a net, or was trained on altered bands; when
            `windows` cannot be chosen for the net; when the file cannot be written.
    """
    refuse_inputs(Path(out), checkpoint)
    task = load_model(checkpoint)
    if not isinstance(task, SnowRegression):
        raise SnowmapError(
            f"{checkpoint} holds the baseline {task.name}; only nets can be exported, baselines are for snowmap predict"
        )
    if plan := task.preprocessor.ablation:
        raise SnowmapError(f"{checkpoint} was trained with ablation={plan['name']}; only nets of ablation=all export")
    number = _windows(task, windows)
    program = Program(task)
    least = program.multiple + 1
    time = {} if number else {0: torch.export.Dim("window", min=2)}
    edges = {2: torch.export.Dim("y", min=least), 3: torch.export.Dim("x", min=least)}
    shapes = ({**time, **edges}, *[time] * (len(INPUTS) - 1))
    with torch.no_grad():
        exported = torch.export.export(program, _example(task, number or 3), dynamic_shapes=shapes, strict=False)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the package lies on this machine
    content = io.BytesIO()
    about = json.dumps(_about(task, number, least), ensure_ascii=False, indent=1)
    torch.export.save(exported, content, extra_files={METADATA: about})
    return write_whole(Path(out), content.getbuffer())


def program_inputs(task: SnowRegression, cube: xr.Dataset, window: int, windows: int | None = None) -> dict[str, Any]:
    """What the exported program of `task` takes to map a window of a Cube.

    Args:
        task: The net.
        cube: The Cube.
        window: Index of the window to map.
        windows: The number of windows that the program asks for; None if it takes any.

    Returns:
        NumPy arrays by the names of `INPUTS`.

    Raises:
        SnowmapError: When the window's sequence has more windows.
    """
    steps = history(cube["end"].values, window, task.time)
    number = windows or max(len(steps), 1 if task.time == 1 else 2)
    if len(steps) > number:
        raise SnowmapError(
            f"the sequence of the window has {len(steps)} windows, the program takes {number}; export it with "
            f"--windows {len(steps)}"
        )
    tensors = task.preprocessor.tensors(task.preprocessor.scene(cube))
    batch = tensors.collate([Sample(steps, (True,))])
    batch = {**batch._asdict(), "bands": torch.where(batch.x_valid, batch.x, torch.nan)}
    filled = {}
    for name, value in FILL.items():
        values = batch[name][0].numpy()
        missing = np.full((number - len(steps), *values.shape[1:]), value, values.dtype)
        filled[name] = np.concatenate([missing, values])
    return filled


def _windows(task: SnowRegression, chosen: int | None) -> int | None:
    """Windows in each sequence, or None where their number is free."""
    free = task.net.loops_over_steps and task.time == SEASON
    if chosen is not None and (not free or chosen < 1):
        raise SnowmapError(
            f"--windows {chosen}: expected a number from 1 on, only for nets that go through a season window by window"
        )
    if not free:
        return int(task.time) if task.time == 1 or task.net.loops_over_steps else None
    days = 366
    for archive in task.metadata["archives"]:
        ends = np.array([name[-10:] for names in archive["split"].values() for name in names], "datetime64[D]")
        days = np.diff(np.unique(ends)).astype(int).min(initial=days)
    return chosen or math.ceil(366 / days)


def _example(task: SnowRegression, windows: int) -> tuple[Tensor, ...]:
    """Inputs of the right form; what they hold does not matter."""
    size = 4 * 2**task.net.levels
    metadata = [torch.ones(windows, dtype=getattr(torch, kind)) for _, kind, _ in list(INPUTS.values())[1:]]
    return torch.zeros(windows, len(task.preprocessor.bands), size + 1, 2 * size), *metadata


def _about(task: SnowRegression, windows: int | None, least: int) -> dict[str, Any]:
    """All that is needed to use the program, in plain containers."""
    units, long_names = task.metadata["units"], task.metadata["long_names"]
    archive = {band: {"unit": units[band], "meaning": long_names[band]} for band in units}
    derived = {
        band: {"unit": quantity.unit, "meaning": quantity.long_name, "derived": inspect.getdoc(DERIVED[name].make)}
        for name in task.preprocessor.derived
        for band, quantity in DERIVED[name].bands.items()
    }
    return {
        "snowmap": version("snowmap"),
        "torch": torch.__version__,
        "inputs": [
            {"name": name, "shape": shape, "dtype": dtype, "meaning": meaning}
            for name, (shape, dtype, meaning) in INPUTS.items()
        ],
        "bands": [
            {"name": band, **(archive[band] if band in archive else derived[band])} for band in task.preprocessor.bands
        ],
        "phase": task.preprocessor.phase._asdict(),
        "time": task.time,
        "windows": windows,
        "least_height_and_width": least,
        "outputs": [{"name": name, **attributes} for name, attributes in task.layers.items()],
        "steps": "all windows, the last one last" if task.net.maps_every_step else "the last window",
        "targets": task.targets,
        "head": dict(task.hparams["head"]),
        "members": task.head.members,
        "calibration": task.head.calibration,
        "wet_snow_db": task.preprocessor.wet_snow_db,
        "model": dict(task.hparams["model"]),
        "archive": archive_of(*task.metadata["archives"]),
        "grids": [archive["grid"] for archive in task.metadata["archives"]],
        **{key: task.metadata[key] for key in ("git_revision", "versions")},
    }
