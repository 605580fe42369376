"""The Batch: what a network trains on, as tensors with their shapes in the type."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from snowmap.data.classes import observed
from snowmap.data.sequences import WHOLE, Sample, added_days, gap_days, length_days, season_starts


class Batch(NamedTuple):
    """Sequences of windows stacked for the network, in physical units; the last step is the target window.

    Short sequences are padded at their beginning. `y` holds the targets of the last `supervised` steps: 1, or all.

    Attributes:
        x: Bands, in the units of the Cube; anything where `x_valid` is false.
        x_valid: True inside the study area where the band has a value: what lies outside has no influence.
        step_valid: True where the step is a window, false where it is padding.
        days: Days from the end of each step to the end of the target window, ≥ 0.
        gap_days: Days between the step before and this one that no window covers; 0 in an archive without gaps.
        length_days: Days of the step, at least 1.
        added_days: Those of them that no earlier window covers: all, unless windows overlap.
        season_start: True where the step is the first window of its season (from 1 September on): bare ground before.
        day_of_year: Day of the year of the end of each step, 1 … 366.
        y: Targets, in the units of the Cube; anything where `y_valid` is false.
        y_valid: True inside the study area where the target has a value and may be looked at.
        window: Index of the target window in the Cube, or among the windows of all Cubes of a data module.
    """

    x: Float[Tensor, "batch time band height width"]
    x_valid: Bool[Tensor, "batch time band height width"]
    step_valid: Bool[Tensor, "batch time"]
    days: Float[Tensor, "batch time"]
    gap_days: Float[Tensor, "batch time"]
    length_days: Float[Tensor, "batch time"]
    added_days: Float[Tensor, "batch time"]
    season_start: Bool[Tensor, "batch time"]
    day_of_year: Float[Tensor, "batch time"]
    y: Float[Tensor, "batch supervised target height width"]
    y_valid: Bool[Tensor, "batch supervised target height width"]
    window: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


@runtime_checkable
class Statistical(Protocol):
    """Maps over which statistics can be summed: a Cube in memory (`CubeTensors`), or in its store (`LazyTensors`)."""

    @property
    def inside(self) -> Tensor:
        """True inside the study area, ``(y, x)``."""
        ...

    def pieces(self, windows: Sequence[int]) -> "Iterator[CubeTensors]":
        """The windows one by one, whole or in pieces."""
        ...

    def targets_alone(self) -> "Statistical":
        """The same without bands."""
        ...


class CubeTensors(NamedTuple):
    """A whole Cube as tensors, from which Batches are gathered without reading a file.

    The tensors may be views of a memory map: a Cube that is larger than the memory is read page by page.

    Attributes:
        x: Bands, one by one, so that derived ones lie beside those of the Cube without a copy of these; NaN = missing.
        y: Targets, NaN = missing or not in the Cube.
        inside: True inside the study area.
        day: Days from 1970-01-01 to the end of each window.
        gap_days: Days between the window before and this one that no window covers.
        length_days: Days of each window, at least 1.
        added_days: Those of them that no earlier window covers.
        season_start: True where the window is the first of its season.
        day_of_year: Day of the year of the end of each window.
    """

    x: tuple[Float[Tensor, "window height width"], ...]
    y: tuple[Float[Tensor, "window height width"], ...]
    inside: Bool[Tensor, "height width"]
    day: Float[Tensor, " window"]
    gap_days: Float[Tensor, " window"]
    length_days: Float[Tensor, " window"]
    added_days: Float[Tensor, " window"]
    season_start: Bool[Tensor, " window"]
    day_of_year: Float[Tensor, " window"]

    @staticmethod
    def of(
        cube: xr.Dataset,
        bands: Sequence[str],
        targets: Sequence[str],
        derived: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> "CubeTensors":
        """The Cube's `bands` and `targets`; a target that the Cube does not hold is missing everywhere.

        What depends on windows that a piece of a Cube lacks comes from its coordinates ``gap_days``, ``added_days`` and
        ``season_start (window)``, where it has them.

        Args:
            cube: The Cube.
            bands: Names of bands of the Cube and of `derived`.
            targets: Names of targets.
            derived: Maps of further bands, as `snowmap.data.features.derive` gives them.
        """
        names = [str(name) for name in cube["band"].values]
        values = cube["features"].values
        missing = np.broadcast_to(np.float32(np.nan), (len(values), *values.shape[2:]))
        start, end = cube["start"].values, cube["end"].values

        def noted(name: str, compute: Callable[..., np.ndarray]) -> Tensor:
            return _tensor(cube[name].values if name in cube.coords else compute(start, end))

        return CubeTensors(
            x=tuple(_tensor(derived[b] if b in derived else values[:, names.index(b)]) for b in bands),
            y=tuple(_tensor(observed(cube[name]) if name in cube else missing) for name in targets),
            inside=torch.from_numpy(cube["mask"].values),
            day=torch.from_numpy(end.astype("datetime64[D]").astype(np.float32)),
            gap_days=noted("gap_days", gap_days),
            length_days=_tensor(length_days(start, end)),
            added_days=noted("added_days", added_days),
            season_start=noted("season_start", season_starts),
            day_of_year=torch.from_numpy(cube["end"].dt.dayofyear.values.astype(np.float32)),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the bands and targets."""
        return sum(tensor.nbytes for tensor in (*self.x, *self.y))

    chunk = None
    """A Cube in memory has none."""

    def narrowed_to(self, inside: Bool[Tensor, "height width"]) -> "CubeTensors":
        """The same with another study area."""
        return self._replace(inside=inside)

    def targets_alone(self) -> "CubeTensors":
        """The same without bands."""
        return self._replace(x=())

    def pieces(self, windows: Sequence[int]) -> "Iterator[CubeTensors]":
        """The windows one by one, for sums over all of them."""
        return (self.cut(window) for window in windows)

    def cut(self, window: int, rows: slice = WHOLE, columns: slice = WHOLE) -> "CubeTensors":
        """A piece of one window; bands and targets alone are cut in time."""
        x, y = (tuple(maps[window : window + 1, rows, columns] for maps in stack) for stack in (self.x, self.y))
        return self._replace(x=x, y=y, inside=self.inside[rows, columns])

    def collate(
        self,
        samples: Sequence[Sample],
        area: Bool[Tensor, "height width"] | None = None,
        time: int = 0,
        supervised: int = 0,
    ) -> Batch:
        """The Batch of the sequences, whose pieces are copied and nothing else.

        Args:
            samples: The sequences; all have as many supervised steps, or as many as they have steps, and pieces of one
                size.
            area: Where targets may be looked at; everywhere in the study area by default.
            time: Steps that the Batch has at least.
            supervised: Supervised steps that it has at least.
        """
        time = max(time, *(len(sample.steps) for sample in samples))
        supervised = max(supervised, *(len(sample.supervised) for sample in samples))
        device = self.inside.device
        # a padded step repeats the first window: whatever it holds is invalid
        steps = torch.tensor([[s.steps[0]] * (time - len(s.steps)) + list(s.steps) for s in samples], device=device)
        step_valid = torch.tensor([[i >= time - len(s.steps) for i in range(time)] for s in samples], device=device)
        counted = torch.tensor(
            [[False] * (supervised - len(s.supervised)) + list(s.supervised) for s in samples], device=device
        )
        visible = self.inside if area is None else self.inside & area.to(device)
        inside = torch.stack([self.inside[s.rows, s.columns] for s in samples])[:, None, None]
        x = _pieces(self.x, steps, samples, inside.shape[-2:])
        y = _pieces(self.y, steps[:, time - supervised :], samples, inside.shape[-2:])
        shown = torch.stack([_within_margin(visible, sample) for sample in samples])[:, None, None]
        day = self.day[steps]
        return Batch(
            x=x,
            x_valid=(x.abs() < torch.inf) & inside & step_valid[:, :, None, None, None],  # half the time of isfinite
            step_valid=step_valid,
            days=day[:, -1:] - day,
            gap_days=torch.where(step_valid, self.gap_days[steps], 0),
            length_days=self.length_days[steps],
            added_days=torch.where(step_valid, self.added_days[steps], 0),
            season_start=self.season_start[steps] & step_valid,
            day_of_year=self.day_of_year[steps],
            y=y,
            y_valid=y.isfinite() & shown & counted[:, :, None, None, None],
            window=steps[:, -1],
        )

    def to(self, device: torch.device) -> "CubeTensors":
        """The same on `device`."""
        moved = {name: value.to(device) for name, value in self._asdict().items() if isinstance(value, Tensor)}
        x, y = (tuple(maps.to(device) for maps in stack) for stack in (self.x, self.y))
        return self._replace(x=x, y=y, **moved)


