"""What every baseline is: fitted on training windows, then mapping any; what it remembers is plain data."""

import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float32

from snowmap.checkpoints.provenance import check_bands, check_grid, grid_of
from snowmap.config.fields import arguments
from snowmap.config.models import MODELS
from snowmap.data.cube import refuse_class_maps, target_attributes
from snowmap.data.features import DERIVED, refuse_unfit_bands
from snowmap.data.preprocessing import Preprocessor, as_maps
from snowmap.data.radar.phase import DEFAULT_PHASE, Phase
from snowmap.errors import SnowmapError
from snowmap.physics import density_guyennon
from snowmap.units import unit_factor

Maps = Float[np.ndarray, "window y x"]
Training = Sequence[tuple[xr.Dataset, Sequence[int]]]
"""Cubes and the indices of their training windows."""

logger = logging.getLogger(__name__)


class Baseline(ABC):
    """Maps that need no network, learnt from training windows × study area × valid pixels alone.

    It answers to the same names as `SnowRegression`: `targets`, `metadata`, `archive_bands`, `layers`, `predict`, `to`.

    Attributes:
        name: What users type.
        maps_classes: Whether its targets are class maps; else they are quantities.
        learns_from_all: Whether it learns from several Cubes at once; else from the first alone.
        stands_beside: Whether it is made, with its default options, to stand beside every other model.
        keeps_grid: Whether it remembers maps, so that it can only map the grid on which it was fitted.
        maps_pieces: Whether a piece of a scene can be mapped by itself.
        maps_every_step: Whether one pass over a season maps all its windows.
        time: Windows that it may look back to: all.
        needs: Bands that it reads.
        derived: Derived features (`snowmap.data.features`) that it reads.
        options: The arguments of its class, defaults included.
        layers: Attributes of each map that it gives, by name.
        preprocessor: What it sees of a Cube; none before it is fitted.
        grid: On which it was fitted.
        learned: What it remembers of each target: numbers, arrays and scikit-learn estimators.
        metadata: What the run was, as `snowmap.checkpoints.provenance.metadata_of` makes them.
    """

    name: ClassVar[str]
    maps_classes: ClassVar[bool] = False
    learns_from_all: ClassVar[bool] = False
    stands_beside: ClassVar[bool] = True
    keeps_grid: ClassVar[bool] = False
    maps_pieces: ClassVar[bool] = False
    maps_every_step: ClassVar[bool] = False
    time: ClassVar[int] = sys.maxsize
    needs: Sequence[str] = ()
    derived: Sequence[str] = ()

    def __init__(self, **options: Any) -> None:
        """Make it, not yet fitted.

        Args:
            options: Those of the class in `snowmap.config.models`, which has their defaults.

        Raises:
            ValueError: When the schema expects another value.
        """
        self.options = arguments(MODELS[self.name], options)
        self.layers: dict[str, dict[str, Any]] = {}
        self.preprocessor = Preprocessor([])
        self.grid: dict[str, Any] = {}
        self.learned: dict[str, dict[str, Any]] = {}
        self.metadata: dict[str, Any] = {}

    @property
    @abstractmethod
    def targets(self) -> dict[str, str]:
        """Unit of each target, by name; that of a class map is empty."""

    @property
    def archive_bands(self) -> list[str]:
        """The bands that an archive has to hold."""
        derived = (band for name in self.derived for band in DERIVED[name].needs)
        return list(dict.fromkeys([*self.needs, *derived, *self.preprocessor.archive_bands]))

    def choose_inputs(self, cube: xr.Dataset) -> None:
        """Set `needs` and `derived`, which may follow from the Cube."""
        self.needs, self.derived = type(self).needs, type(self).derived

    def fit(
        self,
        cube: xr.Dataset,
        train: Sequence[int],
        targets: Sequence[str],
        phase: Phase = DEFAULT_PHASE,
        others: Training = (),
    ) -> "Baseline":
        """Learn each target from the training windows.

        Args:
            cube: The Cube; outside its mask, and in other than the training windows, no target is looked at.
            train: Indices of the training windows.
            targets: Names of the targets.
            phase: How phase becomes a change of SWE.
            others: Further Cubes to learn from, where it `learns_from_all`.

        Returns:
            Itself.

        Raises:
            SnowmapError: When a band is missing, or there is no training pixel to learn from.
        """
        self.choose_inputs(cube)
        refuse_unfit_bands(cube, self.archive_bands, f"model={self.name}")
        self.grid = grid_of(cube)
        self.learn_targets([(cube, train), *others], target_attributes(cube, targets), phase)
        return self

    @abstractmethod
    def learn_targets(self, training: Training, targets: Mapping[str, Mapping[str, Any]], phase: Phase) -> None:
        """Set `preprocessor`, `layers` and what was `learned`.

        Args:
            training: The Cube, then the others that `fit` takes.
            targets: Attributes of each target, by name.
            phase: How phase becomes a change of SWE.
        """

    def predict(self, cube: xr.Dataset, windows: Sequence[int] | None = None) -> xr.Dataset:
        """Map windows of a Cube.

        Args:
            cube: The Cube; its targets are not looked at. Sums since 1 September read the windows before those that are
                mapped, too.
            windows: Indices of the windows to map; all by default.

        Returns:
            Variables ``(window, y, x)`` float32 as `layers` names them, NaN outside the study area and where it has no
            value; quantities are ≥ 0. Dates, CRS and grid of the Cube.

        Raises:
            SnowmapError: When bands or units do not fit, or the grid of a baseline that remembers maps.
        """
        check_bands(self.archive_bands, cube, self.metadata)
        if self.keeps_grid:
            check_grid(self.grid, cube)
        chosen = list(range(cube.sizes["window"]) if windows is None else windows)
        return as_maps(cube, chosen, self.values(cube, chosen), self.layers)

    @abstractmethod
    def values(self, cube: xr.Dataset, windows: list[int]) -> Float32[np.ndarray, "layer window y x"]:
        """What `predict` gives, in the order of `layers`."""

    def predict_piece(self, cube: xr.Dataset, windows: Sequence[int]) -> xr.Dataset:
        """As `predict`: a piece is the whole scene, see `maps_pieces`."""
        return self.predict(cube, windows)

    def to(self, device: str | torch.device) -> "Baseline":
        """Itself: a baseline works on the processor, whatever the device."""
        return self


