"""From the configuration to a fitted baseline, or to the two parts that a Trainer puts together."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch._dynamo
import xarray as xr

from snowmap.baselines import Baseline, build_baseline
from snowmap.checkpoints.provenance import metadata_of
from snowmap.data.ablation import plan_ablation
from snowmap.data.cube import narrowed, target_attributes, with_targets_inside
from snowmap.data.datamodule import SnowDataModule
from snowmap.data.features import DERIVED, refuse_unfit_bands
from snowmap.data.preprocessing import Preprocessor
from snowmap.data.radar.phase import Phase, warn_of_snow
from snowmap.data.sequences import SEASON, check_time, longest_season
from snowmap.data.splits import Split, check_reach
from snowmap.errors import SnowmapError
from snowmap.models import NETS, Net
from snowmap.tasks.pixel import SnowRegression
from snowmap.tasks.transfer import say_transfer, starting_point, transfer

logger = logging.getLogger(__name__)


def fit_baseline(config: Mapping[str, Any], cube: xr.Dataset, split: Split) -> Baseline:
    """The baseline that the configuration asks for, fitted on the training windows.

    Raises:
        SnowmapError: When the baseline cannot be built, or the Cube lacks what it needs.
    """
    baseline = build_baseline(config["model"])
    baseline.metadata = metadata_of([cube], [split], config)
    known, phase = with_targets_inside(cube, split.train_area), Phase.of(config["data"])
    if "unwrapped_phase" in baseline.archive_bands:
        warn_of_snow(cube, phase)
    return baseline.fit(known, split.train, config["target"]["names"], phase)


def make_parts(
    config: Mapping[str, Any], cubes: Sequence[xr.Dataset], splits: Sequence[Split], chosen_by: str = ""
) -> tuple[SnowRegression, SnowDataModule]:
    """The task, fitted to the training windows, and the data module that feeds it, both by the configuration's seed.

    What the configuration leaves to the model (length of the sequences, derived features, supervised steps) is the
    net's.

    Args:
        config: The checked configuration.
        cubes: The Cubes to train on, of the same bands and targets.
        splits: Their windows.
        chosen_by: What chooses the epoch, in words.

    Raises:
        SnowmapError: When net, bands, sequences and archive do not fit each other.
    """
    data, targets = config["data"], list(config["target"]["names"])
    metadata = {**metadata_of(cubes, splits, config), "chosen_by": chosen_by}
    # of what only tests the training knows nothing but the name
    cubes, splits = zip(*((cube, split) for cube, split in zip(cubes, splits, strict=True) if split.train), strict=True)
    bands = cubes[0]["band"].values.tolist()
    net = NETS[config["model"]["name"]]
    needed = [
        band for band in (*net.needs, *net.uses) if band in metadata["units"]
    ]  # others are derived, or missed by `build_net`
    refuse_unfit_bands(cubes[0], needed, f"model={config['model']['name']}")
    preprocessor = Preprocessor.plan(
        [(narrowed(cube, split.train_area), split.train) for cube, split in zip(cubes, splits, strict=True)],
        bands=[band for band in bands if band not in net.ignores],
        derived=choose_derived(net, data["derived"], bands),
        phase=Phase.of(data),
        wet_snow_db=data["wet_snow_db"],
        ablation=plan_ablation(config["ablation"], cubes, splits, config["seed"]),
    )
    if plan := preprocessor.ablation:
        changed = ", ".join([*plan["values"], *plan["shuffled"]])
        logger.warning("ablation=%s: the net does not see %s as they are", config["ablation"], changed)
    if preprocessor.reads_phase:
        for cube in cubes:
            warn_of_snow(cube, preprocessor.phase)
    if preprocessor.phase.sign == -1 and preprocessor.reads_phase:
        logger.warning("the phase falls where snow is added (phase_sign=-1), as far as the training windows tell")
    time = choose_time(config["model"], data["time"], max((cube["end"].values for cube in cubes), key=longest_season))
    source = starting_point(config, metadata)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    task = SnowRegression(
        model=config["model"],
        preprocessing=preprocessor.options,
        targets=target_attributes(cubes[0], targets),
        optimizer=config["optimizer"],
        freeze=config["freeze"],
        loss=config["loss"],
        head=config["head"],
        ensemble=config["ensemble"],
        time=time,
        metadata=metadata,
    )
    tensors = [task.preprocessor.tensors(task.preprocessor.scene(cube), targets) for cube in cubes]
    training = [
        (maps._replace(inside=torch.from_numpy(narrowed(cube, split.train_area)["mask"].values)), split.train)
        for maps, cube, split in zip(tensors, cubes, splits, strict=True)
    ]
    task.preprocessor.normalizer.fit(training)
    task.head.fit(training)
    check_reach(config["split"], time, task.net.reach)
    if source:
        say_transfer(transfer(source, task), metadata["weights_from"])
    if config["compile"]:
        compile_net(task.net)
    datamodule = SnowDataModule(
        cubes,
        tensors,
        splits,
        targets,
        time=time,
        maps_every_step=task.net.maps_every_step,
        supervise=choose_supervision(task.net, data["supervise"]),
        batch_size=data["batch_size"],
        augment=data["augment"],
        crop_size=data["crop"],
        resident_share=data["resident_share"],
        seed=config["seed"],
    )
    return task, datamodule


def choose_derived(net: type[Net], derived: Sequence[str] | None, bands: Sequence[str]) -> list[str]:
    """The derived features: those that are given, else the net's own, as far as the bands of the Cube allow.

    Those that a net `needs` stay, so that what is missing is named where they are computed.
    """
    if derived is not None:
        return list(derived)
    return [name for name in net.derived if name in net.needs or set(DERIVED[name].needs) <= set(bands)]


def choose_time(model: Mapping[str, Any], time: int | str | None, end: np.ndarray) -> int | str:
    """The length of the sequences: `time`, else the net's own, which a short archive may cut.

    Raises:
        SnowmapError: When the net cannot work with it, or the archive has no such sequence.
    """
    net = NETS[model["name"]]
    fixed = net.fixed_time(model)
    if time is None:
        time = fixed or (net.time if net.time == SEASON else min(int(net.time), longest_season(end)))
    if fixed and time != fixed:
        raise SnowmapError(f"data.time={time}, but the net reads stacks of {fixed}; give model.steps={time} instead")
    if time != SEASON and int(time) < net.minimum_time:
        raise SnowmapError(f"data.time={time}, but the net needs at least {net.minimum_time} windows")
    check_time(time, end)
    return time


def choose_supervision(net: Net, supervise: str) -> str:
    """``last`` or ``every``.

    Raises:
        SnowmapError: When every step is to be supervised, but the net maps the target window alone.
    """
    if supervise == "every" and not net.maps_every_step:
        raise SnowmapError(
            "data.supervise=every, but this net maps the target window alone; choose data.supervise=last"
        )
    return ("every" if net.maps_every_step else "last") if supervise == "auto" else supervise


def compile_net(net: Net) -> None:
    """Compile in place, which keeps the names of the weights; what cannot be compiled runs as it is, with a warning."""
    torch._dynamo.config.suppress_errors = True  # PyTorch's own way back, which warns
    net.compile()
