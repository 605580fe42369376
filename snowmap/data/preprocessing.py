"""The Preprocessor: what a model sees of a Cube, the same in training, prediction, tiles, export and baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from torch import nn

from snowmap.data.ablation import ablate
from snowmap.data.batch import CubeTensors
from snowmap.data.cube import quantities_of
from snowmap.data.features import DERIVED, derive, with_derived
from snowmap.data.normalize import Normalizer
from snowmap.data.radar.network import overlap
from snowmap.data.radar.phase import DEFAULT_PHASE, Phase, estimate_phase_sign, with_ground_slope, with_reference
from snowmap.data.radar.reference import NO_REFERENCE
from snowmap.data.radar.wet_snow import with_wet_threshold
from snowmap.data.sequences import added_days, gap_days, history, season_of, season_starts
from snowmap.units import WET_SNOW_DB

WINDOW_COORDINATES = ("gap_days", "added_days", "season_start", "phase_reference", "phase_trend")
"""Coordinates ``(window)``, the last ``(window, term)``, that tell a piece of a scene what it cannot know by itself."""

PIXEL_COORDINATES = ("ground_slope", "wet_below")
"""The same, ``(y, x)``: what a piece of few windows cannot know."""


class Preprocessor(nn.Module):
    """Ablation, derived features, choice of bands and normalisation, in that order.

    It works in two steps, so that a scene can be cut into pieces between them. `scene` does what needs the whole scene:
    the ablation, and coordinates for what a piece cannot know. `tensors` and `features` do the rest, piece by piece.
    Its choices are plain containers (`options`), and the statistics of the normalisation are part of its state: both
    are in the checkpoint.

    Attributes:
        bands: Names of the bands that the model reads, derived features included, in canonical order.
        derived: Keys of `snowmap.data.features.DERIVED`.
        phase: How phase becomes a change of SWE, its sign included.
        ablation: Of `snowmap.data.ablation.plan_ablation`; None leaves the bands as they are.
        wet_snow_db: Change of backscatter below which snow is wet.
        normalizer: From physical units to the channels of a net.
    """

    def __init__(
        self,
        bands: Sequence[str],
        derived: Sequence[str] = (),
        phase: Mapping[str, Any] | None = None,
        ablation: Mapping[str, Any] | None = None,
        wrapped: Sequence[str] = (),
        wet_snow_db: float = WET_SNOW_DB,
    ) -> None:
        super().__init__()
        self.bands, self.derived, self.phase = list(bands), list(derived), Phase(**(phase or {}))
        self.wet_snow_db = wet_snow_db
        self.ablation = None if ablation is None else dict(ablation)
        self.normalizer = Normalizer(self.bands, wrapped)

    @classmethod
    def plan(
        cls,
        training: Sequence[tuple[xr.Dataset, Sequence[int]]],
        *,
        bands: Sequence[str],
        derived: Sequence[str] = (),
        phase: Phase = DEFAULT_PHASE,
        ablation: Mapping[str, Any] | None = None,
        wet_snow_db: float = WET_SNOW_DB,
    ) -> "Preprocessor":
        """The Preprocessor of a run; its normalisation is not yet fitted.

        Args:
            training: Cubes of the same bands, and the indices of the training windows of each; their masks are where
                targets may be looked at.
            bands: Bands of the Cubes that the model reads.
            derived: Keys of `snowmap.data.features.DERIVED`, which it reads, too.
            phase: How phase becomes a change of SWE; its sign is estimated from the training windows unless it has one.
            ablation: Of `snowmap.data.ablation.plan_ablation`.
            wet_snow_db: Change of backscatter below which snow is wet.

        Raises:
            SnowmapError: When the Cubes lack a band that a derived feature is computed from.
        """
        altered = [(ablate(cube, ablation), train) for cube, train in training]
        cube, _ = altered[0]
        used = phase.used_bands(cube["band"].values.tolist())
        phase = phase._replace(sign=phase.sign or estimate_phase_sign(altered, phase), uses=used)
        # of one pixel of one window: only the names of the bands are needed
        made = derive(
            cube.isel(window=slice(0, 1), y=slice(0, 1), x=slice(0, 1)),
            derived,
            phase._replace(reference=NO_REFERENCE, corrections=()),
        )
        read = {name: quantity for name, quantity in quantities_of(cube).items() if name in bands}
        wrapped = [name for name, quantity in read.items() if quantity.wrapped]
        return cls([*read, *made], derived, phase._asdict(), ablation, wrapped, wet_snow_db)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of its class, in plain containers."""
        return {
            "bands": self.bands,
            "derived": self.derived,
            "phase": self.phase._asdict(),
            "ablation": self.ablation,
            "wrapped": list(self.normalizer.wrapped),
            "wet_snow_db": self.wet_snow_db,
        }

    @property
    def archive_bands(self) -> list[str]:
        """The bands that a Cube has to hold."""
        made = {band for name in self.derived for band in DERIVED[name].bands}
        needed = (band for name in self.derived for band in DERIVED[name].needs)
        used = self.phase.uses if self.reads_phase else ()
        return list(dict.fromkeys([*(band for band in self.bands if band not in made), *needed, *used]))

    @property
    def reads_season(self) -> bool:
        """Whether a derived feature looks back to 1 September, beyond its window."""
        return any(DERIVED[name].summed for name in self.derived)

    @property
    def reads_phase(self) -> bool:
        """Whether a derived feature is computed from the phase."""
        return any("unwrapped_phase" in DERIVED[name].needs for name in self.derived)

    def first_window(self, start: np.ndarray, end: np.ndarray, windows: Sequence[int], time: int | str) -> int:
        """The earliest window that is read to map `windows` with sequences of `time` windows.

        Args:
            start: First day of each window of the scene.
            end: Last day of each window.
            windows: Indices of the windows to map.
            time: Windows in a sequence, or ``season``.
        """
        first = min(history(end, window, time)[0] for window in windows)
        season = season_of(end)
        whole = self.reads_season or (self.reads_phase and overlap(start, end))  # which is inverted season by season
        return int(np.flatnonzero(season == season[first])[0]) if whole else first

    def scene(self, cube: xr.Dataset, windows: Sequence[int] | None = None) -> xr.Dataset:
        """The Cube, altered by the ablation, with what a piece of it cannot know, so that it may be cut into pieces.

        That are `WINDOW_COORDINATES` and `PIXEL_COORDINATES`, as far as derived features need them.

        Args:
            cube: The whole scene; its `features` may be a dask array, and then stay one.
            windows: The windows whose phase is needed; all by default.
        """
        cube = ablate(cube, self.ablation)
        if "wet_snow" in self.derived:
            cube = with_wet_threshold(cube, self.wet_snow_db)
        start, end = cube["start"].values, cube["end"].values
        computed = {"gap_days": gap_days, "added_days": added_days, "season_start": season_starts}
        coordinates = {name: compute(start, end) for name, compute in computed.items()}
        if self.reads_phase:
            read = list(range(len(end)) if windows is None else windows)
            cube = with_ground_slope(cube)
            known = with_reference(cube.isel(window=read), self.phase)
            for name in ("phase_reference", "phase_trend"):
                if name in known.coords:
                    values = known[name].values
                    coordinates[name] = np.full((len(end), *values.shape[1:]), np.nan, values.dtype)
                    coordinates[name][read] = values
        return cube.assign_coords(
            {name: (("window", "term")[: values.ndim], values) for name, values in coordinates.items()}
        )

    def features(self, cube: xr.Dataset) -> xr.Dataset:
        """A scene, or a piece of one, with the bands that the model reads, derived features among them."""
        read = cube.isel(band=[i for i, band in enumerate(cube["band"].values) if band in self.archive_bands])
        whole = with_derived(read, self.derived, self.phase)
        names = whole["band"].values.tolist()
        return whole.isel(band=[names.index(band) for band in self.bands])

    def tensors(self, cube: xr.Dataset, targets: Sequence[str] = ()) -> CubeTensors:
        """A scene, or a piece of one, as tensors of the bands that the model reads; bands are not copied.

        Args:
            cube: From `scene`, or a piece of it.
            targets: Names of targets.
        """
        return CubeTensors.of(cube, self.bands, targets, derive(cube, self.derived, self.phase))


def as_maps(
    cube: xr.Dataset,
    windows: Sequence[int],
    values: Float[np.ndarray, "map window y x"],
    layers: Mapping[str, Mapping[str, Any]],
) -> xr.Dataset:
    """Maps of some windows, with dates, CRS and grid of the scene.

    Args:
        cube: The scene, or a piece of it.
        windows: Indices of the windows.
        values: The maps.
        layers: Attributes of each map, by name.
    """
    grid = cube[["start", "end", "mask"]].isel(window=list(windows))
    maps = {
        name: (("window", "y", "x"), values[index], dict(attributes))
        for index, (name, attributes) in enumerate(layers.items())
    }
    return grid.drop_vars(["mask", *WINDOW_COORDINATES, *PIXEL_COORDINATES], errors="ignore").assign(maps)