class QuantityBaseline(Baseline):
    """Maps quantities, learnt from the maps of one Cube; it leaves others alone."""

    @property
    def targets(self) -> dict[str, str]:
        """Unit of each target, by name."""
        return {name: str(attributes["units"]) for name, attributes in self.layers.items()}

    def learn_targets(self, training: Training, targets: Mapping[str, Mapping[str, Any]], phase: Phase) -> None:
        """From the first Cube, target by target."""
        refuse_class_maps(targets, f"model={self.name}")
        (cube, train), *_ = training
        self.layers = {name: {k: v for k, v in targets[name].items() if k != "valid_min"} for name in targets}
        reads_phase = "unwrapped_phase" in self.archive_bands
        self.preprocessor = Preprocessor.plan(
            [(cube, train)],
            bands=self.archive_bands,
            derived=self.derived,
            phase=phase if reads_phase else phase._replace(sign=1),
        )
        if reads_phase:
            estimated = "of the archive" if "phase_sign" in cube.attrs else "estimated from the training windows"
            source = "set" if phase.sign else estimated
            meaning = "1 where the phase grows with snow, -1 where it falls"
            logger.info("%s: phase_sign=%d, %s (%s)", self.name, self.preprocessor.phase.sign, source, meaning)
        inputs = self.preprocessor.features(self.preprocessor.scene(cube))
        for target in self.targets:
            known = np.where(cube["mask"].values, cube[target].values[list(train)], np.float32(np.nan))
            if not np.isfinite(known).any():
                raise SnowmapError(f"{self.name}: no training window has a valid pixel of {target} in the study area")
            self.learned[target] = self.learn(inputs, list(train), known, target)

    def values(self, cube: xr.Dataset, windows: list[int]) -> Float32[np.ndarray, "layer window y x"]:
        """Target by target, from the whole Cube."""
        inputs = self.preprocessor.features(self.preprocessor.scene(cube))
        values = np.stack([self.map(inputs, windows, target) for target in self.targets]).astype(np.float32)
        return np.where(cube["mask"].values, values, np.float32(np.nan))

    @abstractmethod
    def learn(self, inputs: xr.Dataset, train: list[int], known: Maps, target: str) -> dict[str, Any]:
        """What to remember of a target.

        Args:
            inputs: The Cube with `needs` and `derived` as its bands.
            train: Indices of the training windows.
            known: The target in the training windows, NaN where it may not be looked at.
            target: Its name.
        """

    @abstractmethod
    def map(self, inputs: xr.Dataset, windows: list[int], target: str) -> Maps:
        """The target in `windows`, in its unit."""

    def in_unit(self, water: Maps, end: np.ndarray, target: str) -> Maps:
        """Water in mm as SWE in the unit of the target, or as HS in cm by Guyennon's density of the date.

        Raises:
            SnowmapError: For any other target.
        """
        if target == "hs":
            return water / density_guyennon(end)[:, None, None] * 100  # mm = kg m⁻² -> m -> cm
        if target == "swe":
            return water * unit_factor("mm", self.targets[target])
        raise SnowmapError(f"model={self.name} maps water; it cannot map '{target}'")