def _pieces(
    maps: Sequence[Float[Tensor, "window height width"]],
    steps: Int[Tensor, "batch time"],
    samples: Sequence[Sample],
    size: Sequence[int],
) -> Float[Tensor, "batch time map piece_height piece_width"]:
    pieces = torch.empty((*steps.shape, len(maps), *size), device=steps.device)
    for into, chosen, sample in zip(pieces, steps, samples, strict=True):
        for index, of_map in enumerate(maps):
            piece = of_map[:, sample.rows, sample.columns]
            torch.index_select(piece, 0, chosen, out=into[:, index])
    return pieces


def _within_margin(area: Bool[Tensor, "height width"], sample: Sample) -> Bool[Tensor, "piece_height piece_width"]:
    piece = area[sample.rows, sample.columns]
    if sample.margin:
        piece = piece.clone()
        for axis, (length, place) in enumerate(zip(area.shape, (sample.rows, sample.columns), strict=True)):
            start, stop, _ = place.indices(length)
            if start > 0:
                piece.narrow(axis, 0, sample.margin).fill_(False)
            if stop < length:
                piece.narrow(axis, stop - start - sample.margin, sample.margin).fill_(False)
    return piece


def _tensor(values: np.ndarray) -> Tensor:
    if values.flags.writeable:
        return torch.from_numpy(values)
    if values.strides[-2:] == (0, 0):  # one value for each window, which takes no memory here either
        return torch.from_numpy(values[..., :1, :1].copy()).expand(values.shape)
    if values.ndim == 3 and values.strides[0] == 0:  # one map for all windows
        return torch.from_numpy(values[:1].copy()).expand(values.shape)
    return torch.from_numpy(values.copy())
